//! Client architecture to firmware and boot file, as one table.
//!
//! Codes are those of RFC 4578 §2.1 as IANA's registry "Processor Architecture
//! Types" goes on with them. Loader files are named as Debian's `ipxe` package
//! names them, those for other processors as iPXE's own build does.

use std::net::Ipv4Addr;

use boot_proto::dhcp::ClientFacts;
use boot_proto::ids::MacAddr;

pub use crate::events::Firmware;

/// One client architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch {
    /// Code in option 93.
    pub code: u16,
    /// What the registry calls it.
    pub name: &'static str,
    /// Kind of firmware.
    pub firmware: Firmware,
    /// Loader file, where there is one for this architecture.
    pub loader: Option<&'static str>,
}

const fn row(
    code: u16,
    name: &'static str,
    firmware: Firmware,
    loader: Option<&'static str>,
) -> Arch {
    Arch {
        code,
        name,
        firmware,
        loader,
    }
}

/// All architectures we have an answer for, right or empty.
///
/// 7 and 9: RFC 4578's table calls 7 "EFI BC" and 9 "EFI x86-64"; firmware has
/// said 7 for x86-64 ever since, and the registry follows it (erratum 4625).
const ARCHS: [Arch; 17] = [
    row(0, "x86 BIOS", Firmware::Bios, Some("undionly.kpxe")),
    row(2, "Itanium", Firmware::Uefi, None),
    row(6, "x86 UEFI", Firmware::Uefi, Some("snponly-i386.efi")),
    row(7, "x64 UEFI", Firmware::Uefi, Some("snponly.efi")),
    row(9, "EBC", Firmware::Uefi, Some("snponly.efi")),
    row(
        10,
        "ARM 32-bit UEFI",
        Firmware::Uefi,
        Some("snponly-arm32.efi"),
    ),
    row(
        11,
        "ARM 64-bit UEFI",
        Firmware::Uefi,
        Some("snponly-arm64.efi"),
    ),
    row(
        15,
        "x86 UEFI HTTP",
        Firmware::UefiHttp,
        Some("snponly-i386.efi"),
    ),
    row(16, "x64 UEFI HTTP", Firmware::UefiHttp, Some("snponly.efi")),
    row(17, "EBC HTTP", Firmware::UefiHttp, Some("snponly.efi")),
    row(
        18,
        "ARM 32-bit UEFI HTTP",
        Firmware::UefiHttp,
        Some("snponly-arm32.efi"),
    ),
    row(
        19,
        "ARM 64-bit UEFI HTTP",
        Firmware::UefiHttp,
        Some("snponly-arm64.efi"),
    ),
    row(20, "x86 BIOS HTTP", Firmware::Bios, None),
    row(
        27,
        "RISC-V 64-bit UEFI",
        Firmware::Uefi,
        Some("snponly-riscv64.efi"),
    ),
    row(
        28,
        "RISC-V 64-bit UEFI HTTP",
        Firmware::UefiHttp,
        Some("snponly-riscv64.efi"),
    ),
    row(
        39,
        "LoongArch 64-bit UEFI",
        Firmware::Uefi,
        Some("snponly-loong64.efi"),
    ),
    row(
        40,
        "LoongArch 64-bit UEFI HTTP",
        Firmware::UefiHttp,
        Some("snponly-loong64.efi"),
    ),
];

/// Makers whose boot ROM says "x86 BIOS" on another processor. Raspberry Pi
/// models 2 to 5 send arch 0 and the vendor class of an x86 PXE ROM; the boot
/// ROM takes no x86 loader, it fetches `bootcode.bin` or `start4.elf` by itself.
const NOT_X86: [[u8; 3]; 5] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
];

/// What a booting client is told to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootFile {
    /// A file by TFTP from the server.
    Tftp(&'static str),
    /// A URL, for UEFI HTTP Boot; the vendor class `HTTPClient` is echoed.
    Http(String),
    /// The URL of the boot script, for iPXE.
    Script(String),
}

impl BootFile {
    /// The text of the boot file field.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Tftp(name) => name,
            Self::Http(url) | Self::Script(url) => url,
        }
    }
}

/// The row of an architecture.
#[must_use]
pub fn arch(code: u16) -> Option<&'static Arch> {
    ARCHS.iter().find(|row| row.code == code)
}

/// What a client boots from: its firmware, and what it is to load, where we
/// have something for it. Pure.
#[must_use]
pub fn boot_file(
    facts: &ClientFacts,
    mac: MacAddr,
    server: Ipv4Addr,
    http_port: u16,
) -> (Firmware, Option<BootFile>) {
    // An iPXE without HTTP (some vendors' ROMs) gets the full one by TFTP, as
    // any other ROM of its architecture does.
    if facts.ipxe.is_some_and(|features| features.http) {
        let script = format!("http://{server}:{http_port}/boot.ipxe");
        return (Firmware::Ipxe, Some(BootFile::Script(script)));
    }
    if !facts.is_booting() {
        return (Firmware::Other, None);
    }
    let Some(row) = facts.arch.and_then(arch) else {
        return (Firmware::Other, None);
    };
    if row.firmware == Firmware::Bios && is_not_x86(mac) {
        return (Firmware::Other, None);
    }
    let file = row.loader.map(|loader| match row.firmware {
        Firmware::UefiHttp => {
            BootFile::Http(format!("http://{server}:{http_port}/loaders/{loader}"))
        }
        _ => BootFile::Tftp(loader),
    });
    (row.firmware, file)
}

fn is_not_x86(mac: MacAddr) -> bool {
    let [a, b, c, ..] = mac.octets();
    NOT_X86.contains(&[a, b, c])
}

#[cfg(test)]
mod tests {
    use boot_proto::dhcp::IpxeFeatures;

    use super::*;

    #[test]
    fn each_client_gets_its_loader() {
        let pxe = |arch| ClientFacts {
            is_pxe: true,
            arch: Some(arch),
            ..ClientFacts::default()
        };
        let ipxe = |http| ClientFacts {
            ipxe: Some(IpxeFeatures { http }),
            ..pxe(0)
        };
        let x86 = "94:57:a5:d3:ec:f2";
        let script = "http://10.0.0.1:8080/boot.ipxe";
        let efi = "http://10.0.0.1:8080/loaders/snponly.efi";
        for (facts, mac, firmware, file) in [
            (pxe(0), x86, Firmware::Bios, Some("undionly.kpxe")),
            (pxe(7), x86, Firmware::Uefi, Some("snponly.efi")),
            (pxe(9), x86, Firmware::Uefi, Some("snponly.efi")),
            (pxe(11), x86, Firmware::Uefi, Some("snponly-arm64.efi")),
            (pxe(16), x86, Firmware::UefiHttp, Some(efi)),
            (pxe(999), x86, Firmware::Other, None),
            (pxe(0), "b8:27:eb:9b:65:d4", Firmware::Other, None),
            (ipxe(true), x86, Firmware::Ipxe, Some(script)),
            (ipxe(false), x86, Firmware::Bios, Some("undionly.kpxe")),
            (ClientFacts::default(), x86, Firmware::Other, None),
        ] {
            let server = Ipv4Addr::new(10, 0, 0, 1);
            let (found, boot) = boot_file(&facts, mac.parse().unwrap(), server, 8080);
            assert_eq!(found, firmware, "{facts:?}");
            assert_eq!(boot.as_ref().map(BootFile::name), file, "{facts:?}");
        }
    }

    #[test]
    fn codes_are_given_once() {
        for (at, row) in ARCHS.iter().enumerate() {
            assert!(
                ARCHS[at + 1..].iter().all(|other| other.code != row.code),
                "{}",
                row.code
            );
        }
    }
}
