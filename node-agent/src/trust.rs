//! What this initramfs trusts. The requirement lies in the initramfs, in files
//! that the operator's build put there, and not on the kernel command line,
//! which whoever answers DHCP can write.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use boot_proto::boot_config::{ImageSource, SignedManifest};
use boot_proto::ids::Digest;
use boot_proto::image::ImageManifest;
use minisign_verify::{PublicKey, Signature};

use crate::tls::{CaError, PinnedCa};

/// Where the keys for image manifests are: lines of minisign public keys.
pub const IMAGE_KEYS: &str = "etc/moonfarm/image-keys.pub";
/// Where the CA of boot-server is, in PEM.
pub const CA: &str = "etc/moonfarm/boot-server-ca.pem";
/// Where the booted system has it, by name in the folder that [`Paths::run`] gives.
///
/// [`Paths::run`]: crate::paths::Paths::run
pub const CA_FOR_JOIN: &str = "boot-server-ca.pem";

/// What is trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    image_keys: Vec<PublicKey>,
    ca: Option<PinnedCa>,
}

/// Files of trust that cannot be used. A boot must not go on with less trust
/// than was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It holds no key.
    #[error("{} holds no public key of minisign", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A line of it is no key.
    #[error("line {line} of {} is no public key of minisign: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// It must not be given away.
    #[error(
        "{} holds a private key; the initramfs gets the public half only",
        path.display()
    )]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// The CA cannot be used.
    #[error("the CA in {} cannot be used", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: CaError,
    },
}

/// Why an image is not run. None of it gets better by trying again.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is no signature.
    #[error(
        "image {image} is not signed, and this initramfs runs signed images only: sign its \
         manifest.json with minisign and add the image again"
    )]
    Unsigned {
        /// Name of the image.
        image: String,
    },
    /// The signature is not one of a key that is trusted.
    #[error("the signature of image {image} is not of a key that this initramfs trusts: {reason}")]
    Signature {
        /// Name of the image.
        image: String,
        /// What is wrong.
        reason: String,
    },
    /// What was signed is not what is to be run.
    #[error("the signed manifest of image {image} names another {what} than the boot config")]
    Other {
        /// Name of the image.
        image: String,
        /// What differs.
        what: &'static str,
    },
}

impl Trust {
    /// Reads what the initramfs at `base` (`/`) trusts; without files, anybody.
    ///
    /// # Errors
    /// When there is a file that cannot be used.
    pub fn read(base: &Path) -> Result<Self, TrustError> {
        let image_keys = match read(&base.join(IMAGE_KEYS))? {
            Some(text) => keys(&base.join(IMAGE_KEYS), &text)?,
            None => Vec::new(),
        };
        let ca = read_ca(&base.join(CA))?;
        Ok(Self { image_keys, ca })
    }

    /// The CA that boot-server's certificate must be of, where one is pinned.
    #[must_use]
    pub fn ca(&self) -> Option<&PinnedCa> {
        self.ca.as_ref()
    }

    /// Whether images must be signed.
    #[must_use]
    pub fn wants_signatures(&self) -> bool {
        !self.image_keys.is_empty()
    }

    /// Checks that what is to be run was signed.
    ///
    /// # Errors
    /// See [`Distrust`].
    pub fn check(&self, image: &ImageSource) -> Result<(), Distrust> {
        if !self.wants_signatures() {
            return Ok(());
        }
        let name = || image.name.clone();
        let signed = image.signed.as_ref();
        let signed = signed.ok_or_else(|| Distrust::Unsigned { image: name() })?;
        self.verify(signed).map_err(|reason| Distrust::Signature {
            image: name(),
            reason,
        })?;
        let other = |what| Distrust::Other {
            image: name(),
            what,
        };
        let manifest: ImageManifest =
            serde_json::from_str(&signed.manifest).map_err(|_| other("manifest format"))?;
        let is_same = [
            (
                "manifest digest",
                Digest::of(signed.manifest.as_bytes()) == image.digest,
            ),
            ("root", manifest.root.digest == image.root_digest),
            ("size of the root", manifest.root.size == image.size),
            ("check of the root", manifest.root_checks == image.checks),
            (
                "kernel release",
                manifest.kernel_release == image.kernel_release,
            ),
        ];
        match is_same.into_iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(other(what)),
            None => Ok(()),
        }
    }

    /// One of several keys is enough, so that a key can be replaced.
    fn verify(&self, signed: &SignedManifest) -> Result<(), String> {
        let signature = Signature::decode(&signed.signature).map_err(|error| error.to_string())?;
        let mut reason = String::new();
        for key in &self.image_keys {
            match key.verify(signed.manifest.as_bytes(), &signature, false) {
                Ok(()) => return Ok(()),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }
}

/// The files of an initramfs that trusts these keys and this CA, once they have
/// been found to be usable: the machine itself could only stop.
///
/// # Errors
/// When a file is missing or cannot be used, or holds a secret.
pub fn files(
    image_keys: Option<&Path>,
    ca: Option<&Path>,
) -> Result<Vec<(&'static str, Vec<u8>)>, TrustError> {
    let mut files = Vec::new();
    for (place, path) in [(IMAGE_KEYS, image_keys), (CA, ca)] {
        let Some(path) = path else { continue };
        let text = fs::read_to_string(path).map_err(|source| TrustError::Read {
            path: path.to_owned(),
            source,
        })?;
        // An initramfs is given to whoever asks for it.
        if text.contains("PRIVATE KEY") || text.contains("secret key") {
            return Err(TrustError::Secret {
                path: path.to_owned(),
            });
        }
        if place == CA {
            read_ca(path)?;
        } else {
            keys(path, &text)?;
        }
        files.push((place, text.into_bytes()));
    }
    Ok(files)
}

/// Reads the CA at `path`, where there is one.
///
/// # Errors
/// When it cannot be read or used.
pub fn read_ca(path: &Path) -> Result<Option<PinnedCa>, TrustError> {
    let Some(pem) = read(path)? else {
        return Ok(None);
    };
    let ca = PinnedCa::from_pem(pem.as_bytes()).map_err(|source| TrustError::Ca {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(ca))
}

fn read(path: &Path) -> Result<Option<String>, TrustError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TrustError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The keys of a file: those of `minisign.pub` with its comment, several of them
/// one after another, or the bare base64 lines.
fn keys(path: &Path, text: &str) -> Result<Vec<PublicKey>, TrustError> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_text = line.trim();
        if line_text.is_empty() || line_text.starts_with("untrusted comment:") {
            continue;
        }
        let key = PublicKey::from_base64(line_text).map_err(|error| TrustError::Key {
            path: path.to_owned(),
            line: at + 1,
            reason: error.to_string(),
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(TrustError::NoKey {
            path: path.to_owned(),
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
