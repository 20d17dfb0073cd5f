//! What can go wrong with an answer.

use std::io::Write as _;
use std::time::Duration;

use super::http::Reply;

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
    /// It is packed with gzip, asked for or not.
    Gzip,
    /// It has a byte order mark before it and NUL bytes behind it.
    Padded,
    /// Its texts hold a byte that is no UTF-8, and a raw control character.
    Latin1,
    /// It is in pieces, without a length (chunked).
    Chunked,
    /// It is HTTP/1.0 without a length: it ends when the connection does.
    Http10,
    /// The connection is closed after it, without a word about that.
    ClosesQuietly,
    /// Another object follows it, the rest of an answer to somebody else.
    Trailing,
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

/// Faults that leave the answer what it is, written another way.
pub(super) fn rewrite(reply: &mut Reply, fault: &Fault) {
    match fault {
        Fault::Gzip => {
            let mut gzip =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            // Writing into memory does not fail.
            let _ = gzip.write_all(&reply.body);
            reply.body = gzip.finish().unwrap_or_default();
            reply
                .headers
                .push(("Content-Encoding".into(), "gzip".into()));
        }
        Fault::Padded => {
            let mut padded = b"\xef\xbb\xbf".to_vec();
            padded.append(&mut reply.body);
            padded.extend_from_slice(&[0; 3]);
            reply.body = padded;
        }
        Fault::Latin1 if reply.body.first() == Some(&b'{') => {
            let text = b"{\"AssetTag\": \"G\xe4ste\x07\",";
            reply.body.splice(..1, text.iter().copied());
        }
        Fault::Trailing => reply.body.extend_from_slice(b"\r\n{\"error\": {}}\n"),
        _ => {}
    }
}
