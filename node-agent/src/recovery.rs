//! The end of a boot that cannot go on: say why, where everybody can read it,
//! wait, and restart the machine. A panic comes here too.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use boot_proto::cmdline::BootArguments;
use boot_proto::report::Phase;
use boot_proto::resources::OnFailure;

use crate::boot::{Boot, Failure};
use crate::clock::Clock;
use crate::kernel::Kernel;
use crate::log::{Log, chain};

/// The shortest pause before a restart: long enough to read the screen.
const SHORTEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest: nobody should have to wait for a machine that could work again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How long the report of the failure may take.
const REPORT_PATIENCE: Duration = Duration::from_secs(6);

/// Ends a boot that failed.
pub fn give_up(boot: &mut Boot<'_>, failure: &Failure) {
    boot.report_failure(&failure.reason, REPORT_PATIENCE);
    let arguments = boot.arguments().clone();
    let watchdog = boot.take_watchdog();
    let (kernel, clock, log) = boot.kernel();
    if failure.phase == Phase::Mounts {
        // There may be no devtmpfs; the initramfs has a console of its own.
        log.open_consoles(Path::new("/dev"), Path::new("/nowhere"));
    }
    let next = next(&arguments, clock.now().0);
    let has_shell = arguments.debug && shell().is_some();
    log.loud(
        &format!("the boot stopped in phase {:?}", failure.phase.name()),
        &explain(failure, next, has_shell),
    );
    // Somebody has to look after the machine: the watchdog is not to take it away.
    if let Some(watchdog) = watchdog
        .as_ref()
        .filter(|_| has_shell || next == Next::Wait)
    {
        watchdog.attended();
    }
    if arguments.debug {
        debug_shell(log);
    }
    match next {
        Next::Restart(pause) => restart(kernel, clock, log, pause),
        Next::Wait => loop {
            clock.sleep(LONGEST_PAUSE);
            log.info("waiting for a person; see above, then switch the machine off and on");
        },
    }
    drop(watchdog);
}

/// What a machine does after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Restarts after this pause.
    Restart(Duration),
    /// Waits for a person.
    Wait,
}

/// What the kernel command line asks for. The pause grows with each failure in a
/// row, as boot-server counts them, and with the time that this boot has taken:
/// one that fails at once is worth a quick second attempt, one that has waited
/// minutes for a server is not.
fn next(arguments: &BootArguments, uptime: Duration) -> Next {
    if arguments.recovery.on_failure == Some(OnFailure::Wait) {
        return Next::Wait;
    }
    let longest = arguments.recovery.longest_pause_seconds;
    let longest = longest.map_or(LONGEST_PAUSE, |secs| Duration::from_secs(secs.into()));
    let doubled = SHORTEST_PAUSE.saturating_mul(1 << arguments.failures.min(16));
    let pause = doubled.max(uptime / 4).min(longest);
    Next::Restart(pause.max(SHORTEST_PAUSE))
}

/// Restarts the machine after a pause. Never returns to a caller that would end
/// PID 1, which the kernel answers with a panic of its own.
pub fn restart(kernel: &mut dyn Kernel, clock: &dyn Clock, log: &Log, pause: Duration) {
    clock.sleep(pause);
    log.info("restarting the machine");
    let error = kernel.reboot();
    log.warn(&format!("{}; switch the machine off and on", chain(&error)));
}

fn explain(failure: &Failure, next: Next, has_shell: bool) -> Vec<(&'static str, String)> {
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
            match next {
                Next::Restart(pause) => format!(
                    "{then} machine restarts in {} s and boots anew",
                    pause.as_secs()
                ),
                Next::Wait => format!("{then} machine waits for a person, as its profile says"),
            },
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
    let mut command = Command::new(shell);
    // A program of many names is told by its first argument which one it is.
    command
        .arg0("sh")
        .env("PATH", "/sbin:/bin:/usr/sbin:/usr/bin");
    command.env("HOME", "/").env("TERM", "linux");
    // Without a terminal of its own there is no Ctrl-C and no job control.
    match terminal() {
        Ok(streams) => {
            let [input, output, errors] = streams;
            command.stdin(input).stdout(output).stderr(errors);
        }
        Err(error) => log.warn(&format!("the shell has no terminal of its own: {error}")),
    }
    if let Err(error) = command.status() {
        log.warn(&format!("the shell did not start: {error}"));
    }
}

/// The console that `/dev/console` stands for, as the controlling terminal of this
/// session: opened by the session's leader, as which PID 1 has not begun.
/// `/dev/console` itself never becomes one.
fn terminal() -> io::Result<[Stdio; 3]> {
    let active = fs::read_to_string("/sys/class/tty/console/active")?;
    let name = active.split_ascii_whitespace().next_back();
    let name = name.ok_or_else(|| io::Error::other("there is no console"))?;
    // It is one already where an earlier shell was left.
    let _ = nix::unistd::setsid();
    let path: PathBuf = Path::new("/dev").join(name);
    let input = OpenOptions::new().read(true).write(true).open(path)?;
    let (output, errors) = (input.try_clone()?, input.try_clone()?);
    Ok([input.into(), output.into(), errors.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_with_failures_in_a_row_and_with_time() {
        for (words, uptime, secs) in [
            ("", 3, 10),
            ("moonfarm.failures=1", 3, 20),
            ("moonfarm.failures=3", 3, 80),
            ("moonfarm.failures=4000000000", 3, 600),
            ("moonfarm.failures=9 moonfarm.longest-pause=60", 3, 60),
            ("moonfarm.longest-pause=0", 3, 10),
            ("", 120, 30),
            ("", 100_000, 600),
        ] {
            let arguments = BootArguments::parse(words);
            let expected = Next::Restart(Duration::from_secs(secs));
            assert_eq!(
                next(&arguments, Duration::from_secs(uptime)),
                expected,
                "{words}"
            );
        }
        let arguments = BootArguments::parse("moonfarm.on-failure=wait");
        assert_eq!(next(&arguments, Duration::ZERO), Next::Wait);
    }

    #[test]
    fn a_person_reads_what_why_and_what_next() {
        let failure = Failure {
            phase: Phase::Image,
            reason: "image digest is sha256:a but should be sha256:b".to_owned(),
            attempts: 2,
        };
        let rows = explain(&failure, Next::Restart(SHORTEST_PAUSE), false);
        let text: String = rows
            .iter()
            .map(|(word, text)| format!("{word} {text}\n"))
            .collect();
        for part in ["Why: image digest is", "Tried: 2 times", "restarts in 10 s"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
