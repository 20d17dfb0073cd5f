//! YAML text to documents with places, with every mistake that YAML itself can have.
//!
//! A document that cannot be read does not take the others of its file along:
//! `---` at the beginning of a line always ends a document (YAML 1.2.2 §9.1.4),
//! so each is read on its own.

use std::collections::{HashMap, HashSet};

use saphyr::Scalar;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use serde_json::Value as Json;

use super::node::{Entry, Node, Place, Value};

/// Deeper nesting than any resource has.
const MAX_DEPTH: usize = 64;
/// Parts that aliases may add to one document: a few lines of aliases to
/// aliases would otherwise fill the memory.
const MAX_ALIASED: usize = 20_000;
/// Parts that anchors may keep copies of.
const MAX_ANCHORED: usize = 100_000;
/// Stands for a key that was reported; its value is passed over.
const NO_KEY: &str = "\0";
/// Mistakes reported of one document's YAML.
const MAX_FAULTS: usize = 50;

/// A mistake in the YAML itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub at: Place,
    pub message: String,
    pub hint: String,
}

/// What a text holds.
#[derive(Default)]
pub(super) struct Parsed {
    /// Whole documents.
    pub documents: Vec<Node>,
    /// The beginnings of documents that broke off.
    pub torn: Vec<Node>,
    pub faults: Vec<Fault>,
}

/// Reads every document of a text.
pub(super) fn read(text: &str) -> Parsed {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parsed = Parsed::default();
    for (first_line, part) in split(text) {
        let mut reader = Reader {
            first_line,
            ..Reader::default()
        };
        if !reader.read(part) {
            parsed.torn.extend(reader.tear());
        }
        parsed.documents.append(&mut reader.documents);
        parsed.faults.append(&mut reader.faults);
    }
    parsed
}

/// Cuts the text before each line that begins a document; gives the number of
/// lines before each part.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut from, mut first_line, mut at) = (0, 0, 0);
    // Directives belong to the document whose `---` follows them.
    let mut has_content = false;
    for (number, line) in lines(text).enumerate() {
        let begins = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if begins && has_content {
            parts.push((first_line, &text[from..at]));
            (from, first_line) = (at, number);
        }
        has_content |= begins || !(line.trim().is_empty() || line.starts_with(['#', '%']));
        at += line.len();
    }
    parts.push((first_line, &text[from..]));
    parts
}

/// Lines with what ends them: a line feed, a carriage return, or both (YAML
/// 1.2.2 §5.4), as the parser counts them.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.find(['\n', '\r']).map(|at| {
            let is_pair = rest.get(at..).is_some_and(|end| end.starts_with("\r\n"));
            at + 1 + usize::from(is_pair)
        });
        let (line, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

/// A list or mapping that is not closed yet.
struct Open {
    at: Place,
    anchor: usize,
    holds: Holds,
}

enum Holds {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Where in `entries` a key is: mappings can have very many.
        known: HashMap<String, usize>,
        key: Option<(String, Place)>,
        merges: Vec<Node>,
    },
}

#[derive(Default)]
struct Reader {
    first_line: usize,
    documents: Vec<Node>,
    faults: Vec<Fault>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
    anchored: usize,
}

impl Reader {
    /// Reads to the end; `false` where that could not be reached.
    fn read(&mut self, text: &str) -> bool {
        for event in Parser::new_from_str(text) {
            let going_on = match event {
                Ok((event, span)) => self.take(event, span),
                Err(error) => {
                    self.scan_fault(text, &error);
                    false
                }
            };
            if !going_on || self.faults.len() >= MAX_FAULTS {
                return false;
            }
        }
        true
    }

    /// Closes what is open: as much of a document as was read.
    fn tear(&mut self) -> Option<Node> {
        if self.open.is_empty() {
            return None;
        }
        while !self.open.is_empty() {
            self.end();
        }
        self.documents.pop()
    }

    /// Takes one event; says whether reading can go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value =
                    match Scalar::parse_from_cow_and_metadata(text.clone(), style, tag.as_ref()) {
                        Some(scalar) => scalar_value(&scalar, &text, style),
                        None => {
                            self.fault(
                                at,
                                "this value does not fit its tag",
                                "leave the tag (the word that begins with '!') out",
                            );
                            Value::Pruned
                        }
                    };
                self.add(Node::new(at, value), anchor);
            }
            Event::SequenceStart(anchor, _) => {
                return self.begin(at, anchor, Holds::List(Vec::new()));
            }
            Event::MappingStart(anchor, _) => {
                let holds = Holds::Map {
                    entries: Vec::new(),
                    known: HashMap::new(),
                    key: None,
                    merges: Vec::new(),
                };
                return self.begin(at, anchor, holds);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => return self.alias(at, anchor),
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn place(&self, span: Span) -> Place {
        Place {
            line: self.first_line + span.start.line().max(1),
            column: span.start.col() + 1,
        }
    }

    fn begin(&mut self, at: Place, anchor: usize, holds: Holds) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.fault(
                at,
                &format!("nested deeper than {MAX_DEPTH} levels"),
                "no resource is nested so deep; check the brackets and the indentation",
            );
            return false;
        }
        self.open.push(Open { at, anchor, holds });
        true
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.holds {
            Holds::List(items) => Value::List(items),
            Holds::Map {
                entries, merges, ..
            } => Value::Map(merge(entries, merges)),
        };
        self.add(Node::new(open.at, value), open.anchor);
    }

    fn alias(&mut self, at: Place, anchor: usize) -> bool {
        let Some(node) = self.anchors.get(&anchor) else {
            self.fault(
                at,
                "this alias refers to what it is a part of, or to too large a part",
                "write the value out",
            );
            self.add(Node::new(at, Value::Pruned), 0);
            return true;
        };
        self.aliased = self.aliased.saturating_add(size(node));
        if self.aliased > MAX_ALIASED {
            self.fault(
                at,
                &format!("aliases make this document larger than {MAX_ALIASED} parts"),
                "write the values out, or use a Profile for what several pools share",
            );
            return false;
        }
        let node = node.clone();
        self.add(node, 0);
        true
    }

    /// Puts a finished part where it belongs.
    fn add(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchored = self.anchored.saturating_add(size(&node));
            if self.anchored <= MAX_ANCHORED {
                self.anchors.insert(anchor, node.clone());
            }
        }
        let mut faults = Vec::new();
        match self.open.last_mut().map(|open| &mut open.holds) {
            None => self.documents.push(node),
            Some(Holds::List(items)) => items.push(node),
            Some(Holds::Map {
                entries,
                known,
                key,
                merges,
            }) => match key.take() {
                None => *key = Some(key_of(&node, &mut faults)),
                Some((name, _)) if name == "<<" => merges.push(node),
                Some((name, _)) if name == NO_KEY => {}
                Some((name, key_at)) => match known.get(&name).and_then(|at| entries.get(*at)) {
                    None => {
                        known.insert(name.clone(), entries.len());
                        entries.push(Entry {
                            key: name,
                            key_at,
                            value: node,
                        });
                    }
                    Some(first) => faults.push(Fault {
                        at: key_at,
                        message: format!(
                            "{name:?} is given twice; the first is in line {}",
                            first.key_at.line
                        ),
                        hint: "keep one of the two".to_owned(),
                    }),
                },
            },
        }
        self.faults.append(&mut faults);
    }

    fn scan_fault(&mut self, text: &str, error: &ScanError) {
        let marker = error.marker();
        let mut at = Place {
            line: self.first_line + marker.line().max(1),
            column: marker.col() + 1,
        };
        // The scanner stops at the line before a tab as often as at the tab.
        let tab = text
            .lines()
            .enumerate()
            .skip(marker.line().saturating_sub(1))
            .take(2)
            .find(|(_, line)| {
                line.chars()
                    .take_while(|c| c.is_whitespace())
                    .any(|c| c == '\t')
            });
        if let Some((number, _)) = tab {
            at = Place {
                line: self.first_line + number + 1,
                column: 1,
            };
        }
        let hint = if tab.is_some() {
            "YAML is indented with blanks; replace the tab"
        } else if error.info().contains("mapping values") {
            "check the indentation, and put a text that contains ': ' in quotes"
        } else if error.info().contains("unknown anchor") {
            "define the anchor (&name) in the same document, before it is used; put a text that begins with '*' in quotes"
        } else {
            "check the indentation, quotes and brackets here and in the line before"
        };
        self.fault(at, &format!("this is not YAML: {}", error.info()), hint);
    }

    fn fault(&mut self, at: Place, message: &str, hint: &str) {
        self.faults.push(Fault {
            at,
            message: message.to_owned(),
            hint: hint.to_owned(),
        });
    }
}

fn scalar_value(scalar: &Scalar<'_>, text: &str, style: ScalarStyle) -> Value {
    let json = match scalar {
        Scalar::Null => Json::Null,
        Scalar::Boolean(truth) => Json::Bool(*truth),
        Scalar::Integer(number) => Json::from(*number),
        // Larger than i64, infinite or not a number: no field takes these.
        Scalar::FloatingPoint(number) => match serde_json::Number::from_f64(number.0) {
            Some(number) if style == ScalarStyle::Plain => Json::Number(number),
            _ => return Value::Text(text.to_owned()),
        },
        Scalar::String(_) => return Value::Text(text.to_owned()),
    };
    Value::Plain(json, text.to_owned())
}

/// The name that a key gives. A number is a name as well: `42:` for a DHCP option.
fn key_of(node: &Node, faults: &mut Vec<Fault>) -> (String, Place) {
    let name = node.scalar().map(str::to_owned).unwrap_or_else(|| {
        faults.push(Fault {
            at: node.at,
            message: "a list or mapping cannot be a key".to_owned(),
            hint: "write a name before the colon; put {…} and […] in quotes where text is meant"
                .to_owned(),
        });
        NO_KEY.to_owned()
    });
    (name, node.at)
}

/// `<<: *base`: entries of `base` that the mapping does not have itself (YAML
/// merge key, which kubectl reads as well).
fn merge(mut entries: Vec<Entry>, merges: Vec<Node>) -> Vec<Entry> {
    let mut sources = Vec::new();
    for node in merges {
        match node.value {
            Value::List(items) => sources.extend(items),
            _ => sources.push(node),
        }
    }
    if sources.is_empty() {
        return entries;
    }
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for source in sources {
        if let Value::Map(more) = source.value {
            let new = more.into_iter();
            entries.extend(new.filter(|entry| known.insert(entry.key.clone())));
        }
    }
    entries
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => {
            1 + entries
                .iter()
                .map(|entry| size(&entry.value))
                .sum::<usize>()
        }
        _ => 1,
    }
}
