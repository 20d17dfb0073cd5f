//! Where the files of boot loaders are on this machine, and what a GRUB that knows
//! nothing but TFTP is given beside them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use boot_proto::ids::Digest;

use crate::http::{App, Peer, grub_config_of};
use crate::images::Role;
use crate::tftp::{Found, Source};

/// Loaders by the name under which firmware asks for them, and where Debian's
/// packages put them. A file of that name in the loaders' folder comes first.
///
/// shim asks for `grub….efi` beside itself, under that name, and for `mm….efi`,
/// its key manager, where a key is to be enrolled (shim `README.fallback`).
const ELSEWHERE: [(&str, &str); 10] = [
    ("shimx64.efi", "/usr/lib/shim/shimx64.efi.signed"),
    (
        "grubx64.efi",
        "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed",
    ),
    ("mmx64.efi", "/usr/lib/shim/mmx64.efi.signed"),
    ("shimaa64.efi", "/usr/lib/shim/shimaa64.efi.signed"),
    (
        "grubaa64.efi",
        "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed",
    ),
    ("mmaa64.efi", "/usr/lib/shim/mmaa64.efi.signed"),
    ("shimia32.efi", "/usr/lib/shim/shimia32.efi.signed"),
    (
        "grubia32.efi",
        "/usr/lib/grub/i386-efi-signed/grubnetia32.efi.signed",
    ),
    ("mmia32.efi", "/usr/lib/shim/mmia32.efi.signed"),
    ("undionly.kpxe", "/usr/lib/ipxe/undionly.kpxe"),
];

/// Where the loader of this clean relative name is to be found: in `folder`,
/// else where its Debian package has it. The path need not exist.
#[must_use]
pub fn locate(folder: &Path, name: &Path) -> PathBuf {
    let own = folder.join(name);
    if own.exists() {
        return own;
    }
    let known = ELSEWHERE.iter().find(|(known, _)| Path::new(known) == name);
    known.map_or(own, |(_, path)| PathBuf::from(path))
}

/// Where a GRUB that came by TFTP looks for its configuration: below the prefix
/// that Debian builds into its signed network image.
const GRUB_CONFIG: &str = "grub/grub.cfg";
/// Kernels and initramfs by digest. Debian's signed GRUB has no HTTP inside, and
/// under Secure Boot loads no module that would bring it.
const BLOBS: &str = "blobs/sha256";

/// What TFTP sends beside the loaders' folder: signed loaders from where their
/// packages have them, the machine's own GRUB configuration, kernel and initramfs.
#[derive(Clone)]
pub struct BootFiles {
    app: App,
    http_port: u16,
}

impl std::fmt::Debug for BootFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootFiles").finish_non_exhaustive()
    }
}

impl BootFiles {
    /// Those of this server, whose boot face listens on `http_port`.
    #[must_use]
    pub const fn new(app: App, http_port: u16) -> Self {
        Self { app, http_port }
    }

    fn blob(&self, hex: &str) -> Option<Found> {
        let digest: Digest = format!("sha256:{hex}").parse().ok()?;
        let role = self.app.images.role_of(&digest)?;
        let is_for_loaders = matches!(role, Role::Kernel | Role::Initramfs);
        is_for_loaders.then(|| Found::File(self.app.images.blob_path(&digest)))
    }
}

impl Source for BootFiles {
    fn find(&self, peer: Ipv4Addr, local: Ipv4Addr, name: &Path) -> Option<Found> {
        if name == Path::new(GRUB_CONFIG) {
            let ends = Peer {
                remote: SocketAddr::from((peer, 0)),
                local: SocketAddr::from((local, self.http_port)),
                is_tls: false,
            };
            let place = format!("(tftp,{local})");
            return Some(Found::Text(grub_config_of(&self.app, ends, &place)));
        }
        if name.parent() == Some(Path::new(BLOBS)) {
            return self.blob(name.file_name()?.to_str()?);
        }
        let known = ELSEWHERE.iter().find(|(known, _)| Path::new(known) == name);
        known.map(|(_, path)| Found::File(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_folder_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("shimx64.efi");
        let name = Path::new("shimx64.efi");
        assert_eq!(
            locate(folder.path(), name),
            Path::new("/usr/lib/shim/shimx64.efi.signed")
        );
        std::fs::write(&own, "x").unwrap();
        assert_eq!(locate(folder.path(), name), own);
        let unknown = Path::new("x/passwd");
        assert_eq!(
            locate(folder.path(), unknown),
            folder.path().join("x/passwd")
        );
    }
}
