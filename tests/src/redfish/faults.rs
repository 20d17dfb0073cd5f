//! What can go wrong with an answer.

use std::time::Duration;

/// How an answer is spoiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It comes late.
    Delay(Duration),
    /// It is this status with this body.
    Status(u16, String),
    /// The connection is reset in place of an answer.
    Reset,
    /// It is no JSON.
    Garbled,
    /// It breaks off in the middle.
    Truncated,
    /// It never ends.
    Endless,
    /// It comes a byte at a time, with this pause between two.
    Drip(Duration),
    /// It points here.
    Redirect(String),
    /// It points to itself.
    RedirectLoop,
    /// Its JSON is nested so deep.
    Deep(usize),
    /// It is JSON and says it is HTML.
    WrongContentType,
    /// The session is not known any more.
    SessionLost,
    /// A collection says that it goes on, for ever.
    NextLinkLoop,
    /// It is null.
    Null,
}

/// Which answers are spoiled.
#[derive(Clone, Debug)]
pub struct FaultRule {
    /// Only to this method.
    pub method: Option<&'static str>,
    /// Only to paths that hold this text.
    pub path: String,
    /// How often; `None` for always.
    pub times: Option<u32>,
    /// How.
    pub fault: Fault,
}

impl FaultRule {
    /// Spoils every answer to a GET of paths that hold `path`.
    #[must_use]
    pub fn always(path: &str, fault: Fault) -> Self {
        Self {
            method: Some("GET"),
            path: path.to_owned(),
            times: None,
            fault,
        }
    }

    /// Spoils the next answer to `method` of paths that hold `path`.
    #[must_use]
    pub fn once(method: &'static str, path: &str, fault: Fault) -> Self {
        Self {
            method: Some(method),
            path: path.to_owned(),
            times: Some(1),
            fault,
        }
    }

    /// The same, this often.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Whether it is for this request; counts.
    pub(super) fn takes(&mut self, method: &str, path: &str) -> bool {
        let is_it = self.method.is_none_or(|own| own == method)
            && path
                .to_ascii_lowercase()
                .contains(&self.path.to_ascii_lowercase());
        match &mut self.times {
            _ if !is_it => false,
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}
