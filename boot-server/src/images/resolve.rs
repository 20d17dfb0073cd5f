//! From what a pool calls an image to the image. Pure.

use boot_proto::ids::Digest;
use boot_proto::resources::ImageSpec;

use super::{ImageError, StoredImage};

/// Fewest hex digits that may stand for a whole digest.
const SHORTEST_PREFIX: usize = 12;

/// Finds the image that `name` means: a digest, the beginning of one (twelve
/// digits or more), the name of an Image resource (`declared`), or else the
/// newest image whose manifest has that name.
///
/// # Errors
/// When there is none, or a short digest fits several.
pub fn resolve_name<'a>(
    images: &'a [StoredImage],
    declared: Option<&ImageSpec>,
    name: &str,
) -> Result<&'a StoredImage, ImageError> {
    let unknown = || ImageError::Unknown {
        name: name.to_owned(),
    };
    let by_digest = |digest: &Digest| images.iter().find(|image| image.digest == *digest);
    if let Some(spec) = declared {
        return by_digest(&spec.digest).ok_or_else(|| ImageError::Unknown {
            name: format!("{name} ({})", spec.digest),
        });
    }
    if let Ok(digest) = name.parse::<Digest>() {
        return by_digest(&digest).ok_or_else(unknown);
    }
    if let Some(image) = images
        .iter()
        .rev()
        .find(|image| image.manifest.name == name)
    {
        return Ok(image);
    }
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let is_prefix = digits.len() >= SHORTEST_PREFIX
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_prefix {
        return Err(unknown());
    }
    let mut fitting = images
        .iter()
        .filter(|image| image.digest.hex().starts_with(digits));
    match (fitting.next(), fitting.next()) {
        (Some(image), None) => Ok(image),
        (Some(_), Some(_)) => Err(ImageError::Ambiguous {
            name: name.to_owned(),
        }),
        (None, _) => Err(unknown()),
    }
}
