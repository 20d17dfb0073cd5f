//! Power orders: which reset type a service is sent, and what to make of its
//! answer.

use boot_proto::redfish_rules::PowerRules;
use boot_proto::resources::ObservedPower;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::Answer;
use super::client::{Client, IfMatch, Order};
use super::resources::{self, clean_path, link, texts};
use super::walk::System;
use crate::drivers::{DriverError, PowerOrderKind};

/// The reset action of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetAction {
    /// Where the order goes.
    pub target: String,
    /// Reset types that are offered; empty where the service does not say.
    pub offered: Vec<String>,
    /// Resource that says which are offered, where the action itself does not.
    pub info: Option<String>,
    /// Whether the order names its action, as iLO 4 wants it under `/rest/v1`.
    pub is_named: bool,
}

impl ResetAction {
    /// The reset action of a system; one that names none has the usual one.
    #[must_use]
    pub fn read(system: &System) -> Self {
        let action = system
            .body
            .get("Actions")
            .and_then(|actions| actions.get("#ComputerSystem.Reset"));
        if let (None, Some(offered)) = (action, old_reset_types(&system.body)) {
            return Self {
                target: system.uri.clone(),
                offered,
                info: None,
                is_named: true,
            };
        }
        let action = action.unwrap_or(&Value::Null);
        let target = action
            .get("target")
            .and_then(Value::as_str)
            .and_then(clean_path);
        let usual = || {
            format!(
                "{}/Actions/ComputerSystem.Reset",
                system.uri.trim_end_matches('/')
            )
        };
        Self {
            target: target.map_or_else(usual, str::to_owned),
            offered: texts(action, "ResetType@Redfish.AllowableValues"),
            info: link(action, "@Redfish.ActionInfo"),
            is_named: false,
        }
    }

    /// The body of the order.
    fn order(&self, kind: &str) -> Value {
        if self.is_named {
            json!({ "Action": "Reset", "ResetType": kind })
        } else {
            json!({ "ResetType": kind })
        }
    }

    /// The first of `wanted` that is offered, in the service's own spelling.
    /// Where the service does not say, the first is worth a try.
    #[must_use]
    pub fn choose(&self, wanted: &[String]) -> Option<String> {
        if self.offered.is_empty() {
            return wanted.first().cloned();
        }
        wanted.iter().find_map(|want| {
            self.offered
                .iter()
                .find(|offer| offer.eq_ignore_ascii_case(want))
                .cloned()
        })
    }
}

/// The reset types of a system from before Redfish, which lists its actions.
fn old_reset_types(system: &Value) -> Option<Vec<String>> {
    let actions = system.get("AvailableActions")?.as_array()?;
    let named = |value: &Value, name: &str, text: &str| {
        value.get(name).and_then(Value::as_str) == Some(text)
    };
    let reset = actions
        .iter()
        .find(|action| named(action, "Action", "Reset"))?;
    let capabilities = reset.get("Capabilities").and_then(Value::as_array);
    let offered = capabilities
        .into_iter()
        .flatten()
        .filter(|capability| named(capability, "PropertyName", "ResetType"))
        .flat_map(|capability| texts(capability, "AllowableValues"));
    Some(offered.collect())
}

/// Reset types that an ActionInfo resource allows.
#[must_use]
pub fn allowed_by(info: &Value) -> Vec<String> {
    let parameters = info.get("Parameters").and_then(Value::as_array);
    parameters
        .into_iter()
        .flatten()
        .filter(|parameter| parameter.get("Name").and_then(Value::as_str) == Some("ResetType"))
        .flat_map(|parameter| texts(parameter, "AllowableValues"))
        .collect()
}

/// The reset types that do what was ordered.
#[must_use]
pub fn wanted(rules: &PowerRules, order: PowerOrderKind) -> &[String] {
    match order {
        PowerOrderKind::On => &rules.on,
        PowerOrderKind::Off => &rules.off,
        PowerOrderKind::ForceOff => &rules.force_off,
    }
}

const fn state_after(order: PowerOrderKind) -> ObservedPower {
    match order {
        PowerOrderKind::On => ObservedPower::On,
        PowerOrderKind::Off | PowerOrderKind::ForceOff => ObservedPower::Off,
    }
}

/// Whether the service wants to be asked again a little later.
#[must_use]
pub fn is_not_ready(answer: &Answer, not_ready: &[String]) -> bool {
    !answer.is_success() && not_ready.iter().any(|text| answer.says(text))
}

/// A system as it is now.
///
/// # Errors
/// When it cannot be read.
pub async fn read_system(client: &mut Client, uri: &str) -> Result<System, DriverError> {
    let body = super::fetch::Fetch::get(client, uri)
        .await
        .map_err(|e| e.into_inner())?;
    Ok(System {
        uri: uri.to_owned(),
        body,
    })
}

/// The reset action with what it offers.
///
/// # Errors
/// When the service fails.
pub async fn reset_action(
    client: &mut Client,
    system: &System,
) -> Result<ResetAction, DriverError> {
    let mut action = ResetAction::read(system);
    if action.offered.is_empty()
        && let Some(info) = action.info.take()
    {
        match super::fetch::Fetch::get(client, &info).await {
            Ok(info) => action.offered = allowed_by(&info),
            Err(super::fetch::FetchError::Fatal(error)) => return Err(error),
            Err(super::fetch::FetchError::Absent(error)) => {
                tracing::debug!(info, %error, "the service does not say which resets it knows");
            }
        }
    }
    Ok(action)
}

/// Orders power. An order for the state that the system shows is not sent: it
/// is an error to some services.
///
/// # Errors
/// When the service offers no such order, refuses it, or fails.
pub async fn order(
    client: &mut Client,
    uri: &str,
    order: PowerOrderKind,
    profile: &str,
) -> Result<(), DriverError> {
    let system = read_system(client, uri).await?;
    if resources::power(&system.body) == state_after(order) {
        return Ok(());
    }
    let action = reset_action(client, &system).await?;
    let rules = client.rules().power.clone();
    let Some(kind) = action.choose(wanted(&rules, order)) else {
        return Err(impossible(
            &system,
            &action,
            &format!("power {order:?}"),
            profile,
        ));
    };
    match send(client, &action, &kind, Some((uri, state_after(order)))).await {
        Ok(()) => Ok(()),
        Err(error @ (DriverError::LoginRefused { .. } | DriverError::Busy { .. })) => Err(error),
        // The state says more than the answer: a service may refuse what has
        // come true meanwhile, or break the connection while it obeys.
        Err(error) => match read_system(client, uri).await {
            Ok(system) if resources::power(&system.body) == state_after(order) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Restarts a system that is on by the first of `wanted` that is offered.
/// `false` when none is, or when the system is not on.
///
/// # Errors
/// When the service refuses the order or fails.
pub async fn restart(
    client: &mut Client,
    uri: &str,
    wanted: &[String],
) -> Result<bool, DriverError> {
    let system = read_system(client, uri).await?;
    if resources::power(&system.body) != ObservedPower::On {
        return Ok(false);
    }
    let action = reset_action(client, &system).await?;
    if action.offered.is_empty() {
        return Ok(false);
    }
    match action.choose(wanted) {
        Some(kind) => send(client, &action, &kind, None).await.map(|()| true),
        None => Ok(false),
    }
}

/// Sends a reset, again while the service says that it is not ready, until the
/// system at `until.0` shows `until.1` by itself.
async fn send(
    client: &mut Client,
    action: &ResetAction,
    kind: &str,
    until: Option<(&str, ObservedPower)>,
) -> Result<(), DriverError> {
    let rules = client.rules().power.clone();
    let target = action.target.as_str();
    let command = format!("POST {target} {kind}");
    let mut left = rules.retries;
    loop {
        let order = Order {
            method: Method::POST,
            path: target,
            body: Some(action.order(kind)),
            if_match: IfMatch::None,
        };
        let answer = client.send(&order).await?;
        if answer.is_success() {
            tracing::info!(address = client.address(), target, kind, "ordered");
            return Ok(());
        }
        let refusal = DriverError::Refused {
            command: command.clone(),
            answer: answer.complaint(),
        };
        if left == 0 || !is_not_ready(&answer, &rules.not_ready) {
            return Err(refusal);
        }
        tracing::debug!(address = client.address(), command, left, "not ready yet");
        left -= 1;
        sleep(rules.pause.duration()).await;
        if let Some((uri, state)) = until {
            let system = read_system(client, uri).await?;
            if resources::power(&system.body) == state {
                return Ok(());
            }
        }
    }
}

fn impossible(system: &System, action: &ResetAction, what: &str, profile: &str) -> DriverError {
    DriverError::Impossible {
        what: format!("{what} of {}", system.slot()),
        profile: profile.to_owned(),
        possible: action.offered.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(types: &[&str]) -> ResetAction {
        let offered = types.iter().map(|&t| t.to_owned()).collect();
        ResetAction {
            offered,
            ..ResetAction::default()
        }
    }

    #[test]
    fn reset_types_of_vendors() {
        let rules = PowerRules::default();
        let hpe = offered(&["On", "ForceOff", "ForceRestart", "Nmi", "PushPowerButton"]);
        let cray = offered(&["ForceOff", "On", "Off"]);
        let ami = offered(&["GracefulShutdown", "ForceRestart", "ForceOff", "On"]);
        let bmc = offered(&["On", "ForceOff", "ForceOn", "ForceRestart", "PowerCycle"]);
        let silent = offered(&[]);
        for (action, wanted, expected) in [
            (&hpe, &rules.off, Some("PushPowerButton")),
            (&hpe, &rules.cycle, Some("ForceRestart")),
            (&cray, &rules.off, Some("Off")),
            (&cray, &rules.force_off, Some("ForceOff")),
            (&cray, &rules.cycle, None),
            (&ami, &rules.off, Some("GracefulShutdown")),
            (&ami, &rules.reset, Some("ForceRestart")),
            (&bmc, &rules.cycle, Some("PowerCycle")),
            (&bmc, &rules.off, None),
            (&silent, &rules.on, Some("On")),
        ] {
            assert_eq!(
                action.choose(wanted).as_deref(),
                expected,
                "{action:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn actions_of_systems() {
        let system = |body| System {
            uri: "/redfish/v1/Systems/1/".into(),
            body,
        };
        let usual = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset";
        let action = ResetAction::read(&system(json!({})));
        assert_eq!((action.target.as_str(), action.offered.len()), (usual, 0));
        let action = ResetAction::read(&system(json!({"Actions": {"#ComputerSystem.Reset": {
            "target": "https://elsewhere/x", "@Redfish.ActionInfo": "/redfish/v1/Systems/1/ResetActionInfo"}}})));
        assert_eq!(action.target, usual);
        assert_eq!(
            action.info.as_deref(),
            Some("/redfish/v1/Systems/1/ResetActionInfo")
        );
        let info = json!({"Parameters": [{"Name": "X", "AllowableValues": ["1"]},
            {"Name": "ResetType", "AllowableValues": ["On", 3, "Off"]}]});
        assert_eq!(allowed_by(&info), ["On", "Off"]);
        assert_eq!(
            allowed_by(&json!({"Parameters": null})),
            Vec::<String>::new()
        );
    }
}
