//! Closed files become one that says the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use super::super::LeaseStoreError;
use super::segments::{Folder, create};
use super::{failed, frame, record};

/// Leases in one frame of a merged file.
const FRAME_LEASES: usize = 4096;

/// Merges the files with these numbers into the last of them. A crash at any
/// point leaves files that read the same: the merged one begins by voiding all
/// before it.
pub(super) fn merge(folder: &Folder, numbers: &[u64]) -> Result<(), LeaseStoreError> {
    let Some(last) = numbers.last().copied() else {
        return Ok(());
    };
    let mut leases = BTreeMap::new();
    for number in numbers {
        folder.read(*number, &mut leases)?;
    }
    let path = folder.file(last);
    let new = path.with_extension("merging");
    let write = || {
        let mut file = create(&new)?;
        let mut bytes = Vec::new();
        frame::write_with(&mut bytes, record::forget_all);
        file.write_all(&bytes)?;
        let all: Vec<_> = leases.values().collect();
        for part in all.chunks(FRAME_LEASES) {
            frame::write_with(&mut bytes, |body| {
                part.iter().for_each(|lease| record::put(body, lease));
            });
            file.write_all(&bytes)?;
        }
        file.sync_all()?;
        fs::rename(&new, &path)?;
        folder.sync()?;
        for number in numbers.iter().filter(|number| **number != last) {
            fs::remove_file(folder.file(*number))?;
        }
        Ok(())
    };
    write().map_err(|source| failed("merging", path.clone(), source))
}
