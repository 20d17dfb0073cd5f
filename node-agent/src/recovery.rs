//! The end of a boot that cannot go on: say why, where everybody can read it,
//! wait, and restart the machine. A panic comes here too.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use boot_proto::report::Phase;

use crate::boot::{Boot, Failure};
use crate::clock::Clock;
use crate::kernel::Kernel;
use crate::log::{Log, chain};

/// The shortest pause before a restart: long enough to read the screen.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest: nobody should have to wait for a machine that could work again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long the report of the failure may take.
const REPORT_PATIENCE: Duration = Duration::from_secs(6);

/// Ends a boot that failed.
pub fn give_up(boot: &mut Boot<'_>, failure: &Failure) {
    boot.report_failure(&failure.reason, REPORT_PATIENCE);
    let wants_shell = boot.arguments().debug;
    let (kernel, clock, log) = boot.kernel();
    if failure.phase == Phase::Mounts {
        // There may be no devtmpfs; the initramfs has a console of its own.
        log.open_consoles(Path::new("/dev"), Path::new("/nowhere"));
    }
    let pause = pause(clock.now().0);
    log.loud(
        &format!("the boot stopped in phase {:?}", failure.phase.name()),
        &explain(failure, pause, wants_shell && shell().is_some()),
    );
    if wants_shell {
        debug_shell(log);
    }
    restart(kernel, clock, log, pause);
}

/// Restarts the machine after a pause. Never returns to a caller that would end
/// PID 1, which the kernel answers with a panic of its own.
pub fn restart(kernel: &mut dyn Kernel, clock: &dyn Clock, log: &Log, pause: Duration) {
    clock.sleep(pause);
    log.info("restarting the machine");
    let error = kernel.reboot();
    log.warn(&format!("{}; switch the machine off and on", chain(&error)));
}

/// Grows with the time that this boot has taken: one that fails at once is worth
/// a quick second attempt, one that has waited minutes for a server is not.
fn pause(uptime: Duration) -> Duration {
    (uptime / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

fn explain(failure: &Failure, pause: Duration, has_shell: bool) -> Vec<(&'static str, String)> {
    let tried = match failure.attempts {
        1 => "once".to_owned(),
        attempts => format!("{attempts} times"),
    };
    let then = if has_shell {
        "when the shell below ends, this"
    } else {
        "this"
    };
    vec![
        ("Why:", failure.reason.clone()),
        ("Tried:", tried),
        ("Look at:", advice(failure.phase).to_owned()),
        (
            "What next:",
            format!(
                "{then} machine restarts in {} s and boots anew",
                pause.as_secs()
            ),
        ),
    ]
}

/// Where a person looks first.
fn advice(phase: Phase) -> &'static str {
    match phase {
        Phase::Mounts => "the kernel: it lacks proc, sysfs, devtmpfs or tmpfs",
        Phase::Modules => "the initramfs: it was built for another kernel",
        Phase::Links => "cable, switch port, and whether the initramfs has the NIC's driver",
        Phase::Address => "boot-server's DHCP log, relay agents, VLAN of the switch port",
        Phase::Config => "`boot-server explain` with this machine's MAC, and boot-server's log",
        Phase::Image => "`boot-server image verify`, and the network between here and there",
        Phase::Root => "the image: was it built for this kernel, is it a squashfs with an init",
        Phase::Configure => "overlaySize, and the files and units of the machine's profiles",
        Phase::SwitchRoot => "the image's init",
        Phase::Join | Phase::Ready => "the journal of node-agent-join.service and of the kubelet",
    }
}

/// A shell that the initramfs carries, if it does.
fn shell() -> Option<&'static Path> {
    ["/bin/sh", "/bin/busybox"]
        .into_iter()
        .map(Path::new)
        .find(|path| path.is_file())
}

fn debug_shell(log: &Log) {
    let Some(shell) = shell() else {
        log.info("moonfarm.debug asks for a shell, but this initramfs carries none");
        return;
    };
    log.info("a debug shell; leave it with `exit`");
    if let Err(error) = Command::new(shell).arg0_sh().status() {
        log.warn(&format!("the shell did not start: {error}"));
    }
}

/// A program of many names is told by its first argument which one it is.
trait Arg0 {
    fn arg0_sh(&mut self) -> &mut Self;
}

impl Arg0 for Command {
    fn arg0_sh(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.arg0("sh")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_the_time_a_boot_took() {
        for (uptime, secs) in [(3, 10), (120, 30), (100_000, 300)] {
            assert_eq!(pause(Duration::from_secs(uptime)).as_secs(), secs);
        }
    }

    #[test]
    fn a_person_reads_what_why_and_what_next() {
        let failure = Failure {
            phase: Phase::Image,
            reason: "image digest is sha256:a but should be sha256:b".to_owned(),
            attempts: 2,
        };
        let rows = explain(&failure, SHORTEST_PAUSE, false);
        let text: String = rows
            .iter()
            .map(|(word, text)| format!("{word} {text}\n"))
            .collect();
        for part in ["Why: image digest is", "Tried: 2 times", "restarts in 10 s"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
