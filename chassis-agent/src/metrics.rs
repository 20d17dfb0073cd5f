//! What the agent does, in numbers: kept here, printed in the text format of
//! Prometheus. Labels name chassis, never MACs or serial numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::time::Monotonic;

/// Shared by the loops of all chassis and the page that shows it.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    devices: BTreeMap<String, Device>,
    /// When the agent's own loop last went round.
    beat: Option<Monotonic>,
    /// Whether boot-server heard the last report of anybody.
    is_registered: Option<bool>,
    reports: BTreeMap<bool, u64>,
}

#[derive(Debug, Default)]
struct Device {
    /// `None` until it was looked at.
    is_up: Option<bool>,
    scan: Option<Duration>,
    looks: BTreeMap<&'static str, u64>,
    errors: BTreeMap<&'static str, u64>,
    orders: BTreeMap<&'static str, u64>,
    machines: BTreeMap<String, u64>,
    requests: u64,
    is_tripped: bool,
}

/// The agent's loop goes round every few seconds; later than this it hangs.
const LONGEST_BEAT: Duration = Duration::from_secs(60);

impl Metrics {
    /// A chassis is looked after from now on.
    pub fn begin(&self, chassis: &str) {
        self.locked().devices.entry(chassis.to_owned()).or_default();
    }

    /// A chassis is no longer looked after.
    pub fn end(&self, chassis: &str) {
        self.locked().devices.remove(chassis);
    }

    /// A chassis answered. `scope` is `full` or `power`.
    pub fn looked(
        &self,
        chassis: &str,
        scope: &'static str,
        took: Duration,
        machines: &[ObservedMachine],
    ) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        device.is_up = Some(true);
        device.is_tripped = false;
        *device.looks.entry(scope).or_default() += 1;
        if scope == "full" {
            device.scan = Some(took);
        }
        device.machines.clear();
        for machine in machines {
            let power = machine.power.to_string().to_lowercase();
            *device.machines.entry(power).or_default() += 1;
        }
    }

    /// A chassis did not answer; `kind` is the kind of error.
    pub fn failed(&self, chassis: &str, kind: &'static str) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        device.is_up = Some(false);
        *device.errors.entry(kind).or_default() += 1;
    }

    /// So many requests or commands more were sent to a chassis.
    pub fn requested(&self, chassis: &str, requests: u64) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        device.requests = device.requests.saturating_add(requests);
    }

    /// Whether a chassis keeps failing and is left alone.
    pub fn tripped(&self, chassis: &str, is_tripped: bool) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        device.is_tripped = is_tripped;
    }

    /// An order was not obeyed; `kind` is the kind of error. The chassis itself
    /// may be up all the same.
    pub fn disobeyed(&self, chassis: &str, kind: &'static str) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        *device.errors.entry(kind).or_default() += 1;
    }

    /// An order was given.
    pub fn ordered(&self, chassis: &str, order: &'static str) {
        let mut state = self.locked();
        let device = state.devices.entry(chassis.to_owned()).or_default();
        *device.orders.entry(order).or_default() += 1;
    }

    /// boot-server was told, or did not hear.
    pub fn reported(&self, is_heard: bool) {
        let mut state = self.locked();
        state.is_registered = Some(is_heard);
        *state.reports.entry(is_heard).or_default() += 1;
    }

    /// The agent's own loop went round.
    pub fn beat(&self, now: Monotonic) {
        self.locked().beat = Some(now);
    }

    /// Whether the agent is alive, or why it does not seem so.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn health(&self, now: Monotonic) -> Result<(), String> {
        match self.locked().beat {
            Some(beat) if now.since(beat) <= LONGEST_BEAT => Ok(()),
            Some(beat) => Err(format!(
                "the agent's loop has not gone round for {} s",
                now.since(beat).as_secs()
            )),
            None => Err("the agent has not begun".into()),
        }
    }

    /// Whether every chassis was looked at and boot-server listens.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn readiness(&self, now: Monotonic) -> Result<(), String> {
        self.health(now)?;
        let state = self.locked();
        let unseen: Vec<&str> = state
            .devices
            .iter()
            .filter(|(_, device)| device.is_up.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !unseen.is_empty() {
            return Err(format!("not looked at yet: {}", unseen.join(", ")));
        }
        if state.is_registered == Some(false) {
            return Err("boot-server does not listen".into());
        }
        Ok(())
    }

    /// The page for Prometheus (text format 0.0.4).
    #[must_use]
    pub fn page(&self) -> String {
        let state = self.locked();
        let mut page = Page::default();
        page.head(
            "moonfarm_chassis_up",
            "gauge",
            "Whether the chassis answered last time.",
        );
        for (name, device) in &state.devices {
            if let Some(is_up) = device.is_up {
                page.sample(
                    "moonfarm_chassis_up",
                    &[("chassis", name)],
                    u64::from(is_up),
                );
            }
        }
        page.head(
            "moonfarm_chassis_scan_seconds",
            "gauge",
            "Duration of the last full inventory.",
        );
        for (name, device) in &state.devices {
            if let Some(scan) = device.scan {
                let labels = [("chassis", name.as_str())];
                page.sample("moonfarm_chassis_scan_seconds", &labels, scan.as_secs_f64());
            }
        }
        page.head(
            "moonfarm_chassis_breaker_open",
            "gauge",
            "Whether the chassis keeps failing and is left alone.",
        );
        for (name, device) in &state.devices {
            let labels = [("chassis", name.as_str())];
            page.sample(
                "moonfarm_chassis_breaker_open",
                &labels,
                u64::from(device.is_tripped),
            );
        }
        page.head(
            "moonfarm_chassis_requests_total",
            "counter",
            "Requests and commands sent to the chassis.",
        );
        for (name, device) in &state.devices {
            let labels = [("chassis", name.as_str())];
            page.sample("moonfarm_chassis_requests_total", &labels, device.requests);
        }
        for count in &COUNTS {
            page.head(count.metric, "counter", count.help);
            for (name, device) in &state.devices {
                for (value, number) in (count.pick)(device) {
                    let labels = [("chassis", name.as_str()), (count.label, value)];
                    page.sample(count.metric, &labels, *number);
                }
            }
        }
        page.head(
            "moonfarm_chassis_machines",
            "gauge",
            "Machines by the power they show.",
        );
        for (name, device) in &state.devices {
            for (power, count) in &device.machines {
                let labels = [("chassis", name.as_str()), ("power", power)];
                page.sample("moonfarm_chassis_machines", &labels, *count);
            }
        }
        page.head(
            "moonfarm_agent_reports_total",
            "counter",
            "Reports to boot-server.",
        );
        for (is_heard, count) in &state.reports {
            let outcome = if *is_heard { "heard" } else { "failed" };
            page.sample(
                "moonfarm_agent_reports_total",
                &[("outcome", outcome)],
                *count,
            );
        }
        page.0
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A family of counters of a device.
struct Count {
    metric: &'static str,
    label: &'static str,
    help: &'static str,
    pick: fn(&Device) -> &BTreeMap<&'static str, u64>,
}

const COUNTS: [Count; 3] = [
    Count {
        metric: "moonfarm_chassis_looks_total",
        label: "scope",
        help: "Answers of the chassis, by what was asked.",
        pick: |device| &device.looks,
    },
    Count {
        metric: "moonfarm_chassis_errors_total",
        label: "kind",
        help: "Failures of the chassis, by kind.",
        pick: |device| &device.errors,
    },
    Count {
        metric: "moonfarm_chassis_orders_total",
        label: "order",
        help: "Orders given to machines.",
        pick: |device| &device.orders,
    },
];

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, metric: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {metric} {help}\n# TYPE {metric} {kind}");
    }

    fn sample(&mut self, metric: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| {
                let value = value
                    .replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let _ = writeln!(self.0, "{metric}{{{}}} {value}", labels.join(","));
    }
}

#[cfg(test)]
mod tests {
    use boot_proto::resources::ObservedPower;

    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic(Duration::from_secs(secs))
    }

    #[test]
    fn the_page_shows_what_was_noted() {
        let metrics = Metrics::default();
        metrics.begin("m1");
        metrics.begin("m2");
        let machine = |power| ObservedMachine {
            power,
            macs: vec!["02:00:00:00:00:01".parse().unwrap()],
            ..ObservedMachine::default()
        };
        let machines = [ObservedPower::On, ObservedPower::Off, ObservedPower::On].map(machine);
        metrics.looked("m1", "full", Duration::from_millis(1500), &machines);
        metrics.failed("m2", "timed-out");
        metrics.ordered("m1", "power-on");
        metrics.requested("m1", 3);
        metrics.requested("m1", 4);
        metrics.tripped("m2", true);
        metrics.disobeyed("m1", "did-not-obey");
        metrics.reported(true);
        let page = metrics.page();
        for line in [
            "moonfarm_chassis_up{chassis=\"m1\"} 1",
            "moonfarm_chassis_up{chassis=\"m2\"} 0",
            "moonfarm_chassis_scan_seconds{chassis=\"m1\"} 1.5",
            "moonfarm_chassis_looks_total{chassis=\"m1\",scope=\"full\"} 1",
            "moonfarm_chassis_errors_total{chassis=\"m2\",kind=\"timed-out\"} 1",
            "moonfarm_chassis_orders_total{chassis=\"m1\",order=\"power-on\"} 1",
            "moonfarm_chassis_machines{chassis=\"m1\",power=\"on\"} 2",
            "moonfarm_chassis_requests_total{chassis=\"m1\"} 7",
            "moonfarm_chassis_breaker_open{chassis=\"m1\"} 0",
            "moonfarm_chassis_breaker_open{chassis=\"m2\"} 1",
            "moonfarm_chassis_errors_total{chassis=\"m1\",kind=\"did-not-obey\"} 1",
            "moonfarm_agent_reports_total{outcome=\"heard\"} 1",
        ] {
            assert!(
                page.lines().any(|own| own == line),
                "{line} is not in\n{page}"
            );
        }
        assert!(!page.contains("02:00"), "no MACs in labels");
        metrics.end("m2");
        assert!(!metrics.page().contains("m2"));
    }

    #[test]
    fn health_and_readiness() {
        let metrics = Metrics::default();
        assert!(metrics.health(at(0)).is_err());
        metrics.beat(at(10));
        metrics.begin("m1");
        assert_eq!(metrics.health(at(70)), Ok(()));
        assert!(metrics.health(at(71)).is_err());
        assert!(metrics.readiness(at(20)).unwrap_err().contains("m1"));
        metrics.failed("m1", "busy");
        assert_eq!(metrics.readiness(at(20)), Ok(()));
        metrics.reported(false);
        assert!(
            metrics
                .readiness(at(20))
                .unwrap_err()
                .contains("boot-server")
        );
    }
}
