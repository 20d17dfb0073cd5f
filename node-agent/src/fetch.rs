//! Downloads the image into its place in RAM while it is hashed, and
//! goes on where a broken connection left off, at the next server where there
//! are several.

mod sink;
mod turns;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use boot_proto::boot_config::ImageSource;
use boot_proto::ids::{Checksum, Digest};

use crate::clock::Clock;
use crate::http::{self, Client, HttpError};
use crate::log::{Log, chain};
use sink::{Check, Sink};
use turns::{Next, Turns};

/// Octets read at once.
const BLOCK: usize = 256 << 10;
/// A connection that brings less than this in so long is left, as one that stands
/// still: a server that drips must not hold a boot up where others do not.
const LEAST: u64 = 1 << 20;
const LEAST_WITHIN: Duration = Duration::from_secs(60);
/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not give it.
    #[error("{received} of {expected} bytes of the image arrived, and then nothing more")]
    Incomplete {
        /// Bytes that arrived.
        received: u64,
        /// Bytes the image has.
        expected: u64,
        /// The last attempt's error.
        #[source]
        source: AttemptError,
    },
    /// It is not the image that was promised.
    #[error("image digest is {found} but should be {expected}")]
    WrongDigest {
        /// Digest of what arrived.
        found: Digest,
        /// Digest in the boot config.
        expected: Digest,
    },
    /// It is not the image that was promised, by the tree of hashes.
    #[error("image digest is blake3:{found} but should be blake3:{expected}")]
    WrongBlake3 {
        /// Hash of what arrived.
        found: Checksum,
        /// Hash in the image's manifest.
        expected: Checksum,
    },
    /// It cannot be stored.
    #[error("storing the image in {path}")]
    Store {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why one connection ended early.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The server gave no image.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The connection broke or stood still.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// The connection brings next to nothing.
    #[error("only {brought} bytes came in {secs} s")]
    Drips {
        /// Bytes it brought.
        brought: u64,
        /// Seconds that took.
        secs: u64,
    },
    /// The server has another file under this URL.
    #[error("{url} has {found} bytes and should have {expected}")]
    WrongSize {
        /// The URL.
        url: String,
        /// Bytes it has.
        found: u64,
        /// Bytes it should have.
        expected: u64,
    },
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes so far.
    pub bytes: u64,
    /// Bytes in all.
    pub of: u64,
}

impl Received {
    /// Percent, at most 100.
    #[must_use]
    pub fn percent(self) -> u8 {
        let percent = self
            .bytes
            .saturating_mul(100)
            .checked_div(self.of)
            .unwrap_or(100);
        u8::try_from(percent).unwrap_or(100).min(100)
    }
}

/// A downloader with its time limits.
#[derive(Debug)]
pub struct Downloader<'a> {
    /// HTTP client.
    pub client: Client,
    /// Clock for the pauses.
    pub clock: &'a dyn ClockSync,
    /// Log.
    pub log: &'a Log,
}

/// A clock with a debug form, so that what holds one can have it too.
pub trait ClockSync: Clock + std::fmt::Debug {}
impl<T: Clock + std::fmt::Debug> ClockSync for T {}

impl Downloader<'_> {
    /// Downloads `image` to `path`. What was there is replaced, and nothing is
    /// left there unless the image is whole and right.
    ///
    /// A server that gave something else is not the last word: each of the
    /// others is asked for all of it.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub fn fetch(
        &self,
        image: &ImageSource,
        path: &Path,
        progress: &mut dyn FnMut(Received),
    ) -> Result<(), FetchError> {
        let store = |source| FetchError::Store {
            path: path.display().to_string(),
            source,
        };
        let urls = urls(image);
        let mut first = 0;
        loop {
            let _ = fs::remove_file(path);
            let file = File::create(path).map_err(store)?;
            let result = self.fetch_into(file, image, first, &store, progress);
            if result.is_ok() {
                return result;
            }
            let _ = fs::remove_file(path);
            first += 1;
            match result {
                Err(wrong @ (FetchError::WrongDigest { .. } | FetchError::WrongBlake3 { .. }))
                    if first < urls.len() =>
                {
                    self.log.warn(&format!(
                        "image: {wrong}; beginning anew with the next server"
                    ));
                }
                result => return result,
            }
        }
    }

    fn fetch_into(
        &self,
        file: File,
        image: &ImageSource,
        first: usize,
        store: &dyn Fn(io::Error) -> FetchError,
        progress: &mut dyn FnMut(Received),
    ) -> Result<(), FetchError> {
        let check = Check::of(image);
        let mut sink = Sink::start(Some(file), check).map_err(store)?;
        let urls = urls(image);
        let mut turns = Turns::new(urls.len(), first);
        while sink.received < image.size {
            let before = sink.received;
            let url = urls.get(turns.at()).copied().unwrap_or(&image.url);
            let error = match self.attempt(url, image.size, &mut sink, progress) {
                Ok(()) => continue,
                Err(Stop::Store(source)) => return Err(store(source)),
                Err(Stop::Attempt(error)) => error,
            };
            let (received, expected) = (sink.received, image.size);
            let so_far = format!(
                "image: {}; {received} of {expected} bytes are here",
                chain(&error)
            );
            match turns.ended(received > before, put_off(&error)) {
                Next::GiveUp => {
                    return Err(FetchError::Incomplete {
                        received,
                        expected,
                        source: error,
                    });
                }
                Next::Ask => self.log.warn(&format!("{so_far}, asking the next server")),
                Next::Wait(pause) => {
                    let secs = pause.as_secs();
                    self.log.warn(&format!("{so_far}, going on in {secs} s"));
                    self.clock.sleep(pause);
                    // To wait for one's turn, for up to an hour, is no hang.
                    progress(Received {
                        bytes: received,
                        of: expected,
                    });
                }
            }
        }
        check.judge(sink.finish().map_err(store)?)
    }

    /// One connection: from where the file ends to the image's end.
    fn attempt(
        &self,
        url: &str,
        size: u64,
        sink: &mut Sink,
        progress: &mut dyn FnMut(Received),
    ) -> Result<(), Stop> {
        let response = self.client.open(url, sink.received)?;
        // 206 carries on; 200 after a Range request is a server without ranges,
        // which sends all again.
        let skip = match response.status().as_u16() {
            206 => 0,
            200 => sink.received,
            _ => return Err(http::refused(url, response).into()),
        };
        let offset = sink.received - skip;
        let body = response.into_body();
        if let Some(length) = body.content_length() {
            let found = offset.saturating_add(length);
            if found != size {
                return Err(AttemptError::WrongSize {
                    url: url.to_owned(),
                    found,
                    expected: size,
                }
                .into());
            }
        }
        let body = body.into_with_config().limit(u64::MAX).reader();
        self.copy(body, skip, size, sink, progress)
    }

    /// Copies a body to the sink, without its first `skip` octets.
    fn copy(
        &self,
        mut body: impl Read,
        mut skip: u64,
        size: u64,
        sink: &mut Sink,
        progress: &mut dyn FnMut(Received),
    ) -> Result<(), Stop> {
        let (mut since, mut brought) = (self.clock.now(), 0);
        while sink.received < size {
            let left = size - sink.received + skip;
            let wanted = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let length = body.read(sink.room(wanted)).map_err(AttemptError::Broken)?;
            if length == 0 {
                let early = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(AttemptError::Broken(early).into());
            }
            let skipped = skip.min(length as u64);
            skip -= skipped;
            let skipped = usize::try_from(skipped).unwrap_or(length);
            sink.take(skipped, length).map_err(Stop::Store)?;
            progress(Received {
                bytes: sink.received,
                of: size,
            });
            brought += length as u64;
            let now = self.clock.now();
            let took = now.since(since);
            if took >= LEAST_WITHIN {
                if brought < LEAST && sink.received < size {
                    let secs = took.as_secs();
                    return Err(AttemptError::Drips { brought, secs }.into());
                }
                (since, brought) = (now, 0);
            }
        }
        Ok(())
    }
}

/// Name of the hash that an image is held against.
#[must_use]
pub fn check_name(image: &ImageSource) -> &'static str {
    Check::of(image).name()
}

/// Checks an image that an earlier boot has left.
///
/// # Errors
/// When it cannot be read or is not the image.
pub fn check_file(path: &Path, image: &ImageSource) -> Result<(), FetchError> {
    let store = |source| FetchError::Store {
        path: path.display().to_string(),
        source,
    };
    let mut file = File::open(path).map_err(store)?;
    let check = Check::of(image);
    let mut sink = Sink::start(None, check).map_err(store)?;
    loop {
        let length = file.read(sink.room(BLOCK)).map_err(store)?;
        if length == 0 {
            break;
        }
        sink.take(0, length).map_err(store)?;
    }
    check.judge(sink.finish().map_err(store)?)
}

/// Where the image is, best first.
fn urls(image: &ImageSource) -> Vec<&str> {
    let mirrors = image.mirrors.iter();
    [&image.url]
        .into_iter()
        .chain(mirrors)
        .map(String::as_str)
        .collect()
}

/// Why a connection was left: what may be better next time, and what may not.
enum Stop {
    Attempt(AttemptError),
    Store(io::Error),
}

impl<T: Into<AttemptError>> From<T> for Stop {
    fn from(error: T) -> Self {
        Self::Attempt(error.into())
    }
}

/// How long a server that has others to serve first wants us to wait
/// (`Retry-After`, RFC 9110 §10.2.3).
fn put_off(error: &AttemptError) -> Option<Duration> {
    let AttemptError::Http(error) = error else {
        return None;
    };
    error.retry_after()
}

#[cfg(test)]
mod tests;
