//! Manifests: YAML text to resources, with every mistake and its place.
//!
//! Pure: files come in as text. Reading folders and following changes is the
//! programs' own business.

mod check;
mod node;
mod read;
#[cfg(test)]
mod tests;
mod typed;
mod words;
mod yaml;

use std::fmt;

use crate::resources::Resource;
use read::Document;

/// Larger files are refused: no farm needs them, and a file put into the folder
/// by accident should not be read into memory.
const MAX_BYTES: usize = 4 << 20;

/// One file with manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name, as mistakes shall show it.
    pub name: String,
    /// Its bytes; they have to be UTF-8.
    pub text: Vec<u8>,
}

/// One mistake in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// File it is in.
    pub file: String,
    /// Line, counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Column, counted from 1; 0 where the whole line is meant.
    pub column: usize,
    /// `Kind/name` of the resource, where that much could be read.
    pub resource: Option<String>,
    /// Path of the field, such as `spec.ranges[0].from`; empty for the whole document.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl fmt::Display for Mistake {
    /// `FILE:LINE:COLUMN: KIND/NAME: PATH: MESSAGE`, and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.line > 0 && self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        if let Some(resource) = &self.resource {
            write!(f, ": {resource}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n    {}", self.hint)?;
        }
        Ok(())
    }
}

/// What a set of manifests says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The resources that could be read, in the order of files and documents.
    pub resources: Vec<Resource>,
    /// Everything wrong, sorted by file and line. Unless this is empty the
    /// resources must not be used.
    pub mistakes: Vec<Mistake>,
}

/// Reads and checks `files` together.
#[must_use]
pub fn load(files: &[SourceFile]) -> Loaded {
    let mut mistakes = Vec::new();
    let mut documents: Vec<(&str, Document)> = Vec::new();
    for file in files {
        let Some(text) = text_of(file, &mut mistakes) else {
            continue;
        };
        let parsed = yaml::read(text);
        mistakes.extend(parsed.faults.into_iter().map(|fault| Mistake {
            file: file.name.clone(),
            line: fault.at.line,
            column: fault.at.column,
            resource: None,
            path: String::new(),
            message: fault.message,
            hint: fault.hint,
        }));
        let torn = parsed.torn.into_iter().map(read::torn);
        let read = parsed
            .documents
            .into_iter()
            .flat_map(read::read)
            .chain(torn);
        documents.extend(read.map(|document| (file.name.as_str(), document)));
    }
    for (file, document) in &documents {
        mistakes.extend(document.problems.iter().map(|problem| Mistake {
            file: (*file).to_owned(),
            line: problem.at.line,
            column: problem.at.column,
            resource: document.label(),
            path: problem.path.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }));
    }
    mistakes.extend(check::run(&documents));
    mistakes.sort_by(|a, b| {
        (&a.file, a.line, a.column, &a.message).cmp(&(&b.file, b.line, b.column, &b.message))
    });
    mistakes.dedup();
    let whole = documents
        .into_iter()
        .filter(|(_, document)| document.problems.is_empty());
    Loaded {
        resources: whole
            .filter_map(|(_, document)| document.resource)
            .collect(),
        mistakes,
    }
}

fn text_of<'a>(file: &'a SourceFile, mistakes: &mut Vec<Mistake>) -> Option<&'a str> {
    let mut refuse = |line, message: &str, hint: &str| {
        mistakes.push(Mistake {
            file: file.name.clone(),
            line,
            column: 0,
            resource: None,
            path: String::new(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        });
    };
    if file.text.len() > MAX_BYTES {
        refuse(
            0,
            "the file is larger than 4 MiB",
            "split it, or move it out of the folder if it is no manifest",
        );
        return None;
    }
    match std::str::from_utf8(&file.text) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = file.text.get(..error.valid_up_to()).unwrap_or_default();
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            refuse(line, "this is not UTF-8 text", "save the file as UTF-8");
            None
        }
    }
}
