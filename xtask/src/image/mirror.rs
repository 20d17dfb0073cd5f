//! Which Debian mirror to install from: the one this machine itself uses is
//! the one that is in reach, and often the near one.

use std::fs;
use std::path::Path;

const DEFAULT_ARCHIVE: &str = "http://deb.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://deb.debian.org/debian-security";

/// Where packages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// URI of the main archive.
    pub archive: String,
    /// URI of the security archive.
    pub security: String,
}

impl Mirror {
    /// The given mirror, else this machine's, else Debian's own.
    pub fn choose(given: Option<&str>) -> Self {
        let sources = apt_sources(Path::new("/etc/apt"));
        Self::from_sources(given, &sources)
    }

    fn from_sources(given: Option<&str>, sources: &str) -> Self {
        let of_host = |name: &str| {
            uris(sources).find(|uri| uri.trim_end_matches('/').rsplit('/').next() == Some(name))
        };
        let or = |uri: Option<&str>, default: &str| {
            uri.unwrap_or(default).trim_end_matches('/').to_owned()
        };
        Self {
            archive: or(given.or_else(|| of_host("debian")), DEFAULT_ARCHIVE),
            security: or(of_host("debian-security"), DEFAULT_SECURITY),
        }
    }

    /// The lines of a sources.list(5) for a suite.
    pub fn sources(&self, suite: &str) -> [String; 3] {
        [
            format!("deb {} {suite} main", self.archive),
            format!("deb {} {suite}-updates main", self.archive),
            format!("deb {} {suite}-security main", self.security),
        ]
    }
}

/// Every URI in apt's sources, in both of apt's notations. A word that looks
/// like one is one; options in brackets and keys do not.
fn uris(sources: &str) -> impl Iterator<Item = &str> {
    let lines = sources
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter(|line| line.starts_with("deb ") || line.to_ascii_lowercase().starts_with("uris:"))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("http://") || word.starts_with("https://"))
}

fn apt_sources(apt: &Path) -> String {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let texts: Vec<String> = files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mirror_is_found_in_both_notations() {
        let one_line = "# deb http://old/debian x main\ndeb [signed-by=/k] http://near/debian/ bookworm main\n\
                        deb https://near/debian-security bookworm-security main\n";
        let deb822 = "Types: deb\n# http://snapshot/debian\nURIs: http://near/debian\nSuites: bookworm\n\n\
                      Types: deb\nURIs: https://near/debian-security\n";
        for text in [one_line, deb822] {
            let mirror = Mirror::from_sources(None, text);
            assert_eq!(mirror.archive, "http://near/debian", "{text}");
            assert_eq!(mirror.security, "https://near/debian-security", "{text}");
        }
    }

    #[test]
    fn others_mirrors_do_not_count() {
        let mirror = Mirror::from_sources(
            None,
            "deb https://deb.nodesource.com/node_20.x nodistro main\n",
        );
        assert_eq!(mirror.archive, DEFAULT_ARCHIVE);
        let mirror = Mirror::from_sources(
            Some("http://mine/debian/"),
            "deb http://near/debian x main\n",
        );
        assert_eq!(mirror.archive, "http://mine/debian");
    }
}
