//! Requests to the device mapper (linux/dm-ioctl.h), put together byte by byte.

use boot_proto::resources::OnCorruption;

use super::Verity;

/// Bytes of `struct dm_ioctl`, with which every message begins.
pub(super) const HEAD: usize = 312;
/// Bytes of `struct dm_target_spec`, which the target's parameters follow.
const TARGET: usize = 40;
/// Where the fields of `struct dm_ioctl` are.
const DATA_SIZE: usize = 12;
const DATA_START: usize = 16;
const TARGET_COUNT: usize = 20;
const FLAGS: usize = 28;
const DEVICE: usize = 40;
const NAME: usize = 48;
/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;
/// Name of the device.
const IMAGE: &str = "moonfarm-image";
/// Bytes of a sector.
const SECTOR: u64 = 512;

/// What is asked, by the number that the header gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// `DM_DEV_CREATE`.
    Create = 3,
    /// `DM_DEV_REMOVE`.
    Remove = 4,
    /// `DM_DEV_SUSPEND`, which without its flag resumes.
    Resume = 6,
    /// `DM_TABLE_LOAD`.
    Load = 9,
}

/// A message, and after the request the kernel's answer.
pub(super) struct Message(pub Vec<u8>);

impl Message {
    /// One that names the image's device and says nothing else.
    pub(super) fn plain() -> Self {
        let mut message = Self(vec![0; HEAD]);
        // Version 4.0.0, as Linux has had it since 2.6.
        message.put(0, &4_u32.to_ne_bytes());
        message.put(DATA_SIZE, &size_of_u32(HEAD).to_ne_bytes());
        message.put(DATA_START, &size_of_u32(HEAD).to_ne_bytes());
        message.put(FLAGS, &READ_ONLY.to_ne_bytes());
        message.put(NAME, IMAGE.as_bytes());
        message
    }

    /// The table of a device that is one dm-verity target.
    pub(super) fn table(verity: &Verity) -> Self {
        let block = boot_proto::verity::BLOCK as u64;
        let parameters = parameters(verity);
        let length = (TARGET + parameters.len() + 1).next_multiple_of(8);
        let mut message = Self::plain();
        message.0.resize(HEAD + length, 0);
        message.put(DATA_SIZE, &size_of_u32(HEAD + length).to_ne_bytes());
        message.put(TARGET_COUNT, &1_u32.to_ne_bytes());
        let sectors = verity.blocks.saturating_mul(block / SECTOR);
        message.put(HEAD + 8, &sectors.to_ne_bytes());
        message.put(HEAD + 20, &size_of_u32(length).to_ne_bytes());
        message.put(HEAD + 24, b"verity");
        message.put(HEAD + TARGET, parameters.as_bytes());
        message
    }

    /// Number of the device, in the answer to [`Request::Create`].
    pub(super) fn device(&self) -> u64 {
        let field = self.0.get(DEVICE..DEVICE + 8);
        let field: Option<[u8; 8]> = field.and_then(|bytes| bytes.try_into().ok());
        field.map_or(0, u64::from_ne_bytes)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let field = self.0.iter_mut().skip(at);
        field.zip(bytes).for_each(|(to, from)| *to = *from);
    }
}

/// Version, devices, block sizes, blocks, where the tree begins, hash, root, salt,
/// and what a wrong block does, which without an option is an I/O error (Documentation/admin-guide/device-mapper/verity).
fn parameters(verity: &Verity) -> String {
    let block = boot_proto::verity::BLOCK;
    let (data, tree) = (verity.data.display(), verity.tree.display());
    let options = match verity.on_corruption {
        OnCorruption::Restart => " 1 restart_on_corruption",
        OnCorruption::Panic => " 1 panic_on_corruption",
        OnCorruption::Error => "",
    };
    format!(
        "1 {data} {tree} {block} {block} {} 0 sha256 {} -{options}",
        verity.blocks, verity.root
    )
}

fn size_of_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use boot_proto::ids::Checksum;

    use super::*;

    #[test]
    fn a_table_is_what_the_header_says() {
        let mut verity = Verity {
            data: "/dev/loop0".into(),
            tree: "/dev/loop1".into(),
            blocks: 130,
            root: Checksum::new([0xab; 32]),
            on_corruption: OnCorruption::Restart,
        };
        let message = Message::table(&verity);
        let word = |at: usize| u32::from_ne_bytes(message.0[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(16), word(20), word(28)), (4, 312, 1, 1));
        assert_eq!(word(12) as usize, message.0.len());
        assert_eq!(&message.0[48..63], b"moonfarm-image\0");
        // 130 blocks of 8 sectors, from the first on.
        assert_eq!(&message.0[312..320], [0; 8]);
        assert_eq!(&message.0[320..328], 1040_u64.to_ne_bytes());
        assert_eq!(&message.0[336..343], b"verity\0");
        let text = String::from_utf8(message.0[352..].to_vec()).unwrap();
        let root = "ab".repeat(32);
        assert_eq!(
            text.trim_end_matches('\0'),
            format!(
                "1 /dev/loop0 /dev/loop1 4096 4096 130 0 sha256 {root} - 1 restart_on_corruption"
            )
        );
        assert!(text.ends_with('\0'));
        for (choice, end) in [
            (OnCorruption::Panic, " - 1 panic_on_corruption"),
            (OnCorruption::Error, " -"),
        ] {
            verity.on_corruption = choice;
            let text = parameters(&verity);
            assert!(text.ends_with(end), "{text}");
        }
    }
}
