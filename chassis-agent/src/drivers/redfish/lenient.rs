//! Bodies as BMCs send them -> JSON. Firmware writes JSON with `printf`, so raw
//! control characters, bytes of another character set, commas too many, padding
//! and compression nobody asked for are all met; none of them is worth losing a
//! machine for. Pure.

use std::io::Read as _;

use serde_json::Value;

/// A body that grew beyond the limit when it was unpacked.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Unpacks a body that came compressed although nobody asked for it. A body
/// that is not what it says is left as it is.
///
/// # Errors
/// When what is in it is longer than `limit` bytes.
pub fn unpacked(bytes: Vec<u8>, encoding: Option<&str>, limit: usize) -> Result<Vec<u8>, TooLong> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut plain = Vec::new();
    let is_deflate = encoding.is_some_and(|e| e.trim().eq_ignore_ascii_case("deflate"));
    let read = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut gzip = flate2::read::MultiGzDecoder::new(bytes.as_slice()).take(most);
        gzip.read_to_end(&mut plain)
    } else if is_deflate && bytes.first() == Some(&0x78) {
        let mut zlib = flate2::read::ZlibDecoder::new(bytes.as_slice()).take(most);
        zlib.read_to_end(&mut plain)
    } else {
        return Ok(bytes);
    };
    match read {
        _ if plain.len() > limit => Err(TooLong),
        Ok(_) => Ok(plain),
        Err(_) => Ok(bytes),
    }
}

/// Reads a body: null where there is none, and the beginning of one that is no
/// JSON in place of the value.
#[must_use]
pub fn read(bytes: &[u8]) -> (Value, Option<String>) {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes {
        return read(decode(bytes).as_bytes());
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let is_padding = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let Some(first) = bytes.iter().position(|byte| !is_padding(byte)) else {
        return (Value::Null, None);
    };
    let last = bytes.iter().rposition(|byte| !is_padding(byte));
    let bytes = bytes.get(first..=last.unwrap_or(first)).unwrap_or(bytes);
    if let Ok(value) = serde_json::from_slice(bytes) {
        return (value, None);
    }
    let text = decode(bytes);
    match serde_json::from_str(&text).or_else(|_| first_value(&repair(&text))) {
        Ok(value) => (value, None),
        Err(_) => (Value::Null, Some(text.chars().take(400).collect())),
    }
}

/// Text in UTF-8, or in UTF-16 where the first bytes say so. What is neither
/// becomes a replacement character: a serial number read from an empty chip
/// loses the number, not the machine.
fn decode(bytes: &[u8]) -> String {
    let from_utf16 = |bytes: &[u8], read: fn([u8; 2]) -> u16| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let units = pairs.iter().map(|pair| read(*pair));
        char::decode_utf16(units)
            .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => from_utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => from_utf16(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The first value of a text, where the rest of it is something else.
fn first_value(text: &str) -> Result<Value, serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        // A single word or number in front of something else is no resource.
        Some(Ok(value @ (Value::Object(_) | Value::Array(_)))) => Ok(value),
        Some(Err(error)) => Err(error),
        _ => serde_json::from_str(text),
    }
}

/// Mends what can be mended without guessing.
fn repair(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => in_string = !in_string,
            '\\' if in_string => {
                let escape = chars.next().unwrap_or(' ');
                let is_unicode = escape == 'u' && has_hex(&chars);
                if is_unicode {
                    escaped_unit(&mut chars, &mut mended);
                } else {
                    // `\x` and the like: the backslash was meant as one.
                    let is_known = "\"\\/bfnrt".contains(escape);
                    mended.push_str(if is_known { "\\" } else { "\\\\" });
                    mended.push(if escape.is_control() { ' ' } else { escape });
                }
                continue;
            }
            // Raw control characters are blanks between values and an error
            // within a text.
            c if c.is_control() => {
                mended.push(' ');
                continue;
            }
            ',' if !in_string && closes(&chars) => continue,
            c if !in_string && c.is_ascii_alphabetic() => {
                word(c, &mut chars, &mut mended);
                continue;
            }
            _ => {}
        }
        mended.push(c);
    }
    mended
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn has_hex(chars: &Chars<'_>) -> bool {
    let mut ahead = chars.clone();
    (0..4).all(|_| ahead.next().is_some_and(|c| c.is_ascii_hexdigit()))
}

/// The next four digits of a `\u` escape; halves of a pair stay together, and a
/// half alone, which is no character, is replaced.
fn escaped_unit(chars: &mut Chars<'_>, mended: &mut String) {
    let unit = |chars: &mut Chars<'_>| -> u16 {
        let digits: String = chars.by_ref().take(4).collect();
        u16::from_str_radix(&digits, 16).unwrap_or(0xfffd)
    };
    let first = unit(chars);
    let mut units = vec![first];
    if (0xd800..0xdc00).contains(&first) {
        let mut ahead = chars.clone();
        let is_escape = ahead.next() == Some('\\') && ahead.next() == Some('u');
        if is_escape && has_hex(&ahead) {
            units.push(unit(&mut ahead));
            *chars = ahead;
        }
    }
    for c in char::decode_utf16(units) {
        match c.unwrap_or(char::REPLACEMENT_CHARACTER) {
            '"' => mended.push_str("\\\""),
            '\\' => mended.push_str("\\\\"),
            c if c.is_control() => mended.push(' '),
            c => mended.push(c),
        }
    }
}

/// Whether an object or list ends here, so that a comma before it is too many.
fn closes(chars: &Chars<'_>) -> bool {
    let next = chars
        .clone()
        .find(|c| !c.is_whitespace() && !c.is_control());
    matches!(next, Some('}' | ']'))
}

/// A bare word: one that JSON does not know, such as `nan`, is null.
fn word(first: char, chars: &mut Chars<'_>, mended: &mut String) {
    let mut word = String::from(first);
    // An exponent is part of a number.
    let is_exponent = mended.ends_with(|c: char| c.is_ascii_digit() || c == '.');
    if !is_exponent {
        while let Some(c) = chars.next_if(char::is_ascii_alphabetic) {
            word.push(c);
        }
        let lower = word.to_ascii_lowercase();
        if ["nan", "inf", "infinity", "undefined", "none"].contains(&lower.as_str()) {
            while mended.ends_with(['-', '+']) {
                mended.pop();
            }
            mended.push_str("null");
            return;
        }
        if ["true", "false", "null"].contains(&lower.as_str()) {
            word = lower;
        }
    }
    mended.push_str(&word);
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_as_they_come() {
        let utf16 = |text: &str, mark: [u8; 2], write: fn(u16) -> [u8; 2]| {
            let mut bytes = mark.to_vec();
            bytes.extend(text.encode_utf16().flat_map(write));
            bytes
        };
        for (bytes, value) in [
            (b"{\"a\": 1}".to_vec(), json!({"a": 1})),
            (b"\xef\xbb\xbf{\"a\": 1}".to_vec(), json!({"a": 1})),
            (b"{\"a\": 1}\0\0\0".to_vec(), json!({"a": 1})),
            (b" \r\n\0".to_vec(), Value::Null),
            (b"".to_vec(), Value::Null),
            (
                b"{\"a\": \"\xe9t\xe9\"}".to_vec(),
                json!({"a": "\u{fffd}t\u{fffd}"}),
            ),
            (
                utf16("{\"a\": 1}", [0xff, 0xfe], u16::to_le_bytes),
                json!({"a": 1}),
            ),
            (
                utf16("{\"a\": 1}", [0xfe, 0xff], u16::to_be_bytes),
                json!({"a": 1}),
            ),
            (
                b"{\"a\": \"x\ty\x01z\nw\"}".to_vec(),
                json!({"a": "x y z w"}),
            ),
            (
                b"{\"a\": [1, 2, ], \"b\": {},}".to_vec(),
                json!({"a": [1, 2], "b": {}}),
            ),
            (
                b"{\"a\": nan, \"b\": -Infinity, \"c\": True}".to_vec(),
                json!({"a": null, "b": null, "c": true}),
            ),
            (b"{\"a\": 1e3, \"b\": 2.E2, }".to_vec(), Value::Null),
            (b"{\"a\": 1e3,}".to_vec(), json!({"a": 1000.0})),
            (
                b"{\"path\": \"C:\\x\\n\", }".to_vec(),
                json!({"path": "C:\\x\n"}),
            ),
            (b"{\"a\": \"\\ud83d\", }".to_vec(), json!({"a": "\u{fffd}"})),
            (
                b"{\"a\": \"\\ud83d\\ude00\\u0022\", }".to_vec(),
                json!({"a": "\u{1f600}\""}),
            ),
            (b"{\"a\": 1}\r\nHTTP/1.1 200 OK".to_vec(), json!({"a": 1})),
            (b"{\"a\": 1, \"a\": 2}".to_vec(), json!({"a": 2})),
            (
                b"{\"a\": 123456789012345678901234567890}".to_vec(),
                json!({"a": 1.234_567_890_123_456_8e29}),
            ),
        ] {
            let (found, _) = read(&bytes);
            assert_eq!(found, value, "{}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_is_no_json_is_shown() {
        for text in [
            "<html>{\"Members\": [",
            "{\"a\": [1, 2",
            "{\"a\": \"b",
            "busy {\"a\": 1}",
            "{\"a\" 1}",
            "\\",
        ] {
            let (value, oddity) = read(text.as_bytes());
            assert_eq!(
                (value, oddity.as_deref()),
                (Value::Null, Some(text)),
                "{text}"
            );
        }
    }

    #[test]
    fn depth_is_bounded() {
        // Deeper than the reader goes, which must not overflow its stack.
        for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
            assert!(read(deep.as_bytes()).1.is_some());
        }
    }

    #[test]
    fn packed_bodies() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"{\"a\": 1}").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(unpacked(gzip, None, 100).unwrap(), b"{\"a\": 1}");
        let mut bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 1 << 14);
        assert_eq!(unpacked(bomb.clone(), Some("deflate"), 1000), Err(TooLong));
        assert_eq!(unpacked(bomb.clone(), None, 1000), Ok(bomb));
        let broken = vec![0x1f, 0x8b, 1, 2, 3];
        assert_eq!(unpacked(broken.clone(), Some("gzip"), 1000), Ok(broken));
    }
}
