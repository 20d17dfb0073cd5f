//! Sends boot reports from a thread of its own: they tell people how a boot goes
//! and must neither hold it up nor make it fail.

use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel,
};
use std::thread;
use std::time::Duration;

use boot_proto::report::{BootReport, Progress};

use crate::http::Client;
use crate::log::{Log, chain};
use crate::tls::PinnedCa;

/// Time limit of one report.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Reports that may wait; more than a boot has phases.
const QUEUE: usize = 64;

/// Takes reports.
pub trait ReportSink {
    /// Takes one report. Never waits.
    fn send(&mut self, report: BootReport);
    /// Waits a moment for what is under way, and ends.
    fn finish(&mut self, patience: Duration);
}

/// Reports over HTTP.
#[derive(Debug)]
pub struct Reporter {
    queue: Option<SyncSender<BootReport>>,
    done: Receiver<()>,
}

impl Reporter {
    /// A reporter to boot-server's boot face at `server`.
    #[must_use]
    pub fn start(server: &str, ca: Option<&PinnedCa>, log: Log) -> Self {
        let client = Client::new(TIMEOUT, TIMEOUT, ca);
        let (queue, reports) = sync_channel(QUEUE);
        let (ended, done) = channel();
        let url = format!("{}/v1/report", server.trim_end_matches('/'));
        let thread = thread::Builder::new()
            .name("reporter".to_owned())
            .spawn(move || {
                deliver(&client, &url, &reports, &log);
                let _ = ended.send(());
            });
        // Without a thread the boot goes on in silence.
        let queue = thread.is_ok().then_some(queue);
        Self { queue, done }
    }
}

impl ReportSink for Reporter {
    fn send(&mut self, report: BootReport) {
        let Some(queue) = &self.queue else { return };
        match queue.try_send(report) {
            // A full queue means a server that does not answer; a later report
            // repeats the times of all phases.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => self.queue = None,
        }
    }

    fn finish(&mut self, patience: Duration) {
        // The thread ends when it has sent what is queued.
        if self.queue.take().is_some() {
            match self.done.recv_timeout(patience) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

fn deliver(client: &Client, url: &str, reports: &Receiver<BootReport>, log: &Log) {
    let mut complained = false;
    while let Ok(mut report) = reports.recv() {
        // Of several reports of progress only the last is news.
        let mut next = None;
        while report.progress == Progress::Running {
            match reports.try_recv() {
                Ok(later) if later.progress == Progress::Running => report = later,
                Ok(later) => {
                    next = Some(later);
                    break;
                }
                Err(_) => break,
            }
        }
        for report in [Some(report), next].into_iter().flatten() {
            let sent = post(client, url, &report);
            if let (Err(reason), false) = (sent, complained) {
                complained = true;
                log.warn(&format!("boot-server does not hear this boot: {reason}"));
            }
        }
    }
}

/// Posts one report; tries a second time what is not only progress.
fn post(client: &Client, url: &str, report: &BootReport) -> Result<(), String> {
    let json = serde_json::to_string(report).map_err(|error| error.to_string())?;
    let attempts = if report.progress == Progress::Running {
        1
    } else {
        2
    };
    let mut reason = String::new();
    for _ in 0..attempts {
        match client.post(url, &json) {
            Ok(_) => return Ok(()),
            Err(error) => reason = chain(&error),
        }
    }
    Err(reason)
}

/// Reports that only pile up.
#[cfg(test)]
#[derive(Debug, Default)]
pub struct FakeSink(pub Vec<BootReport>);

#[cfg(test)]
impl ReportSink for FakeSink {
    fn send(&mut self, report: BootReport) {
        self.0.push(report);
    }
    fn finish(&mut self, _patience: Duration) {}
}
