//! `/init`: PID 1 of the initramfs. Puts the real kernel under the plan and sees
//! to it that no failure and no panic ends PID 1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::boot::{Boot, Failure, World};
use crate::clock::SystemClock;
use crate::kernel::linux::Linux;
use crate::log::{Log, chain};
use crate::net::dhcp_socket::DhcpOverUdp;
use crate::net::netlink::Netlink;
use crate::paths::Paths;
use crate::recovery;
use crate::reporter::{ReportSink, Reporter};
use crate::trust::Trust;

/// Pause before a restart when not even the plan could begin.
const EARLY_PAUSE: Duration = Duration::from_secs(10);

/// Whether this process is the init of an initramfs.
#[must_use]
pub fn is_init(process: u32, program: &str) -> bool {
    process == 1 || program.rsplit('/').next() == Some("init")
}

/// Boots. Never returns: it ends in another program or in a restart.
pub fn run() -> ! {
    let log = Log::new();
    // Until the real file systems are mounted, the initramfs' own console.
    log.open_consoles(
        std::path::Path::new("/dev"),
        std::path::Path::new("/nowhere"),
    );
    let for_panics = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        for_panics.warn(&format!("node-agent panicked: {panic}"));
    }));
    log.info(concat!("node-agent ", env!("CARGO_PKG_VERSION"), " begins"));
    if catch_unwind(AssertUnwindSafe(|| boot(&log))).is_err() {
        log.warn("a mistake in node-agent itself; the machine restarts");
    }
    loop {
        recovery::restart(&mut Linux, &SystemClock, &log, EARLY_PAUSE);
    }
}

fn boot(log: &Log) {
    let mut links = match Netlink::open() {
        Ok(links) => links,
        Err(error) => {
            log.open_consoles(Path::new("/dev"), Path::new("/nowhere"));
            log.loud("the boot did not begin", &[("Why:", chain(&error))]);
            return;
        }
    };
    let trust = match Trust::read(Path::new("/")) {
        Ok(trust) => trust,
        Err(error) => {
            log.loud("the boot did not begin", &[("Why:", chain(&error))]);
            return;
        }
    };
    let mut kernel = Linux;
    let reporter = |server: &str| -> Box<dyn ReportSink> {
        Box::new(Reporter::start(server, trust.ca(), log.clone()))
    };
    let mut boot = Boot::new(World {
        kernel: &mut kernel,
        links: &mut links,
        dhcp: &DhcpOverUdp,
        clock: &SystemClock,
        reporter: &reporter,
        log,
        trust: &trust,
        paths: Paths::default(),
    });
    let failure = match catch_unwind(AssertUnwindSafe(|| boot.run())) {
        Ok(Err(failure)) => failure,
        Ok(Ok(())) => Failure {
            phase: boot.phase(),
            reason: "the new root was not entered".to_owned(),
            attempts: 1,
        },
        Err(panic) => Failure {
            phase: boot.phase(),
            reason: format!(
                "a mistake in node-agent itself: {}",
                panic_text(panic.as_ref())
            ),
            attempts: 1,
        },
    };
    recovery::give_up(&mut boot, &failure);
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::is_init;

    #[test]
    fn pid_1_and_the_name_init_are_init() {
        for (process, program, expected) in [
            (1, "/anything", true),
            (77, "/init", true),
            (77, "init", true),
            (77, "/usr/bin/node-agent", false),
        ] {
            assert_eq!(is_init(process, program), expected, "{process} {program}");
        }
    }
}
