//! Redfish services: iLO, iDRAC, XCC and the like, over HTTP. What differs
//! between them is in hardware profiles.
//!
//! `client` and `session` talk, `walk` decides what is read, `resources` and
//! `macs` read it, `power` and `boot` give orders.

pub mod adapters;
pub mod answer;
pub mod boot;
pub mod client;
mod driver;
pub mod endpoint;
pub mod fetch;
pub mod goodbye;
pub mod lenient;
pub mod macs;
pub mod power;
pub mod recognise;
pub mod resources;
mod session;
mod tls;
pub mod walk;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::hardware_profile::HardwareProfile;
use boot_proto::redfish_rules::RedfishRules;
use serde_json::Value;

use super::{BootTarget, DriverError, Patience, PowerOrderKind, RestartKind};
use boot::{ModeWish, Wish};
use client::Client;
use endpoint::Endpoint;
use fetch::{Fetch, Fetched};
use resources::last_part;
use walk::{System, Walk, service_root};

/// A Redfish service.
pub struct Redfish {
    client: Client,
    profile: Arc<HardwareProfile>,
    rules: Arc<RedfishRules>,
    root: Option<Value>,
    /// The hosts by slot, as they were listed last.
    hosts: Vec<(String, String)>,
    /// What was read to recognise the service, so that the first scan need not
    /// ask again.
    early: BTreeMap<String, Value>,
    /// Whether it was recognised a moment ago.
    is_fresh: bool,
    /// Whether the interface that became Redfish will do.
    takes_old: bool,
}

impl Redfish {
    /// A driver that has not connected yet.
    ///
    /// # Errors
    /// When the profile is for another driver, or TLS cannot be set up.
    pub fn new(endpoint: Endpoint, profile: Arc<HardwareProfile>) -> Result<Self, DriverError> {
        let rules = rules_of(&profile)?;
        Ok(Self {
            client: Client::new(endpoint, rules.clone())?,
            profile,
            rules,
            root: None,
            hosts: Vec::new(),
            early: BTreeMap::new(),
            is_fresh: false,
            takes_old: true,
        })
    }

    /// The same for a service that must be Redfish: a Moonshot chassis manager
    /// has the interface which became Redfish, and a driver of its own.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.takes_old = false;
        self
    }

    /// Finds the profile among `profiles` that fits the service, and goes on
    /// with it. `None` when none fits; the session is closed then.
    ///
    /// # Errors
    /// When the service cannot be reached.
    pub async fn recognise(
        mut self,
        profiles: &[Arc<HardwareProfile>],
    ) -> Result<Option<Self>, DriverError> {
        let found = self.find_profile(profiles).await;
        match found {
            Ok(Some(profile)) => {
                let rules = rules_of(&profile)?;
                self.client.set_rules(rules.clone());
                tracing::info!(
                    address = self.client.address(),
                    profile = profile.name,
                    "recognised"
                );
                self.rules = rules;
                self.profile = profile;
                self.is_fresh = true;
                Ok(Some(self))
            }
            Ok(None) => {
                self.client.close().await;
                Ok(None)
            }
            Err(error) => {
                self.client.close().await;
                Err(error)
            }
        }
    }

    async fn find_profile(
        &mut self,
        profiles: &[Arc<HardwareProfile>],
    ) -> Result<Option<Arc<HardwareProfile>>, DriverError> {
        self.client.begin_visit();
        let limit = self.rules.limits.scan.duration();
        let address = self.client.address();
        bounded(&address, "recognising it", limit, async {
            let root = self.read_root().await?;
            let mut noted = Noted {
                client: &mut self.client,
                early: &mut self.early,
                notes: true,
            };
            recognise::recognise(&mut noted, &root, profiles).await
        })
        .await
    }

    async fn read_root(&mut self) -> Result<Value, DriverError> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let root = service_root(&mut self.client, self.takes_old).await?;
        self.client.sessions.learn(&root);
        self.root = Some(root.clone());
        Ok(root)
    }

    /// Name of the hardware profile in use.
    #[must_use]
    pub fn profile_name(&self) -> &str {
        &self.profile.name
    }

    /// Requests of the visit so far.
    #[must_use]
    pub const fn requests(&self) -> u32 {
        self.client.sent()
    }

    /// Requests of all visits so far.
    #[must_use]
    pub const fn all_requests(&self) -> u64 {
        self.client.total()
    }

    /// How patient to be with this service.
    #[must_use]
    pub fn patience_for_orders(&self) -> Patience {
        let power = &self.rules.power;
        Patience {
            settle: power.settle.duration(),
            shutdown: power.shutdown.duration(),
            poll: power.poll.duration(),
        }
    }

    /// All hosts with MACs and facts.
    ///
    /// # Errors
    /// When the service cannot be read.
    pub async fn inventory(&mut self) -> Result<Vec<ObservedMachine>, DriverError> {
        let limit = self.rules.limits.scan.duration();
        let address = self.client.address();
        // The root changes with firmware updates; it costs one request a scan.
        if !std::mem::take(&mut self.is_fresh) {
            self.client.begin_visit();
            self.root = None;
            self.early.clear();
        }
        bounded(&address, "reading its inventory", limit, async {
            let root = self.read_root().await?;
            let mut noted = Noted {
                client: &mut self.client,
                early: &mut self.early,
                notes: false,
            };
            let mut walk = Walk::new(&mut noted, &self.rules, &root);
            let systems = walk.systems().await?;
            let machines = walk.inventory(&systems).await?;
            self.hosts = places(&systems);
            self.early.clear();
            tracing::debug!(
                address = self.client.address(),
                requests = self.client.sent(),
                machines = machines.len(),
                "read"
            );
            Ok(machines)
        })
        .await
    }

    /// Power of all hosts: one request for each.
    ///
    /// # Errors
    /// When the service cannot be read.
    pub async fn power_states(&mut self) -> Result<Vec<ObservedMachine>, DriverError> {
        self.client.begin_visit();
        let limit = self.rules.limits.scan.duration();
        let address = self.client.address();
        bounded(&address, "reading power states", limit, async {
            if self.hosts.is_empty() {
                return Ok(self.list().await?.iter().map(System::machine).collect());
            }
            let mut machines = Vec::new();
            for (_, uri) in self.hosts.clone() {
                match power::read_system(&mut self.client, &uri).await {
                    Ok(system) => machines.push(system.machine()),
                    // It was renamed or removed: look for all of them again.
                    Err(DriverError::Refused { .. }) => {
                        return Ok(self.list().await?.iter().map(System::machine).collect());
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(machines)
        })
        .await
    }

    /// Power of one host; nothing where there is none of that name.
    ///
    /// # Errors
    /// When the service cannot be read.
    pub async fn power_state(&mut self, slot: &str) -> Result<Vec<ObservedMachine>, DriverError> {
        self.client.begin_visit();
        let uri = match self.find(slot).await {
            Ok(uri) => uri,
            Err(DriverError::NoSuchMachine { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let system = power::read_system(&mut self.client, &uri).await?;
        Ok(vec![system.machine()])
    }

    /// Orders power.
    ///
    /// # Errors
    /// When the service refuses, has no such order, or fails.
    pub async fn order_power(
        &mut self,
        slot: &str,
        order: PowerOrderKind,
    ) -> Result<(), DriverError> {
        self.client.begin_visit();
        let uri = self.find(slot).await?;
        power::order(&mut self.client, &uri, order, &self.profile.name).await
    }

    /// Restarts a host that is on by an order of the service's own; `false`
    /// when it has none or the host is not on.
    ///
    /// # Errors
    /// When the service refuses or fails.
    pub async fn order_restart(
        &mut self,
        slot: &str,
        kind: RestartKind,
    ) -> Result<bool, DriverError> {
        self.client.begin_visit();
        let uri = self.find(slot).await?;
        let types = match kind {
            RestartKind::Cycle => self.rules.power.cycle.clone(),
            RestartKind::Reset => self.rules.power.reset.clone(),
        };
        power::restart(&mut self.client, &uri, &types).await
    }

    /// Orders what a host boots from next time, and reads it back.
    ///
    /// # Errors
    /// When the service has no such target, or does not show it afterwards.
    pub async fn order_boot(&mut self, slot: &str, target: BootTarget) -> Result<(), DriverError> {
        self.client.begin_visit();
        let uri = self.find(slot).await?;
        let wish = Wish {
            target,
            mode: ModeWish::AsItIs,
        };
        boot::order(&mut self.client, &uri, wish, &self.profile.name).await
    }

    /// Orders PXE for the next boot in the mode that the host is not in, and
    /// reads it back.
    ///
    /// # Errors
    /// When the service has no such choice, or does not show it afterwards.
    pub async fn order_other_mode(&mut self, slot: &str) -> Result<(), DriverError> {
        self.client.begin_visit();
        let uri = self.find(slot).await?;
        let wish = Wish {
            target: BootTarget::Pxe,
            mode: ModeWish::TheOther,
        };
        boot::order(&mut self.client, &uri, wish, &self.profile.name).await
    }

    /// Closes the connections and forgets the root; the session is kept.
    pub fn end_visit(&mut self) {
        self.client.end_visit();
        self.root = None;
    }

    /// Deletes the session.
    pub async fn say_goodbye(&mut self) {
        self.client.close().await;
    }

    async fn list(&mut self) -> Result<Vec<System>, DriverError> {
        let root = self.read_root().await?;
        let systems = Walk::new(&mut self.client, &self.rules, &root)
            .systems()
            .await?;
        self.hosts = places(&systems);
        Ok(systems)
    }

    /// Where the host of this name is. Its name is its Id; letter case and the
    /// last part of its URI will do.
    async fn find(&mut self, slot: &str) -> Result<String, DriverError> {
        if self.hosts.is_empty() {
            self.list().await?;
        }
        let is_it = |(name, uri): &&(String, String)| {
            name.eq_ignore_ascii_case(slot) || last_part(uri).eq_ignore_ascii_case(slot)
        };
        let exact = self.hosts.iter().find(|(name, _)| name == slot);
        exact
            .or_else(|| self.hosts.iter().find(is_it))
            .map(|(_, uri)| uri.clone())
            .ok_or_else(|| {
                let names: Vec<&str> = self.hosts.iter().map(|(name, _)| name.as_str()).collect();
                DriverError::NoSuchMachine {
                    slot: slot.to_owned(),
                    present: if names.is_empty() {
                        "none".into()
                    } else {
                        names.join(", ")
                    },
                }
            })
    }
}

fn rules_of(profile: &HardwareProfile) -> Result<Arc<RedfishRules>, DriverError> {
    profile
        .redfish
        .clone()
        .ok_or_else(|| DriverError::Profile(format!("{} has no section `redfish`", profile.name)))
}

fn places(systems: &[System]) -> Vec<(String, String)> {
    systems
        .iter()
        .map(|system| (system.slot(), system.uri.clone()))
        .collect()
}

/// A visit must end, however slowly a service drips.
async fn bounded<T>(
    address: &str,
    doing: &str,
    limit: Duration,
    visit: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    tokio::time::timeout(limit, visit)
        .await
        .unwrap_or_else(|_| {
            Err(DriverError::TimedOut {
                address: address.to_owned(),
                doing: doing.to_owned(),
                after: limit,
            })
        })
}

/// The client with what was read before: noted while the service is recognised,
/// used up by the first scan.
struct Noted<'a> {
    client: &'a mut Client,
    early: &'a mut BTreeMap<String, Value>,
    notes: bool,
}

impl Fetch for Noted<'_> {
    fn get<'a>(&'a mut self, path: &'a str) -> Fetched<'a> {
        Box::pin(async move {
            if !self.notes
                && let Some(known) = self.early.remove(path)
            {
                return Ok(known);
            }
            let value = Fetch::get(self.client, path).await?;
            if self.notes {
                self.early.insert(path.to_owned(), value.clone());
            }
            Ok(value)
        })
    }
}
