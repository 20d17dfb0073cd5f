//! The hash tree of dm-verity (kernel: Documentation/admin-guide/device-mapper/verity):
//! format 1, SHA-256, blocks of 4096 bytes, no salt, no superblock.
//!
//! The root hash stands in an image's manifest; the tree is worked out again by the
//! machine that keeps the image on a disk, and is worth nothing unless it leads there.

use sha2::{Digest as _, Sha256};

use crate::ids::Checksum;

/// Bytes of a block, of the data and of the tree.
pub const BLOCK: usize = 4096;
/// Bytes of a hash.
const HASH: usize = 32;

/// A finished tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Hash of its uppermost block.
    pub root: Checksum,
    /// Its blocks, the uppermost first, as the kernel reads them.
    pub blocks: Vec<u8>,
}

impl Tree {
    /// The tree over data with these hashes, one after the other. `None` for less
    /// than two blocks, which no image has.
    #[must_use]
    pub fn over(leaves: Vec<u8>) -> Option<Self> {
        if leaves.len() < 2 * HASH {
            return None;
        }
        let mut levels = vec![padded(leaves)];
        while let Some(level) = levels.last().filter(|level| level.len() > BLOCK) {
            let above = padded(hashes(level));
            levels.push(above);
        }
        let root: [u8; HASH] = Sha256::digest(levels.last()?).into();
        Some(Self {
            root: Checksum::new(root),
            blocks: levels.into_iter().rev().flatten().collect(),
        })
    }
}

/// Hashes of the blocks of `data`, one after the other; a last block that is not
/// whole is left out.
#[must_use]
pub fn hashes(data: &[u8]) -> Vec<u8> {
    data.chunks_exact(BLOCK).flat_map(Sha256::digest).collect()
}

/// Bytes of the tree over so many bytes of data, zero where there is none.
#[must_use]
pub const fn tree_bytes(data: u64) -> u64 {
    let block = BLOCK as u64;
    let (mut blocks, mut all) = (data / block, 0_u64);
    while blocks > 1 {
        blocks = (blocks * HASH as u64).div_ceil(block);
        all += blocks;
    }
    all * block
}

/// Takes data as it comes, and tells its root hash.
#[derive(Clone, Debug, Default)]
pub struct RootHasher {
    leaves: Vec<u8>,
    begun: Vec<u8>,
}

impl RootHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut data: &[u8]) {
        if !self.begun.is_empty() {
            let missing = BLOCK.saturating_sub(self.begun.len()).min(data.len());
            let (first, rest) = data.split_at(missing);
            self.begun.extend_from_slice(first);
            data = rest;
            if self.begun.len() < BLOCK {
                return;
            }
            self.leaves.extend(hashes(&self.begun));
            self.begun.clear();
        }
        self.leaves.extend(hashes(data));
        self.begun
            .extend_from_slice(data.chunks_exact(BLOCK).remainder());
    }

    /// The root hash of all of it. `None` where it is not made of whole blocks, two
    /// at least.
    #[must_use]
    pub fn finish(self) -> Option<Checksum> {
        let tree = Tree::over(self.leaves).filter(|_| self.begun.is_empty())?;
        Some(tree.root)
    }
}

fn padded(mut level: Vec<u8>) -> Vec<u8> {
    level.resize(level.len().next_multiple_of(BLOCK), 0);
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(blocks: usize) -> Vec<u8> {
        (0..blocks * BLOCK)
            .map(|at| u8::try_from((at / BLOCK + at) % 251).unwrap())
            .collect()
    }

    /// As `veritysetup format --no-superblock --salt=-` of cryptsetup 2.6 says.
    #[test]
    fn roots_are_those_of_veritysetup() {
        let three_levels = hashes(&[0; BLOCK]).repeat(16_400);
        for (leaves, root) in [
            (
                hashes(&data(2)),
                "50202cca9e3dd7f25360c95db519964b58fd6f70409930f98598551f37d93578",
            ),
            (
                hashes(&data(128)),
                "6273767c6de9253e8670c50d0c6bf5368c1a350f1287d94141bb66bfc1644877",
            ),
            (
                hashes(&data(129)),
                "d7dc8cb0e32b8c6c5cd3736d3e89765b747339fc5ee546f14224ec70648ffadd",
            ),
            (
                three_levels,
                "41b0f7d6b417305c365de7118389ead713bc31a6dd09d73d9ca5f8f4d502b969",
            ),
        ] {
            let data_bytes = (leaves.len() / HASH * BLOCK) as u64;
            let tree = Tree::over(leaves).unwrap();
            assert_eq!(tree.root.to_string(), root);
            assert_eq!(tree.blocks.len() as u64, tree_bytes(data_bytes));
        }
    }

    #[test]
    fn data_may_come_in_any_pieces() {
        let data = data(130);
        let whole = Tree::over(hashes(&data)).unwrap().root;
        for piece in [1000, 4096, 10_000, data.len()] {
            let mut hasher = RootHasher::default();
            data.chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), Some(whole), "{piece}");
        }
        let mut hasher = RootHasher::default();
        hasher.update(&data[..data.len() - 1]);
        assert_eq!(hasher.finish(), None);
        assert_eq!(Tree::over(hashes(&data[..BLOCK])), None);
        assert_eq!(tree_bytes(BLOCK as u64), 0);
    }
}
