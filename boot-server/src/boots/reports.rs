//! Placing a node's reports: they may come late, twice or out of order, and one
//! of an earlier start of the machine must not move the present one.

use std::net::Ipv4Addr;
use std::time::Duration;

use boot_proto::report::{BootReport, Phase, PhaseTime, Progress};
use boot_proto::time::WallClock;

use super::book::Book;
use super::record::{Boot, Stage, shorten};

/// How far the clocks of a node's kernel and of this server may drift apart
/// during a boot before a report counts as one of an earlier start.
const SLACK: Duration = Duration::from_secs(3);
/// Most of a node's log that is kept, in characters.
const LOG: usize = 16_000;

impl Book {
    pub fn report(
        &mut self,
        now: WallClock,
        report: &BootReport,
        machine: &str,
        address: Ipv4Addr,
    ) {
        self.seen_at(address, report.mac);
        self.join_by_machine(now, report.mac, machine, Stage::Node(Phase::Mounts));
        let id = match self.boot_of_report(now, report) {
            Placed::In(id) => id,
            // What we hear of first is a running kernel: the boot began with it.
            Placed::New => self.begin(kernel_started(now, report), report.mac, Some(address)),
            Placed::Nowhere => return,
        };
        let Some(boot) = self.boot_mut(id) else {
            return;
        };
        boot.view.machine = Some(machine.to_owned());
        if boot.view.address.is_none() {
            boot.view.address = Some(address);
        }
        take_in(boot, now, report);
        self.mark(id);
    }

    fn boot_of_report(&self, now: WallClock, report: &BootReport) -> Placed {
        let Some(latest) = self.latest(report.mac) else {
            return Placed::New;
        };
        let kernel_started = kernel_started(now, report);
        // Its kernel was running before this boot began: an earlier boot's.
        if kernel_started.after(SLACK) < latest.began() {
            return self
                .ids_of(report.mac)
                .into_iter()
                .filter_map(|id| self.boot(id))
                .find(|boot| boot.began() <= kernel_started.after(SLACK))
                .map_or(Placed::Nowhere, |boot| Placed::In(boot.view.id));
        }
        // A boot that is over does not begin from the front again; a machine
        // that starts without asking us for anything does.
        let is_from_the_front =
            report.phase <= Phase::Config && report.uptime_ms < latest.uptime_ms;
        let is_another_kernel = latest
            .kernel_started
            .is_some_and(|known| known.after(SLACK) < kernel_started);
        let may_begin = !latest.is_running() && !latest.is_settled();
        if may_begin && is_from_the_front && is_another_kernel {
            return Placed::New;
        }
        Placed::In(latest.view.id)
    }
}

enum Placed {
    In(u64),
    New,
    Nowhere,
}

/// The latest moment at which the reporting kernel can have started: a report
/// that was delayed makes it later, never earlier.
fn kernel_started(now: WallClock, report: &BootReport) -> WallClock {
    WallClock(now.0.saturating_sub(report.uptime_ms))
}

fn take_in(boot: &mut Boot, now: WallClock, report: &BootReport) {
    for time in &report.phases {
        merge_phase(&mut boot.view.phases, *time);
    }
    if report.progress == Progress::Done {
        let started_ms = report.uptime_ms.saturating_sub(report.elapsed_ms);
        let time = PhaseTime {
            phase: report.phase,
            started_ms,
            elapsed_ms: report.elapsed_ms,
        };
        merge_phase(&mut boot.view.phases, time);
    }
    let started = kernel_started(now, report);
    boot.kernel_started = Some(
        boot.kernel_started
            .map_or(started, |known| known.min(started)),
    );
    let is_stale = report.uptime_ms < boot.uptime_ms;
    boot.uptime_ms = boot.uptime_ms.max(report.uptime_ms);

    let stage = Stage::Node(report.phase);
    // A phase that has begun again after it failed is news; an older report of
    // the phase the boot is at, or of one before, is not.
    if is_stale && stage <= boot.stage() {
        return;
    }
    if boot.view.outcome == super::record::READY || !boot.reach(now, stage) {
        return;
    }
    let name = report.phase.name();
    match report.progress {
        Progress::Started => {
            boot.view.percent = report.percent;
            boot.step(now, name, &or(&report.message, "started"));
        }
        Progress::Running => {
            boot.view.percent = report.percent.map(|percent| percent.min(100));
            if !report.message.is_empty() && report.percent.is_none() {
                boot.step(now, name, &report.message);
            }
        }
        Progress::Done => {
            boot.view.percent = Some(100);
            boot.view.reason = None;
            boot.view.log = None;
            boot.step(now, name, &or(&report.message, "done"));
        }
        Progress::Failed => {
            let reason = or(&report.message, "failed without saying why");
            boot.fail(&reason);
            if !report.log.is_empty() {
                boot.view.log = Some(shorten_front(&report.log));
            }
            boot.step(now, name, &reason);
        }
    }
}

/// The end of a log is what tells.
fn shorten_front(log: &str) -> String {
    let skip = log.chars().count().saturating_sub(LOG);
    shorten(&log.chars().skip(skip).collect::<String>(), LOG)
}

fn or(message: &str, otherwise: &str) -> String {
    if message.is_empty() {
        otherwise.to_owned()
    } else {
        message.to_owned()
    }
}

/// Keeps one time a phase, the latest start winning: a phase that was retried
/// counts as it went in the end.
fn merge_phase(phases: &mut Vec<PhaseTime>, time: PhaseTime) {
    match phases.iter_mut().find(|known| known.phase == time.phase) {
        Some(known) if time.started_ms >= known.started_ms => *known = time,
        Some(_) => {}
        None => {
            phases.push(time);
            phases.sort_by_key(|time| time.phase);
        }
    }
}
