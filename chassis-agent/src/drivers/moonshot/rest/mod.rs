//! The web interface of a Moonshot chassis manager, from before Redfish: the
//! quicker way, with the command line behind it for what it does not give.

mod driver;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use boot_proto::api::ObservedMachine;
use boot_proto::hardware_profile::{CliRules, HardwareProfile, RestRules, command_for};
use boot_proto::ids::SlotId;
use boot_proto::quantity::Span;
use boot_proto::redfish_rules::{HttpRules, LoginWay, RedfishRules};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::drivers::redfish::answer::Answer;
use crate::drivers::redfish::client::{Client, IfMatch, Order};
use crate::drivers::redfish::endpoint::Endpoint;
use crate::drivers::{BootTarget, DriverError, Patience, PowerOrderKind, excerpt};

pub use driver::MoonshotRest;
pub use summary::parse_summary;

/// Before a resource that is said not to be there is asked for again.
const PAUSE_AFTER_404: Duration = Duration::from_millis(300);

/// The web interface of one chassis manager.
pub(super) struct Rest {
    client: Client,
    rules: RestRules,
    cli: CliRules,
}

impl Rest {
    /// An interface that has not connected yet.
    pub(super) fn new(endpoint: Endpoint, profile: &HardwareProfile) -> Result<Self, DriverError> {
        let missing = |section| DriverError::Profile(format!("{} has no {section}", profile.name));
        let rules = profile.rest.clone().ok_or_else(|| missing("rest"))?;
        let cli = profile.cli.clone().ok_or_else(|| missing("cli"))?;
        let http = RedfishRules {
            // Its sessions are few, and nothing tells when they end.
            login: LoginWay::Basic,
            http: HttpRules {
                retries: 1,
                connect: Span(cli.timing.connect.0.min(10)),
                request: cli.timing.silence,
                ..HttpRules::default()
            },
            ..RedfishRules::default()
        };
        Ok(Self {
            client: Client::new(endpoint, std::sync::Arc::new(http))?,
            rules,
            cli,
        })
    }

    pub(super) fn address(&self) -> String {
        self.client.address()
    }

    pub(super) const fn requests(&self) -> u64 {
        self.client.total()
    }

    pub(super) fn patience(&self) -> Patience {
        super::patience_of(&self.cli)
    }

    /// All machines, in one answer.
    pub(super) async fn observe(&mut self) -> Result<Vec<ObservedMachine>, DriverError> {
        let path = self.rules.summary.clone();
        let answer = self.ask(Method::GET, &path, None).await?;
        let machines = parse_summary(&answer.body, &self.rules.switches, &self.cli);
        machines.ok_or_else(|| DriverError::Garbled {
            command: format!("GET {path}"),
            problem: "it is no summary of systems".into(),
            excerpt: excerpt(
                &answer
                    .oddity
                    .clone()
                    .unwrap_or_else(|| answer.body.to_string()),
            ),
        })
    }

    /// The word for a power order, where there is one.
    pub(super) fn power_word(&self, order: PowerOrderKind) -> Option<String> {
        let words = &self.rules.reset;
        match order {
            PowerOrderKind::On => words.on.clone(),
            PowerOrderKind::Off => words.off.clone(),
            PowerOrderKind::ForceOff => words.force_off.clone(),
        }
    }

    pub(super) fn restart_word(&self) -> Option<String> {
        self.rules.reset.restart.clone()
    }

    pub(super) fn boot_word(&self, target: BootTarget) -> Option<String> {
        self.rules.boot_once.get(target.name()).cloned()
    }

    pub(super) async fn reset(&mut self, slot: SlotId, word: &str) -> Result<(), DriverError> {
        let path = command_for(&self.rules.system, slot);
        let body = json!({"Action": "Reset", "ResetType": word});
        self.ask(Method::POST, &path, Some(body)).await.map(|_| ())
    }

    /// Orders the boot target and reads it back, where the node shows it.
    pub(super) async fn boot_once(&mut self, slot: SlotId, word: &str) -> Result<(), DriverError> {
        let path = command_for(&self.rules.system, slot);
        let boot = json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": word});
        let order = self.ask(Method::PATCH, &path, Some(json!({"Boot": boot})));
        order.await?;
        let Ok(now) = self.ask(Method::GET, &path, None).await else {
            return Ok(());
        };
        match shown_boot(&now.body) {
            Some((enabled, target))
                if !enabled.eq_ignore_ascii_case("once") || !target.eq_ignore_ascii_case(word) =>
            {
                Err(DriverError::Unconfirmed {
                    command: format!("PATCH {path} {word}"),
                    expected: format!("Once {word}"),
                    answer: excerpt(&format!("{enabled} {target}")),
                })
            }
            _ => Ok(()),
        }
    }

    /// One request; a resource that is said not to be there is asked for again.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, DriverError> {
        self.client.begin_visit();
        let command = format!("{method} {path}");
        let mut left = self.rules.retries_of_404;
        loop {
            let order = Order {
                method: method.clone(),
                path,
                body: body.clone(),
                if_match: IfMatch::None,
            };
            let answer = if method == Method::GET {
                self.client.get(path).await?
            } else {
                self.client.send(&order).await?
            };
            if answer.is_success() {
                return Ok(answer);
            }
            if answer.status != 404 || left == 0 {
                let answer = answer.complaint();
                return Err(DriverError::Refused { command, answer });
            }
            left -= 1;
            sleep(PAUSE_AFTER_404).await;
        }
    }

    pub(super) async fn close(&mut self) {
        self.client.close().await;
    }
}

/// What a node shows as its boot override.
fn shown_boot(system: &Value) -> Option<(String, String)> {
    let boot = system.get("Boot")?;
    let text = |name: &str| boot.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((
        text("BootSourceOverrideEnabled")?,
        text("BootSourceOverrideTarget")?,
    ))
}

/// Whether the profile has a web interface.
pub(super) fn has_rest(profile: &Arc<HardwareProfile>) -> bool {
    profile.rest.is_some()
}
