//! Conditional requests and byte ranges (RFC 9110 §13 and §14). Pure.

use std::time::{Duration, SystemTime};

/// What part of a file to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: 200.
    Whole,
    /// Bytes `first` to `last`, both included: 206.
    Range { first: u64, last: u64 },
    /// The client has it already: 304.
    NotModified,
    /// The client wants another version than there is: 412.
    Failed,
    /// The range lies outside the file: 416.
    Unsatisfiable,
}

/// Headers of a request that decide which part is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions<'a> {
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    pub if_unmodified_since: Option<&'a str>,
    pub if_range: Option<&'a str>,
    pub range: Option<&'a str>,
}

impl<'a> Conditions<'a> {
    /// Takes a header, where it is one of these.
    pub fn take(&mut self, name: &str, value: &'a str) {
        let own = [
            ("if-match", &mut self.if_match),
            ("if-none-match", &mut self.if_none_match),
            ("if-modified-since", &mut self.if_modified_since),
            ("if-unmodified-since", &mut self.if_unmodified_since),
            ("if-range", &mut self.if_range),
            ("range", &mut self.range),
        ];
        for (known, field) in own {
            if name.eq_ignore_ascii_case(known) {
                *field = Some(value);
            }
        }
    }
}

/// Chooses the part of a file of `size` bytes with entity tag `etag`, in the
/// order of RFC 9110 §13.2.2.
pub(super) fn choose(
    conditions: &Conditions<'_>,
    etag: &str,
    modified: SystemTime,
    size: u64,
) -> Part {
    // Dates in headers have whole seconds.
    let is_after = |date: &str| {
        let date = httpdate::parse_http_date(date).ok()?;
        Some(modified >= date + Duration::from_secs(1))
    };
    let has_failed = match (conditions.if_match, conditions.if_unmodified_since) {
        (Some(tags), _) => !lists(tags, etag),
        (None, Some(date)) => is_after(date).unwrap_or(false),
        (None, None) => false,
    };
    if has_failed {
        return Part::Failed;
    }
    let is_known = match (conditions.if_none_match, conditions.if_modified_since) {
        (Some(tags), _) => lists_weakly(tags, etag),
        (None, Some(date)) => !is_after(date).unwrap_or(true),
        (None, None) => false,
    };
    if is_known {
        return Part::NotModified;
    }
    // A date in If-Range is passed over, with the range: a file that changed
    // twice in a second has one date.
    if conditions.if_range.is_some_and(|tag| tag.trim() != etag) {
        return Part::Whole;
    }
    conditions
        .range
        .map_or(Part::Whole, |range| parse(range, size))
}

fn lists(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag == etag)
}

fn lists_weakly(tags: &str, etag: &str) -> bool {
    tags.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// A header that cannot be read, or asks for several ranges, is passed over, as
/// RFC 9110 §14.2 allows: no boot loader asks for several.
fn parse(range: &str, size: u64) -> Part {
    let Some((unit, set)) = range.split_once('=') else {
        return Part::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Part::Whole;
    };
    let number = |digits: &str| -> Option<u64> {
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        // More digits than a u64 holds lie behind the end of any file.
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => Part::Whole,
            Some(0) => Part::Unsatisfiable,
            Some(_) if size == 0 => Part::Unsatisfiable,
            Some(count) => Part::Range {
                first: size.saturating_sub(count),
                last: size.saturating_sub(1),
            },
        },
        (first, last) => {
            let Some(first) = number(first) else {
                return Part::Whole;
            };
            let last = if last.is_empty() {
                Some(u64::MAX)
            } else {
                number(last)
            };
            match last {
                None => Part::Whole,
                Some(last) if last < first => Part::Whole,
                Some(_) if first >= size => Part::Unsatisfiable,
                Some(last) => Part::Range {
                    first,
                    last: last.min(size.saturating_sub(1)),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_file_of_ten_bytes() {
        let part = |first, last| Part::Range { first, last };
        for (range, expected) in [
            ("bytes=0-3", part(0, 3)),
            ("bytes=4-", part(4, 9)),
            ("Bytes = 4-99", part(4, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=10-12", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=0-99999999999999999999999", part(0, 9)),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("items=0-1", Part::Whole),
            ("0-1", Part::Whole),
        ] {
            assert_eq!(parse(range, 10), expected, "{range}");
        }
        assert_eq!(parse("bytes=0-", 0), Part::Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Part::Unsatisfiable);
    }

    fn modified() -> SystemTime {
        httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap()
            + Duration::from_millis(300)
    }

    #[test]
    fn dates_count_where_there_are_no_tags() {
        let [before, same, after] = [
            "Wed, 21 Oct 2015 07:27:59 GMT",
            "Wed, 21 Oct 2015 07:28:00 GMT",
            "Wed, 21 Oct 2015 07:28:01 GMT",
        ];
        for (headers, expected) in [
            (&[("If-Modified-Since", before)][..], Part::Whole),
            (&[("If-Modified-Since", same)], Part::NotModified),
            (&[("If-Modified-Since", after)], Part::NotModified),
            (&[("If-Modified-Since", "yesterday")], Part::Whole),
            (
                &[("If-Modified-Since", after), ("If-None-Match", "\"x\"")],
                Part::Whole,
            ),
            (&[("If-Unmodified-Since", before)], Part::Failed),
            (&[("If-Unmodified-Since", same)], Part::Whole),
            (
                &[("If-Unmodified-Since", before), ("If-Match", "\"e\"")],
                Part::Whole,
            ),
        ] {
            let mut conditions = Conditions::default();
            for (name, value) in headers {
                conditions.take(name, value);
            }
            let part = choose(&conditions, "\"e\"", modified(), 10);
            assert_eq!(part, expected, "{headers:?}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let none = Conditions {
            range: Some("bytes=0-0"),
            ..Conditions::default()
        };
        let one = Part::Range { first: 0, last: 0 };
        for (conditions, expected) in [
            (none, one),
            (
                Conditions {
                    if_none_match: Some("\"a\", W/\"e\""),
                    ..none
                },
                Part::NotModified,
            ),
            (
                Conditions {
                    if_none_match: Some("*"),
                    ..none
                },
                Part::NotModified,
            ),
            (
                Conditions {
                    if_none_match: Some("\"a\""),
                    ..none
                },
                one,
            ),
            (
                Conditions {
                    if_match: Some("\"a\""),
                    ..none
                },
                Part::Failed,
            ),
            (
                Conditions {
                    if_match: Some("\"e\""),
                    ..none
                },
                one,
            ),
            (
                Conditions {
                    if_range: Some("\"e\""),
                    ..none
                },
                one,
            ),
            (
                Conditions {
                    if_range: Some("\"a\""),
                    ..none
                },
                Part::Whole,
            ),
            (
                Conditions {
                    if_range: Some("W/\"e\""),
                    ..none
                },
                Part::Whole,
            ),
            (
                Conditions {
                    if_range: Some("Wed, 21 Oct 2015 07:28:00 GMT"),
                    ..none
                },
                Part::Whole,
            ),
        ] {
            assert_eq!(
                choose(&conditions, "\"e\"", modified(), 10),
                expected,
                "{conditions:?}"
            );
        }
    }
}
