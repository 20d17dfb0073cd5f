//! Values as text, as Go's package `fmt` writes them.

use super::MAX_OUTPUT;
use super::exec::Evaluated;
use super::value::Value;

/// Widest field and finest precision that are taken for meant.
const MAX_WIDTH: usize = 100_000;
/// Decimal exponent from which on `%v` and `%g` write one.
const LARGE: i32 = 6;

/// A value as an action shows it.
pub(super) fn shown(value: &Value) -> Evaluated<String> {
    match value {
        Value::Nil => Ok("<no value>".into()),
        other => plain(other),
    }
}

/// A value by `%v`.
pub(super) fn plain(value: &Value) -> Evaluated<String> {
    let mut text = String::new();
    write_plain(&mut text, value)?;
    Ok(text)
}

fn write_plain(text: &mut String, value: &Value) -> Evaluated<()> {
    match value {
        Value::Nil => text.push_str("<nil>"),
        Value::Bool(is_true) => text.push_str(if *is_true { "true" } else { "false" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Float(number) => text.push_str(&float(*number)),
        Value::Text(inner) => text.push_str(inner),
        Value::List(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { " " } else { "" });
                write_plain(text, item)?;
            }
            text.push(']');
        }
        Value::Map(entries) => {
            text.push_str("map[");
            for (at, (key, item)) in entries.iter().enumerate() {
                text.push_str(if at > 0 { " " } else { "" });
                text.push_str(key);
                text.push(':');
                write_plain(text, item)?;
            }
            text.push(']');
        }
        Value::Texts(entries) => {
            let entries = entries.iter().map(|(key, item)| format!("{key}:{item}"));
            text.push_str(&format!("map[{}]", entries.collect::<Vec<_>>().join(" ")));
        }
    }
    bounded(text.len())
}

fn bounded(bytes: usize) -> Evaluated<()> {
    if bytes > MAX_OUTPUT {
        return Err(format!("a text grows beyond {MAX_OUTPUT} bytes"));
    }
    Ok(())
}

/// Shortest form that reads back the same; with an exponent below 1e-4 and from
/// 1e6 on.
pub(in crate::matchbox) fn float(number: f64) -> String {
    shortest(number, LARGE)
}

fn shortest(number: f64, large: i32) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{number:e}");
    let exponent: i32 = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok())
        .unwrap_or(0);
    if number != 0.0 && (exponent < -4 || exponent >= large) {
        return go_exponent(&scientific);
    }
    format!("{number}")
}

/// Go writes an exponent with its sign and at least two digits.
fn go_exponent(scientific: &str) -> String {
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific.to_owned();
    };
    let number: i32 = exponent.parse().unwrap_or(0);
    let sign = if number < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", number.abs())
}

/// As `fmt.Sprint`: a space between two neighbours neither of which is a text.
pub(super) fn sprint(values: &[Value]) -> Evaluated<String> {
    let mut text = String::new();
    let mut after_text = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !is_text && !after_text {
            text.push(' ');
        }
        after_text = is_text;
        write_plain(&mut text, value)?;
    }
    Ok(text)
}

/// As `fmt.Sprintln`: a space between all.
pub(super) fn sprintln(values: &[Value]) -> Evaluated<String> {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        text.push_str(if at > 0 { " " } else { "" });
        write_plain(&mut text, value)?;
    }
    text.push('\n');
    Ok(text)
}

/// Flags, width and precision of one verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// As `fmt.Sprintf`; an argument's number (`%[1]d`) may stand before the verb.
pub(super) fn sprintf(pattern: &str, values: &[Value]) -> Evaluated<String> {
    let mut text = String::new();
    let mut rest = pattern;
    let mut open = values.iter();
    let mut is_reordered = false;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let (spec, mut after) = Spec::read(&rest[at + 1..], &mut open)?;
        if let Some((number, end)) = argument_number(after) {
            open = values.get(number..).unwrap_or_default().iter();
            is_reordered = true;
            after = end;
        }
        let mut chars = after.chars();
        let verb = chars.next();
        rest = chars.as_str();
        match verb {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match open.next() {
                None if is_reordered => text.push_str(&format!("%!{verb}(BADINDEX)")),
                None => text.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => text.push_str(&spec.write(verb, value)?),
            },
        }
        bounded(text.len())?;
    }
    text.push_str(rest);
    if !is_reordered {
        text.push_str(&extra(open.as_slice())?);
    }
    bounded(text.len())?;
    Ok(text)
}

/// `[2]` as 1, and what follows it.
fn argument_number(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix('[')?.split_once(']')?;
    let number: usize = number.parse().ok()?;
    Some((number.checked_sub(1)?, rest))
}

/// What is said of values that no verb asked for.
fn extra(values: &[Value]) -> Evaluated<String> {
    if values.is_empty() {
        return Ok(String::new());
    }
    let mut shown = Vec::new();
    for value in values {
        shown.push(match value {
            Value::Nil => "<nil>".to_owned(),
            other => format!("{}={}", other.go_type(), plain(other)?),
        });
    }
    Ok(format!("%!(EXTRA {})", shown.join(", ")))
}

impl Spec {
    fn read<'a, 'v>(
        mut rest: &'a str,
        values: &mut impl Iterator<Item = &'v Value>,
    ) -> Evaluated<(Self, &'a str)> {
        let mut spec = Self::default();
        while let Some(flag) = rest.chars().next() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let (width, after) = size(rest, values)?;
        spec.width = width;
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            let (precision, after) = size(after, values)?;
            spec.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        Ok((spec, rest))
    }

    fn write(self, verb: char, value: &Value) -> Evaluated<String> {
        let body = match (verb, value) {
            ('T', value) => value.go_type().to_owned(),
            (
                'v' | 's' | 'd' | 'q' | 'x' | 'X',
                Value::List(_) | Value::Map(_) | Value::Texts(_),
            ) => {
                return self.write_each(verb, value);
            }
            ('v', Value::Nil) => "<nil>".into(),
            (verb, Value::Nil) => format!("%!{verb}(<nil>)"),
            ('v' | 't', Value::Bool(_)) | ('v', Value::Int(_)) => {
                return self.number(&plain(value)?);
            }
            ('v', Value::Float(number)) => return self.number(&self.general(*number)),
            ('v' | 's', Value::Text(text)) => self.cut(text),
            ('q', Value::Text(text)) => quoted(&self.cut(text)),
            ('x', Value::Text(text)) => hex::encode(self.cut(text)),
            ('X', Value::Text(text)) => hex::encode_upper(self.cut(text)),
            ('d', Value::Int(number)) => return self.number(&number.to_string()),
            ('x' | 'X' | 'o' | 'b', Value::Int(number)) => {
                return self.number(&based(verb, self.sharp, *number));
            }
            ('c', Value::Int(number)) => u32::try_from(*number)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
                .to_string(),
            ('U', Value::Int(number)) => format!("U+{number:04X}"),
            ('f' | 'F', Value::Float(number)) => {
                let digits = self.precision.unwrap_or(6);
                return self.number(&format!("{number:.digits$}"));
            }
            ('e', Value::Float(number)) => {
                let digits = self.precision.unwrap_or(6);
                return self.number(&go_exponent(&format!("{number:.digits$e}")));
            }
            ('g', Value::Float(number)) => return self.number(&self.general(*number)),
            (verb, value) => format!("%!{verb}({}={})", value.go_type(), plain(value)?),
        };
        Ok(self.pad(&body, false))
    }

    /// Lists and mappings: each item by the same verb.
    fn write_each(self, verb: char, value: &Value) -> Evaluated<String> {
        let mut items = Vec::new();
        match value {
            Value::List(list) => {
                for item in list.iter() {
                    items.push(self.write(verb, item)?);
                }
                return Ok(format!("[{}]", items.join(" ")));
            }
            Value::Map(entries) => {
                for (key, item) in entries.iter() {
                    let key = self.write(verb, &Value::text(key))?;
                    items.push(format!("{key}:{}", self.write(verb, item)?));
                }
            }
            Value::Texts(entries) => {
                for (key, item) in entries.iter() {
                    let key = self.write(verb, &Value::text(key))?;
                    items.push(format!("{key}:{}", self.write(verb, &Value::text(item))?));
                }
            }
            _ => {}
        }
        Ok(format!("map[{}]", items.join(" ")))
    }

    /// `%g`: with a precision that many digits that count.
    fn general(self, number: f64) -> String {
        let Some(digits) = self.precision else {
            return shortest(number, LARGE);
        };
        let digits = digits.max(1);
        let rounded = format!("{number:.*e}", digits - 1);
        let value: f64 = rounded.parse().unwrap_or(number);
        shortest(value, i32::try_from(digits).unwrap_or(LARGE))
    }

    fn number(self, text: &str) -> Evaluated<String> {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        let text = match (self.plus, self.space) {
            (true, _) if is_number => format!("+{text}"),
            (_, true) if is_number => format!(" {text}"),
            _ => text.to_owned(),
        };
        Ok(self.pad(&text, true))
    }

    /// At most as many characters as the precision says.
    fn cut(self, text: &str) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        }
    }

    fn pad(self, text: &str, is_number: bool) -> String {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if missing == 0 {
            return text.to_owned();
        }
        if self.minus {
            return format!("{text}{}", " ".repeat(missing));
        }
        if !self.zero {
            return format!("{}{text}", " ".repeat(missing));
        }
        let sign = text.find(|c| !matches!(c, '+' | '-' | ' ')).unwrap_or(0);
        let (sign, digits) = text.split_at(if is_number { sign } else { 0 });
        format!("{sign}{}{digits}", "0".repeat(missing))
    }
}

/// A width or precision: digits, or `*` for the next value.
fn size<'a, 'v>(
    rest: &'a str,
    values: &mut impl Iterator<Item = &'v Value>,
) -> Evaluated<(Option<usize>, &'a str)> {
    let (size, rest) = if let Some(after) = rest.strip_prefix('*') {
        match values.next() {
            Some(Value::Int(size)) => (usize::try_from(*size).ok(), after),
            _ => return Err("printf: * takes a whole number".into()),
        }
    } else {
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        (rest[..end].parse().ok(), &rest[end..])
    };
    match size {
        Some(size) if size > MAX_WIDTH => Err("printf: too wide".into()),
        size => Ok((size, rest)),
    }
}

fn based(verb: char, sharp: bool, number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let size = number.unsigned_abs();
    match (verb, sharp) {
        ('x', false) => format!("{sign}{size:x}"),
        ('x', true) => format!("{sign}{size:#x}"),
        ('X', false) => format!("{sign}{size:X}"),
        ('X', true) => format!("{sign}0X{size:X}"),
        ('o', false) => format!("{sign}{size:o}"),
        ('o', true) => format!("{sign}0{size:o}"),
        (_, false) => format!("{sign}{size:b}"),
        (_, true) => format!("{sign}{size:#b}"),
    }
}

/// As Go's `strconv.Quote`.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
