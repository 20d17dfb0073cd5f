//! The image's place in RAM, and the threads that hash what is written there.
//!
//! On a small machine hashing takes as long as receiving, and both can go on at
//! once. SHA-256 is one long chain; BLAKE3 is a tree, so that pieces of it are
//! hashed by all processors, as they come.

use std::fs::File;
use std::io::{self, Write as _};
use std::mem;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use boot_proto::boot_config::ImageSource;
use boot_proto::ids::{Checksum, Digest};
use sha2::{Digest as _, Sha256};

use super::FetchError;

/// Octets of a piece. For BLAKE3 it is a subtree: a power of two, in chunks of 1 KiB.
pub(super) const PIECE: usize = 1 << 20;
/// Pieces that may wait for the threads.
const PIECES_AHEAD: usize = 4;
/// Threads at most; memory is no faster with more.
const MOST_THREADS: usize = 8;

/// What an image is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Its SHA-256.
    Sha256(Digest),
    /// Its BLAKE3, where its manifest has it.
    Blake3(Checksum),
}

impl Check {
    pub(super) fn of(image: &ImageSource) -> Self {
        let checksum = image.checks.blake3.map(Self::Blake3);
        checksum.unwrap_or(Self::Sha256(image.root_digest))
    }

    /// Its name, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Blake3(_) => "BLAKE3",
        }
    }

    /// Whether the hash that was found is this one.
    pub(super) fn judge(self, found: Self) -> Result<(), FetchError> {
        match (self, found) {
            _ if self == found => Ok(()),
            (Self::Sha256(expected), Self::Sha256(found)) => {
                Err(FetchError::WrongDigest { found, expected })
            }
            (Self::Blake3(expected), Self::Blake3(found)) => {
                Err(FetchError::WrongBlake3 { found, expected })
            }
            // One is computed as the other asks.
            _ => Err(FetchError::Store {
                path: String::new(),
                source: gone(),
            }),
        }
    }
}

/// A piece of the image.
struct Piece {
    /// Its number, from 0.
    number: u64,
    /// [`PIECE`] octets, of which these are filled.
    octets: Vec<u8>,
    filled: usize,
}

impl Piece {
    fn filled(&self) -> &[u8] {
        self.octets.get(..self.filled).unwrap_or_default()
    }
}

/// The file, what of it was received, and the hashing of it.
pub(super) struct Sink {
    file: Option<File>,
    /// Octets received.
    pub(super) received: u64,
    piece: Vec<u8>,
    filled: usize,
    number: u64,
    pieces: Option<SyncSender<Piece>>,
    used: Receiver<Vec<u8>>,
    hashing: Hashing,
}

/// The threads at work.
enum Hashing {
    Sha256(JoinHandle<Sha256>),
    Blake3(Vec<JoinHandle<Vec<Subtree>>>),
}

/// One piece's part in the tree.
struct Subtree {
    number: u64,
    value: ChainingValue,
    /// The hash, if this piece is all there is.
    alone: Option<blake3::Hash>,
}

impl Sink {
    /// Begins a file that is held against `check` in the end; without one, what is
    /// taken is hashed only.
    pub(super) fn start(file: Option<File>, check: Check) -> io::Result<Self> {
        let (pieces, todo) = sync_channel::<Piece>(PIECES_AHEAD);
        let (give_back, used) = sync_channel(PIECES_AHEAD + MOST_THREADS);
        let todo = Arc::new(Mutex::new(todo));
        let hashing = match check {
            Check::Sha256(_) => Hashing::Sha256(spawn(move || {
                let mut hash = Sha256::new();
                while let Some(piece) = next(&todo) {
                    hash.update(piece.filled());
                    let _ = give_back.try_send(piece.octets);
                }
                hash
            })?),
            Check::Blake3(_) => {
                let threads = thread::available_parallelism().map_or(1, usize::from);
                let threads = (0..threads.min(MOST_THREADS)).map(|_| {
                    let (todo, give_back) = (Arc::clone(&todo), give_back.clone());
                    spawn(move || hash_subtrees(&todo, &give_back))
                });
                Hashing::Blake3(threads.collect::<io::Result<_>>()?)
            }
        };
        Ok(Self {
            file,
            received: 0,
            piece: Vec::new(),
            filled: 0,
            number: 0,
            pieces: Some(pieces),
            used,
            hashing,
        })
    }

    /// Room for what comes next: at least one octet, at most `most`.
    pub(super) fn room(&mut self, most: usize) -> &mut [u8] {
        if self.piece.is_empty() {
            // One that was used before needs no clearing.
            let again = self.used.try_recv();
            self.piece = again.unwrap_or_else(|_| vec![0; PIECE]);
        }
        let end = self.filled.saturating_add(most.max(1)).min(PIECE);
        self.piece.get_mut(self.filled..end).unwrap_or_default()
    }

    /// Takes the first `length` octets of the room, without the first `skip` of them.
    pub(super) fn take(&mut self, skip: usize, length: usize) -> io::Result<()> {
        let from = self.filled;
        let skipped = from.saturating_add(skip);
        let end = from.saturating_add(length).min(self.piece.len());
        self.piece.copy_within(skipped.min(end)..end, from);
        let end = end.saturating_sub(skip).max(from);
        let new = self.piece.get(from..end).unwrap_or_default();
        if let Some(file) = &mut self.file {
            file.write_all(new)?;
        }
        self.received += new.len() as u64;
        self.filled = end;
        if self.filled == PIECE {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let piece = mem::take(&mut self.piece);
        let filled = mem::take(&mut self.filled);
        let pieces = self.pieces.as_ref().ok_or_else(gone)?;
        let piece = Piece {
            number: self.number,
            octets: piece,
            filled,
        };
        pieces.send(piece).map_err(|_| gone())?;
        self.number += 1;
        Ok(())
    }

    /// The hash of all, of the kind that was asked for.
    pub(super) fn finish(mut self) -> io::Result<Check> {
        if self.filled > 0 || self.number == 0 {
            self.hand_over()?;
        }
        self.pieces = None;
        let panicked = |_| io::Error::other("the hashing thread panicked");
        match self.hashing {
            Hashing::Sha256(thread) => {
                let hash = thread.join().map_err(panicked)?;
                Ok(Check::Sha256(Digest::new(hash.finalize().into())))
            }
            Hashing::Blake3(threads) => {
                let mut subtrees = Vec::new();
                for thread in threads {
                    subtrees.extend(thread.join().map_err(panicked)?);
                }
                subtrees.sort_by_key(|subtree| subtree.number);
                let hash = root(&subtrees).ok_or_else(gone)?;
                Ok(Check::Blake3(Checksum::new(hash.into())))
            }
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the hashing thread is gone")
}

fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name("hash".to_owned()).spawn(work)
}

/// The next piece; none when there will be no more.
fn next(todo: &Mutex<Receiver<Piece>>) -> Option<Piece> {
    let todo = todo.lock().unwrap_or_else(PoisonError::into_inner);
    todo.recv().ok()
}

fn hash_subtrees(todo: &Mutex<Receiver<Piece>>, give_back: &SyncSender<Vec<u8>>) -> Vec<Subtree> {
    let mut subtrees = Vec::new();
    while let Some(piece) = next(todo) {
        let number = piece.number;
        subtrees.push(Subtree {
            number,
            value: subtree(number, piece.filled()),
            // The root is marked as such, also where it is the first piece.
            alone: (number == 0).then(|| blake3::hash(piece.filled())),
        });
        let _ = give_back.try_send(piece.octets);
    }
    subtrees
}

fn subtree(number: u64, piece: &[u8]) -> ChainingValue {
    if piece.is_empty() {
        // The tree of nothing has a root alone.
        return ChainingValue::default();
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(number * PIECE as u64);
    hasher.update(piece).finalize_non_root()
}

/// The hash of the whole tree.
fn root(subtrees: &[Subtree]) -> Option<blake3::Hash> {
    if let [only] = subtrees {
        return only.alone;
    }
    let (left, right) = split(subtrees)?;
    Some(merge_subtrees_root(
        &value(left)?,
        &value(right)?,
        Mode::Hash,
    ))
}

fn value(subtrees: &[Subtree]) -> Option<ChainingValue> {
    if let [only] = subtrees {
        return Some(only.value);
    }
    let (left, right) = split(subtrees)?;
    let (left, right) = (value(left)?, value(right)?);
    Some(merge_subtrees_non_root(&left, &right, Mode::Hash))
}

/// The left subtree is full and as large as can be, but not all (BLAKE3 §2.1).
fn split(subtrees: &[Subtree]) -> Option<(&[Subtree], &[Subtree])> {
    let half = subtrees.len().checked_next_power_of_two()? / 2;
    subtrees
        .split_at_checked(half)
        .filter(|(left, right)| !left.is_empty() && !right.is_empty())
}
