//! KVM where it works, translation where it does not.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use crate::lab::process::ProcessSpec;
use crate::wait::until;

/// How QEMU runs a guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's CPU.
    Kvm,
    /// Translation: works anywhere, several times slower.
    Tcg,
}

/// How long firmware may take to say its first word under KVM; it needs 0.1 s.
const FIRST_WORD: Duration = Duration::from_secs(4);

impl Accelerator {
    /// The best that works here, tried once. That `/dev/kvm` is there says
    /// little: where virtual machines are nested badly, QEMU opens it and then
    /// aborts or hangs.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Accelerator> = OnceLock::new();
        *BEST.get_or_init(|| {
            let best = if Path::new("/dev/kvm").exists() && kvm_runs_firmware() {
                Self::Kvm
            } else {
                Self::Tcg
            };
            tracing::info!(accelerator = ?best, "machines run with");
            best
        })
    }

    /// The value of `-accel`.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // One thread for all of a machine's processors: QEMU before 8.1 may
            // keep the translation of an instruction that another processor is
            // changing, and a kernel that changes its own code then dies of a
            // breakpoint that is no longer there ("int3: 0000"). Translated code is
            // kept in 256 MiB a machine, not in a quarter of the host's memory.
            Self::Tcg => "tcg,thread=single,tb-size=256",
        }
    }

    /// The value of `-cpu`.
    pub(super) const fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            // `rep stos` is translated byte by byte, and a kernel that is told of
            // fast string operations clears its pages with it.
            Self::Tcg => "max,erms=off,fsrm=off",
        }
    }
}

/// Starts a small machine under KVM and waits for SeaBIOS' debug port.
fn kvm_runs_firmware() -> bool {
    let Ok(folder) = tempfile::tempdir() else {
        return false;
    };
    let words = folder.path().join("firmware.txt");
    let chardev = format!("file,id=firmware,path={}", words.display());
    let machine = ProcessSpec::new("kvm-probe", "qemu-system-x86_64", folder.path())
        .args([
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-machine",
            "q35",
            "-m",
            "64",
            "-nodefaults",
            "-no-user-config",
        ])
        .args(["-display", "none", "-vga", "none", "-chardev", &chardev])
        .args(["-device", "isa-debugcon,iobase=0x402,chardev=firmware"]);
    let Ok(mut machine) = machine.spawn() else {
        return false;
    };
    let spoke = || std::fs::read(&words).is_ok_and(|text| !text.is_empty());
    until(FIRST_WORD, || {
        if spoke() {
            Some(true)
        } else {
            machine.ended().map(|_| false)
        }
    })
    .unwrap_or(false)
}
