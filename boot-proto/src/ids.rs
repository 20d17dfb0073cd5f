//! Identifiers, each a newtype that is parsed once and then trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An identifier that does not have the form it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidId {
    value: String,
    expected: &'static str,
}

impl InvalidId {
    pub(crate) fn new(value: &str, expected: &'static str) -> Self {
        // What arrives may be anything, of any length; the message stays short.
        Self {
            value: value.chars().take(80).collect(),
            expected,
        }
    }
}

macro_rules! text_form {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }
    };
}

/// A 48-bit Ethernet address (IEEE 802), printed in lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Wraps six octets.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six octets in transmission order.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The form that names a machine nobody declared: `94-57-a5-d3-ec-f2`.
    #[must_use]
    pub fn dashed(self) -> String {
        self.to_string().replace(':', "-")
    }

    /// Whether the address may identify one NIC: neither all zero, nor a group
    /// address (which includes broadcast).
    #[must_use]
    pub const fn is_usable(self) -> bool {
        let zero = matches!(self.0, [0, 0, 0, 0, 0, 0]);
        !zero && self.0[0] & 0x01 == 0
    }

    /// Whether the address was given locally, not by the maker
    /// (IEEE 802-2014 §8.4, U/L bit).
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 0x02 != 0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = InvalidId;

    /// Reads six octets with `:` or `-` between them, three pairs of octets
    /// with `.` between them, or twelve bare hex digits, in any case; vendors
    /// use all of these.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a MAC address such as 94:57:a5:d3:ec:f2");
        let text = text.trim();
        let bytes = text.as_bytes();
        let digits: Vec<u8> = match bytes.len() {
            12 => bytes.to_vec(),
            14 if bytes[4] == b'.' && bytes[9] == b'.' => {
                bytes.iter().filter(|b| **b != b'.').copied().collect()
            }
            17 => {
                let separator = bytes[2];
                if separator != b':' && separator != b'-' {
                    return Err(invalid());
                }
                if !bytes.iter().skip(2).step_by(3).all(|b| *b == separator) {
                    return Err(invalid());
                }
                bytes
                    .chunks(3)
                    .flat_map(|group| group.iter().take(2).copied())
                    .collect()
            }
            _ => return Err(invalid()),
        };
        let mut octets = [0; 6];
        hex::decode_to_slice(&digits, &mut octets).map_err(|_| invalid())?;
        Ok(Self(octets))
    }
}

text_form!(MacAddr);

/// A node position in a chassis: cartridge slot and node within the cartridge,
/// written `c11n1` as the Moonshot command line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotId {
    cartridge: u8,
    node: u8,
}

impl SlotId {
    /// The slot of node `node` in cartridge `cartridge`, both counted from 1.
    ///
    /// # Errors
    /// When either number is 0.
    pub fn new(cartridge: u8, node: u8) -> Result<Self, InvalidId> {
        if cartridge == 0 || node == 0 {
            return Err(InvalidId::new(&format!("c{cartridge}n{node}"), SLOT_FORM));
        }
        Ok(Self { cartridge, node })
    }

    /// Cartridge slot, counted from 1.
    #[must_use]
    pub const fn cartridge(self) -> u8 {
        self.cartridge
    }

    /// Node within the cartridge, counted from 1.
    #[must_use]
    pub const fn node(self) -> u8 {
        self.node
    }
}

const SLOT_FORM: &str = "a slot such as c11n1";

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}n{}", self.cartridge, self.node)
    }
}

impl FromStr for SlotId {
    type Err = InvalidId;

    /// Reads `c11n1` in either letter case: the chassis manager's REST
    /// interface says `C11N1`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, SLOT_FORM);
        let lower = text.trim().to_ascii_lowercase();
        let (cartridge, node) = lower
            .strip_prefix('c')
            .and_then(|rest| rest.split_once('n'))
            .ok_or_else(invalid)?;
        let number = |digits: &str| -> Option<u8> {
            let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if all_digits {
                digits.parse().ok()
            } else {
                None
            }
        };
        let cartridge = number(cartridge).ok_or_else(invalid)?;
        let node = number(node).ok_or_else(invalid)?;
        Self::new(cartridge, node).map_err(|_| invalid())
    }
}

text_form!(SlotId);

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
///
/// Blobs and image manifests are named by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes that SHA-256 yields.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(data).into())
    }

    /// The 64 hex digits without the `sha256:` in front, as used in paths.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve hex digits, for tables that people read.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a digest: sha256: and 64 hex digits");
        let digits = text.trim().strip_prefix("sha256:").unwrap_or(text.trim());
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| invalid())?;
        Ok(Self(bytes))
    }
}

text_form!(Digest);

/// 32 bytes of another hash than SHA-256, as 64 hex digits: BLAKE3 of a file, or
/// the root hash of dm-verity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum([u8; 32]);

impl Checksum {
    /// Wraps the bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Checksum {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| InvalidId::new(text, "a hash: 64 hex digits"))?;
        Ok(Self(bytes))
    }
}

text_form!(Checksum);

/// Why a text may not be a resource, host or node name, or `None` if it may.
///
/// Node names are DNS subdomains (RFC 1123 §2.1; Kubernetes "Object Names and
/// IDs"): lower-case letters, digits, `-` and `.`, each label beginning and
/// ending with a letter or digit, 253 characters at most.
#[must_use]
pub fn name_mistake(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("a name must not be empty");
    }
    if name.len() > 253 {
        return Some("a name may have 253 characters at most");
    }
    let label_is_valid = |label: &str| {
        let bytes = label.as_bytes();
        let is_alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.len() <= 63
            && bytes.first().is_some_and(is_alnum)
            && bytes.last().is_some_and(is_alnum)
            && bytes.iter().all(|b| is_alnum(b) || *b == b'-')
    };
    if name.split('.').all(label_is_valid) {
        None
    } else {
        Some(
            "a name consists of lower-case letters, digits, '-' and '.', and each part between \
             dots begins and ends with a letter or digit and has 63 characters at most",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_spellings_of_vendors_are_one_address() {
        for text in [
            "94:57:A5:d3:ec:f2",
            "94-57-a5-d3-ec-f2",
            "9457A5D3ECF2",
            "9457.a5d3.ecf2",
            " 94:57:a5:d3:ec:f2 ",
        ] {
            let mac: MacAddr = text.parse().unwrap();
            assert_eq!(mac.to_string(), "94:57:a5:d3:ec:f2", "{text}");
        }
        assert_eq!(
            "9457a5d3ecf2".parse::<MacAddr>().unwrap().dashed(),
            "94-57-a5-d3-ec-f2"
        );
    }

    #[test]
    fn wrong_macs_are_refused() {
        for text in [
            "",
            "N/A",
            "Not Available",
            "94:57:a5:d3:ec",
            "94:57-a5:d3:ec:f2",
            "9457.a5d3:ecf2",
            "9457.a5.d.ecf2",
            "zz:57:a5:d3:ec:f2",
            "94:57:a5:d3:ec:f2:00",
            "ä4:57:a5:d3:ec:f",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn placeholder_macs_are_not_usable() {
        for (text, usable) in [
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("01:00:5e:00:00:01", false),
            ("94:57:a5:d3:ec:f2", true),
        ] {
            assert_eq!(
                text.parse::<MacAddr>().unwrap().is_usable(),
                usable,
                "{text}"
            );
        }
    }

    #[test]
    fn slots() {
        assert_eq!("C28N1".parse::<SlotId>().unwrap().to_string(), "c28n1");
        for text in [
            "", "c", "c1", "c0n1", "c1n0", "c300n1", "n1c1", "c+1n1", "c1n1x",
        ] {
            assert!(text.parse::<SlotId>().is_err(), "{text}");
        }
        let mut sorted: Vec<SlotId> = ["c10n1", "c2n1"]
            .iter()
            .map(|s| s.parse().unwrap())
            .collect();
        sorted.sort();
        assert_eq!(sorted[0].to_string(), "c2n1");
    }

    #[test]
    fn digests() {
        let digest = Digest::of(b"");
        assert_eq!(digest.short(), "e3b0c44298fc");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
        assert!("sha256:00".parse::<Digest>().is_err());
    }

    #[test]
    fn names() {
        for name in ["m1-c11n1", "94-57-a5-d3-ec-f2", "node1.rack2"] {
            assert_eq!(name_mistake(name), None, "{name}");
        }
        for name in [
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            "a..b",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert!(name_mistake(name).is_some(), "{name}");
        }
    }
}
