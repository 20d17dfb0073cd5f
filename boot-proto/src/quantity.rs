//! Sizes and durations as people write them: `512Mi`, `5m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A size or duration that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct InvalidQuantity {
    value: String,
    expected: &'static str,
}

const SIZE_FORM: &str = "a size such as 512Mi, 2Gi or 1500000 (bytes)";
const SPAN_FORM: &str = "a duration such as 30s, 5m, 12h or 7d";

/// A size in bytes, written with Kubernetes' suffixes: `Ki`, `Mi`, `Gi`, `Ti`
/// (powers of 1024), `k`, `M`, `G`, `T` (powers of 1000), or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Number", into = "String")]
pub struct ByteSize(pub u64);

/// A number or a text: YAML reads a bare `1500000` as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl TryFrom<Number> for ByteSize {
    type Error = InvalidQuantity;
    fn try_from(number: Number) -> Result<Self, InvalidQuantity> {
        match number {
            Number::Number(bytes) => Ok(Self(bytes)),
            Number::Text(text) => text.parse(),
        }
    }
}

impl From<ByteSize> for String {
    fn from(size: ByteSize) -> String {
        size.to_string()
    }
}

const SIZE_SUFFIXES: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

impl FromStr for ByteSize {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        read_number(text, &SIZE_SUFFIXES, 1)
            .map(Self)
            .ok_or_else(|| InvalidQuantity {
                value: text.chars().take(40).collect(),
                expected: SIZE_FORM,
            })
    }
}

impl fmt::Display for ByteSize {
    /// The largest power of 1024 that divides the size without rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, factor) in &SIZE_SUFFIXES[..4] {
            if self.0 >= *factor && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{suffix}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A length of time in whole seconds, written `30s`, `5m`, `12h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u32);

const SPAN_SUFFIXES: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl Span {
    /// The same length as the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl FromStr for Span {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        // A bare number would leave the unit to the reader's guess.
        read_number(text, &SPAN_SUFFIXES, 0)
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|_| text.ends_with(|last: char| last.is_ascii_alphabetic()))
            .map(Self)
            .ok_or_else(|| InvalidQuantity {
                value: text.chars().take(40).collect(),
                expected: SPAN_FORM,
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = u64::from(self.0);
        for (suffix, factor) in SPAN_SUFFIXES {
            if seconds >= factor && seconds.is_multiple_of(factor) {
                return write!(f, "{}{suffix}", seconds / factor);
            }
        }
        write!(f, "{seconds}s")
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidQuantity;
    fn try_from(text: String) -> Result<Self, InvalidQuantity> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

fn read_number(text: &str, suffixes: &[(&str, u64)], bare: u64) -> Option<u64> {
    let (digits, factor) = suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, bare));
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes, printed) in [
            ("512Mi", 512 << 20, "512Mi"),
            ("2Gi", 2 << 30, "2Gi"),
            ("1024Ki", 1 << 20, "1Mi"),
            ("1G", 1_000_000_000, "1000000000"),
            ("7", 7, "7"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), printed, "{text}");
        }
        for text in ["", "Mi", "-1", "1.5Gi", "1 Gi", "20000000Ti", "50%"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans() {
        for (text, seconds, printed) in [
            ("90s", 90, "90s"),
            ("5m", 300, "5m"),
            ("12h", 43_200, "12h"),
            ("7d", 604_800, "7d"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0, seconds, "{text}");
            assert_eq!(span.to_string(), printed, "{text}");
        }
        for text in ["", "5", "s", "-5m", "1.5h", "99999999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
