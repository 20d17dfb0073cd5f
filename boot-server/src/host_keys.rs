//! Stable SSH host keys of machines that keep nothing themselves.
//!
//! One secret of 32 octets lies in boot-server's state, readable by it alone.
//! The key of a machine is made of that secret and the machine's name, the same
//! at every boot, and goes into the boot config, which only the address leased
//! to the machine can read. Nothing has to be stored while a machine boots, and
//! several boot-servers that share the secret give the same keys.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use boot_proto::boot_config::SshHostKey;
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, PrivateKey};

/// Makes the keys.
pub struct HostKeys {
    secret: [u8; 32],
}

impl std::fmt::Debug for HostKeys {
    /// Never the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostKeys")
    }
}

impl HostKeys {
    /// Reads the secret, or makes one when there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read or written, or is not 32 octets.
    pub fn open(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => {
                let wrong = |_| io::Error::other("the secret of SSH host keys has not 32 octets");
                let secret = bytes.try_into().map_err(wrong)?;
                Ok(Self { secret })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(file),
            Err(error) => Err(error),
        }
    }

    fn make(file: &Path) -> io::Result<Self> {
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        // Whole or not at all: half a secret would be another one.
        let draft = file.with_extension("new");
        let mut handle = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        handle.write_all(&secret)?;
        handle.sync_all()?;
        fs::rename(&draft, file)?;
        Ok(Self { secret })
    }

    /// The host keys of `machine`.
    #[must_use]
    pub fn of(&self, machine: &str) -> Vec<SshHostKey> {
        let mut hash = Sha256::new();
        hash.update(b"moonfarm ssh host key ed25519 1\0");
        hash.update(self.secret);
        hash.update(machine.as_bytes());
        let seed: [u8; 32] = hash.finalize().into();
        let Ok(key) = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), machine) else {
            return Vec::new();
        };
        let private = key.to_openssh(LineEnding::LF);
        let public = key.public_key().to_openssh();
        match (private, public) {
            (Ok(private), Ok(public)) => vec![SshHostKey {
                kind: "ed25519".to_owned(),
                private: private.to_string(),
                public,
            }],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_at_every_boot_and_another_for_every_machine() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let first = HostKeys::open(&file).unwrap().of("m1-c1n1");
        let again = HostKeys::open(&file).unwrap();
        assert_eq!(first, again.of("m1-c1n1"));
        assert_ne!(first, again.of("m1-c2n1"));
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(
            first[0]
                .private
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
        );
        assert!(
            first[0].public.starts_with("ssh-ed25519 AAAA"),
            "{:?}",
            first[0]
        );
        assert!(!format!("{first:?}").contains("PRIVATE"));
        let other = HostKeys::open(&folder.path().join("other")).unwrap();
        assert_ne!(first, other.of("m1-c1n1"));
        fs::write(&file, b"short").unwrap();
        assert!(HostKeys::open(&file).is_err());
    }
}
