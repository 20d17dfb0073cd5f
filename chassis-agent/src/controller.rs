//! The loop of one chassis: look, report, hear what is wanted, order it.
//!
//! Everything is serial within a chassis. A chassis that does not answer is
//! asked ever more rarely and stays registered as unreachable; boot-server
//! being away changes nothing but that nothing is ordered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::{ChassisInventory, ObservedMachine, PowerOrder};
use boot_proto::ids::SlotId;
use boot_proto::resources::{ChassisSpec, Object};
use boot_proto::time::Monotonic;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::agent::told_to_stop;
use crate::clock;
use crate::config::target_of;
use crate::drivers::{
    self, BootTarget, ChassisDriver, DriverError, PowerAction, PowerOrderKind, Scope,
};
use crate::orders;
use crate::profiles::Profiles;
use crate::publish::{BootServer, PublishError};
use crate::reconcile::{Action, Limits, Memory, Observation, reconcile};

/// What the loop of one chassis needs.
pub struct Controller {
    /// The chassis as declared.
    pub chassis: Object<ChassisSpec>,
    /// Folder its credential files are relative to.
    pub folder: PathBuf,
    /// File with recorded host keys.
    pub known_hosts: PathBuf,
    /// Hardware profiles.
    pub profiles: Arc<Profiles>,
    /// Whom to report to.
    pub boot_server: BootServer,
    /// Machines that may be powered on per power interval.
    pub power_ons: usize,
}

/// Longest pause between two tries to reach a chassis.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Pause after a refused login: many tries lock accounts.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(60);

struct Loop {
    controller: Controller,
    driver: Option<Box<dyn ChassisDriver>>,
    memory: Memory,
    /// When the next full scan is due.
    next_scan: Monotonic,
    failures: u32,
    /// What boot-server's last failure was, to tell changes only.
    trouble: Option<String>,
    /// What could not be ordered, for the next report.
    complaints: Vec<String>,
}

impl Controller {
    /// Runs until `stop` says so. Never returns early.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut this = Loop {
            controller: self,
            driver: None,
            memory: Memory::default(),
            next_scan: clock::now(),
            failures: 0,
            trouble: None,
            complaints: Vec::new(),
        };
        loop {
            let visit = async {
                let pause = this.visit().await;
                sleep(pause).await;
            };
            // Dropping a visit half way is safe: the connection goes with it.
            tokio::select! {
                () = visit => {}
                () = told_to_stop(&mut stop) => break,
            }
        }
        if let Some(mut driver) = this.driver.take() {
            let _ = driver.close().await;
        }
        tracing::info!(chassis = this.controller.chassis.name(), "left");
    }
}

impl Loop {
    /// One look with all that follows from it; returns how long to wait.
    async fn visit(&mut self) -> Duration {
        let spec = &self.controller.chassis.spec;
        let (scan_interval, power_interval) = (
            spec.scan_interval.duration(),
            spec.power_interval.duration(),
        );
        let is_full = clock::now() >= self.next_scan;
        let begun = clock::now();
        match self
            .look(if is_full { Scope::Full } else { Scope::Power })
            .await
        {
            Ok(machines) => {
                self.note_success(machines.len(), is_full, clock::now().since(begun));
                let inventory = ChassisInventory {
                    reachable: true,
                    message: std::mem::take(&mut self.complaints).join("; "),
                    complete: is_full,
                    machines,
                };
                let seen = observation(begun, &inventory.machines);
                let Some(orders) = self.report(&inventory).await else {
                    return jittered(power_interval);
                };
                if is_full {
                    // Only now: a scan that was not heard is done again.
                    self.next_scan = clock::now().after(jittered(scan_interval));
                }
                if self.act(&seen, &orders).await {
                    return self.soon(power_interval);
                }
                jittered(power_interval)
            }
            Err(failure) => {
                let pause = self.note_failure(&failure, power_interval);
                let inventory = ChassisInventory {
                    message: failure.message,
                    ..ChassisInventory::default()
                };
                self.report(&inventory).await;
                pause
            }
        }
    }

    async fn look(&mut self, scope: Scope) -> Result<Vec<ObservedMachine>, Failure> {
        let driver = match &mut self.driver {
            Some(driver) => driver,
            None => {
                let controller = &self.controller;
                let target = target_of(
                    &controller.chassis,
                    &controller.folder,
                    &controller.known_hosts,
                )
                .map_err(|error| Failure::new(&error, "configuration"))?;
                let driver = drivers::open(&Arc::new(target), &controller.profiles).await?;
                self.driver.insert(driver)
            }
        };
        Ok(driver.observe(scope).await?)
    }

    fn note_success(&mut self, machines: usize, is_full: bool, took: Duration) {
        let chassis = self.controller.chassis.name();
        if self.failures > 0 {
            tracing::info!(chassis, "reachable again");
        }
        if is_full {
            let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::info!(chassis, machines, elapsed_ms, "scanned");
        }
        self.failures = 0;
    }

    /// Says what is wrong and returns when to try again.
    fn note_failure(&mut self, failure: &Failure, interval: Duration) -> Duration {
        let chassis = self.controller.chassis.name();
        tracing::warn!(
            chassis,
            kind = failure.kind,
            failures = self.failures,
            error = failure.message
        );
        // Credentials and profile are read anew, they may have been mended.
        self.driver = None;
        let doublings = self.failures.min(10);
        self.failures = self.failures.saturating_add(1);
        let pause = interval
            .saturating_mul(1 << doublings)
            .min(LONGEST_PAUSE.max(interval));
        let least = match failure.kind {
            "login-refused" => PAUSE_AFTER_REFUSAL,
            _ => Duration::ZERO,
        };
        jittered(pause.max(least))
    }

    /// Reports; `None` when boot-server did not hear it.
    async fn report(&mut self, inventory: &ChassisInventory) -> Option<Vec<PowerOrder>> {
        let chassis = self.controller.chassis.name();
        match self.controller.boot_server.report(chassis, inventory).await {
            Ok(orders) => {
                if self.trouble.take().is_some() {
                    tracing::info!(chassis, "boot-server listens again");
                }
                Some(orders.orders)
            }
            Err(error) => {
                let text = describe(&error);
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!(chassis, error = text, "not registered, nothing is ordered");
                }
                self.trouble = Some(text);
                None
            }
        }
    }

    /// Carries out what is wanted; says whether there was anything to do.
    async fn act(&mut self, seen: &Observation, orders: &[PowerOrder]) -> bool {
        let Some(driver) = &mut self.driver else {
            return false;
        };
        let spec = &self.controller.chassis.spec;
        let interval = spec.power_interval.duration();
        let limits = Limits {
            stale_after: interval.max(Duration::from_secs(30)),
            power_ons: self.controller.power_ons,
            interval,
            shutdown: driver.patience().shutdown,
        };
        let actions = reconcile(&mut self.memory, clock::now(), seen, orders, &limits);
        let chassis = self.controller.chassis.name();
        let complaints = carry_out(driver.as_mut(), chassis, &actions).await;
        for complaint in &complaints {
            tracing::warn!(chassis, "{complaint}");
        }
        self.complaints.extend(complaints);
        !actions.is_empty()
    }

    /// After an order the new state is worth an early look.
    fn soon(&self, interval: Duration) -> Duration {
        let poll = self
            .driver
            .as_ref()
            .map_or(interval, |driver| driver.patience().poll);
        interval.min(poll)
    }
}

/// Carries actions out, those of a kind together; returns what failed.
async fn carry_out(
    driver: &mut dyn ChassisDriver,
    chassis: &str,
    actions: &[Action],
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut on = Vec::new();
    let mut cut = Vec::new();
    for action in actions {
        tracing::info!(chassis, ?action, "ordering");
        match *action {
            Action::PowerOn {
                slot,
                network_boot: true,
            } => {
                // The machine is off: given earlier, the choice may be lost.
                match driver.boot_once(slot, BootTarget::Pxe).await {
                    Ok(()) => on.push(slot),
                    Err(error) => complaints.push(format!("{slot}: boot-once pxe: {error}")),
                }
            }
            Action::PowerOn {
                slot,
                network_boot: false,
            } => on.push(slot),
            // Nobody waits for an operating system here; the next looks tell.
            Action::ShutDown { slot } => {
                if let Err(error) = driver.power(slot, PowerOrderKind::Off).await {
                    complaints.push(format!("{slot}: power off: {error}"));
                }
            }
            Action::CutPower { slot } => cut.push(slot),
        }
    }
    complaints.extend(switch(driver, &cut, PowerAction::ForceOff).await);
    complaints.extend(switch(driver, &on, PowerAction::On).await);
    complaints
}

async fn switch(
    driver: &mut dyn ChassisDriver,
    slots: &[SlotId],
    action: PowerAction,
) -> Vec<String> {
    if slots.is_empty() {
        return Vec::new();
    }
    match orders::carry_out(driver, slots, action).await {
        Ok(results) => results
            .into_iter()
            .filter_map(|(slot, result)| {
                Some(format!(
                    "{slot}: power {}: {}",
                    action.name(),
                    result.err()?
                ))
            })
            .collect(),
        Err(error) => vec![format!("power {}: {error}", action.name())],
    }
}

/// Why a chassis could not be looked at.
struct Failure {
    message: String,
    kind: &'static str,
}

impl Failure {
    fn new(error: &dyn std::error::Error, kind: &'static str) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self { message, kind }
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::new(&error, error.kind())
    }
}

fn describe(error: &PublishError) -> String {
    Failure::new(error, "").message
}

fn observation(at: Monotonic, machines: &[ObservedMachine]) -> Observation {
    let power = machines
        .iter()
        .filter_map(|m| Some((m.slot.parse().ok()?, m.power)))
        .collect();
    Observation { at, power }
}

/// A tenth more or less, so that many chassis are not asked at one moment.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.9..1.1))
}
