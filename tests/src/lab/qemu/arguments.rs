//! A machine's command line. Pure.

use std::path::{Path, PathBuf};

use super::accel::Accelerator;
use super::spec::{Firmware, MachineSpec, Smbios};

/// Bytes of a frame that are kept: its headers and the first line of a request.
const CAPTURED: u32 = 256;

/// The two flash chips of a UEFI machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flash {
    /// The firmware, shared and read-only.
    pub code: PathBuf,
    /// The machine's own variables.
    pub variables: PathBuf,
}

/// QEMU's arguments for `spec`. `flash` is there for UEFI.
pub(super) fn arguments(
    spec: &MachineSpec,
    accelerator: Accelerator,
    flash: Option<&Flash>,
) -> Vec<String> {
    let mut line = Line::default();
    line.add("-name", &spec.name);
    line.flag("-nodefaults").flag("-no-user-config");
    // graphics=off has SeaBIOS and the NIC's ROM talk on the serial port.
    // OVMF keeps its Secure Boot variables from the system's reach by SMM.
    let smm = if spec.firmware.is_secure() {
        ",smm=on"
    } else {
        ""
    };
    let graphics = if spec.has_screen { "on" } else { "off" };
    line.add(
        "-machine",
        &format!("q35,graphics={graphics},usb=off,vmport=off{smm}"),
    );
    if spec.firmware.is_secure() {
        line.add("-global", "driver=cfi.pflash01,property=secure,value=on");
        // OVMF's build with SMM wants no S3 that it could not protect.
        line.add("-global", "ICH9-LPC.disable_s3=1");
    }
    if spec.firmware.is_http() {
        for version in ["IPv4", "IPv6"] {
            let name = format!("name=opt/org.tianocore/{version}PXESupport,string=no");
            line.add("-fw_cfg", &name);
        }
    }
    let screen = if spec.has_screen { "std" } else { "none" };
    line.flag("-display").flag("none").add("-vga", screen);
    line.add("-accel", accelerator.option())
        .add("-cpu", accelerator.cpu());
    line.add("-smp", &spec.cpus.to_string())
        .add("-m", &spec.memory_mib.to_string());
    line.add("-smbios", &smbios(&spec.smbios));
    if let Some(uuid) = &spec.smbios.uuid {
        line.add("-uuid", uuid);
    }
    line.add(
        "-chardev",
        &format!(
            "socket,id=console,path={},server=on,wait=off,logfile={},logappend=on",
            value(&spec.console_socket()),
            value(&spec.console_log()),
        ),
    );
    line.add("-serial", "chardev:console");
    line.add(
        "-qmp",
        &format!("unix:{},server=on,wait=off", value(&spec.monitor_socket())),
    );
    // Without entropy a diskless machine waits minutes for its random numbers.
    line.add("-device", "virtio-rng-pci");
    nics(&mut line, spec);
    disks(&mut line, spec);
    if let Some(clock) = &spec.clock {
        line.add("-rtc", &format!("base={clock}"));
    }
    if spec.has_watchdog {
        line.add("-device", "i6300esb")
            .add("-action", "watchdog=reset");
    }
    if let Some(direct) = &spec.kernel {
        line.add("-kernel", &value(&direct.kernel))
            .add("-initrd", &value(&direct.initramfs))
            .add("-append", &direct.command_line);
    }
    // Firmware that found nothing to boot tries again, as real firmware is set to.
    line.add("-boot", "strict=on,reboot-timeout=5000");
    if let Some(flash) = flash {
        let drive = |unit, file: &Path, more: &str| {
            format!(
                "if=pflash,format=raw,unit={unit},file={}{more}",
                value(file)
            )
        };
        line.add("-drive", &drive(0, &flash.code, ",readonly=on"));
        line.add("-drive", &drive(1, &flash.variables, ""));
    }
    line.0
}

fn nics(line: &mut Line, spec: &MachineSpec) {
    // QEMU 7.2 would write the tap's own header in front of each frame.
    let header = if spec.is_captured {
        ",vnet_hdr=off"
    } else {
        ""
    };
    for (index, nic) in spec.nics.iter().enumerate() {
        line.add(
            "-netdev",
            &format!(
                "tap,id=nic{index},ifname={},script=no,downscript=no{header}",
                nic.tap
            ),
        );
        if spec.is_captured {
            let file = value(&spec.capture(index));
            let dump = format!("filter-dump,id=dump{index},netdev=nic{index}");
            line.add("-object", &format!("{dump},file={file},maxlen={CAPTURED}"));
        }
        // OVMF has a driver and a PXE client of its own, which are what a UEFI
        // machine is to be tested with; the ROM would put iPXE in their place. A
        // machine with a kernel of its own needs neither.
        let rom = match spec.firmware {
            Firmware::Bios if spec.kernel.is_none() => "",
            _ => ",romfile=",
        };
        let order = index + 1;
        line.add(
            "-device",
            &format!(
                "{},netdev=nic{index},id=card{index},mac={},bootindex={order}{rom}",
                nic.model, nic.mac
            ),
        );
    }
}

fn disks(line: &mut Line, spec: &MachineSpec) {
    for (index, disk) in spec.disks.iter().enumerate() {
        let file = value(&disk.file);
        let drive = format!("if=none,id=disk{index},format=raw,file={file}");
        let device = format!("virtio-blk-pci,drive=disk{index},serial={}", disk.serial);
        line.add("-drive", &drive).add("-device", &device);
    }
}

fn smbios(smbios: &Smbios) -> String {
    let fields = [
        ("manufacturer", &smbios.manufacturer),
        ("product", &smbios.product),
        ("serial", &smbios.serial),
        ("uuid", &smbios.uuid),
    ];
    let mut option = "type=1".to_owned();
    for (name, text) in fields {
        if let Some(text) = text {
            option.push_str(&format!(",{name}={}", text.replace(',', ",,")));
        }
    }
    option
}

/// A path as an option's value: a comma is doubled.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, word: &str) -> &mut Self {
        self.0.push(word.to_owned());
        self
    }

    fn add(&mut self, option: &str, value: &str) -> &mut Self {
        self.flag(option).flag(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::spec::{DirectKernel, DiskDrive, NicSpec};
    use super::*;

    fn spec(firmware: Firmware) -> MachineSpec {
        let nic = |last: u8| {
            let mac = boot_proto::ids::MacAddr::new([0x52, 0x54, 0, 0, 0, last]);
            NicSpec::new(mac, &format!("t{last}"))
        };
        MachineSpec {
            name: "c1n1".into(),
            firmware,
            nics: vec![nic(1), nic(2)],
            memory_mib: 1024,
            cpus: 2,
            smbios: Smbios {
                uuid: Some("4c4c4544-0042".into()),
                manufacturer: Some("Acme, Inc".into()),
                ..Smbios::default()
            },
            folder: "/lab/a,b".into(),
            ..MachineSpec::default()
        }
    }

    fn joined(firmware: Firmware, flash: Option<&Flash>) -> String {
        arguments(&spec(firmware), Accelerator::Tcg, flash).join(" ")
    }

    #[test]
    fn a_bios_machine_boots_from_its_nics_in_order() {
        let line = joined(Firmware::Bios, None);
        for part in [
            "-cpu max,erms=off,fsrm=off",
            "virtio-net-pci,netdev=nic0,id=card0,mac=52:54:00:00:00:01,bootindex=1 ",
            "virtio-net-pci,netdev=nic1,id=card1,mac=52:54:00:00:00:02,bootindex=2 ",
            "tap,id=nic1,ifname=t2,",
            "type=1,manufacturer=Acme,, Inc,uuid=4c4c4544-0042",
            "logfile=/lab/a,,b/console.log",
            "-m 1024",
        ] {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
        assert!(!line.contains("pflash") && !line.contains("romfile"));
    }

    #[test]
    fn a_machine_with_disks_a_screen_and_a_kernel_of_its_own() {
        let mut spec = spec(Firmware::Bios);
        spec.has_screen = true;
        spec.has_watchdog = true;
        spec.is_captured = true;
        spec.clock = Some("2001-02-03T04:05:06".into());
        spec.disks = vec![DiskDrive {
            file: "/lab/data".into(),
            serial: "D1".into(),
        }];
        spec.kernel = Some(DirectKernel {
            kernel: "/k".into(),
            initramfs: "/i".into(),
            command_line: "quiet moonfarm.debug".into(),
        });
        spec.nics[0].model = "e1000e".into();
        let line = arguments(&spec, Accelerator::Tcg, None).join(" ");
        for part in [
            "graphics=on",
            "-rtc base=2001-02-03T04:05:06",
            "-vga std",
            "-device i6300esb -action watchdog=reset",
            "filter-dump,id=dump1,netdev=nic1,file=/lab/a,,b/nic1.pcap,maxlen=256",
            "id=disk0,format=raw,file=/lab/data -device virtio-blk-pci,drive=disk0,serial=D1",
            "-kernel /k -initrd /i -append quiet moonfarm.debug",
            "-device e1000e,netdev=nic0,",
            "bootindex=1,romfile=",
        ] {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
    }

    #[test]
    fn a_uefi_machine_has_flash_and_no_rom() {
        let flash = Flash {
            code: "/ovmf/code".into(),
            variables: "/lab/vars".into(),
        };
        let line = joined(Firmware::Uefi, Some(&flash));
        assert!(
            line.contains("unit=0,file=/ovmf/code,readonly=on"),
            "{line}"
        );
        assert!(line.contains("unit=1,file=/lab/vars"), "{line}");
        assert!(line.contains("bootindex=1,romfile="), "{line}");
        assert!(!line.contains("smm=on") && !line.contains("PXESupport"));
        let line = joined(Firmware::SecureBootHttp, Some(&flash));
        for part in [
            "vmport=off,smm=on",
            "property=secure,value=on",
            "IPv4PXESupport,string=no",
        ] {
            assert!(line.contains(part), "{part:?} is not in {line}");
        }
    }
}
