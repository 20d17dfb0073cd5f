//! Go's `text/template` as far as Matchbox's users have it: all of its actions
//! and built-in functions over what JSON can say, with a missing key being an
//! error. Pure and bounded: a template can neither loop for ever nor fill the
//! memory, whatever is put into it.
//!
//! Where Go's package stops with an error this one does, too. The words of an
//! error are for the log; a client is only told that there is nothing for it.

mod compare;
mod exec;
mod format;
mod funcs;
mod lex;
mod number;
mod parse;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub(super) use format::float;
pub use value::Value;

/// Most of a template, in bytes.
pub const MAX_TEMPLATE: usize = boot_proto::resources::MAX_TEMPLATE_BYTES;
/// Most that one may render, in bytes; also of one text on the way there.
pub const MAX_OUTPUT: usize = 1 << 20;
/// Steps that rendering may take.
const MAX_STEPS: usize = 200_000;
/// How deep actions, parentheses and templates may stand in each other.
const MAX_DEPTH: usize = 100;

/// Why a template renders nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It cannot be read.
    #[error("line {line}: {message}")]
    Parse {
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// It cannot be rendered with these values.
    #[error("{0}")]
    Render(String),
}

/// A template that was read.
#[derive(Debug)]
pub struct Template {
    set: tree::Set,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When Go would not read it, or it is larger than `MAX_TEMPLATE`.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE {
            return Err(TemplateError::Parse {
                line: 1,
                message: format!("the template is larger than {MAX_TEMPLATE} bytes"),
            });
        }
        let tokens = lex::lex(text)?;
        Ok(Self {
            set: parse::parse(tokens)?,
        })
    }

    /// Renders it with `data` as its dot.
    ///
    /// # Errors
    /// When a key is missing, a function refuses its arguments, or it takes more
    /// than it may.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        exec::render(&self.set, data).map_err(TemplateError::Render)
    }
}
