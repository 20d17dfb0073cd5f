//! The text of GRUB configurations. Pure.
//!
//! GRUB's configuration is a shell-like language: whatever goes into one is
//! quoted, so that a name or an argument cannot be a command.

use std::net::SocketAddr;

use boot_proto::cmdline::BootArguments;
use boot_proto::ids::{Digest, MacAddr};

/// Seconds until a machine that gets no boot asks again.
const WAIT: u32 = 20;

/// Everything a machine needs to start its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEntry<'a> {
    /// Where GRUB fetches from, in its words, such as `(tftp,10.0.0.1)`.
    pub place: &'a str,
    /// URL of the boot face, for the node agent.
    pub url: &'a str,
    /// The Machine's name.
    pub machine: &'a str,
    /// MAC of the NIC it boots from.
    pub mac: MacAddr,
    /// Name of the image, for people.
    pub image: &'a str,
    /// Digest of the kernel.
    pub kernel: Digest,
    /// Digest of the initramfs.
    pub initramfs: Digest,
    /// Kernel arguments: the image's, the Image resource's, the profiles'.
    pub arguments: Vec<String>,
}

impl BootEntry<'_> {
    /// The configuration that loads kernel and initramfs and starts them.
    #[must_use]
    pub fn render(&self) -> String {
        let own = BootArguments {
            server: Some(self.url.to_owned()),
            machine: Some(self.machine.to_owned()),
            boot_interface: Some(self.mac),
            ..BootArguments::default()
        };
        let words = self
            .arguments
            .iter()
            .flat_map(|text| text.split(|c: char| c.is_whitespace() || c.is_control()))
            .filter(|word| !word.is_empty())
            .map(quote)
            .chain([own
                .render()
                .split(' ')
                .map(quote)
                .collect::<Vec<_>>()
                .join(" ")])
            .collect::<Vec<_>>()
            .join(" ");
        let place = self.place;
        format!(
            "set timeout=0\n\
             echo {title}\n\
             if linux {kernel} {words}; then\n\
             \x20 if initrd {initramfs}; then boot; fi\n\
             fi\n",
            title = quote(&format!("{}: image {}", self.machine, self.image)),
            kernel = quote(&format!("{place}/blobs/sha256/{}", self.kernel.hex())),
            initramfs = quote(&format!("{place}/blobs/sha256/{}", self.initramfs.hex())),
        )
    }
}

/// The configuration for a machine that gets no boot: says why, waits, and asks
/// again at `place`.
#[must_use]
pub fn refusal(place: &str, reason: &str) -> String {
    format!(
        "echo {reason}\nsleep {WAIT}\nconfigfile {config}\n",
        reason = quote(&format!("Moonfarm does not boot this machine: {reason}")),
        config = quote(&format!("{place}/grub/grub.cfg")),
    )
}

/// GRUB's name of an HTTP server. From 2.12 on it speaks to any port, before that
/// to port 80 alone, which is therefore left out.
#[must_use]
pub fn http_place(server: SocketAddr) -> String {
    let host = server.ip().to_canonical();
    if server.port() == 80 {
        format!("(http,{host})")
    } else {
        format!("(http,{host}:{})", server.port())
    }
}

/// `text` as one word that GRUB takes as it is: in single quotes nothing has a
/// meaning but the quote itself. Printable ASCII, 1000 characters at most.
fn quote(text: &str) -> String {
    let cleaned: String = text
        .chars()
        .take(1000)
        .map(|c| if matches!(c, ' '..='~') { c } else { ' ' })
        .collect();
    format!("'{}'", cleaned.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> BootEntry<'static> {
        BootEntry {
            place: "(tftp,10.0.0.1)",
            url: "http://10.0.0.1:8080",
            machine: "m1-c1n1",
            mac: "94:57:a5:d3:ec:f2".parse().unwrap(),
            image: "debian-13",
            kernel: Digest::of(b"kernel"),
            initramfs: Digest::of(b"initramfs"),
            arguments: vec!["console=ttyS0,115200n8 quiet".into()],
        }
    }

    #[test]
    fn the_configuration_of_a_machine() {
        let expected = format!(
            "set timeout=0\n\
             echo 'm1-c1n1: image debian-13'\n\
             if linux '(tftp,10.0.0.1)/blobs/sha256/{}' 'console=ttyS0,115200n8' 'quiet' \
             'moonfarm.server=http://10.0.0.1:8080' 'moonfarm.machine=m1-c1n1' \
             'BOOTIF=01-94-57-a5-d3-ec-f2'; then\n\
             \x20 if initrd '(tftp,10.0.0.1)/blobs/sha256/{}'; then boot; fi\n\
             fi\n",
            Digest::of(b"kernel").hex(),
            Digest::of(b"initramfs").hex(),
        );
        assert_eq!(entry().render(), expected);
        for (server, place) in [
            ("10.0.0.1:80", "(http,10.0.0.1)"),
            ("10.0.0.1:8080", "(http,10.0.0.1:8080)"),
        ] {
            assert_eq!(http_place(server.parse().unwrap()), place);
        }
    }

    #[test]
    fn nothing_in_a_value_becomes_a_command() {
        let hostile = "x'; chainloader /evil #\n$(boot) `boot` \"; \u{1b}[2J é";
        let text = BootEntry {
            machine: hostile,
            image: hostile,
            arguments: vec![hostile.into()],
            ..entry()
        }
        .render()
            + &refusal("(tftp,10.0.0.1)", hostile);
        // Outside of quotes only our own words are left.
        let mut quoted = false;
        let mut outside = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\'' => quoted = !quoted,
                '\\' if !quoted => drop(chars.next()),
                _ if !quoted => outside.push(c),
                _ => {}
            }
        }
        assert!(!quoted);
        for word in ["chainloader", "$", "`", "\"", "evil", "\u{1b}"] {
            assert!(!outside.contains(word), "{word:?} in {outside}");
        }
        assert!(text.is_ascii());
    }
}
