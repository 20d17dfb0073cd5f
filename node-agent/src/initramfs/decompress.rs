//! Module and firmware files as distributions compress them, unpacked: to read
//! what is in them, and for kernels that cannot do it themselves.

use std::io::{self, Read as _};

/// No module or firmware file is as large; a broken one must not fill the RAM.
const LIMIT: u64 = 256 << 20;

/// Suffixes of compressed files, and the empty one.
pub const SUFFIXES: [&str; 4] = ["", ".xz", ".zst", ".gz"];

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// gzip.
    Gzip,
}

impl Packing {
    /// What the first octets of a file say; nothing for one that is not packed.
    #[must_use]
    pub fn of(content: &[u8]) -> Option<Self> {
        match content {
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Some(Self::Zstd),
            [0x1F, 0x8B, ..] => Some(Self::Gzip),
            _ => None,
        }
    }

    /// The kernel's name of it, in `/sys/module/compression`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }
}

/// The content of a file, unpacked when its first octets say that it is packed.
///
/// # Errors
/// When it is packed and broken.
pub fn decompress(content: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    match Packing::of(&content) {
        Some(Packing::Xz) => {
            lzma_rs::xz_decompress(&mut content.as_slice(), &mut unpacked)
                .map_err(|error| io::Error::other(error_text(&error)))?;
        }
        Some(Packing::Zstd) => {
            zstd::Decoder::with_buffer(content.as_slice())?
                .take(LIMIT)
                .read_to_end(&mut unpacked)?;
        }
        Some(Packing::Gzip) => {
            flate2::read::MultiGzDecoder::new(content.as_slice())
                .take(LIMIT)
                .read_to_end(&mut unpacked)?;
        }
        None => return Ok(content),
    }
    Ok(unpacked)
}

fn error_text(error: &lzma_rs::error::Error) -> String {
    format!("unpacking xz: {error:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn every_packing_is_undone() {
        let plain = b"module ".repeat(1000);
        let mut xz = Vec::new();
        lzma_rs::xz_compress(&mut plain.as_slice(), &mut xz).unwrap();
        let zst = zstd::encode_all(plain.as_slice(), 3).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        for packed in [xz, zst, gz.finish().unwrap(), plain.clone()] {
            assert_eq!(decompress(packed.clone()).unwrap(), plain);
            if packed.len() < plain.len() {
                assert!(decompress(packed[..packed.len() / 2].to_vec()).is_err());
            }
        }
    }
}
