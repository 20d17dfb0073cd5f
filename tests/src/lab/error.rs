//! What can go wrong in a lab.

use std::io;
use std::path::PathBuf;

/// Why a lab could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A tool such as `ip` could not be started.
    #[error("starting `{command}`: is it installed?")]
    Start {
        /// Command line.
        command: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A tool said no.
    #[error("`{command}` ended with {status}: {stderr}")]
    Failed {
        /// Command line.
        command: String,
        /// Exit status or signal.
        status: String,
        /// What it printed on stderr, at most its end.
        stderr: String,
    },
    /// A file or folder.
    #[error("{doing} {}", path.display())]
    File {
        /// What was tried, such as `creating`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Something that has to be there is not.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// What is missing.
        what: String,
        /// What to do about it.
        remedy: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s{detail}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was there instead, with a leading separator; may be empty.
        detail: String,
    },
    /// A process of the lab ended by itself.
    #[error("{name} ended by itself ({status}); its log ends:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// Exit status or signal.
        status: String,
        /// Last lines of its log.
        log: String,
    },
    /// A machine's monitor answered something unexpected.
    #[error("the monitor of {machine}: {message}")]
    Monitor {
        /// Which machine.
        machine: String,
        /// What it said, or why it could not be asked.
        message: String,
    },
    /// Somebody asked to stop.
    #[error("stopped before all was done")]
    Stopped,
    /// Anything a part of the lab reports in its own words.
    #[error("{0}")]
    Other(String),
}

impl LabError {
    /// For `map_err`: what was tried with which file.
    pub(crate) fn file(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }

    /// The error and its causes on one line, for a person.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
