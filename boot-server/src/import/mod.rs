//! Other systems' configuration turned into manifests.
//!
//! Pure: values come in parsed, resources and findings go out. Whatever has no
//! counterpart is a finding with its reason, never dropped in silence.

pub mod kubefarm;
pub mod matchbox;
mod render;

use std::fmt;

use boot_proto::resources::Resource;

pub(crate) use render::for_kubectl;
pub use render::render;

/// What became of something that did not translate one to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It has to be filled in by hand before the manifests can be used.
    ToDo,
    /// It was carried over as something else, or with another value.
    Changed,
    /// It has no counterpart.
    LeftOut,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToDo => "to do",
            Self::Changed => "changed",
            Self::LeftOut => "left out",
        })
    }
}

/// One thing that did not translate one to one, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What became of it.
    pub outcome: Outcome,
    /// Path of the value, such as `ltsp.config.rootPasswd`.
    pub path: String,
    /// Why, and what to do.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.outcome, self.path, self.reason)
    }
}

/// The result of an import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// The resources, in the order in which they should be read.
    pub resources: Vec<Resource>,
    /// What did not translate one to one, sorted, each once.
    pub findings: Vec<Finding>,
}

/// Findings as they come up.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, outcome: Outcome, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Finding {
            outcome,
            path: path.into(),
            reason: reason.into(),
        });
    }

    fn left_out(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.add(Outcome::LeftOut, path, reason);
    }

    fn changed(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.add(Outcome::Changed, path, reason);
    }

    fn unfilled(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.add(Outcome::ToDo, path, reason);
    }

    fn sorted(mut self) -> Vec<Finding> {
        self.0.sort();
        self.0.dedup();
        self.0
    }
}
