//! The folder of the log and its files, numbered in the order of writing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Lease, LeaseStoreError};
use super::{failed, frame, record};

const SUFFIX: &str = ".leases";

#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: Arc<Path>,
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self, LeaseStoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| failed("making", path.to_owned(), source))?;
        Ok(Self { path: path.into() })
    }

    pub fn file(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:012}{SUFFIX}"))
    }

    /// Numbers of the files that are there, rising.
    pub fn numbers(&self) -> Result<Vec<u64>, LeaseStoreError> {
        let list = || -> io::Result<Vec<u64>> {
            let mut numbers = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                let stem = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
                numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
            }
            numbers.sort_unstable();
            Ok(numbers)
        };
        list().map_err(|source| failed("reading", self.path.to_path_buf(), source))
    }

    /// A new file behind all others. Leases are nobody else's business: 0600.
    pub fn create_next(&self) -> Result<(u64, File, PathBuf), LeaseStoreError> {
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let path = self.file(number);
        let file = create(&path)
            .and_then(|file| self.sync().map(|()| file))
            // A disk that stays full must not fill with empty files.
            .inspect_err(|_| drop(fs::remove_file(&path)))
            .map_err(|source| failed("beginning", path.clone(), source))?;
        Ok((number, file, path))
    }

    /// Makes names durable.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Reads one file over what older ones said.
    pub fn read(
        &self,
        number: u64,
        leases: &mut BTreeMap<Ipv4Addr, Lease>,
    ) -> Result<(), LeaseStoreError> {
        let path = self.file(number);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| failed("reading", path.clone(), source))?;
        let frames = frame::read(&bytes);
        if frames.damaged > 0 {
            tracing::error!(path = %path.display(), bytes = frames.damaged,
                "a part of the lease log is damaged; what is around it is kept");
        }
        if frames.cut_off > 0 {
            tracing::info!(path = %path.display(), bytes = frames.cut_off,
                "the lease log ends in a commit that was cut off; no client was told of it");
        }
        for body in frames.bodies {
            record::apply(body, leases).map_err(|record::UnknownKind(kind)| {
                LeaseStoreError::Unknown {
                    path: path.clone(),
                    kind,
                }
            })?;
        }
        Ok(())
    }
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}
