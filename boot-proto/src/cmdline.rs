//! Our keys on the kernel command line, read and written in one place.
//!
//! `BOOTIF=` and `ip=` keep the meaning they have elsewhere (PXELINUX's
//! `IPAPPEND 2`; kernel document admin-guide/nfs/nfsroot).

pub mod network;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::ids::MacAddr;
use crate::resources::{NetworkSpec, OnFailure, RecoverySpec};

/// What the kernel command line tells the node agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootArguments {
    /// `moonfarm.server=URL`: boot-server's boot face, such as `http://10.0.0.1:8080`.
    pub server: Option<String>,
    /// `moonfarm.tls-port=PORT`: where that server speaks TLS, for an agent whose
    /// initramfs pins a CA; another passes over it.
    pub tls_port: Option<u16>,
    /// `moonfarm.machine=NAME`: the name boot-server knows this machine by.
    pub machine: Option<String>,
    /// `moonfarm.debug`: offer a shell, where the initramfs carries one, when a boot fails.
    pub debug: bool,
    /// `BOOTIF=01-aa-bb-cc-dd-ee-ff`: the NIC that the firmware booted from.
    pub boot_interface: Option<MacAddr>,
    /// `ip=`: a static address, or DHCP.
    pub ip: Option<IpArgument>,
    /// `moonfarm.link=`, `.bond=`, `.vlan=`, `.boot=`: what the boot goes over
    /// (see [`network`]).
    pub network: NetworkSpec,
    /// `moonfarm.on-failure=restart|wait`, `moonfarm.longest-pause=SECONDS`,
    /// `moonfarm.watchdog=SECONDS`: what happens when the boot fails.
    pub recovery: RecoverySpec,
    /// `moonfarm.failures=COUNT`: how often this machine's boots have failed in
    /// a row, as boot-server counts them.
    pub failures: u32,
    /// `moonfarm.drill=PHASE`: fail in this phase as by a mistake in the agent
    /// itself, to see what then happens to the machine.
    pub drill: Option<String>,
}

/// The value of `ip=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpArgument {
    /// `ip=dhcp`, `ip=on`, `ip=any`: ask by DHCP.
    Dhcp,
    /// `ip=ADDRESS::GATEWAY:NETMASK:HOSTNAME:DEVICE:off`.
    Static {
        /// The machine's own address.
        address: Ipv4Addr,
        /// Length of the network prefix in bits.
        prefix: u8,
        /// The default gateway.
        gateway: Option<Ipv4Addr>,
    },
}

impl BootArguments {
    /// Reads `/proc/cmdline`'s text. What is not ours, or cannot be read, is
    /// passed over: a typing error in one argument must not stop a boot.
    #[must_use]
    pub fn parse(cmdline: &str) -> Self {
        let mut arguments = Self::default();
        for word in cmdline.split_ascii_whitespace() {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "moonfarm.server" if !value.is_empty() => {
                    arguments.server = Some(value.trim_end_matches('/').to_owned());
                }
                "moonfarm.tls-port" => arguments.tls_port = value.parse().ok(),
                "moonfarm.machine" if !value.is_empty() => {
                    arguments.machine = Some(value.to_owned());
                }
                "moonfarm.debug" => arguments.debug = !matches!(value, "0" | "false" | "no"),
                "BOOTIF" => arguments.boot_interface = parse_bootif(value),
                "ip" => arguments.ip = parse_ip(value),
                "moonfarm.drill" => arguments.drill = Some(value.to_owned()),
                "moonfarm.failures" => arguments.failures = value.parse().unwrap_or(0),
                _ if network::parse(key, value, &mut arguments.network) => {}
                _ => read_recovery(&mut arguments.recovery, key, value),
            }
        }
        arguments
    }

    /// The words to put on a kernel command line.
    #[must_use]
    pub fn render(&self) -> String {
        let mut words = String::new();
        let mut push = |word: &str| {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        };
        if let Some(server) = &self.server {
            push(&format!("moonfarm.server={server}"));
        }
        if let Some(port) = self.tls_port {
            push(&format!("moonfarm.tls-port={port}"));
        }
        if let Some(machine) = &self.machine {
            push(&format!("moonfarm.machine={machine}"));
        }
        if self.debug {
            push("moonfarm.debug");
        }
        if let Some(mac) = self.boot_interface {
            push(&format!("BOOTIF=01-{}", mac.dashed()));
        }
        for word in network::render(&self.network) {
            push(&word);
        }
        for word in render_recovery(&self.recovery) {
            push(&word);
        }
        if self.failures > 0 {
            push(&format!("moonfarm.failures={}", self.failures));
        }
        if let Some(phase) = &self.drill {
            push(&format!("moonfarm.drill={phase}"));
        }
        match &self.ip {
            None => {}
            Some(IpArgument::Dhcp) => push("ip=dhcp"),
            Some(IpArgument::Static {
                address,
                prefix,
                gateway,
            }) => {
                let mut word = format!("ip={address}::");
                if let Some(gateway) = gateway {
                    let _ = write!(word, "{gateway}");
                }
                let _ = write!(word, ":{}:::off", netmask(*prefix));
                push(&word);
            }
        }
        words
    }
}

fn read_recovery(recovery: &mut RecoverySpec, key: &str, value: &str) {
    match key {
        "moonfarm.on-failure" => {
            recovery.on_failure = match value {
                "wait" => Some(OnFailure::Wait),
                "restart" => Some(OnFailure::Restart),
                _ => None,
            };
        }
        "moonfarm.longest-pause" => recovery.longest_pause_seconds = value.parse().ok(),
        "moonfarm.watchdog" => recovery.watchdog_seconds = value.parse().ok(),
        _ => {}
    }
}

fn render_recovery(recovery: &RecoverySpec) -> Vec<String> {
    let on_failure = recovery.on_failure.map(|wanted| match wanted {
        OnFailure::Restart => "moonfarm.on-failure=restart".to_owned(),
        OnFailure::Wait => "moonfarm.on-failure=wait".to_owned(),
    });
    let pause = recovery.longest_pause_seconds;
    let watchdog = recovery.watchdog_seconds;
    let words = [
        on_failure,
        pause.map(|secs| format!("moonfarm.longest-pause={secs}")),
        watchdog.map(|secs| format!("moonfarm.watchdog={secs}")),
    ];
    words.into_iter().flatten().collect()
}

/// `01-aa-…`: hardware type 01 (Ethernet), then the address. Some loaders leave
/// the type out.
fn parse_bootif(value: &str) -> Option<MacAddr> {
    let address = if value.len() == 20 {
        value.get(3..)?
    } else {
        value
    };
    address.parse().ok()
}

fn parse_ip(value: &str) -> Option<IpArgument> {
    if matches!(value, "dhcp" | "on" | "any") {
        return Some(IpArgument::Dhcp);
    }
    let fields: Vec<&str> = value.split(':').collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or("");
    if field(0).is_empty() {
        return matches!(field(6), "dhcp" | "on" | "any").then_some(IpArgument::Dhcp);
    }
    let mask: Ipv4Addr = field(3).parse().ok()?;
    Some(IpArgument::Static {
        address: field(0).parse().ok()?,
        prefix: prefix_of(mask)?,
        gateway: field(2).parse().ok(),
    })
}

/// The netmask of a prefix of `length` bits; longer than 32 counts as 32.
#[must_use]
pub fn netmask(length: u8) -> Ipv4Addr {
    Ipv4Addr::from(
        u32::MAX
            .checked_shl(32 - u32::from(length.min(32)))
            .unwrap_or(0),
    )
}

/// The prefix length of a netmask, or `None` where its ones are not contiguous.
#[must_use]
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then(|| u8::try_from(ones).unwrap_or(32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_what_it_parses() {
        let arguments = BootArguments {
            server: Some("http://10.0.0.1:8080".into()),
            tls_port: Some(8444),
            machine: Some("m1-c1n1".into()),
            debug: true,
            boot_interface: Some("94:57:a5:d3:ec:f2".parse().unwrap()),
            ip: Some(IpArgument::Static {
                address: "10.0.0.5".parse().unwrap(),
                prefix: 20,
                gateway: Some("10.0.0.1".parse().unwrap()),
            }),
            network: NetworkSpec::default(),
            recovery: RecoverySpec {
                on_failure: Some(OnFailure::Wait),
                longest_pause_seconds: Some(60),
                watchdog_seconds: Some(0),
            },
            failures: 3,
            drill: Some("image".to_owned()),
        };
        let text = arguments.render();
        assert!(text.contains("BOOTIF=01-94-57-a5-d3-ec-f2"), "{text}");
        assert!(
            text.contains("ip=10.0.0.5::10.0.0.1:255.255.240.0:::off"),
            "{text}"
        );
        assert_eq!(BootArguments::parse(&text), arguments);
    }

    #[test]
    fn foreign_and_broken_words_are_passed_over() {
        let arguments = BootArguments::parse(
            "BOOT_IMAGE=vmlinuz quiet ip=1.2.3 BOOTIF=xx moonfarm.server= moonfarm.debug=0 =x",
        );
        assert_eq!(arguments, BootArguments::default());
        assert_eq!(
            BootArguments::parse("ip=:::::eth0:dhcp").ip,
            Some(IpArgument::Dhcp)
        );
        assert_eq!(BootArguments::parse("BOOTIF=01-é").boot_interface, None);
    }

    #[test]
    fn netmasks() {
        for (prefix, mask) in [
            (0, "0.0.0.0"),
            (24, "255.255.255.0"),
            (32, "255.255.255.255"),
        ] {
            assert_eq!(netmask(prefix).to_string(), mask);
            assert_eq!(prefix_of(mask.parse().unwrap()), Some(prefix));
        }
        assert_eq!(prefix_of("255.0.255.0".parse().unwrap()), None);
    }
}
