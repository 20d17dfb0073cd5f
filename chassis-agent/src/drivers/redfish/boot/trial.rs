//! Tries the ways to set a boot override, one by one, and reads each back.

use boot_proto::redfish_rules::{BootMode, BootRules, BootWay};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Attempt, ModeWish, Override, Wish, attempts, settings_uris, uri_in_refusal, value_for,
};
use crate::drivers::DriverError;
use crate::drivers::redfish::answer::Answer;
use crate::drivers::redfish::client::{Client, Order};
use crate::drivers::redfish::power::{is_not_ready, read_system};
use crate::drivers::redfish::resources::same_uri;
use crate::drivers::redfish::walk::System;

/// Sets the override and returns when the service shows it.
///
/// # Errors
/// When the service has no such target, or none of the ways was taken; the
/// message says what was tried and what came of it.
pub async fn order(
    client: &mut Client,
    uri: &str,
    wish: Wish,
    profile: &str,
) -> Result<(), DriverError> {
    let target = wish.target;
    let system = read_system(client, uri).await?;
    let rules = client.rules().boot.clone();
    let settings = settings_uris(&system, &rules);
    let mut offers = Override::read(&system.body);
    // iDRAC 10 has the targets on the settings resource alone.
    if offers
        .as_ref()
        .is_none_or(|offers| offers.offered.is_empty())
    {
        for uri in &settings {
            let found = read_system(client, uri).await;
            let found = found
                .ok()
                .and_then(|settings| Override::read(&settings.body));
            offers = found.filter(|found| !found.offered.is_empty()).or(offers);
        }
    }
    let offered = offers
        .as_ref()
        .map(|offers| offers.offered.as_slice())
        .unwrap_or_default();
    let value = value_for(&rules, offered, target).filter(|_| offers.is_some());
    let Some(value) = value else {
        return Err(DriverError::Impossible {
            what: format!("boot-once {} of {}", target.name(), system.slot()),
            profile: profile.to_owned(),
            possible: if offered.is_empty() {
                "nothing, it has no boot override; put the network first in its boot order".into()
            } else {
                offered.join(", ")
            },
        });
    };
    let mode = match wish.mode {
        ModeWish::AsItIs => None,
        ModeWish::TheOther => Some(other_mode(&rules, offers.as_ref(), &system, profile)?),
    };
    let expected = match &mode {
        None => format!("Once {value}"),
        Some(mode) => format!("Once {value} {mode}"),
    };
    let mut trial = Trial {
        client,
        rules,
        value,
        mode,
        system,
        notes: Vec::new(),
        moved_to: None,
        was_taken: false,
    };
    if trial.run(&settings).await? {
        return Ok(());
    }
    let command = format!("boot-once {} of {}", target.name(), trial.system.slot());
    let answer = format!("no way was taken; tried {}", trial.notes.join("; "));
    Err(if trial.was_taken {
        DriverError::Unconfirmed {
            command,
            expected,
            answer,
        }
    } else {
        DriverError::Refused { command, answer }
    })
}

fn other_mode(
    rules: &BootRules,
    offers: Option<&Override>,
    system: &System,
    profile: &str,
) -> Result<String, DriverError> {
    let own = Override::read(&system.body);
    let mode = own
        .as_ref()
        .and_then(Override::other_mode)
        .or_else(|| offers.and_then(Override::other_mode));
    mode.filter(|_| rules.mode != BootMode::Never)
        .ok_or_else(|| DriverError::Impossible {
            what: format!("another boot mode of {}", system.slot()),
            profile: profile.to_owned(),
            possible: "the mode it is in".into(),
        })
}

/// The trying of one order.
struct Trial<'a> {
    client: &'a mut Client,
    rules: BootRules,
    value: String,
    /// The mode that it has to be, where that matters.
    mode: Option<String>,
    system: System,
    /// What came of each attempt.
    notes: Vec<String>,
    /// Where the service says that the override has moved.
    moved_to: Option<String>,
    /// Whether any attempt was answered with a yes.
    was_taken: bool,
}

impl Trial<'_> {
    async fn run(&mut self, settings: &[String]) -> Result<bool, DriverError> {
        let modes: &[bool] = match self.rules.mode {
            _ if self.mode.is_some() => &[true],
            BootMode::Never => &[false],
            BootMode::Always => &[true],
            BootMode::Fallback => &[false, true],
        };
        for with_mode in modes {
            for way in self.rules.ways.clone() {
                let uris = match way {
                    BootWay::Settings => settings.to_vec(),
                    _ => vec![self.system.uri.clone()],
                };
                for uri in uris {
                    if self.try_resource(&uri, way, *with_mode).await? {
                        return Ok(true);
                    }
                }
                if let Some(uri) = self.moved_to.take()
                    && !settings.contains(&uri)
                    && self
                        .try_resource(&uri, BootWay::Settings, *with_mode)
                        .await?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn try_resource(
        &mut self,
        uri: &str,
        way: BootWay,
        with_mode: bool,
    ) -> Result<bool, DriverError> {
        // A fresh ETag: the attempt before may have changed it.
        let answer = self.client.get(uri).await?;
        if !answer.is_success() {
            self.note(uri, &format!("cannot be read: {}", answer.complaint()));
            return Ok(false);
        }
        // A settings resource without Boot takes the order and drops it.
        if way == BootWay::Settings && Override::read(&answer.body).is_none() {
            self.note(uri, "has no boot override");
            return Ok(false);
        }
        let in_body = answer
            .body
            .get("@odata.etag")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let etag = answer
            .etag
            .or(in_body)
            .filter(|etag| !etag.trim().is_empty());
        for attempt in attempts(uri, way, etag.as_deref(), with_mode) {
            if self.attempt(&attempt).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn attempt(&mut self, attempt: &Attempt) -> Result<bool, DriverError> {
        let mut boot = json!({
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": self.value,
        });
        if attempt.with_mode {
            let shown = Override::read(&self.system.body).and_then(|shown| shown.mode);
            // A system that hides its mode boots by UEFI, as all do that are
            // new enough to have Redfish and no BIOS mode.
            let mode = self
                .mode
                .clone()
                .or(shown)
                .unwrap_or_else(|| "UEFI".to_owned());
            if let Some(boot) = boot.as_object_mut() {
                boot.insert("BootSourceOverrideMode".into(), mode.into());
            }
        }
        let answer = self.patch(attempt, json!({ "Boot": boot })).await?;
        if !answer.is_success() {
            self.moved_to =
                uri_in_refusal(&answer).filter(|uri| same_uri(uri) != same_uri(&self.system.uri));
            self.note(&attempt.name(), &answer.complaint());
            return Ok(false);
        }
        self.was_taken = true;
        let (is_set, shown) = self.look(&attempt.uri).await?;
        if !is_set {
            self.note(&attempt.name(), &format!("{} and {shown}", answer.status));
        }
        Ok(is_set)
    }

    /// Sends the order, again while the service says that it is not ready.
    async fn patch(&mut self, attempt: &Attempt, body: Value) -> Result<Answer, DriverError> {
        let power = self.client.rules().power.clone();
        let mut left = power.retries;
        loop {
            let order = Order {
                method: Method::PATCH,
                path: &attempt.uri,
                body: Some(body.clone()),
                if_match: attempt.if_match.clone(),
            };
            let answer = self.client.send(&order).await?;
            if left == 0 || !is_not_ready(&answer, &power.not_ready) {
                return Ok(answer);
            }
            left -= 1;
            sleep(power.pause.duration()).await;
        }
    }

    /// Reads the order back, from where it was sent and from the system: what
    /// was put into a settings resource reaches the system at its next reset.
    async fn look(&mut self, sent_to: &str) -> Result<(bool, String), DriverError> {
        let own = self.system.uri.clone();
        let mut places = vec![own.as_str()];
        if sent_to != own {
            places.insert(0, sent_to);
        }
        let mut shown = String::new();
        for look in 0..self.rules.looks {
            if look > 0 {
                sleep(self.rules.pause.duration()).await;
            }
            for place in &places {
                let answer = self.client.get(place).await?;
                let found = Override::read(&answer.body).unwrap_or_default();
                let is_in_mode = self.mode.is_none() || found.mode == self.mode;
                if answer.is_success() && is_in_mode && found.is_set_to(&self.value) {
                    return Ok((true, String::new()));
                }
                shown = found.shown();
            }
        }
        Ok((false, shown))
    }

    fn note(&mut self, what: &str, outcome: &str) {
        let note = format!("{what}: {outcome}");
        tracing::debug!(
            address = self.client.address(),
            note,
            "boot order not taken"
        );
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
