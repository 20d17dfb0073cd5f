//! DHCP options that operators declare by number or name, with their values as
//! text (`dhcpOptions` of Subnet and Profile).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use boot_proto::dhcp::code;
use ipnet::Ipv4Net;

/// How the text of an option becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Addresses,
    Text,
    Number8,
    Number16,
    Number32,
    Bytes,
    Flag,
    Domains,
    Routes,
}

/// Options by code with the names of RFC 2132's headings as ISC and Kea write
/// them, and what dnsmasq calls them.
#[rustfmt::skip]
const OPTIONS: [(u8, Form, &[&str]); 41] = [
    (code::SUBNET_MASK, Form::Addresses, &["subnet-mask", "netmask"]),
    (2, Form::Number32, &["time-offset"]),
    (code::ROUTER, Form::Addresses, &["routers", "router"]),
    (4, Form::Addresses, &["time-servers"]),
    (code::DNS, Form::Addresses, &["domain-name-servers", "dns-server"]),
    (7, Form::Addresses, &["log-servers", "log-server"]),
    (9, Form::Addresses, &["lpr-servers", "lpr-server"]),
    (code::HOSTNAME, Form::Text, &["host-name", "hostname"]),
    (13, Form::Number16, &["boot-size", "boot-file-size"]),
    (code::DOMAIN, Form::Text, &["domain-name"]),
    (16, Form::Addresses, &["swap-server"]),
    (17, Form::Text, &["root-path"]),
    (18, Form::Text, &["extensions-path", "extension-path"]),
    (19, Form::Flag, &["ip-forwarding", "ip-forward-enable"]),
    (22, Form::Number16, &["max-dgram-reassembly", "max-datagram-reassembly"]),
    (23, Form::Number8, &["default-ip-ttl", "default-ttl"]),
    (code::MTU, Form::Number16, &["interface-mtu", "mtu"]),
    (27, Form::Flag, &["all-subnets-local"]),
    (code::BROADCAST, Form::Addresses, &["broadcast-address", "broadcast"]),
    (31, Form::Flag, &["router-discovery"]),
    (35, Form::Number32, &["arp-cache-timeout", "arp-timeout"]),
    (37, Form::Number8, &["default-tcp-ttl", "tcp-ttl"]),
    (38, Form::Number32, &["tcp-keepalive-interval", "tcp-keepalive"]),
    (40, Form::Text, &["nis-domain"]),
    (41, Form::Addresses, &["nis-servers", "nis-server"]),
    (code::NTP, Form::Addresses, &["ntp-servers", "ntp-server"]),
    (code::VENDOR, Form::Bytes, &["vendor-encapsulated-options", "vendor-encap"]),
    (44, Form::Addresses, &["netbios-name-servers", "netbios-ns"]),
    (46, Form::Number8, &["netbios-node-type", "netbios-nodetype"]),
    (code::TFTP_SERVER, Form::Text, &["tftp-server-name", "tftp-server"]),
    (code::BOOT_FILE, Form::Text, &["boot-file-name", "bootfile-name"]),
    (69, Form::Addresses, &["smtp-server"]),
    (70, Form::Addresses, &["pop-server", "pop3-server"]),
    (100, Form::Text, &["pcode", "posix-timezone"]),
    (101, Form::Text, &["tcode", "tzdb-timezone"]),
    (114, Form::Text, &["v4-captive-portal", "captive-portal"]),
    (code::DOMAIN_SEARCH, Form::Domains, &["domain-search"]),
    (code::CLASSLESS_ROUTES, Form::Routes, &["classless-static-routes", "classless-static-route"]),
    (150, Form::Addresses, &["tftp-server-address"]),
    (209, Form::Text, &["pxelinux-config-file", "config-file"]),
    (210, Form::Text, &["pxelinux-path-prefix", "path-prefix"]),
];

/// Options that the protocol itself decides.
const NOT_YOURS: [u8; 15] = [
    0,
    code::REQUESTED_ADDRESS,
    code::LEASE_TIME,
    code::OVERLOAD,
    code::MESSAGE_TYPE,
    code::SERVER_ID,
    code::PARAMETER_LIST,
    code::MESSAGE,
    code::MAX_MESSAGE_SIZE,
    code::RENEWAL_T1,
    code::REBINDING_T2,
    code::CLIENT_ID,
    code::RELAY_AGENT,
    code::CLIENT_UUID,
    255,
];

/// Longest value that is sent; more does not fit into any client's message.
const MAX_VALUE_BYTES: usize = 1024;

/// Why an option cannot be sent as it is declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionMistake {
    /// No such name, no such number.
    #[error("{0:?} is neither the name nor the number (1 to 254) of a DHCP option")]
    Unknown(String),
    /// An option that is part of the exchange itself.
    #[error("DHCP option {0} is set by the server itself and cannot be declared")]
    Protocol(u8),
    /// The value does not have the option's form.
    #[error("the value {value:?} of DHCP option {name} is not {expected}")]
    Value {
        /// Option as it is declared.
        name: String,
        /// Value as it is declared.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Reads one declared option into code and bytes.
///
/// # Errors
/// When there is no such option, or the value does not have its form.
pub fn encode(name: &str, value: &str) -> Result<(u8, Vec<u8>), OptionMistake> {
    let (code, form) = lookup(name).ok_or_else(|| OptionMistake::Unknown(name.to_owned()))?;
    if NOT_YOURS.contains(&code) {
        return Err(OptionMistake::Protocol(code));
    }
    let mistake = |expected| OptionMistake::Value {
        name: name.to_owned(),
        value: value.chars().take(80).collect(),
        expected,
    };
    let (bytes, expected) = match form {
        // A number without a known form: bytes, addresses or text, by their look.
        None => (
            hexadecimal(value)
                .or_else(|| addresses(value))
                .or_else(|| text(value)),
            "a value",
        ),
        Some(form) => (
            form.encode(value).or_else(|| hexadecimal(value)),
            form.expected(),
        ),
    };
    let bytes = bytes.ok_or_else(|| mistake(expected))?;
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(mistake("short enough for a DHCP message"));
    }
    Ok((code, bytes))
}

/// Reads all declared options of one resource into code and bytes. Options
/// named `43.6` are sub-options of 43, put together in the order of their
/// numbers; what cannot be read is given to `mistake` and left out.
pub fn encode_all<'a>(
    options: impl IntoIterator<Item = (&'a String, &'a String)>,
    mut mistake: impl FnMut(OptionMistake),
) -> BTreeMap<u8, Vec<u8>> {
    let mut encoded: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let mut inner: BTreeMap<(u8, u8), Vec<u8>> = BTreeMap::new();
    for (name, value) in options {
        let read = match name.split_once('.') {
            Some((outer, sub)) => encode_inner(name, outer, sub, value)
                .map(|(at, bytes)| drop(inner.insert(at, bytes))),
            None => encode(name, value).map(|(code, bytes)| drop(encoded.insert(code, bytes))),
        };
        if let Err(error) = read {
            mistake(error);
        }
    }
    for ((outer, code), bytes) in inner {
        let option = encoded.entry(outer).or_default();
        option.push(code);
        option.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        option.extend(bytes);
    }
    encoded
}

fn encode_inner(
    name: &str,
    outer: &str,
    sub: &str,
    value: &str,
) -> Result<((u8, u8), Vec<u8>), OptionMistake> {
    let unknown = || OptionMistake::Unknown(name.to_owned());
    let (outer, _) = lookup(outer).ok_or_else(unknown)?;
    if NOT_YOURS.contains(&outer) {
        return Err(OptionMistake::Protocol(outer));
    }
    let sub = sub.parse().map_err(|_| unknown())?;
    let bytes = hexadecimal(value)
        .or_else(|| addresses(value))
        .or_else(|| text(value))
        .filter(|bytes| bytes.len() <= 255);
    let bytes = bytes.ok_or_else(|| OptionMistake::Value {
        name: name.to_owned(),
        value: value.chars().take(80).collect(),
        expected: "a value of at most 255 bytes",
    })?;
    Ok(((outer, sub), bytes))
}

/// The code of an option by its name or number.
#[must_use]
pub fn code_of(name: &str) -> Option<u8> {
    let outer = name.split_once('.').map_or(name, |(outer, _)| outer);
    lookup(outer).map(|(code, _)| code)
}

/// The name of an option.
#[must_use]
pub fn name_of(code: u8) -> Option<&'static str> {
    let (_, _, names) = OPTIONS.iter().find(|(known, ..)| *known == code)?;
    names.first().copied()
}

fn lookup(name: &str) -> Option<(u8, Option<Form>)> {
    let name = name.trim();
    let name = name.strip_prefix("option:").unwrap_or(name);
    if let Ok(code) = name.parse::<u8>() {
        let form = OPTIONS
            .iter()
            .find(|(known, ..)| *known == code)
            .map(|(_, form, _)| *form);
        return Some((code, form));
    }
    let lower = name.to_ascii_lowercase().replace('_', "-");
    let named = OPTIONS
        .iter()
        .find(|(_, _, names)| names.contains(&lower.as_str()))?;
    Some((named.0, Some(named.1)))
}

impl Form {
    fn encode(self, value: &str) -> Option<Vec<u8>> {
        match self {
            Self::Addresses => addresses(value),
            Self::Text => text(value),
            Self::Bytes => hexadecimal(value),
            Self::Number8 => value.trim().parse::<u8>().ok().map(|n| vec![n]),
            Self::Number16 => value
                .trim()
                .parse::<u16>()
                .ok()
                .map(|n| n.to_be_bytes().to_vec()),
            // Time offsets may be negative; both spellings have the same bits.
            Self::Number32 => {
                let number = value.trim().parse::<i64>().ok()?;
                let bits = u32::try_from(number).ok();
                let signed = || i32::try_from(number).ok().map(i32::to_be_bytes);
                bits.map(u32::to_be_bytes).or_else(signed).map(Vec::from)
            }
            Self::Flag => match value.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(vec![1]),
                "false" | "no" | "off" | "0" => Some(vec![0]),
                _ => None,
            },
            Self::Domains => {
                let names: Vec<String> = items(value).map(str::to_owned).collect();
                domains(&names)
            }
            Self::Routes => routes(value),
        }
    }

    const fn expected(self) -> &'static str {
        match self {
            Self::Addresses => "one or more IPv4 addresses with commas between them",
            Self::Text => "a text",
            Self::Bytes => {
                "bytes such as 0x0601 or 06:01; sub-options are declared one by one as 43.6"
            }
            Self::Number8 => "a number from 0 to 255",
            Self::Number16 => "a number from 0 to 65535",
            Self::Number32 => "a 32-bit number",
            Self::Flag => "true or false",
            Self::Domains => "one or more domain names with commas between them",
            Self::Routes => {
                "one or more routes such as 10.0.0.0/8=10.1.0.1 with commas between them"
            }
        }
    }
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ']).filter(|item| !item.is_empty())
}

fn addresses(value: &str) -> Option<Vec<u8>> {
    let list: Vec<Ipv4Addr> = items(value)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    (!list.is_empty()).then(|| list.iter().flat_map(Ipv4Addr::octets).collect())
}

fn text(value: &str) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.as_bytes().to_vec())
}

/// `0x1aff` or `1a:ff`.
fn hexadecimal(value: &str) -> Option<Vec<u8>> {
    let value = value.trim();
    let digits = match value.strip_prefix("0x") {
        Some(digits) => digits.to_owned(),
        None if value.contains(':') && value.split(':').all(|byte| byte.len() == 2) => {
            value.replace(':', "")
        }
        None => return None,
    };
    hex::decode(digits).ok().filter(|bytes| !bytes.is_empty())
}

/// RFC 3442: prefix length, the octets of the destination that matter, router.
fn routes(value: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for item in items(value) {
        let (destination, router) = item.split_once('=')?;
        let destination: Ipv4Net = destination.parse().ok()?;
        let router: Ipv4Addr = router.parse().ok()?;
        let octets = destination.network().octets();
        bytes.push(destination.prefix_len());
        bytes.extend(
            octets
                .iter()
                .take(usize::from(destination.prefix_len().div_ceil(8))),
        );
        bytes.extend(router.octets());
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// Domain names in DNS wire form without compression (RFC 3397 §2 allows it to
/// be left out), or `None` where one is no name.
#[must_use]
pub fn domains(names: &[String]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for name in names {
        for label in name.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len())
                .ok()
                .filter(|length| (1..=63).contains(length))?;
            bytes.push(length);
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_by_name_and_number() {
        for (name, value, code, bytes) in [
            (
                "ntp-servers",
                "10.0.0.1, 10.0.0.2",
                42,
                &[10, 0, 0, 1, 10, 0, 0, 2][..],
            ),
            ("42", "10.0.0.1", 42, &[10, 0, 0, 1]),
            ("option:ntp-server", "10.0.0.1", 42, &[10, 0, 0, 1]),
            ("mtu", "9000", 26, &[0x23, 0x28]),
            ("time-offset", "-3600", 2, &[0xff, 0xff, 0xf1, 0xf0]),
            ("ip-forwarding", "yes", 19, &[1]),
            ("domain-search", "a.bc,d", 119, b"\x01a\x02bc\x00\x01d\x00"),
            (
                "121",
                "10.0.0.0/8=10.1.0.1, 0.0.0.0/0=10.1.0.2",
                121,
                &[8, 10, 10, 1, 0, 1, 0, 10, 1, 0, 2],
            ),
            ("43", "0x010203", 43, &[1, 2, 3]),
            ("224", "de:ad", 224, &[0xde, 0xad]),
            ("225", "10.0.0.1", 225, &[10, 0, 0, 1]),
            ("226", "free text", 226, b"free text"),
            ("Root_Path", "10.0.0.1:/srv", 17, b"10.0.0.1:/srv"),
        ] {
            assert_eq!(
                encode(name, value),
                Ok((code, bytes.to_vec())),
                "{name} {value}"
            );
        }
    }

    #[test]
    fn sub_options_are_put_together() {
        let declared: BTreeMap<String, String> = [
            ("43.10", "text"),
            ("43.6", "0x08"),
            ("vendor-encapsulated-options.71", "10.0.0.1"),
            ("54.1", "x"),
            ("43.x", "x"),
            ("mtu", "9000"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut mistakes = Vec::new();
        let encoded = encode_all(&declared, |mistake| mistakes.push(mistake));
        let vendor = [&[6, 1, 8, 10, 4][..], b"text", &[71, 4, 10, 0, 0, 1]].concat();
        assert_eq!(encoded, [(26, vec![0x23, 0x28]), (43, vendor)].into());
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn mistakes_are_named() {
        let value = |name, value| matches!(encode(name, value), Err(OptionMistake::Value { .. }));
        assert!(value("ntp-servers", "ntp.example"));
        assert!(value("mtu", "70000"));
        assert!(value("224", ""));
        assert!(value("121", "10.0.0.0/8"));
        assert!(value("226", &"x".repeat(2000)));
        assert_eq!(
            encode("nonsense", "1"),
            Err(OptionMistake::Unknown("nonsense".into()))
        );
        assert_eq!(
            encode("300", "1"),
            Err(OptionMistake::Unknown("300".into()))
        );
        assert_eq!(encode("54", "10.0.0.1"), Err(OptionMistake::Protocol(54)));
        assert_eq!(encode("0", "1"), Err(OptionMistake::Protocol(0)));
    }

    #[test]
    fn names_and_codes_are_given_once() {
        let names: Vec<&str> = OPTIONS
            .iter()
            .flat_map(|(_, _, names)| names.iter().copied())
            .collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[at + 1..].contains(name), "{name}");
        }
        for (at, (code, ..)) in OPTIONS.iter().enumerate() {
            assert!(
                OPTIONS[at + 1..].iter().all(|(other, ..)| other != code),
                "{code}"
            );
        }
    }
}
