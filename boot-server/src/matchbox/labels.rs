//! Query parameters as labels.

use boot_proto::matchbox::normal_mac;

use super::Labels;

/// The labels of a query, as Matchbox reads them: of a key given twice the first
/// counts; a `mac`, however its key is written, is brought into colon form, and
/// one that is none is left out; what is wrongly escaped is left out.
#[must_use]
pub fn labels(query: &str) -> Labels {
    let mut all = Labels::new();
    for pair in query.split('&') {
        // Go takes no semicolon, since others take one for a separator.
        if pair.is_empty() || pair.contains(';') {
            continue;
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (unescape(key), unescape(value)) else {
            continue;
        };
        all.entry(key).or_insert(value);
    }
    all.into_iter()
        .filter_map(|(key, value)| {
            if key.eq_ignore_ascii_case("mac") {
                let mac = normal_mac(&value)?;
                return Some((key, mac));
            }
            Some((key, value))
        })
        .collect()
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
