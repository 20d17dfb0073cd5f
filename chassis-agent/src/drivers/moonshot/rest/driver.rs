//! Which way to a chassis manager is taken: its web interface where that shows
//! everything, else its command line.

use std::sync::Arc;

use boot_proto::api::ObservedMachine;
use boot_proto::hardware_profile::HardwareProfile;

use super::{Rest, has_rest};
use crate::config::Target;
use crate::drivers::moonshot::Moonshot;
use crate::drivers::redfish::endpoint::Endpoint;
use crate::drivers::{
    BootTarget, ChassisDriver, Consoles, DriverError, DriverFuture, Patience, PowerOrderKind,
    RestartKind, Restarts, Scope, Slot, node_of,
};

/// A Moonshot chassis manager reached by its URL.
pub struct MoonshotRest {
    profile: Arc<HardwareProfile>,
    rest: Rest,
    /// The command line of the same host.
    cli: Option<Moonshot>,
    way: Way,
}

/// Chosen once and kept; a failure of the command line opens it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Undecided,
    Rest,
    Cli,
}

impl MoonshotRest {
    /// A driver that has not connected yet.
    ///
    /// # Errors
    /// When the profile has no web interface, or TLS cannot be set up.
    pub fn new(
        endpoint: Endpoint,
        cli: Option<&Arc<Target>>,
        profile: Arc<HardwareProfile>,
    ) -> Result<Self, DriverError> {
        let rest = Rest::new(endpoint, &profile)?;
        let cli = cli
            .map(|target| Moonshot::new(Arc::clone(target), Arc::clone(&profile)))
            .transpose()?;
        Ok(Self {
            profile,
            rest,
            cli,
            way: Way::Undecided,
        })
    }

    /// The driver for the first of `profiles` whose web interface answers.
    ///
    /// # Errors
    /// When one refuses the login, which is then not tried elsewhere.
    pub async fn recognise(
        endpoint: &Endpoint,
        cli: Option<&Arc<Target>>,
        profiles: &[Arc<HardwareProfile>],
    ) -> Result<Option<Self>, DriverError> {
        for profile in profiles.iter().filter(|profile| has_rest(profile)) {
            let mut driver = Self::new(endpoint.clone(), cli, Arc::clone(profile))?;
            match driver.rest.observe().await {
                Ok(_) => {
                    tracing::info!(
                        address = driver.rest.address(),
                        profile = profile.name,
                        "recognised"
                    );
                    return Ok(Some(driver));
                }
                Err(error @ DriverError::LoginRefused { .. }) => return Err(error),
                Err(error) => tracing::debug!(%error, profile = profile.name, "does not fit"),
            }
        }
        Ok(None)
    }

    async fn look(&mut self, scope: Scope) -> Result<Vec<ObservedMachine>, DriverError> {
        let by_web = match self.way {
            Way::Cli => Err(None),
            Way::Undecided | Way::Rest => self.look_by_web(&scope).await.map_err(Some),
        };
        let partial = match by_web {
            Ok(machines) if self.cli.is_none() || has_macs(&machines, &scope) => {
                self.choose(Way::Rest);
                return Ok(machines);
            }
            Ok(machines) => Ok(machines),
            // Another login is not tried with the same password.
            Err(Some(error @ DriverError::LoginRefused { .. })) => return Err(error),
            Err(error) => Err(error),
        };
        let Some(cli) = &mut self.cli else {
            return partial.map_err(|error| error.unwrap_or_else(|| self.nowhere()));
        };
        match (cli.observe(scope).await, partial) {
            (Ok(machines), _) => {
                self.choose(Way::Cli);
                Ok(machines)
            }
            // Without all MACs it is still better than nothing.
            (Err(_), Ok(machines)) => {
                self.choose(Way::Undecided);
                Ok(machines)
            }
            (Err(by_ssh), Err(by_web)) => {
                self.choose(Way::Undecided);
                tracing::debug!(%by_ssh, "the command line does not help");
                Err(by_web.unwrap_or(by_ssh))
            }
        }
    }

    async fn look_by_web(&mut self, scope: &Scope) -> Result<Vec<ObservedMachine>, DriverError> {
        let machines = self.rest.observe().await?;
        Ok(match scope {
            Scope::Full | Scope::Power => machines,
            Scope::One(slot) => machines
                .into_iter()
                .filter(|machine| machine.slot == slot.as_str())
                .collect(),
        })
    }

    fn choose(&mut self, way: Way) {
        if self.way != way {
            tracing::debug!(
                address = self.rest.address(),
                ?way,
                "way to the chassis manager"
            );
        }
        self.way = way;
    }

    fn nowhere(&self) -> DriverError {
        DriverError::Unreachable {
            address: self.rest.address(),
            doing: "asking for the systems".into(),
            reason: "there is neither a web interface nor a command line".into(),
        }
    }

    /// Gives an order that changes nothing when it is given twice.
    async fn switch(&mut self, slot: &Slot, order: PowerOrderKind) -> Result<(), DriverError> {
        let word = self.rest.power_word(order).filter(|_| self.way != Way::Cli);
        let by_web = match word {
            None => None,
            Some(word) => match self.rest.reset(node_of(slot)?, &word).await {
                Ok(()) => return Ok(()),
                Err(error @ DriverError::LoginRefused { .. }) => return Err(error),
                Err(error) => Some(error),
            },
        };
        match &mut self.cli {
            Some(cli) => cli.power(slot, order).await,
            None => Err(by_web.unwrap_or_else(|| self.impossible("this power order"))),
        }
    }

    async fn choose_boot(&mut self, slot: &Slot, target: BootTarget) -> Result<(), DriverError> {
        let word = self.rest.boot_word(target).filter(|_| self.way != Way::Cli);
        let by_web = match word {
            None => None,
            Some(word) => match self.rest.boot_once(node_of(slot)?, &word).await {
                Ok(()) => return Ok(()),
                Err(error @ DriverError::LoginRefused { .. }) => return Err(error),
                Err(error) => Some(error),
            },
        };
        match &mut self.cli {
            Some(cli) => cli.boot_once(slot, target).await,
            None => {
                Err(by_web
                    .unwrap_or_else(|| self.impossible(&format!("boot-once {}", target.name()))))
            }
        }
    }

    fn impossible(&self, what: &str) -> DriverError {
        DriverError::Impossible {
            what: what.to_owned(),
            profile: self.profile.name.clone(),
            possible: "more with the command line, which an address without https:// reaches"
                .into(),
        }
    }
}

/// Whether an inventory names every machine's MACs; a look at the power needs
/// none.
fn has_macs(machines: &[ObservedMachine], scope: &Scope) -> bool {
    *scope != Scope::Full || machines.iter().all(|machine| !machine.macs.is_empty())
}

impl ChassisDriver for MoonshotRest {
    fn profile(&self) -> &str {
        &self.profile.name
    }

    fn patience(&self) -> Patience {
        self.rest.patience()
    }

    fn observe(&mut self, scope: Scope) -> DriverFuture<'_, Vec<ObservedMachine>> {
        Box::pin(self.look(scope))
    }

    fn power<'a>(&'a mut self, slot: &'a Slot, order: PowerOrderKind) -> DriverFuture<'a, ()> {
        Box::pin(self.switch(slot, order))
    }

    fn boot_once<'a>(&'a mut self, slot: &'a Slot, target: BootTarget) -> DriverFuture<'a, ()> {
        Box::pin(self.choose_boot(slot, target))
    }

    fn close(&mut self) -> DriverFuture<'_, ()> {
        Box::pin(async move {
            self.rest.close().await;
            match &mut self.cli {
                Some(cli) => cli.close().await,
                None => Ok(()),
            }
        })
    }

    fn restarts(&mut self) -> Option<&mut dyn Restarts> {
        (self.way != Way::Cli).then_some(self as &mut dyn Restarts)
    }

    fn requests(&self) -> u64 {
        let by_ssh = self.cli.as_ref().map_or(0, ChassisDriver::requests);
        self.rest.requests() + by_ssh
    }

    fn consoles(&mut self) -> Option<&mut dyn Consoles> {
        self.cli.as_mut().and_then(ChassisDriver::consoles)
    }
}

impl Restarts for MoonshotRest {
    fn restart<'a>(&'a mut self, slot: &'a Slot, _kind: RestartKind) -> DriverFuture<'a, bool> {
        Box::pin(async move {
            let Some(word) = self.rest.restart_word() else {
                return Ok(false);
            };
            match self.rest.reset(node_of(slot)?, &word).await {
                Ok(()) => Ok(true),
                // Refused, so it was not done: there is another way.
                Err(DriverError::Refused { .. }) if self.cli.is_some() => Ok(false),
                Err(error) => Err(error),
            }
        })
    }
}
