//! The `redfish` section of a hardware profile: how a Redfish service is
//! recognised, logged in to, walked and told what to do. Every field has a
//! default that suits a service that follows the standard.

mod check;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::MacAddr;
use crate::quantity::{ByteSize, Span};

/// What the `redfish` driver needs to know of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RedfishRules {
    /// How `auto` knows the service. Of all profiles with a rule that fits,
    /// the one whose rule names most properties is taken.
    pub recognise: Vec<ServiceRule>,
    /// How to log in.
    pub login: LoginWay,
    /// How to speak HTTP with it.
    pub http: HttpRules,
    /// When collections are asked for with their members inside.
    pub expand: Expand,
    /// Where MACs are, and which are none of the host.
    pub macs: MacRules,
    /// Systems that are no hosts: all properties of one entry fit.
    pub not_hosts: Vec<Properties>,
    /// Power orders.
    pub power: PowerRules,
    /// One-time boot orders.
    pub boot: BootRules,
    /// Bounds on one visit.
    pub limits: ServiceLimits,
}

impl Default for RedfishRules {
    fn default() -> Self {
        Self {
            recognise: Vec::new(),
            login: LoginWay::default(),
            http: HttpRules::default(),
            expand: Expand::default(),
            macs: MacRules::default(),
            // The baseboard of a GPU complex, listed beside the host it is in.
            not_hosts: vec![Properties::from([(
                "Id".to_owned(),
                vec!["HGX_*".to_owned()],
            )])],
            power: PowerRules::default(),
            boot: BootRules::default(),
            limits: ServiceLimits::default(),
        }
    }
}

/// Properties of a resource and the texts they may have. A name such as
/// `Oem/Hpe` goes down into objects. `*` in a text stands for anything, letter
/// case does not matter, and an empty list means that the property is absent,
/// null or empty.
pub type Properties = BTreeMap<String, Vec<String>>;

/// One way to know a service; all its properties must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ServiceRule {
    /// Of the service root, which every visit reads first.
    pub root: Properties,
    /// Of the first system.
    pub system: Properties,
    /// Of the manager that provides the service.
    pub manager: Properties,
}

impl ServiceRule {
    /// How many properties it names: the rule that names more knows better.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.root.len() + self.system.len() + self.manager.len()
    }
}

/// Whether every property of `resource` is as asked for.
#[must_use]
pub fn fits(properties: &Properties, resource: &Value) -> bool {
    properties
        .iter()
        .all(|(name, texts)| property_fits(resource, name, texts))
}

fn property_fits(resource: &Value, name: &str, texts: &[String]) -> bool {
    let value = name
        .split('/')
        .try_fold(resource, |value, part| value.get(part));
    let text = match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => Some(text.trim().to_owned()),
        Some(Value::Object(object)) => (!object.is_empty()).then(String::new),
        Some(Value::Array(array)) => (!array.is_empty()).then(String::new),
        Some(other) => Some(other.to_string()),
    };
    match text {
        None => texts.is_empty(),
        Some(text) => texts.iter().any(|pattern| matches_pattern(pattern, &text)),
    }
}

/// Whether `text` has the form of `pattern`, in which `*` stands for any text.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else {
            return false;
        };
        left = left.get(at + part.len()..).unwrap_or_default();
    }
    true
}

/// How to log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LoginWay {
    /// One session, kept, renewed when it has run out, deleted at the end.
    #[default]
    Session,
    /// User name and password with every request.
    Basic,
}

/// How to speak HTTP with the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct HttpRules {
    /// Whether a connection is used again. Many BMCs break kept connections.
    pub keep_alive: bool,
    /// For the connection and the TLS handshake.
    pub connect: Span,
    /// For one request and its whole answer.
    pub request: Span,
    /// How often a GET that failed with 5xx or a broken connection is sent again.
    pub retries: u32,
    /// Before the first of these; doubled for each further one.
    pub pause: Span,
    /// How long no login is tried after the service had no session left;
    /// doubled each time, sixteen times this at most.
    pub full: Span,
}

impl Default for HttpRules {
    fn default() -> Self {
        Self {
            keep_alive: true,
            connect: Span(10),
            request: Span(30),
            retries: 2,
            pause: Span(1),
            full: Span(60),
        }
    }
}

/// When collections are asked for with their members inside (`$expand`, DSP0266
/// §7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Expand {
    /// Never: what comes back is incomplete or wrong.
    Never,
    /// Where the service root says that it can.
    #[default]
    Offered,
}

/// Where MACs are, and which are none of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct MacRules {
    /// BIOS attributes whose value is a MAC, `*` standing for any text; without
    /// one the BIOS attributes are not read.
    pub bios_attributes: Vec<String>,
    /// Interfaces between host and BMC: properties of EthernetInterfaces.
    pub not_host: Vec<Properties>,
    /// Keep locally administered MACs. Right for virtual machines only: on
    /// hardware these belong to interfaces between host and BMC, and one vendor
    /// gives all its machines the same.
    pub keep_local: bool,
    /// MACs that a maker gives to all its machines, and that tell none of them.
    pub placeholders: Vec<MacAddr>,
}

impl Default for MacRules {
    fn default() -> Self {
        let rule =
            |name: &str, text: &str| Properties::from([(name.to_owned(), vec![text.to_owned()])]);
        Self {
            bios_attributes: Vec::new(),
            not_host: vec![
                rule("Id", "ToManager"),
                rule("Name", "*Manager Ethernet Interface*"),
                rule("Description", "Host Network Interface"),
                rule("Links/HostInterface", "*"),
            ],
            keep_local: false,
            // BlueField: the two ends of the link between it and its host.
            placeholders: [1, 2]
                .map(|end| MacAddr::new([0x00, 0x1a, 0xca, 0xff, 0xff, end]))
                .to_vec(),
        }
    }
}

/// Power orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PowerRules {
    /// Reset types that power on; the first that the service offers is sent.
    pub on: Vec<String>,
    /// Reset types that ask the operating system to shut down.
    pub off: Vec<String>,
    /// Reset types that cut the power.
    pub force_off: Vec<String>,
    /// Reset types that restart a machine that is on, by cutting its power.
    pub cycle: Vec<String>,
    /// Reset types that restart a machine that is on, by its reset line.
    pub reset: Vec<String>,
    /// Texts in the answer to an order that mean "not yet", in any letter case.
    pub not_ready: Vec<String>,
    /// How often such an order is sent again.
    pub retries: u32,
    /// Before each of these.
    pub pause: Span,
    /// Until a machine shows the state that was ordered, on and forced off.
    pub settle: Span,
    /// Until a machine that was asked to shut down is off.
    pub shutdown: Span,
    /// Between two looks while waiting for a state.
    pub poll: Span,
}

impl Default for PowerRules {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self {
            on: words(&["On", "ForceOn"]),
            off: words(&["GracefulShutdown", "Off", "PushPowerButton"]),
            force_off: words(&["ForceOff", "Off"]),
            cycle: words(&["PowerCycle", "ForceRestart"]),
            reset: words(&["ForceRestart", "PowerCycle"]),
            not_ready: words(&[
                "InvalidOperationForSystemState",
                "UnableToModifyDuringSystemPOST",
                "ResourceInUse",
                "ServiceTemporarilyUnavailable",
                "ResourceInStandby",
                "NotReady",
                "not ready",
            ]),
            retries: 6,
            pause: Span(5),
            settle: Span(60),
            shutdown: Span(300),
            poll: Span(5),
        }
    }
}

/// One-time boot orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct BootRules {
    /// Targets of the override, by `pxe`, `http` and `disk`; the first that the
    /// service offers is set.
    pub targets: BTreeMap<String, Vec<String>>,
    /// Which ways are tried, in this order, until the service shows what was set.
    pub ways: Vec<BootWay>,
    /// Resources that take the order in place of the system, beside the one
    /// that the system names; `{system}` stands for the system's URI.
    pub settings: Vec<String>,
    /// Whether BootSourceOverrideMode is sent along.
    pub mode: BootMode,
    /// How often the order is read back before it counts as not taken.
    pub looks: u32,
    /// Between two of these.
    pub pause: Span,
}

impl Default for BootRules {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self {
            targets: BTreeMap::from([
                ("pxe".to_owned(), words(&["Pxe"])),
                ("http".to_owned(), words(&["UefiHttp"])),
                ("disk".to_owned(), words(&["Hdd"])),
            ]),
            ways: vec![
                BootWay::Etag,
                BootWay::Plain,
                BootWay::AnyEtag,
                BootWay::Settings,
            ],
            settings: Vec::new(),
            mode: BootMode::Fallback,
            looks: 3,
            pause: Span(1),
        }
    }
}

/// A way to set the boot override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BootWay {
    /// PATCH the system with its ETag in If-Match.
    Etag,
    /// PATCH the system without If-Match.
    Plain,
    /// PATCH the system with `If-Match: *`.
    AnyEtag,
    /// PATCH the settings resource.
    Settings,
}

/// Whether BootSourceOverrideMode is sent along with the override.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// Never: the property is read-only.
    Never,
    /// Always, with the value that the system shows.
    Always,
    /// When the order was not taken without it.
    #[default]
    Fallback,
}

/// Bounds on one visit, so that a broken service costs little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ServiceLimits {
    /// Bytes of one answer.
    pub body: ByteSize,
    /// Requests of one scan.
    pub requests: u32,
    /// Members of one collection.
    pub members: u32,
    /// Systems of one service.
    pub systems: u32,
    /// For one whole scan.
    pub scan: Span,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            body: ByteSize(8 << 20),
            requests: 400,
            members: 256,
            systems: 64,
            scan: Span(600),
        }
    }
}

/// The text that stands for a system's URI.
pub const SYSTEM_PLACEHOLDER: &str = "{system}";

#[cfg(test)]
mod tests;
