//! `boot-server get boots NAME --follow`: one boot as it happens.

use std::fmt::Write as _;
use std::time::Duration;

use boot_proto::api::BootView;

use super::client::Client;
use super::print;

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_millis(500);

/// Prints each step of the latest boot that `fits`, waiting for one if there is
/// none, until it is ready or has failed.
pub(super) fn run(client: &Client, fits: impl Fn(&BootView) -> bool) -> anyhow::Result<()> {
    let mut shown = Shown::default();
    let mut complaint = String::new();
    loop {
        match client.get::<Vec<BootView>>("/api/v1/boots") {
            Ok(boots) => {
                complaint.clear();
                let latest = boots.iter().rfind(|boot| fits(boot));
                if let Some(boot) = latest {
                    print(&shown.more(boot))?;
                    if let Some(end) = end(boot) {
                        return end;
                    }
                }
            }
            // The server may be starting again: whoever follows goes on.
            Err(error) if shown.id != 0 => {
                let error = crate::images::chain(error.as_ref());
                if complaint != error {
                    eprintln!("boot-server: {error}; trying again");
                    complaint = error;
                }
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(INTERVAL);
    }
}

/// How the boot ended, if it has.
fn end(boot: &BootView) -> Option<anyhow::Result<()>> {
    match boot.outcome.as_str() {
        "ready" | "handed-over" => Some(Ok(())),
        "failed" => {
            let log = boot.log.as_deref().unwrap_or_default();
            if !log.is_empty() {
                eprintln!("End of the node's log:\n{log}");
            }
            let reason = boot.reason.as_deref().unwrap_or("no reason is known");
            Some(Err(anyhow::anyhow!(
                "boot {} failed at {}: {reason}",
                boot.id,
                boot.phase
            )))
        }
        _ => None,
    }
}

/// What was printed already.
#[derive(Debug, Default)]
struct Shown {
    id: u64,
    last: Option<boot_proto::api::BootStep>,
    percent: Option<u8>,
}

impl Shown {
    /// The lines that are new.
    fn more(&mut self, boot: &BootView) -> String {
        if boot.id != self.id {
            *self = Self {
                id: boot.id,
                ..Self::default()
            };
        }
        // Old steps may be dropped from the middle; the last one printed tells.
        let known = self.last.as_ref();
        let from = known.and_then(|last| boot.steps.iter().rposition(|step| step == last));
        let from = from.map_or(0, |at| at + 1);
        let mut text = String::new();
        for step in boot.steps.iter().skip(from) {
            let since = step.at.since(boot.started).as_secs_f64();
            let message = step.message.replace('\n', " ");
            let _ = writeln!(text, "+{since:7.1} s  {:12} {message}", step.step);
        }
        if let Some(last) = boot.steps.last() {
            self.last = Some(last.clone());
        }
        let tens = boot.percent.map(|percent| percent / 10 * 10);
        if tens.is_some_and(|tens| tens > 0) && tens != self.percent && boot.outcome == "running" {
            let _ = writeln!(text, "            {:12} {}%", boot.phase, tens.unwrap_or(0));
        }
        self.percent = tens;
        text
    }
}

#[cfg(test)]
mod tests {
    use boot_proto::api::BootStep;
    use boot_proto::time::WallClock;

    use super::*;

    #[test]
    fn each_step_is_printed_once() {
        let step = |at, name: &str| BootStep {
            at: WallClock(at),
            step: name.into(),
            message: format!("{name} sent"),
        };
        let mut boot = BootView {
            id: 7,
            started: WallClock(1000),
            outcome: "running".into(),
            steps: vec![step(1000, "dhcp"), step(2500, "loader")],
            ..BootView::default()
        };
        let mut shown = Shown::default();
        let text = shown.more(&boot);
        assert_eq!(text.lines().count(), 2);
        assert!(
            text.contains("+    1.5 s  loader       loader sent\n"),
            "{text}"
        );
        assert_eq!(shown.more(&boot), "");
        boot.steps.push(step(3000, "script"));
        assert!(shown.more(&boot).contains("script sent"));
        assert!(end(&boot).is_none());
        // The machine starts again.
        boot.id = 8;
        boot.steps.truncate(1);
        assert!(shown.more(&boot).contains("dhcp sent"));
        boot.outcome = "failed".into();
        boot.reason = Some("digest differs".into());
        let error = end(&boot).unwrap().unwrap_err().to_string();
        assert!(error.contains("digest differs"), "{error}");
    }
}
