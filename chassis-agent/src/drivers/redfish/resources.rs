//! Redfish resources -> values, pure and lenient: what is missing, of the wrong
//! type or a placeholder loses that value and nothing else.

use boot_proto::resources::ObservedPower;
use serde_json::Value;

/// A path of this service in the form in which it may be requested: absolute,
/// below `/redfish` or `/rest`, without a fragment, of bounded length. Of a
/// whole URL the path counts alone: some services name themselves by an address
/// of their inner network, and nothing they say may lead to another host. `None`
/// for anything else.
#[must_use]
pub fn clean_path(path: &str) -> Option<&str> {
    const LONGEST: usize = 1024;
    let path = path.trim();
    let path = match path.split_once("://") {
        Some(("http" | "https", rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        _ => path,
    };
    let path = path.split('#').next().unwrap_or_default();
    let lower = path.get(..9).unwrap_or(path).to_ascii_lowercase();
    let is_inside = lower.starts_with("/redfish") || lower.starts_with("/rest");
    let is_plain = path.len() <= LONGEST
        && !path.starts_with("//")
        && !path.contains("/../")
        && !path.contains('\\')
        && path.chars().all(|c| !c.is_control() && !c.is_whitespace());
    (is_inside && is_plain).then_some(path)
}

/// The URI that a link leads to: an object with `@odata.id`, the `href` of
/// iLO 4, or a bare text.
#[must_use]
pub fn uri(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.as_str(),
        Value::Object(object) => object
            .get("@odata.id")
            .or_else(|| object.get("href"))
            .and_then(Value::as_str)?,
        _ => return None,
    };
    clean_path(text).map(str::to_owned)
}

/// The URI of the property `name`.
#[must_use]
pub fn link(resource: &Value, name: &str) -> Option<String> {
    resource.get(name).and_then(uri)
}

/// The URIs of the list `name`.
#[must_use]
pub fn links(resource: &Value, name: &str) -> Vec<String> {
    let list = resource.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(uri).collect()
}

/// One spelling of a URI, to tell whether two are the same: iLO ignores letter
/// case, and trailing slashes come and go.
#[must_use]
pub fn same_uri(path: &str) -> String {
    path.trim_end_matches('/').to_ascii_lowercase()
}

/// The last part of a URI.
#[must_use]
pub fn last_part(path: &str) -> &str {
    path.split('?')
        .next()
        .unwrap_or_default()
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
}

/// A member of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where it is.
    pub uri: String,
    /// The member itself, where the collection came with its members inside.
    pub body: Option<Value>,
}

/// The members of one page of a collection. `Members` may be null, missing, or
/// hold bare texts; iLO 4 has `links.Member`.
#[must_use]
pub fn members(collection: &Value) -> Vec<Member> {
    let list = collection
        .get("Members")
        .or_else(|| {
            collection
                .get("links")
                .and_then(|links| links.get("Member"))
        })
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|entry| {
            let uri = uri(entry)?;
            let is_whole = entry.get("Id").is_some() || entry.get("@odata.type").is_some();
            Some(Member {
                uri,
                body: is_whole.then(|| entry.clone()),
            })
        })
        .collect()
}

/// Where the next page of a collection is.
#[must_use]
pub fn next_page(collection: &Value) -> Option<String> {
    ["Members@odata.nextLink", "@odata.nextLink"]
        .iter()
        .find_map(|name| collection.get(name).and_then(uri))
}

/// What vendors write where they have nothing to say.
const NOTHING: [&str; 20] = [
    "n/a",
    "na",
    "none",
    "null",
    "not available",
    "not applicable",
    "not present",
    "not specified",
    "unknown",
    "unspecified",
    "to be filled by o.e.m.",
    "to be filled by oem",
    "default string",
    "system serial number",
    "system manufacturer",
    "system product name",
    "0123456789",
    "123456789",
    "oem",
    "chassis serial number",
];

/// A text that says something. Numbers count as their digits.
#[must_use]
pub fn text(resource: &Value, name: &str) -> Option<String> {
    let text = match resource.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(256).collect();
    let is_telling = text.chars().any(char::is_alphanumeric)
        && !text.chars().all(|c| c == '0')
        && !text.contains('\u{fffd}')
        && !NOTHING.contains(&text.to_lowercase().as_str());
    is_telling.then_some(text)
}

/// The power state of a system; `Power` is the property of iLO 4.
#[must_use]
pub fn power(system: &Value) -> ObservedPower {
    let word = system
        .get("PowerState")
        .or_else(|| system.get("Power"))
        .and_then(Value::as_str);
    match word.map(str::to_ascii_lowercase).as_deref() {
        // A system on its way down still draws power and may still run.
        Some("on" | "poweringon" | "poweringoff" | "paused") => ObservedPower::On,
        Some("off") => ObservedPower::Off,
        _ => ObservedPower::Unknown,
    }
}

/// Texts of the list `name`.
#[must_use]
pub fn texts(resource: &Value, name: &str) -> Vec<String> {
    let list = resource.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A number that may have been written as text.
#[must_use]
pub fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// What the service root offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Systems collection, where it is named.
    pub systems: Option<String>,
    /// Chassis collection.
    pub chassis: Option<String>,
    /// Managers collection.
    pub managers: Option<String>,
    /// The manager that provides this service.
    pub manager: Option<String>,
    /// Whether collections can be asked for with their members inside.
    pub expands: bool,
}

impl Root {
    /// Reads a service root; null and empty ones are possible.
    #[must_use]
    pub fn read(root: &Value) -> Self {
        let expand = root.pointer("/ProtocolFeaturesSupported/ExpandQuery");
        let says = |name: &str| {
            expand
                .and_then(|expand| expand.get(name))
                .and_then(Value::as_bool)
                == Some(true)
        };
        // iLO 4 has them among its links under /rest/v1.
        let old = root.get("links").unwrap_or(&Value::Null);
        let named = |name: &str| link(root, name).or_else(|| link(old, name));
        Self {
            systems: named("Systems"),
            chassis: named("Chassis"),
            managers: named("Managers"),
            manager: root
                .get("Links")
                .and_then(|l| link(l, "ManagerProvidingService")),
            expands: says("NoLinks") && says("Levels"),
        }
    }

    /// Whether this is a root at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.systems.is_none() && self.chassis.is_none() && self.managers.is_none()
    }
}

/// The MACs in a UEFI device path, which has them as `MAC(aabbccddeeff,0x1)`.
/// Those behind a USB controller belong to the BMC's virtual NIC.
#[must_use]
pub fn device_path_macs(path: &str) -> Vec<String> {
    if path.contains("/USB(") {
        return Vec::new();
    }
    let pieces = path.split("MAC(").skip(1);
    pieces
        .filter_map(|piece| piece.get(..12))
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_stay_inside_the_service() {
        for (path, clean) in [
            ("/redfish/v1/Systems", Some("/redfish/v1/Systems")),
            ("/redfish/v1/Chassis#/x/0", Some("/redfish/v1/Chassis")),
            (" /redfish/v1/ ", Some("/redfish/v1/")),
            ("/rest/v1", Some("/rest/v1")),
            ("http://other/redfish/v1", Some("/redfish/v1")),
            (
                "https://[fe80::1]:443/redfish/v1/Systems/1",
                Some("/redfish/v1/Systems/1"),
            ),
            ("http://other", None),
            ("http://other/admin", None),
            ("ftp://other/redfish/v1", None),
            ("http:///redfish/v1", Some("/redfish/v1")),
            ("//other/redfish/v1", None),
            ("/redfish/../../etc", None),
            ("/admin", None),
            ("redfish/v1", None),
            ("/redfish/v1/a b", None),
            ("", None),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
        assert_eq!(clean_path(&format!("/redfish/{}", "a".repeat(2000))), None);
    }

    #[test]
    fn members_in_every_shape() {
        for (collection, uris) in [
            (
                json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]}),
                vec!["/redfish/v1/Systems/1"],
            ),
            (
                json!({"Members": ["/redfish/v1/Systems/1"]}),
                vec!["/redfish/v1/Systems/1"],
            ),
            (
                json!({"links": {"Member": [{"href": "/rest/v1/Systems/1"}]}}),
                vec!["/rest/v1/Systems/1"],
            ),
            (json!({"Members": null}), vec![]),
            (
                json!({"Members": [null, 3, {}, {"@odata.id": "http://x/"}]}),
                vec![],
            ),
            (json!(null), vec![]),
        ] {
            let found: Vec<String> = members(&collection).into_iter().map(|m| m.uri).collect();
            assert_eq!(found, uris);
        }
        let expanded = json!({"Members": [{"@odata.id": "/redfish/v1/Systems/1", "Id": "1"}]});
        assert!(members(&expanded)[0].body.is_some());
    }

    #[test]
    fn values_that_say_nothing_are_none() {
        let system = json!({"a": " ", "b": "To Be Filled By O.E.M.", "c": "....", "d": 42, "e": null,
            "f": ["x"], "g": " CZ37 ", "h": "00000000", "i": "None"});
        let found: Vec<Option<String>> = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "x"]
            .iter()
            .map(|n| text(&system, n))
            .collect();
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(
            found,
            [
                None,
                None,
                None,
                some("42"),
                None,
                None,
                some("CZ37"),
                None,
                None,
                None
            ]
        );
    }

    #[test]
    fn power_words() {
        for (system, expected) in [
            (json!({"PowerState": "On"}), ObservedPower::On),
            (json!({"PowerState": "off"}), ObservedPower::Off),
            (json!({"PowerState": "PoweringOn"}), ObservedPower::On),
            (json!({"PowerState": "PoweringOff"}), ObservedPower::On),
            (json!({"Power": "Off"}), ObservedPower::Off),
            (json!({"PowerState": null}), ObservedPower::Unknown),
            (json!({"PowerState": 1}), ObservedPower::Unknown),
            (json!({}), ObservedPower::Unknown),
        ] {
            assert_eq!(power(&system), expected, "{system}");
        }
    }

    #[test]
    fn macs_in_device_paths() {
        for (path, macs) in [
            (
                "PciRoot(0x2)/Pci(0x0,0x0)/MAC(F40343A83380,0x1)/IPv4(0.0.0.0)",
                vec!["F40343A83380"],
            ),
            (
                "PciRoot(0x2)/USB(0x2,0x1)/MAC(26C76DDAE824,0x0)/IPv4(0.0.0.0)",
                vec![],
            ),
            ("NVMe(0x1,60-33-01-21-9A-38-25-00)", vec![]),
            ("MAC(F403", vec![]),
            ("MAC(ééééééé)", vec![]),
        ] {
            assert_eq!(device_path_macs(path), macs, "{path}");
        }
    }
}
