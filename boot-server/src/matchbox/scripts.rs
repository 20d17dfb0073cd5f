//! Boot scripts as Matchbox writes them, byte for byte. A check of the manifests
//! has seen to it that no line end is in what goes into them.

use std::fmt::Write as _;

use boot_proto::resources::MatchboxBoot;

/// The first script, for a farm where all machines are Matchbox's.
pub const BOOTSTRAP: &str = "#!ipxe\n\
    chain ipxe?uuid=${uuid}&mac=${mac:hexhyp}&domain=${domain}&hostname=${hostname}\
    &serial=${serial}&arch=${buildarch:uristring}\n";

/// The script of a profile for iPXE.
#[must_use]
pub fn ipxe(boot: &MatchboxBoot) -> String {
    let mut script = format!("#!ipxe\nkernel {}{}\n", boot.kernel, arguments(boot));
    for initrd in &boot.initrd {
        let _ = writeln!(script, "initrd {initrd}");
    }
    script.push_str("boot\n");
    script
}

/// The configuration of a profile for GRUB.
#[must_use]
pub fn grub(boot: &MatchboxBoot) -> String {
    let arguments = arguments(boot);
    let initrds = boot.initrd.iter();
    let initrds: String = initrds.map(|initrd| format!(" \"{initrd}\"")).collect();
    let mut config = "default=0\nfallback=1\ntimeout=1\n".to_owned();
    for (firmware, suffix) in [("EFI", "efi"), ("BIOS", "")] {
        let _ = write!(
            config,
            "menuentry \"CoreOS ({firmware})\" {{\n\
             echo \"Loading kernel\"\n\
             linux{suffix} \"{}\"{arguments}\n\
             echo \"Loading initrd\"\n\
             initrd{suffix} {initrds}\n}}\n",
            boot.kernel,
        );
    }
    config
}

fn arguments(boot: &MatchboxBoot) -> String {
    boot.args.iter().map(|word| format!(" {word}")).collect()
}
