//! One-time boot orders: which ways there are, in which order they are tried,
//! and whether the service shows what was set. A 200 proves nothing: some
//! firmware takes the order and stores something else.

use boot_proto::redfish_rules::{BootMode, BootRules, BootWay, SYSTEM_PLACEHOLDER};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::answer::Answer;
use super::client::{Client, IfMatch, Order};
use super::power::{is_not_ready, read_system};
use super::resources::{clean_path, texts, uri};
use super::walk::System;
use crate::drivers::{BootTarget, DriverError};

/// One way to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which resource.
    pub uri: String,
    /// If-Match.
    pub if_match: IfMatch,
    /// Whether BootSourceOverrideMode goes with it.
    pub with_mode: bool,
}

impl Attempt {
    fn name(&self) -> String {
        let etag = match self.if_match {
            IfMatch::None => "without ETag",
            IfMatch::Etag(_) => "with ETag",
            IfMatch::Any => "with If-Match: *",
        };
        let mode = if self.with_mode { ", with mode" } else { "" };
        format!("{} {etag}{mode}", self.uri)
    }
}

/// What a resource shows of its boot override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// BootSourceOverrideEnabled.
    pub enabled: String,
    /// BootSourceOverrideTarget.
    pub target: String,
    /// BootSourceOverrideMode.
    pub mode: Option<String>,
    /// Targets that are offered; empty where the service does not say.
    pub offered: Vec<String>,
}

impl Override {
    /// Reads the override; `None` where the resource has none at all.
    #[must_use]
    pub fn read(resource: &Value) -> Option<Self> {
        let boot = resource.get("Boot")?;
        let text = |name: &str| boot.get(name).and_then(Value::as_str).map(str::to_owned);
        let target = text("BootSourceOverrideTarget");
        let offered = texts(boot, "BootSourceOverrideTarget@Redfish.AllowableValues");
        if target.is_none() && offered.is_empty() && text("BootSourceOverrideEnabled").is_none() {
            return None;
        }
        Some(Self {
            enabled: text("BootSourceOverrideEnabled").unwrap_or_default(),
            target: target.unwrap_or_default(),
            mode: text("BootSourceOverrideMode"),
            offered,
        })
    }

    /// Whether the next boot goes to `target`. The target alone means nothing:
    /// it may stand there while the override is disabled.
    #[must_use]
    pub fn is_set_to(&self, target: &str) -> bool {
        let is_enabled = self.enabled.eq_ignore_ascii_case("Once");
        is_enabled && self.target.eq_ignore_ascii_case(target)
    }

    fn shown(&self) -> String {
        format!(
            "shows {} {}",
            or_nothing(&self.enabled),
            or_nothing(&self.target)
        )
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// The value of BootSourceOverrideTarget for `target`, in the service's own
/// spelling. Where the service does not say, the usual one.
#[must_use]
pub fn value_for(rules: &BootRules, offered: &[String], target: BootTarget) -> Option<String> {
    let values = rules.targets.get(target.name())?;
    if offered.is_empty() {
        return values.first().cloned();
    }
    values.iter().find_map(|value| {
        offered
            .iter()
            .find(|offer| offer.eq_ignore_ascii_case(value))
            .cloned()
    })
}

/// The resources that take the order in place of the system.
#[must_use]
pub fn settings_uris(system: &System, rules: &BootRules) -> Vec<String> {
    let own = system.uri.trim_end_matches('/');
    let named = system
        .body
        .pointer("/@Redfish.Settings/SettingsObject")
        .and_then(uri);
    let known = rules
        .settings
        .iter()
        .map(|path| path.replace(SYSTEM_PLACEHOLDER, own));
    let mut uris: Vec<String> = Vec::new();
    for uri in named.into_iter().chain(known) {
        if !uris.contains(&uri) {
            uris.push(uri);
        }
    }
    uris
}

/// The ways to try on one resource.
fn attempts(uri: &str, way: BootWay, etag: Option<&str>, with_mode: bool) -> Vec<Attempt> {
    let attempt = |if_match| Attempt {
        uri: uri.to_owned(),
        if_match,
        with_mode,
    };
    let with_etag = || {
        // A weak ETag never matches (RFC 9110 §13.1.1); services that mark
        // theirs weak all the same compare either form.
        let strong = etag.and_then(|etag| etag.trim().strip_prefix("W/"));
        etag.into_iter()
            .chain(strong)
            .map(|etag| attempt(IfMatch::Etag(etag.to_owned())))
    };
    match way {
        BootWay::Etag => with_etag().collect(),
        BootWay::Plain => vec![attempt(IfMatch::None)],
        BootWay::AnyEtag => vec![attempt(IfMatch::Any)],
        BootWay::Settings => with_etag()
            .chain([attempt(IfMatch::None), attempt(IfMatch::Any)])
            .collect(),
    }
}

/// A URI that a service names when it refuses: AMI says where the boot override
/// has moved to.
#[must_use]
pub fn uri_in_refusal(answer: &Answer) -> Option<String> {
    let text = answer.body.to_string();
    let at = text.find("/redfish/v1/Systems/")?;
    let end = text
        .get(at..)?
        .find(|c: char| !c.is_ascii_alphanumeric() && !"/._-".contains(c));
    let uri = text.get(at..end.map_or(text.len(), |end| at + end))?;
    clean_path(uri.trim_end_matches('.')).map(str::to_owned)
}

/// Sets the override and returns when the service shows it.
///
/// # Errors
/// When the service has no such target, or none of the ways was taken; the
/// message says what was tried and what came of it.
pub async fn order(
    client: &mut Client,
    uri: &str,
    target: BootTarget,
    profile: &str,
) -> Result<(), DriverError> {
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
    let mut trial = Trial {
        client,
        rules,
        value,
        system,
        notes: Vec::new(),
        moved_to: None,
    };
    if trial.run(&settings).await? {
        return Ok(());
    }
    let Trial { notes, system, .. } = trial;
    Err(DriverError::Refused {
        command: format!("boot-once {} of {}", target.name(), system.slot()),
        answer: format!("no way was taken; tried {}", notes.join("; ")),
    })
}

/// The trying of one order.
struct Trial<'a> {
    client: &'a mut Client,
    rules: BootRules,
    value: String,
    system: System,
    /// What came of each attempt.
    notes: Vec<String>,
    /// Where the service says that the override has moved.
    moved_to: Option<String>,
}

impl Trial<'_> {
    async fn run(&mut self, settings: &[String]) -> Result<bool, DriverError> {
        let modes: &[bool] = match self.rules.mode {
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
            let mode = shown.unwrap_or_else(|| "UEFI".to_owned());
            if let Some(boot) = boot.as_object_mut() {
                boot.insert("BootSourceOverrideMode".into(), mode.into());
            }
        }
        let answer = self.patch(attempt, json!({ "Boot": boot })).await?;
        if !answer.is_success() {
            self.moved_to = uri_in_refusal(&answer).filter(|uri| {
                super::resources::same_uri(uri) != super::resources::same_uri(&self.system.uri)
            });
            self.note(&attempt.name(), &answer.complaint());
            return Ok(false);
        }
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
                if answer.is_success() && found.is_set_to(&self.value) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_the_services_words() {
        let rules = BootRules::default();
        let offered =
            |list: &[&str]| -> Vec<String> { list.iter().map(|&t| t.to_owned()).collect() };
        for (list, target, expected) in [
            (vec!["None", "PXE", "Hdd"], BootTarget::Pxe, Some("PXE")),
            (vec!["None", "Pxe"], BootTarget::Http, None),
            (vec!["UefiHttp"], BootTarget::Http, Some("UefiHttp")),
            (vec![], BootTarget::Disk, Some("Hdd")),
        ] {
            assert_eq!(
                value_for(&rules, &offered(&list), target).as_deref(),
                expected
            );
        }
    }

    #[test]
    fn a_target_that_is_disabled_is_not_set() {
        for (boot, expected) in [
            (
                json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}),
                true,
            ),
            (
                json!({"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "Pxe"}),
                false,
            ),
            (
                json!({"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Hdd"}),
                false,
            ),
            (json!({"BootSourceOverrideTarget": "Pxe"}), false),
        ] {
            let shown = Override::read(&json!({ "Boot": boot })).unwrap();
            assert_eq!(shown.is_set_to("Pxe"), expected, "{shown:?}");
        }
        // Cray controllers have a boot order and no override.
        assert_eq!(
            Override::read(&json!({"Boot": {"BootOrder": ["Boot0001"]}})),
            None
        );
        assert_eq!(Override::read(&json!({})), None);
    }

    #[test]
    fn etags_are_tried_as_given_and_strong() {
        let tried = attempts(
            "/redfish/v1/Systems/1",
            BootWay::Etag,
            Some("W/\"1\""),
            false,
        );
        let etags: Vec<_> = tried.into_iter().map(|a| a.if_match).collect();
        assert_eq!(
            etags,
            [
                IfMatch::Etag("W/\"1\"".into()),
                IfMatch::Etag("\"1\"".into())
            ]
        );
        assert_eq!(attempts("/x", BootWay::Etag, None, false), []);
    }

    #[test]
    fn settings_resources() {
        let system = System {
            uri: "/redfish/v1/Systems/Self/".into(),
            body: json!({"@Redfish.Settings": {"SettingsObject": {"@odata.id": "/redfish/v1/Systems/Self/SD"}}}),
        };
        let rules = BootRules {
            settings: vec!["{system}/SD".into(), "{system}/Settings".into()],
            ..BootRules::default()
        };
        assert_eq!(
            settings_uris(&system, &rules),
            [
                "/redfish/v1/Systems/Self/SD",
                "/redfish/v1/Systems/Self/Settings"
            ]
        );
    }

    #[test]
    fn a_refusal_may_name_another_place() {
        let answer = |body| Answer {
            status: 400,
            etag: None,
            location: None,
            token: None,
            body,
            oddity: None,
        };
        let moved = answer(json!({"error": {"message":
            "Support of this Operation for Boot Properties is moved to FutureState URI(/redfish/v1/Systems/Self/SD)"}}));
        assert_eq!(
            uri_in_refusal(&moved).as_deref(),
            Some("/redfish/v1/Systems/Self/SD")
        );
        assert_eq!(
            uri_in_refusal(&answer(json!({"error": {"message": "no"}}))),
            None
        );
    }
}
