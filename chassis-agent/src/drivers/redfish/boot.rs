//! One-time boot orders: which ways there are, and whether a service shows what
//! was set. A 200 proves nothing: some firmware takes the order and stores
//! something else. Pure; the trying is `trial`.

mod trial;

use boot_proto::redfish_rules::{BootRules, BootWay, SYSTEM_PLACEHOLDER};
use serde_json::Value;

use super::answer::Answer;
use super::client::IfMatch;
use super::resources::{clean_path, texts, uri};
use super::walk::System;
use crate::drivers::BootTarget;

pub use trial::order;

/// What a host is to do at its next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Where it boots from.
    pub target: BootTarget,
    /// In which mode.
    pub mode: ModeWish,
}

/// Boot mode of the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeWish {
    /// Whatever it is in.
    AsItIs,
    /// BIOS where it is UEFI, and the other way round.
    TheOther,
}

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
    /// Modes that are offered; empty where the service does not say.
    pub modes: Vec<String>,
}

impl Override {
    /// Reads the override; `None` where the resource has none at all.
    #[must_use]
    pub fn read(resource: &Value) -> Option<Self> {
        let boot = resource.get("Boot")?;
        let text = |name: &str| boot.get(name).and_then(Value::as_str).map(str::to_owned);
        let target = text("BootSourceOverrideTarget");
        // iLO 4 has the older name for it.
        let offered = [
            "BootSourceOverrideTarget@Redfish.AllowableValues",
            "BootSourceOverrideSupported",
        ]
        .iter()
        .map(|name| texts(boot, name))
        .find(|offered| !offered.is_empty())
        .unwrap_or_default();
        if target.is_none() && offered.is_empty() && text("BootSourceOverrideEnabled").is_none() {
            return None;
        }
        Some(Self {
            enabled: text("BootSourceOverrideEnabled").unwrap_or_default(),
            target: target.unwrap_or_default(),
            mode: text("BootSourceOverrideMode"),
            offered,
            modes: texts(boot, "BootSourceOverrideMode@Redfish.AllowableValues"),
        })
    }

    /// The mode that it is not in, in the service's own spelling; `None` where
    /// the service has no other one. A system that hides its mode boots by UEFI,
    /// as all do that are new enough to have Redfish and no BIOS mode.
    #[must_use]
    pub fn other_mode(&self) -> Option<String> {
        let is_legacy = self
            .mode
            .as_deref()
            .is_some_and(|mode| mode.eq_ignore_ascii_case("Legacy"));
        let other = if is_legacy { "UEFI" } else { "Legacy" };
        if self.modes.is_empty() {
            // Without any word of a mode there is none to change.
            return self.mode.as_ref().map(|_| other.to_owned());
        }
        self.modes
            .iter()
            .find(|mode| mode.eq_ignore_ascii_case(other))
            .cloned()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn the_other_boot_mode() {
        for (boot, expected) in [
            (
                json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "UEFI"}),
                Some("Legacy"),
            ),
            (
                json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "Legacy"}),
                Some("UEFI"),
            ),
            (json!({"BootSourceOverrideTarget": "Pxe"}), None),
            (
                json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideMode@Redfish.AllowableValues": ["UEFI"]}),
                None,
            ),
            (
                json!({"BootSourceOverrideTarget": "Pxe",
                "BootSourceOverrideMode@Redfish.AllowableValues": ["LEGACY", "UEFI"]}),
                Some("LEGACY"),
            ),
        ] {
            let shown = Override::read(&json!({ "Boot": boot })).unwrap();
            assert_eq!(shown.other_mode().as_deref(), expected, "{shown:?}");
        }
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
