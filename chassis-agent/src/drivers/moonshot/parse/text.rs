//! From the bytes of an answer to its lines: without echo, prompt, pager,
//! carriage returns and terminal escapes.

use std::iter::Peekable;
use std::str::Chars;

use boot_proto::hardware_profile::CliRules;
use boot_proto::ids::MacAddr;

/// The lines of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Lines without line ends and trailing blanks.
    pub lines: Vec<String>,
}

impl Answer {
    /// The answer as one text, for excerpts and recognition.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join("\n").trim().to_owned()
    }

    /// The first line that begins with one of `texts`, in any letter case.
    #[must_use]
    pub fn line_beginning(&self, texts: &[String]) -> Option<&str> {
        self.find(texts, |line, text| line.trim_start().starts_with(text))
    }

    /// The first line that holds one of `texts`, in any letter case.
    #[must_use]
    pub fn line_holding(&self, texts: &[String]) -> Option<&str> {
        self.find(texts, |line, text| line.contains(text))
    }

    fn find(&self, texts: &[String], fits: impl Fn(&str, &str) -> bool) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| {
            let line = line.to_lowercase();
            texts
                .iter()
                .any(|text| !text.is_empty() && fits(&line, &text.to_lowercase()))
        })
    }
}

/// Reads what came for `command`: drops the echoed command with what is before
/// it, the prompt, the marks of a pager, and lines longer than the profile
/// allows.
#[must_use]
pub fn clean(raw: &[u8], command: &str, rules: &CliRules) -> Answer {
    clean_with(raw, command, None, rules)
}

/// The same on a device whose prompt is known, so that it is taken off also
/// where it follows the last row on the same line.
#[must_use]
pub fn clean_with(raw: &[u8], command: &str, prompt: Option<&str>, rules: &CliRules) -> Answer {
    let text = without_escapes(&String::from_utf8_lossy(raw));
    let longest = usize::try_from(rules.limits.line.0).unwrap_or(usize::MAX);
    let mut lines: Vec<String> = text
        .split('\n')
        .filter(|line| line.len() <= longest)
        .map(|line| without_pager(line, rules))
        .collect();
    // Whatever is before the echo is a greeting, not an answer.
    let last_echo = lines
        .iter()
        .rposition(|line| is_echo(line, command, prompt, rules));
    if let Some(echo) = last_echo {
        lines.drain(..=echo);
    }
    while let Some(last) = lines.pop() {
        let rest = without_prompt(&last, prompt, rules);
        if !rest.trim().is_empty() {
            lines.push(rest.to_owned());
            break;
        }
    }
    Answer { lines }
}

/// How what came so far ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somewhere in an answer.
    Open,
    /// With a word like a prompt on a line with other words: perhaps a prompt
    /// behind an answer without a line end.
    MaybePrompt,
    /// With a prompt: the device waits for the next command.
    Prompt,
    /// With a pager's question: the device waits for a key.
    Pager,
}

/// Reads the ending; `prompt` is the device's prompt where it is known.
#[must_use]
pub fn ending(raw: &[u8], prompt: Option<&str>, rules: &CliRules) -> Ending {
    let line = last_line(raw);
    let line = line.trim();
    if is_prompt(line, rules) || prompt.is_some_and(|prompt| line.ends_with(prompt)) {
        return Ending::Prompt;
    }
    if line.len() <= LONGEST_PROMPT && rules.answers.pager.iter().any(|text| holds(line, text)) {
        return Ending::Pager;
    }
    let last_word = line.split_whitespace().next_back().unwrap_or_default();
    if is_prompt(last_word, rules) {
        return Ending::MaybePrompt;
    }
    Ending::Open
}

/// The prompt that what came so far ends with, if it may be one.
#[must_use]
pub fn prompt_of(raw: &[u8], rules: &CliRules) -> Option<String> {
    let line = last_line(raw);
    let line = line.trim();
    let last_word = line.split_whitespace().next_back()?;
    (line.len() <= LONGEST_PROMPT && is_prompt(last_word, rules)).then(|| line.to_owned())
}

/// A prompt or a pager's question is no longer than this.
const LONGEST_PROMPT: usize = 96;

fn last_line(raw: &[u8]) -> String {
    // Only the tail can hold it, whatever came; escapes may make it longer.
    let tail = raw
        .get(raw.len().saturating_sub(LONGEST_PROMPT * 4)..)
        .unwrap_or(raw);
    let tail = without_escapes(&String::from_utf8_lossy(tail));
    let line = tail.rsplit('\n').next().unwrap_or_default();
    line.replace('\r', "")
}

fn is_prompt(line: &str, rules: &CliRules) -> bool {
    let line = line.trim().to_ascii_lowercase();
    line.len() <= LONGEST_PROMPT
        && !line.contains(char::is_whitespace)
        && rules
            .prompt_endings
            .iter()
            .any(|ending| line.ends_with(&ending.trim_end().to_ascii_lowercase()))
}

/// A line without the prompt at its end.
fn without_prompt<'a>(line: &'a str, prompt: Option<&str>, rules: &CliRules) -> &'a str {
    /// Digits and separators of a MAC, which may stick to the prompt.
    const MAC: usize = 17;
    let line = line.trim_end();
    if let Some(before) = prompt.and_then(|prompt| line.strip_suffix(prompt)) {
        return before.trim_end();
    }
    let (before, word) = line
        .rsplit_once(char::is_whitespace)
        .unwrap_or_else(|| ("", line.trim_start()));
    if !is_prompt(word, rules) {
        return line;
    }
    let has_mac = word
        .get(..MAC)
        .is_some_and(|mac| mac.parse::<MacAddr>().is_ok());
    if has_mac {
        return line.get(..line.len() - word.len() + MAC).unwrap_or(line);
    }
    before.trim_end()
}

/// `show node list`, or the same behind a prompt.
fn is_echo(line: &str, command: &str, prompt: Option<&str>, rules: &CliRules) -> bool {
    let line = line.trim().to_ascii_lowercase();
    let command = command.trim().to_ascii_lowercase();
    match line.strip_suffix(&command) {
        Some(before) if !command.is_empty() => {
            let before = before.trim();
            before.is_empty()
                || is_prompt(before, rules)
                || prompt.is_some_and(|prompt| before.eq_ignore_ascii_case(prompt))
        }
        _ => false,
    }
}

fn holds(line: &str, text: &str) -> bool {
    !text.is_empty() && find(line, text).is_some()
}

/// Where `text` is in `line`, in any letter case.
fn find(line: &str, text: &str) -> Option<usize> {
    line.to_ascii_lowercase().find(&text.to_ascii_lowercase())
}

/// A line without carriage returns, trailing blanks and the question of a
/// pager, which is wiped out on a terminal and stands before the next row here.
fn without_pager(line: &str, rules: &CliRules) -> String {
    let line = line.trim_end();
    let texts = rules.answers.pager.iter().filter(|text| !text.is_empty());
    let question = texts
        .filter_map(|text| Some(find(line, text)? + text.len()))
        .max();
    let rest = match question.and_then(|end| line.get(end..)) {
        // What follows the last carriage return has replaced it.
        Some(after) => after.rsplit('\r').next().unwrap_or(after),
        None => line,
    };
    rest.replace('\r', "")
}

/// Drops escape sequences (ECMA-48 §5.3, §5.4, §8.3.89) and control characters
/// other than line ends; a backspace takes the character before it.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => drop_escape(&mut rest),
            '\u{9b}' => drop_control_sequence(&mut rest),
            '\u{8}' => {
                if !plain.ends_with('\n') {
                    plain.pop();
                }
            }
            '\n' | '\r' => plain.push(c),
            '\t' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// What follows an escape character.
fn drop_escape(rest: &mut Peekable<Chars<'_>>) {
    if rest.next_if_eq(&'[').is_some() {
        drop_control_sequence(rest);
    } else if rest.next_if_eq(&']').is_some() {
        // A title for the window, up to a bell or the escape of its end.
        while rest
            .next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n'))
            .is_some()
        {}
        rest.next_if_eq(&'\u{7}');
    } else {
        // Such as `ESC ( B`: intermediates, then a final byte.
        while rest
            .next_if(|c| ('\u{20}'..='\u{2f}').contains(c))
            .is_some()
        {}
        rest.next_if(|c| !matches!(c, '\n' | '\r'));
    }
}

/// Parameters and intermediates, then a final byte.
fn drop_control_sequence(rest: &mut Peekable<Chars<'_>>) {
    while rest
        .next_if(|c| ('\u{20}'..='\u{3f}').contains(c))
        .is_some()
    {}
    rest.next_if(|c| !matches!(c, '\n' | '\r'));
}
