//! Downloads the image into its place in RAM while its SHA-256 is computed, and
//! goes on where a broken connection left off, at the next server where there
//! are several.

mod turns;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use boot_proto::boot_config::ImageSource;
use boot_proto::ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::http::{self, Client, HttpError};
use crate::log::{Log, chain};
use turns::{Next, Turns};

/// Octets read at once.
const BLOCK: usize = 256 << 10;
/// Blocks that may wait for the hashing thread.
const BLOCKS_AHEAD: usize = 8;
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
                Err(FetchError::WrongDigest { found, .. }) if first < urls.len() => {
                    self.log.warn(&format!(
                        "image: what came is {found} and not the image; beginning anew with the \
                         next server"
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
        let mut sink = Sink::start(file).map_err(store)?;
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
                }
            }
        }
        let found = sink.finish().map_err(store)?;
        if found == image.root_digest {
            Ok(())
        } else {
            Err(FetchError::WrongDigest {
                found,
                expected: image.root_digest,
            })
        }
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
        copy(
            body.into_with_config().limit(u64::MAX).reader(),
            skip,
            size,
            sink,
            progress,
        )
    }
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

/// Copies a body to the sink, without its first `skip` octets.
fn copy(
    mut body: impl Read,
    mut skip: u64,
    size: u64,
    sink: &mut Sink,
    progress: &mut dyn FnMut(Received),
) -> Result<(), Stop> {
    while sink.received < size {
        let mut block = sink.block();
        let left = size - sink.received + skip;
        let wanted = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        block.resize(wanted, 0);
        let length = body.read(&mut block).map_err(AttemptError::Broken)?;
        if length == 0 {
            let early = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(AttemptError::Broken(early).into());
        }
        block.truncate(length);
        let skipped = skip.min(length as u64);
        skip -= skipped;
        block.drain(..usize::try_from(skipped).unwrap_or(length));
        sink.take(block).map_err(Stop::Store)?;
        progress(Received {
            bytes: sink.received,
            of: size,
        });
    }
    Ok(())
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

/// The file, and a thread that hashes what was written: on a small machine
/// hashing takes as long as receiving, and both can go on at once.
struct Sink {
    file: File,
    received: u64,
    to_hash: Option<SyncSender<Vec<u8>>>,
    used: Receiver<Vec<u8>>,
    hasher: thread::JoinHandle<Sha256>,
}

impl Sink {
    fn start(file: File) -> io::Result<Self> {
        let (to_hash, blocks) = sync_channel::<Vec<u8>>(BLOCKS_AHEAD);
        let (give_back, used) = sync_channel(BLOCKS_AHEAD + 2);
        let hasher = thread::Builder::new()
            .name("hash".to_owned())
            .spawn(move || {
                let mut hash = Sha256::new();
                while let Ok(block) = blocks.recv() {
                    hash.update(&block);
                    let _ = give_back.try_send(block);
                }
                hash
            })?;
        Ok(Self {
            file,
            received: 0,
            to_hash: Some(to_hash),
            used,
            hasher,
        })
    }

    /// A buffer, used before where there is one.
    fn block(&self) -> Vec<u8> {
        self.used
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(BLOCK))
    }

    fn take(&mut self, block: Vec<u8>) -> io::Result<()> {
        self.file.write_all(&block)?;
        self.received += block.len() as u64;
        let gone = || io::Error::other("the hashing thread is gone");
        self.to_hash
            .as_ref()
            .ok_or_else(gone)?
            .send(block)
            .map_err(|_| gone())
    }

    fn finish(mut self) -> io::Result<Digest> {
        self.to_hash = None;
        let hash = self.hasher.join();
        let hash = hash.map_err(|_| io::Error::other("the hashing thread panicked"))?;
        Ok(Digest::new(hash.finalize().into()))
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
