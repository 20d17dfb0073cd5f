//! The loop of one chassis: look, report, hear what is wanted, order it.
//!
//! Everything is serial within a chassis. A chassis that does not answer is
//! asked ever more rarely and stays registered as unreachable; boot-server
//! being away changes nothing but that nothing is ordered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::{ChassisInventory, ObservedMachine, PowerOrder, ReportedCondition};
use boot_proto::resources::{ChassisSpec, Object};
use boot_proto::time::Monotonic;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::agent::told_to_stop;
use crate::backoff::{self, Breaker};
use crate::carry;
use crate::clock;
use crate::device::device_of;
use crate::drivers::{self, ChassisDriver, DriverError, Scope};
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::profiles::Profiles;
use crate::publish::{Publish, PublishError};
use crate::reconcile::{Action, Limits, Memory, Observation, reconcile};
use crate::verdicts::Verdicts;

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
    pub publish: Arc<dyn Publish>,
    /// Machines that may be powered on per power interval.
    pub power_ons: usize,
    /// How long a machine may take from power-on to its request for a network
    /// boot.
    pub network_boot_wait: Duration,
    /// What bounds all chassis together.
    pub fleet: Fleet,
    /// Where what happens is counted.
    pub metrics: Metrics,
}

struct Loop {
    controller: Controller,
    driver: Option<Box<dyn ChassisDriver>>,
    memory: Memory,
    /// When the next full scan is due.
    next_scan: Monotonic,
    breaker: Breaker,
    /// What is well and what is wrong, for the reports.
    verdicts: Verdicts,
    /// Requests of this driver that were counted already.
    counted: u64,
    /// The slots of the last full scan.
    known: Vec<String>,
    /// The last full scan, until boot-server has heard it: it is away for a
    /// while at times, and the chassis need not pay for that.
    unheard: Option<Vec<ObservedMachine>>,
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
            breaker: Breaker::default(),
            verdicts: Verdicts::default(),
            counted: 0,
            known: Vec::new(),
            unheard: None,
            trouble: None,
            complaints: Vec::new(),
        };
        loop {
            let visit = async {
                let fleet = this.controller.fleet.clone();
                let turn = fleet.turn(this.breaker.failures() > 0).await;
                // On the heap, and only while it lasts: most devices wait.
                let pause = Box::pin(this.visit()).await;
                drop(turn);
                sleep(pause).await;
            };
            // Dropping a visit half way is safe: the connection goes with it.
            tokio::select! {
                () = visit => {}
                () = told_to_stop(&mut stop) => break,
            }
        }
        this.let_go().await;
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
                self.note_success(&machines, is_full, clock::now().since(begun));
                let seen = observation(begun, &machines);
                if is_full {
                    self.next_scan = clock::now().after(jittered(scan_interval));
                    self.known = machines
                        .iter()
                        .map(|machine| machine.slot.clone())
                        .collect();
                    self.unheard = Some(machines.clone());
                } else if machines
                    .iter()
                    .any(|machine| !self.known.contains(&machine.slot))
                {
                    // A cartridge was put in.
                    self.next_scan = clock::now();
                }
                let inventory = ChassisInventory {
                    reachable: true,
                    message: self.complaints.join("; "),
                    complete: self.unheard.is_some(),
                    machines: match &self.unheard {
                        Some(scanned) => with_power_of(scanned, &machines),
                        None => machines,
                    },
                    profile: self
                        .driver
                        .as_ref()
                        .map(|driver| driver.profile().to_owned()),
                    conditions: self.conditions(),
                };
                let Some(orders) = self.report(&inventory).await else {
                    return jittered(power_interval);
                };
                self.unheard = None;
                self.complaints.clear();
                if self.act(&seen, &orders).await {
                    return self.soon(power_interval);
                }
                jittered(power_interval)
            }
            Err(failure) => {
                // Credentials and profile are read anew, they may have been mended.
                self.let_go().await;
                let pause = self.note_failure(&failure, power_interval);
                self.verdicts.not_read(failure.kind, &failure.message);
                let inventory = ChassisInventory {
                    message: failure.message,
                    conditions: self.conditions(),
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
                let device = device_of(
                    &controller.chassis,
                    &controller.folder,
                    &controller.known_hosts,
                )
                .map_err(|error| Failure::new(&error, "configuration"))?;
                let driver = drivers::open_device(&device, &controller.profiles).await?;
                self.driver.insert(driver)
            }
        };
        Ok(driver.observe(scope).await?)
    }

    fn note_success(&mut self, machines: &[ObservedMachine], is_full: bool, took: Duration) {
        let chassis = self.controller.chassis.name();
        let scope = if is_full { "full" } else { "power" };
        self.controller
            .metrics
            .looked(chassis, scope, took, machines);
        if self.breaker.failures() > 0 {
            tracing::info!(chassis, "reachable again");
        }
        self.verdicts.read(machines, is_full);
        if is_full {
            let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            let machines = machines.len();
            tracing::info!(chassis, machines, elapsed_ms, "scanned");
        }
        self.breaker.close();
        self.count_requests();
    }

    /// What is well and what is wrong, to be told with each report.
    fn conditions(&mut self) -> Vec<ReportedCondition> {
        let wait = self.controller.network_boot_wait;
        for (slot, condition) in self.memory.conditions(wait) {
            self.verdicts.machine(slot, condition);
        }
        self.verdicts.report()
    }

    fn count_requests(&mut self) {
        let sent = self.driver.as_ref().map_or(0, |driver| driver.requests());
        let chassis = self.controller.chassis.name();
        let new = sent.saturating_sub(self.counted);
        self.controller.metrics.requested(chassis, new);
        self.counted = sent;
    }

    /// Gives the device its session back, as far as it listens.
    async fn let_go(&mut self) {
        const GOODBYE: Duration = Duration::from_secs(5);
        self.count_requests();
        self.counted = 0;
        if let Some(mut driver) = self.driver.take() {
            let _ = timeout(GOODBYE, driver.close()).await;
        }
    }

    /// Says what is wrong and returns when to try again: a device that keeps
    /// failing is asked once in a long while, until it answers.
    fn note_failure(&mut self, failure: &Failure, interval: Duration) -> Duration {
        let chassis = self.controller.chassis.name();
        let was_open = self.breaker.is_open();
        let pause = self.breaker.fail(failure.kind, interval);
        tracing::warn!(
            chassis,
            kind = failure.kind,
            failures = self.breaker.failures(),
            error = failure.message
        );
        if self.breaker.is_open() && !was_open {
            tracing::warn!(
                chassis,
                pause_secs = pause.as_secs(),
                "it keeps failing and is left alone"
            );
        }
        let metrics = &self.controller.metrics;
        metrics.failed(chassis, failure.kind);
        metrics.tripped(chassis, self.breaker.is_open());
        jittered(pause)
    }

    /// Reports; `None` when boot-server did not hear it.
    async fn report(&mut self, inventory: &ChassisInventory) -> Option<Vec<PowerOrder>> {
        let chassis = self.controller.chassis.name();
        let result = self.controller.publish.report(chassis, inventory).await;
        self.controller.metrics.reported(result.is_ok());
        match result {
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
        let now = clock::now();
        let actions = {
            // Until the decision is made, nobody else spends what is left.
            let mut budget = self.controller.fleet.power_ons();
            let limits = Limits {
                stale_after: interval.max(Duration::from_secs(30)),
                power_ons: self.controller.power_ons,
                room: budget.room(now),
                interval,
                shutdown: driver.patience().shutdown,
                network_boot: self.controller.network_boot_wait,
            };
            let actions = reconcile(&mut self.memory, now, seen, orders, &limits);
            for action in &actions {
                if matches!(action, Action::PowerOn { .. }) {
                    budget.spend(now);
                }
            }
            actions
        };
        let chassis = self.controller.chassis.name();
        for action in &actions {
            self.controller.metrics.ordered(chassis, action.name());
        }
        for outcome in carry::carry_out(driver.as_mut(), chassis, &actions).await {
            if let Err((kind, complaint)) = &outcome.result {
                tracing::warn!(chassis, "{complaint}");
                self.controller.metrics.disobeyed(chassis, kind);
                self.complaints.push(complaint.clone());
            }
            self.verdicts
                .ordered(&outcome.slot, outcome.about, outcome.result);
        }
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

/// A scan with the power states of a later look.
fn with_power_of(scanned: &[ObservedMachine], seen: &[ObservedMachine]) -> Vec<ObservedMachine> {
    let power = |slot: &str| {
        seen.iter()
            .find(|machine| machine.slot == slot)
            .map(|m| m.power)
    };
    let machine = |machine: &ObservedMachine| {
        let power = power(&machine.slot)?;
        Some(ObservedMachine {
            power,
            ..machine.clone()
        })
    };
    scanned.iter().filter_map(machine).collect()
}

fn jittered(interval: Duration) -> Duration {
    backoff::jittered(interval, rand::random())
}
