//! Client architecture to firmware and boot file, as one table.
//!
//! Codes are those of RFC 4578 §2.1 as IANA's registry "Processor Architecture
//! Types" goes on with them. Loader files are named as Debian's packages name
//! them (`ipxe`, `shim-signed`, `grub-efi-amd64-signed`), those for other
//! processors as the projects' own builds do. A pool chooses the column, and
//! may name a file of its own for a code.

use std::net::Ipv4Addr;

use boot_proto::dhcp::ClientFacts;
use boot_proto::ids::MacAddr;
use boot_proto::resources::{LoaderKind, NodePoolSpec};

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
    /// What it can load.
    pub loaders: Loaders,
}

/// The loaders for one processor and kind of firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaders {
    /// iPXE.
    pub ipxe: Option<&'static str>,
    /// GRUB that finds its configuration by the network.
    pub grub: Option<&'static str>,
    /// shim, which loads a signed GRUB from beside itself.
    pub shim: Option<&'static str>,
}

const NONE: Loaders = loaders(None, None, None);
const PC: Loaders = loaders(Some("undionly.kpxe"), Some("grub/i386-pc/core.0"), None);
const IA32: Loaders = loaders(
    Some("snponly-i386.efi"),
    Some("grubia32.efi"),
    Some("shimia32.efi"),
);
const X64: Loaders = loaders(
    Some("snponly.efi"),
    Some("grubx64.efi"),
    Some("shimx64.efi"),
);
const ARM32: Loaders = loaders(Some("snponly-arm32.efi"), Some("grubarm.efi"), None);
const ARM64: Loaders = loaders(
    Some("snponly-arm64.efi"),
    Some("grubaa64.efi"),
    Some("shimaa64.efi"),
);
const RISCV64: Loaders = loaders(Some("snponly-riscv64.efi"), Some("grubriscv64.efi"), None);
const LOONG64: Loaders = loaders(
    Some("snponly-loong64.efi"),
    Some("grubloongarch64.efi"),
    None,
);

/// What of these can be gone on with by HTTP Boot. GRUB as Debian signs it has no
/// HTTP inside, and loads no module that would bring it: it would stand at its
/// prompt. A pool that has another one names it, or a shim beside it.
const fn by_http(of: Loaders) -> Loaders {
    loaders(of.ipxe, None, None)
}

const fn loaders(
    ipxe: Option<&'static str>,
    grub: Option<&'static str>,
    shim: Option<&'static str>,
) -> Loaders {
    Loaders { ipxe, grub, shim }
}

/// All architectures we have an answer for, right or empty.
///
/// 7 and 9: RFC 4578's table calls 7 "EFI BC" and 9 "EFI x86-64"; firmware has
/// said 7 for x86-64 ever since, and the registry follows it (erratum 4625).
#[rustfmt::skip]
const ARCHS: [(u16, &str, Firmware, Loaders); 31] = [
    (0, "x86 BIOS", Firmware::Bios, PC),
    (2, "Itanium", Firmware::Uefi, NONE),
    (6, "x86 UEFI", Firmware::Uefi, IA32),
    (7, "x64 UEFI", Firmware::Uefi, X64),
    (8, "EFI Xscale", Firmware::Uefi, NONE),
    (9, "EBC", Firmware::Uefi, X64),
    (10, "ARM 32-bit UEFI", Firmware::Uefi, ARM32),
    (11, "ARM 64-bit UEFI", Firmware::Uefi, ARM64),
    (12, "PowerPC Open Firmware", Firmware::Other, NONE),
    (13, "PowerPC ePAPR", Firmware::Other, NONE),
    (14, "POWER OPAL v3", Firmware::Other, NONE),
    (15, "x86 UEFI HTTP", Firmware::UefiHttp, by_http(IA32)),
    (16, "x64 UEFI HTTP", Firmware::UefiHttp, by_http(X64)),
    (17, "EBC HTTP", Firmware::UefiHttp, by_http(X64)),
    (18, "ARM 32-bit UEFI HTTP", Firmware::UefiHttp, by_http(ARM32)),
    (19, "ARM 64-bit UEFI HTTP", Firmware::UefiHttp, by_http(ARM64)),
    (20, "x86 BIOS HTTP", Firmware::Bios, NONE),
    (21, "ARM 32-bit U-Boot", Firmware::Other, NONE),
    (22, "ARM 64-bit U-Boot", Firmware::Other, NONE),
    (23, "ARM 32-bit U-Boot HTTP", Firmware::Other, NONE),
    (24, "ARM 64-bit U-Boot HTTP", Firmware::Other, NONE),
    (25, "RISC-V 32-bit UEFI", Firmware::Uefi, NONE),
    (26, "RISC-V 32-bit UEFI HTTP", Firmware::UefiHttp, NONE),
    (27, "RISC-V 64-bit UEFI", Firmware::Uefi, RISCV64),
    (28, "RISC-V 64-bit UEFI HTTP", Firmware::UefiHttp, by_http(RISCV64)),
    (31, "s390 Basic", Firmware::Other, NONE),
    (32, "s390 Extended", Firmware::Other, NONE),
    (37, "LoongArch 32-bit UEFI", Firmware::Uefi, NONE),
    (39, "LoongArch 64-bit UEFI", Firmware::Uefi, LOONG64),
    (40, "LoongArch 64-bit UEFI HTTP", Firmware::UefiHttp, by_http(LOONG64)),
    (41, "ARM rpiboot", Firmware::Other, NONE),
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
    Tftp(String),
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

/// Why a client is given nothing to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoLoader {
    /// It is no firmware, or tells no architecture.
    #[error("it is no boot firmware, or tells no client architecture (option 93)")]
    NotBooting,
    /// Not in the table.
    #[error("client architecture {0} is not known")]
    UnknownArch(u16),
    /// In the table, and empty.
    #[error(
        "there is no loader of that kind for client architecture {0}; its pool may name one (loaders)"
    )]
    None(u16),
    /// It says x86 and is none.
    #[error("its maker's boot ROM says x86 BIOS on another processor")]
    NotX86,
    /// Neither a NodePool nor a MatchboxGroup takes it.
    #[error("it is in no NodePool, and no MatchboxGroup is declared that might take it")]
    NoPool,
    /// The pool asks for what this firmware cannot do.
    #[error(
        "its pool asks for Secure Boot, which client architecture {0} cannot do here: let its firmware boot by UEFI PXE, or name a signed loader in the pool (loaders)"
    )]
    NotSecure(u16),
}

/// What a pool wants its machines to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// shim and a signed GRUB, or nothing.
    pub secure_boot: bool,
    /// Which loader.
    pub kind: LoaderKind,
    /// Files or URLs by client architecture.
    pub own: std::collections::BTreeMap<u16, String>,
}

impl Wish {
    /// The pool's.
    #[must_use]
    pub fn of(pool: &NodePoolSpec) -> Self {
        let own = pool.loaders.iter();
        Self {
            secure_boot: pool.secure_boot,
            kind: pool.loader,
            own: own
                .filter_map(|(code, file)| Some((code.parse().ok()?, file.clone())))
                .collect(),
        }
    }

    fn loader(&self, row: &Arch) -> Result<String, NoLoader> {
        if let Some(own) = self.own.get(&row.code) {
            return Ok(own.clone());
        }
        let (column, missing) = match (self.secure_boot, self.kind) {
            (true, _) => (row.loaders.shim, NoLoader::NotSecure(row.code)),
            (false, LoaderKind::Grub) => (row.loaders.grub, NoLoader::None(row.code)),
            (false, LoaderKind::Ipxe) => (row.loaders.ipxe, NoLoader::None(row.code)),
        };
        column.map(str::to_owned).ok_or(missing)
    }
}

/// The row of an architecture.
#[must_use]
pub fn arch(code: u16) -> Option<Arch> {
    let row = ARCHS.iter().find(|row| row.0 == code)?;
    Some(Arch {
        code,
        name: row.1,
        firmware: row.2,
        loaders: row.3,
    })
}

/// What a client boots from: its firmware, and what it is to load, or why
/// nothing. Pure.
///
/// # Errors
/// The second part says why there is nothing to load.
pub fn boot_file(
    facts: &ClientFacts,
    mac: MacAddr,
    wish: &Wish,
    server: Ipv4Addr,
    http_port: u16,
) -> (Firmware, Result<BootFile, NoLoader>) {
    // An iPXE without HTTP (some vendors' ROMs) gets the full one by TFTP, as
    // any other ROM of its architecture does. One that has to hand over to shim
    // or GRUB gets that, as it could not start a kernel that only shim trusts.
    let runs_scripts = facts.ipxe.is_some_and(|features| features.http);
    if runs_scripts && !wish.secure_boot && wish.kind == LoaderKind::Ipxe {
        let script = format!("http://{server}:{http_port}/boot.ipxe");
        return (Firmware::Ipxe, Ok(BootFile::Script(script)));
    }
    if !facts.is_booting() {
        return (Firmware::Other, Err(NoLoader::NotBooting));
    }
    let Some(first) = facts.arch else {
        return (Firmware::Other, Err(NoLoader::NotBooting));
    };
    let of = |code| loader_of(code, mac, wish, server, http_port);
    let mut choices = std::iter::once(first)
        .chain(facts.further_archs.iter().copied())
        .map(of);
    // Where it names several, the first that there is something for, of the kind
    // that its class asks for; else the first tells what is missing.
    let fits = |choice: &(Firmware, Result<BootFile, NoLoader>)| {
        choice.1.is_ok() && (choice.0 == Firmware::UefiHttp) == facts.is_http
    };
    let (firmware, file) = choices.find(fits).unwrap_or_else(|| of(first));
    if runs_scripts && firmware != Firmware::Other {
        return (Firmware::Ipxe, file);
    }
    (firmware, file)
}

/// The loader for one client architecture.
fn loader_of(
    code: u16,
    mac: MacAddr,
    wish: &Wish,
    server: Ipv4Addr,
    http_port: u16,
) -> (Firmware, Result<BootFile, NoLoader>) {
    let Some(row) = arch(code) else {
        return (Firmware::Other, Err(NoLoader::UnknownArch(code)));
    };
    if row.firmware == Firmware::Bios && is_not_x86(mac) {
        return (Firmware::Other, Err(NoLoader::NotX86));
    }
    let file = wish.loader(&row).map(|loader| match row.firmware {
        Firmware::UefiHttp if loader.contains("://") => BootFile::Http(loader),
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

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const X86: &str = "94:57:a5:d3:ec:f2";

    fn pxe(arch: u16) -> ClientFacts {
        ClientFacts {
            is_pxe: true,
            arch: Some(arch),
            ..ClientFacts::default()
        }
    }

    fn ipxe(arch: u16, http: bool) -> ClientFacts {
        ClientFacts {
            ipxe: Some(IpxeFeatures { http }),
            ..pxe(arch)
        }
    }

    /// A client that names several architectures.
    fn several(is_http: bool, archs: &[u16]) -> ClientFacts {
        ClientFacts {
            is_pxe: !is_http,
            is_http,
            further_archs: archs[1..].to_vec(),
            ..pxe(archs[0])
        }
    }

    #[test]
    fn each_client_gets_its_loader() {
        let script = "http://10.0.0.1:8080/boot.ipxe";
        let efi = "http://10.0.0.1:8080/loaders/snponly.efi";
        for (facts, mac, firmware, file) in [
            (pxe(0), X86, Firmware::Bios, Some("undionly.kpxe")),
            (pxe(6), X86, Firmware::Uefi, Some("snponly-i386.efi")),
            (pxe(7), X86, Firmware::Uefi, Some("snponly.efi")),
            (pxe(9), X86, Firmware::Uefi, Some("snponly.efi")),
            (pxe(10), X86, Firmware::Uefi, Some("snponly-arm32.efi")),
            (pxe(11), X86, Firmware::Uefi, Some("snponly-arm64.efi")),
            (pxe(16), X86, Firmware::UefiHttp, Some(efi)),
            (pxe(27), X86, Firmware::Uefi, Some("snponly-riscv64.efi")),
            (pxe(31), X86, Firmware::Other, None),
            (pxe(999), X86, Firmware::Other, None),
            (pxe(0), "b8:27:eb:9b:65:d4", Firmware::Other, None),
            (ipxe(0, true), X86, Firmware::Ipxe, Some(script)),
            (ipxe(0, false), X86, Firmware::Bios, Some("undionly.kpxe")),
            (ClientFacts::default(), X86, Firmware::Other, None),
            (several(true, &[7, 16]), X86, Firmware::UefiHttp, Some(efi)),
            (
                several(false, &[16, 7]),
                X86,
                Firmware::Uefi,
                Some("snponly.efi"),
            ),
            (
                several(false, &[2, 6]),
                X86,
                Firmware::Uefi,
                Some("snponly-i386.efi"),
            ),
            (several(false, &[2, 999]), X86, Firmware::Uefi, None),
        ] {
            let wish = Wish::default();
            let (found, boot) = boot_file(&facts, mac.parse().unwrap(), &wish, SERVER, 8080);
            assert_eq!(found, firmware, "{facts:?}");
            let name = boot.as_ref().ok().map(BootFile::name);
            assert_eq!(name, file, "{facts:?}");
        }
    }

    #[test]
    fn a_pool_chooses_the_loader() {
        let secure = Wish {
            secure_boot: true,
            ..Wish::default()
        };
        let grub = Wish {
            kind: LoaderKind::Grub,
            ..Wish::default()
        };
        let own = Wish {
            own: [
                (7, "ipxe.efi".to_owned()),
                (16, "http://h/x.efi".to_owned()),
            ]
            .into(),
            ..Wish::default()
        };
        let shim = Wish {
            own: [(16, "shimx64.efi".to_owned())].into(),
            ..secure.clone()
        };
        let shim_url = "http://10.0.0.1:8080/loaders/shimx64.efi";
        for (wish, facts, file) in [
            (&secure, pxe(7), Ok("shimx64.efi")),
            (&secure, pxe(9), Ok("shimx64.efi")),
            (&secure, pxe(11), Ok("shimaa64.efi")),
            (&secure, pxe(16), Err(NoLoader::NotSecure(16))),
            (&shim, pxe(16), Ok(shim_url)),
            (&grub, pxe(19), Err(NoLoader::None(19))),
            (&secure, ipxe(7, true), Ok("shimx64.efi")),
            (&secure, pxe(0), Err(NoLoader::NotSecure(0))),
            (&secure, ipxe(0, true), Err(NoLoader::NotSecure(0))),
            (&secure, pxe(27), Err(NoLoader::NotSecure(27))),
            (&grub, pxe(0), Ok("grub/i386-pc/core.0")),
            (&grub, pxe(7), Ok("grubx64.efi")),
            (&own, pxe(7), Ok("ipxe.efi")),
            (&own, pxe(16), Ok("http://h/x.efi")),
            (&own, pxe(9), Ok("snponly.efi")),
        ] {
            let (_, boot) = boot_file(&facts, X86.parse().unwrap(), wish, SERVER, 8080);
            let name = boot.as_ref().map(BootFile::name).map_err(|why| *why);
            assert_eq!(name, file, "{wish:?} {facts:?}");
        }
    }

    #[test]
    fn codes_are_given_once() {
        assert!(ARCHS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
