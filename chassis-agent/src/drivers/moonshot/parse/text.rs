//! From the bytes of an answer to its lines: without echo, prompt, carriage
//! returns and terminal escapes.

use boot_proto::hardware_profile::CliRules;

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

/// Reads what came for `command`: drops the echoed command, the prompt, and
/// lines longer than the profile allows.
#[must_use]
pub fn clean(raw: &[u8], command: &str, rules: &CliRules) -> Answer {
    let text = without_escapes(&String::from_utf8_lossy(raw));
    let longest = usize::try_from(rules.limits.line.0).unwrap_or(usize::MAX);
    let mut lines: Vec<String> = text
        .split('\n')
        .filter(|line| line.len() <= longest)
        .map(|line| line.trim_end().to_owned())
        .collect();
    if let Some(echo) = lines.iter().position(|line| !line.trim().is_empty())
        && lines
            .get(echo)
            .is_some_and(|line| is_echo(line, command, rules))
    {
        lines.drain(..=echo);
    }
    while lines
        .last()
        .is_some_and(|line| line.trim().is_empty() || is_prompt(line, rules))
    {
        lines.pop();
    }
    Answer { lines }
}

/// Whether what came so far ends with a prompt, that is, the device waits for
/// the next command.
#[must_use]
pub fn ends_with_prompt(raw: &[u8], rules: &CliRules) -> bool {
    // A prompt is one short word; only the tail can hold it, whatever came.
    let tail = raw
        .get(raw.len().saturating_sub(LONGEST_PROMPT * 4)..)
        .unwrap_or(raw);
    let tail = without_escapes(&String::from_utf8_lossy(tail));
    tail.rsplit('\n')
        .next()
        .is_some_and(|line| is_prompt(line, rules))
}

const LONGEST_PROMPT: usize = 96;

fn is_prompt(line: &str, rules: &CliRules) -> bool {
    let line = line.trim();
    line.len() <= LONGEST_PROMPT
        && !line.contains(char::is_whitespace)
        && rules
            .prompt_endings
            .iter()
            .any(|ending| line.ends_with(ending.trim_end()))
}

/// `show node list`, or the same behind a prompt.
fn is_echo(line: &str, command: &str, rules: &CliRules) -> bool {
    let Some(before) = line.trim().strip_suffix(command.trim()) else {
        return false;
    };
    before.is_empty() || is_prompt(before, rules)
}

/// Drops carriage returns, escape sequences (ECMA-48 §5.4) and other control
/// characters; a backspace takes the character before it.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                if rest.next_if_eq(&'[').is_some() {
                    // CSI: parameters and intermediates, then a final byte.
                    while rest
                        .next_if(|c| ('\u{20}'..='\u{3f}').contains(c))
                        .is_some()
                    {}
                }
                rest.next_if(|c| *c != '\n');
            }
            '\u{8}' => {
                if !plain.ends_with('\n') {
                    plain.pop();
                }
            }
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}
