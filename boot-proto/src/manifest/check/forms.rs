//! Forms of values that several kinds have.

use std::collections::BTreeMap;

use super::{Notes, Read};
use crate::manifest::node::path;

/// `host:port`, `[v6]:port` or, where `port` says that it may be left out, `host`.
pub(super) fn is_host_port(text: &str, needs_port: bool) -> bool {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, rest)) = rest.split_once(']') else {
            return false;
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match rest.strip_prefix(':') {
            Some(port) => ("v6", Some(port)),
            None if rest.is_empty() => ("v6", None),
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let is_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    crate::ids::name_mistake(&host.to_ascii_lowercase()).is_none()
        && port.map_or(!needs_port, is_port)
}

/// An absolute path without `..`, `.` and empty parts.
pub(super) fn is_absolute_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    let parts_are_plain = rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    parts_are_plain && path.len() <= 4095 && !path.chars().any(char::is_control)
}

/// Three or four octal digits.
pub(super) fn is_mode(mode: &str) -> bool {
    matches!(mode.len(), 3 | 4) && mode.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

/// A name that the kernel takes for an interface (`dev_valid_name`).
pub(super) fn is_interface(name: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && c != '/' && c != ':' && !c.is_control();
    (1..=15).contains(&name.len()) && name.chars().all(is_plain) && name != "." && name != ".."
}

/// Base64 in the standard alphabet, with or without padding.
pub(super) fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    !digits.is_empty()
        && text.len() - digits.len() <= 2
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// `sha256:` and 64 hex digits.
pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// DHCP options that stand in `spec.dhcpOptions`: a number, or a name in lower case.
pub(super) fn check_dhcp_options<S>(
    notes: &mut Notes,
    read: Read<'_, S>,
    options: &BTreeMap<String, String>,
) {
    for (key, value) in options {
        let path = path!["spec", "dhcpOptions", key];
        let is_number = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        let is_name = key
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && key.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let is_known = if is_number {
            key.parse::<u8>()
                .is_ok_and(|code| (1..=254).contains(&code))
        } else {
            is_name
        };
        if !is_known {
            notes.add_key(
                read,
                &path,
                format!("{key:?} is no DHCP option"),
                "write its number from 1 to 254, or its name such as ntp-servers",
            );
        }
        // The DHCP server decides these for each machine (RFC 2131 §3, §4.3).
        if is_number && matches!(key.parse::<u8>(), Ok(50..=55 | 57 | 58 | 59 | 61 | 82 | 97)) {
            notes.add_key(
                read,
                &path,
                format!("DHCP option {key} belongs to the protocol"),
                "leave it out",
            );
        }
        if value.len() > 1024 {
            notes.add(
                read,
                &path,
                format!("the value of DHCP option {key} is too long"),
                "",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for text in ["10.0.0.1:6443", "api.example.com:6443", "[fd00::1]:6443"] {
            assert!(is_host_port(text, true), "{text}");
        }
        for text in [
            "10.0.0.1",
            "https://a:6443",
            "a:0",
            "a:70000",
            "a:+1",
            ":6443",
            "fd00::1:6443",
            "[x]:1",
            "a b:1",
            "",
        ] {
            assert!(!is_host_port(text, true), "{text}");
        }
        assert!(is_host_port("m1.example.com", false));
        assert!(is_host_port("[fd00::1]", false));
    }

    #[test]
    fn paths_modes_and_interfaces() {
        for path in ["/etc/motd", "/a"] {
            assert!(is_absolute_path(path), "{path}");
        }
        for path in [
            "",
            "/",
            "etc",
            "/etc/../a",
            "/a//b",
            "/a/",
            "/a/./b",
            "/a\n",
        ] {
            assert!(!is_absolute_path(path), "{path}");
        }
        assert!(
            is_mode("0644")
                && is_mode("755")
                && !is_mode("0888")
                && !is_mode("64")
                && !is_mode("rw-")
        );
        assert!(
            is_interface("enp3s0.100")
                && !is_interface("a/b")
                && !is_interface("0123456789abcdef")
                && !is_interface("")
        );
    }
}
