//! Leases in a folder of append-only files.
//!
//! A commit is one frame with a checksum, written and synced once, whatever the
//! number of leases in it. Files are written to their size and closed; closed
//! ones are merged in the background, so that a commit costs the same with no
//! lease and with a hundred thousand. What a crash cut off was never
//! acknowledged, and is left out when the files are read again.

mod frame;
mod merge;
mod record;
mod segments;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use super::{Change, Conflict, Lease, LeaseStore, LeaseStoreError};
use segments::Folder;

/// A file is closed when it has this size.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Closed files are merged when there are this many of them beside the merged one.
const MERGE_AT: usize = 4;

/// The lease log.
#[derive(Debug)]
pub struct LeaseLog {
    folder: Folder,
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file that is written to; none until the first commit and after an
    /// error that leaves its content in doubt.
    active: Option<Active>,
    frame: Vec<u8>,
    closed: usize,
    merging: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Active {
    number: u64,
    file: File,
    path: PathBuf,
    /// Where the next frame goes; what lies beyond is of a commit that failed.
    end: u64,
}

impl LeaseLog {
    /// Opens the log in `folder`, made where there is none.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, LeaseStoreError> {
        Self::with_segments_of(folder, SEGMENT_BYTES)
    }

    pub(super) fn with_segments_of(
        folder: &Path,
        segment_bytes: u64,
    ) -> Result<Self, LeaseStoreError> {
        let folder = Folder::open(folder)?;
        let closed = folder.numbers()?.len();
        let state = State {
            closed,
            ..State::default()
        };
        Ok(Self {
            folder,
            segment_bytes,
            state: Mutex::new(state),
        })
    }

    /// Whether nothing was ever written.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn is_new(&self) -> Result<bool, LeaseStoreError> {
        Ok(self.folder.numbers()?.is_empty())
    }

    fn append(&self, state: &mut State) -> Result<(), LeaseStoreError> {
        let mut active = match state.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        let frame = state.frame.as_slice();
        if let Err(source) = active.file.write_all_at(frame, active.end) {
            // The next commit writes over what went in of this one.
            let path = active.path.clone();
            let _ = active.file.set_len(active.end);
            state.active = Some(active);
            return Err(failed("writing", path, source));
        }
        // After a failed sync the kernel may have forgotten what it could not
        // write: that file is not written to again.
        active.file.sync_data().map_err(|source| {
            state.closed += 1;
            failed("syncing", active.path.clone(), source)
        })?;
        active.end += frame.len() as u64;
        if active.end >= self.segment_bytes {
            state.closed += 1;
        } else {
            state.active = Some(active);
        }
        Ok(())
    }

    fn begin(&self) -> Result<Active, LeaseStoreError> {
        let (number, file, path) = self.folder.create_next()?;
        Ok(Active {
            number,
            file,
            path,
            end: 0,
        })
    }

    /// Merges closed files on a thread of its own.
    fn merge_in_background(&self, state: &mut State) {
        if state
            .merging
            .as_ref()
            .is_some_and(|merge| !merge.is_finished())
        {
            return;
        }
        if let Some(merge) = state.merging.take() {
            let _ = merge.join();
            state.closed = 1;
        }
        if state.closed <= MERGE_AT {
            return;
        }
        let folder = self.folder.clone();
        let active = state.active.as_ref().map(|active| active.number);
        let Ok(mut numbers) = folder.numbers() else {
            return;
        };
        numbers.retain(|number| Some(*number) != active);
        let merge = move || {
            if let Err(error) = merge::merge(&folder, &numbers) {
                let error = crate::images::chain(&error);
                tracing::warn!(error, "the files of the lease log are not merged");
            }
        };
        state.merging = std::thread::Builder::new()
            .name("lease-merge".to_owned())
            .spawn(merge)
            .ok();
    }
}

impl LeaseStore for LeaseLog {
    fn load(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let mut leases = std::collections::BTreeMap::new();
        for number in self.folder.numbers()? {
            self.folder.read(number, &mut leases)?;
        }
        Ok(leases.into_values().collect())
    }

    fn commit(&self, changes: &[Change]) -> Result<Vec<Conflict>, LeaseStoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        frame::write(&mut state.frame, changes);
        self.append(state)?;
        self.merge_in_background(state);
        Ok(Vec::new())
    }
}

impl Drop for LeaseLog {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(merge) = state.merging.take() {
            let _ = merge.join();
        }
    }
}

fn failed(doing: &'static str, path: PathBuf, source: io::Error) -> LeaseStoreError {
    LeaseStoreError::File {
        doing,
        path,
        source,
    }
}
