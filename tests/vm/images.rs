//! Variants of the node image: the same kernel, with another root or with more in
//! the initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boot_proto::ids::{Digest, MacAddr};
use boot_proto::image::{ImageManifest, RootChecks};
use moonfarm_tests::lab::DirectKernel;
use moonfarm_tests::lab::farm::layout::SERVER;
use moonfarm_tests::lab::process::{output, run};
use node_agent::initramfs::cpio::Archive;

/// An image made of another one.
pub struct Variant<'a> {
    /// The node image's folder.
    pub base: &'a Path,
    /// Where variants are made, each in a folder of its own.
    pub folder: &'a Path,
    /// Its name.
    pub name: &'a str,
}

impl Variant<'_> {
    /// With another file in the place of the squashfs.
    pub fn with_root(&self, root: &[u8]) -> PathBuf {
        self.make(|folder, manifest| {
            let file = folder.join(&manifest.root.file);
            fs::remove_file(&file).expect("the link is removed");
            fs::write(file, root).expect("written");
            manifest.root.size = root.len() as u64;
            manifest.root.digest = Digest::of(root);
            manifest.root_checks = RootChecks::default();
        })
    }

    /// With another initramfs.
    pub fn with_initramfs(&self, bytes: &[u8]) -> PathBuf {
        self.make(|folder, manifest| {
            let file = folder.join(&manifest.initramfs.file);
            fs::remove_file(&file).expect("the link is removed");
            fs::write(&file, bytes).expect("written");
            manifest.initramfs.size = bytes.len() as u64;
            manifest.initramfs.digest = Digest::of(bytes);
        })
    }

    /// With a second archive behind the initramfs; the kernel unpacks both.
    pub fn with_archive(&self, archive: Archive) -> PathBuf {
        let file = self.base.join(&manifest(self.base).initramfs.file);
        let mut bytes = fs::read(&file).expect("an initramfs");
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(archive.into_bytes());
        self.with_initramfs(&bytes)
    }

    fn make(&self, change: impl FnOnce(&Path, &mut ImageManifest)) -> PathBuf {
        let folder = self.folder.join(self.name);
        fs::create_dir_all(&folder).expect("a folder");
        let mut manifest = manifest(self.base);
        for file in [&manifest.kernel, &manifest.initramfs, &manifest.root] {
            let (from, to) = (self.base.join(&file.file), folder.join(&file.file));
            // Not always the same file system.
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).expect("copied");
            }
        }
        self.name.clone_into(&mut manifest.name);
        change(&folder, &mut manifest);
        let text = serde_json::to_vec_pretty(&manifest).expect("JSON");
        fs::write(folder.join("manifest.json"), text).expect("written");
        folder
    }
}

/// The manifest of an image folder.
pub fn manifest(folder: &Path) -> ImageManifest {
    let bytes = fs::read(folder.join("manifest.json")).expect("a manifest");
    serde_json::from_slice(&bytes).expect("an image manifest")
}

/// A squashfs with these files, by path from the root, all of which can be run,
/// and links.
pub fn squashfs(folder: &Path, files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let tree = tempfile::tempdir_in(folder).expect("a folder");
    let place = |path: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        path
    };
    for (path, content) in files {
        use std::os::unix::fs::PermissionsExt as _;
        let path = place(path);
        fs::write(&path, content).expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    for (path, target) in links {
        std::os::unix::fs::symlink(target, place(path)).expect("a link");
    }
    for mount_point in ["dev", "proc", "sys", "run", "etc"] {
        fs::create_dir_all(tree.path().join(mount_point)).expect("a folder");
    }
    let file = folder.join("small.squashfs");
    let mut command = Command::new("mksquashfs");
    command.arg(tree.path()).arg(&file);
    command.args(["-noappend", "-quiet", "-no-progress"]);
    output(command).unwrap_or_else(|error| panic!("{}", error.chain()));
    fs::read(file).expect("a squashfs")
}

/// This machine's own shell with the libraries it needs, for scripts that run in
/// the initramfs.
pub fn shell() -> Archive {
    let mut archive = Archive::default();
    let real = fs::canonicalize("/bin/sh").expect("a shell");
    archive.file("bin/sh", 0o755, fs::read(&real).expect("a shell"));
    let list = run("ldd", [real.as_os_str()]).expect("the shell's libraries");
    for path in list.split_whitespace().filter(|word| word.starts_with('/')) {
        let path = path.trim_start_matches('/');
        let content = fs::read(Path::new("/").join(path)).expect("a library");
        archive.file(path, 0o755, content);
    }
    archive
}

/// A program for x86-64 Linux that does nothing for ever: `pause` in a loop.
pub fn hanging_program() -> Vec<u8> {
    program(&[0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7])
}

/// One that ends at once: `exit(0)`.
pub fn ending_program() -> Vec<u8> {
    program(&[0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05])
}

/// An ELF header, one segment, and this code.
fn program(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + code.len() as u64;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    elf.extend(2u16.to_le_bytes());
    elf.extend(62u16.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    for number in [BASE + HEADERS, 64, 0] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for number in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for number in [0, BASE, BASE, length, length, 4096] {
        elf.extend(number.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// The kernel and initramfs of an image folder as a loader would start them for
/// the machine with this MAC; `words` are further ones for the kernel. On a busy
/// host a translated machine's timer may be late, for which the kernel would
/// take the IO-APIC as broken.
pub fn direct_kernel(folder: &Path, mac: MacAddr, words: &str) -> DirectKernel {
    let manifest = manifest(folder);
    DirectKernel {
        kernel: folder.join(&manifest.kernel.file),
        initramfs: folder.join(&manifest.initramfs.file),
        command_line: format!(
            "{} no_timer_check moonfarm.server=http://{SERVER}:8080 BOOTIF=01-{} {words}",
            manifest.kernel_arguments.join(" "),
            mac.dashed(),
        ),
    }
}
