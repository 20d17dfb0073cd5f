//! Words for people: what is near to what was written, and serde's errors.

/// The candidate that a typing error may have made `word` from.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean X?`, and otherwise the list to choose from.
pub(super) fn choice(word: &str, what: &str, candidates: &[&str]) -> String {
    if let Some(near) = nearest(word, candidates.iter().copied()) {
        return format!("did you mean {near}? {what}: {}", list(candidates));
    }
    if candidates.is_empty() {
        "none is declared in these files".to_owned()
    } else {
        format!("{what}: {}", list(candidates))
    }
}

/// At most 40 words, separated by commas.
pub(super) fn list(words: &[&str]) -> String {
    const SHOWN: usize = 40;
    let mut text = words
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if words.len() > SHOWN {
        text.push_str(&format!(" and {} more", words.len() - SHOWN));
    }
    text
}

/// Insertions, deletions, replacements and swaps of neighbours between two words
/// (optimal string alignment). Long words are not compared.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 100;
    let a: Vec<char> = a.chars().take(LONGEST).collect();
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// What serde complains about, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Complaint<'a> {
    /// A field that the type does not have, and those it has.
    UnknownField(&'a str, Vec<&'a str>),
    /// A field that must be there.
    MissingField(&'a str),
    /// A word that is none of these.
    UnknownWord(&'a str, Vec<&'a str>),
    /// Anything else, as serde says it.
    Other(&'a str),
}

impl<'a> Complaint<'a> {
    /// Reads serde's message. Its form is part of serde's public behaviour
    /// (`de::Error::unknown_field` and its sisters); what does not have it is
    /// taken as it stands.
    pub fn read(message: &'a str) -> Self {
        let quoted = |rest: &'a str| rest.split('`').skip(1).step_by(2).collect::<Vec<_>>();
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let mut words = quoted(rest);
            if !words.is_empty() {
                return Self::UnknownField(words.remove(0), words);
            }
        }
        if let Some(rest) = message.strip_prefix("missing field ")
            && let Some(field) = quoted(rest).first()
        {
            return Self::MissingField(field);
        }
        if let Some(rest) = message.strip_prefix("unknown variant ") {
            let mut words = quoted(rest);
            if !words.is_empty() {
                return Self::UnknownWord(words.remove(0), words);
            }
        }
        Self::Other(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_find_their_word() {
        let fields = ["gateway", "ranges", "leaseTime", "dns"];
        for (word, near) in [
            ("gatway", Some("gateway")),
            ("gatewya", Some("gateway")),
            ("leasetime", Some("leaseTime")),
            ("range", Some("ranges")),
            ("dsn", Some("dns")),
            ("vlan", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, fields), near, "{word}");
        }
    }

    #[test]
    fn complaints_of_serde() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct Sample {
            one: u8,
            two: Effect,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Effect {
            A,
            B,
        }
        let complaint = |json: &str| {
            serde_json::from_value::<Sample>(serde_json::from_str(json).unwrap())
                .unwrap_err()
                .to_string()
        };
        let text = complaint(r#"{"one":1,"tow":"A"}"#);
        assert_eq!(
            Complaint::read(&text),
            Complaint::UnknownField("tow", vec!["one", "two"])
        );
        let text = complaint(r#"{"two":"A"}"#);
        assert_eq!(Complaint::read(&text), Complaint::MissingField("one"));
        let text = complaint(r#"{"one":1,"two":"C"}"#);
        assert_eq!(
            Complaint::read(&text),
            Complaint::UnknownWord("C", vec!["A", "B"])
        );
        assert!(matches!(
            Complaint::read("unknown field"),
            Complaint::Other(_)
        ));
    }
}
