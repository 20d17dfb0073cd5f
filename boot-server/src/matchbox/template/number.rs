//! Constants as Go writes them: numbers, quoted texts, characters.

use super::value::Value;

/// How many bytes at the start of `text` look like a number.
pub(super) fn length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let is_hex = matches!(bytes.get(sign..sign + 2), Some(b"0x" | b"0X"));
    let mut at = sign;
    while let Some(byte) = bytes.get(at) {
        let after_exponent = at > sign
            && matches!(
                (is_hex, bytes[at - 1]),
                (false, b'e' | b'E') | (true, b'p' | b'P')
            );
        let belongs = byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_')
            || (after_exponent && matches!(byte, b'+' | b'-'));
        if !belongs {
            break;
        }
        at += 1;
    }
    at
}

/// A whole number where it is written as one, else a floating point one.
pub(super) fn read(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with('_') || digits.ends_with('_') || digits.contains("__") {
        return None;
    }
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    let based = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)));
    if let Some((digits, radix)) = based {
        return whole(sign, digits, radix);
    }
    if lower.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_octal = lower.len() > 1 && lower.starts_with('0');
        return whole(sign, &lower, if is_octal { 8 } else { 10 });
    }
    let is_float = lower.bytes().any(|byte| byte.is_ascii_digit())
        && lower
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    let number: f64 = is_float.then(|| format!("{sign}{lower}").parse().ok())??;
    number.is_finite().then_some(Value::Float(number))
}

fn whole(sign: &str, digits: &str, radix: u32) -> Option<Value> {
    i64::from_str_radix(&format!("{sign}{digits}"), radix)
        .ok()
        .map(Value::Int)
}

/// The text between double quotes.
pub(super) fn unquote(inner: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (part, after) = escape(rest, '"')?;
        match part {
            Part::Byte(byte) => bytes.push(byte),
            Part::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = after;
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The character between single quotes.
pub(super) fn character(inner: &str) -> Option<char> {
    match escape(inner, '\'')? {
        (Part::Char(c), "") => Some(c),
        (Part::Byte(byte), "") => Some(char::from(byte)),
        _ => None,
    }
}

enum Part {
    Byte(u8),
    Char(char),
}

fn escape(text: &str, quote: char) -> Option<(Part, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == quote {
        return None;
    }
    if first != '\\' {
        return Some((Part::Char(first), chars.as_str()));
    }
    let kind = chars.next()?;
    let rest = chars.as_str();
    let plain = match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        c if c == quote => c,
        'x' => return coded(rest, 2, 16, true),
        'u' => return coded(rest, 4, 16, false),
        'U' => return coded(rest, 8, 16, false),
        '0'..='7' => return coded(&text[1..], 3, 8, true),
        _ => return None,
    };
    Some((Part::Char(plain), rest))
}

fn coded(text: &str, digits: usize, radix: u32, is_byte: bool) -> Option<(Part, &str)> {
    let code = text.get(..digits)?;
    if !code.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = u32::from_str_radix(code, radix).ok()?;
    let part = if is_byte {
        Part::Byte(u8::try_from(number).ok()?)
    } else {
        Part::Char(char::from_u32(number)?)
    };
    Some((part, &text[digits..]))
}
