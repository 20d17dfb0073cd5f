//! Builds the initramfs that this program is `/init` of, for one kernel of one
//! root file system. The same input gives the same bytes.

pub mod closure;
pub mod cpio;
pub mod decompress;
pub mod drivers;
pub mod elf;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use self::closure::{Closure, KernelModules};
use self::cpio::Archive;
use self::decompress::Packing;
use self::drivers::DriverSet;
use crate::modules::index::{FILE_NAME, STORAGE_FILE_NAME};
use crate::trust::{self, TrustError};

/// What to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root file system with the kernel's modules.
    pub root: PathBuf,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// The program that becomes `/init`.
    pub agent: PathBuf,
    /// Whether the program may need libraries that the initramfs does not have.
    pub allow_dynamic: bool,
    /// Which NIC drivers to pack.
    pub drivers: DriverSet,
    /// Whether to pack drivers for local disks.
    pub storage: bool,
    /// Further modules, which must exist.
    pub modules: Vec<String>,
    /// A static shell for `moonfarm.debug`, such as busybox.
    pub shell: Option<PathBuf>,
    /// How to compress the archive.
    pub compress: Compression,
    /// File of minisign public keys; only images signed with one of them are run.
    pub image_keys: Option<PathBuf>,
    /// File of CA certificates; boot-server is talked to over TLS only.
    pub ca: Option<PathBuf>,
}

/// Compression of the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// zstd, which kernels unpack fastest for its size.
    #[default]
    Zstd,
    /// None.
    None,
}

/// Why there is no initramfs.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// The root has no such kernel.
    #[error("{} has no modules of kernel {release:?}; {}", root.display(), present_kernels(present))]
    NoKernel {
        /// The kernel asked for.
        release: String,
        /// The root.
        root: PathBuf,
        /// The kernels it has.
        present: Vec<String>,
    },
    /// Modules that must be there are not.
    #[error("kernel {release} has neither as module nor built in: {}", names.join(", "))]
    MissingModules {
        /// The kernel.
        release: String,
        /// Their names.
        names: Vec<String>,
    },
    /// The agent or the shell cannot run there.
    #[error("{} cannot run in the initramfs: {reason}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// A key or certificate cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file cannot be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be compressed.
    #[error("compressing the archive")]
    Compress(#[source] io::Error),
}

fn present_kernels(present: &[String]) -> String {
    if present.is_empty() {
        "it has no kernel at all".to_owned()
    } else {
        format!("it has: {}", present.join(", "))
    }
}

/// A finished initramfs.
#[derive(Debug)]
pub struct Initramfs {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub summary: Summary,
}

/// What is in an initramfs, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The kernel.
    pub kernel_release: String,
    /// Bytes of the file.
    pub size: usize,
    /// Bytes once unpacked, which is the RAM it takes until the switch to the root.
    pub unpacked: usize,
    /// Bytes of `/init`.
    pub agent: usize,
    /// Names of the modules.
    pub modules: Vec<String>,
    /// Firmware files.
    pub firmware: Vec<String>,
    /// Firmware files that were too large to pack.
    pub left_out: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| f64::from(u32::try_from(bytes >> 10).unwrap_or(u32::MAX)) / 1024.0;
        writeln!(
            f,
            "kernel {}: {:.1} MiB, {:.1} MiB unpacked (node-agent {:.1} MiB)",
            self.kernel_release,
            mib(self.size),
            mib(self.unpacked),
            mib(self.agent)
        )?;
        write!(
            f,
            "{} modules: {}",
            self.modules.len(),
            self.modules.join(" ")
        )?;
        if !self.firmware.is_empty() {
            write!(
                f,
                "\n{} firmware files: {}",
                self.firmware.len(),
                self.firmware.join(" ")
            )?;
        }
        if !self.left_out.is_empty() {
            let limit = FIRMWARE_LIMIT >> 20;
            let names = self.left_out.join(" ");
            write!(
                f,
                "\nfirmware left out, as it is more than {limit} MiB in all: {names}"
            )?;
        }
        Ok(())
    }
}

/// Bytes of firmware at most: some NICs have more of it than drivers.
const FIRMWARE_LIMIT: usize = 8 << 20;

/// Level of zstd. 19 is the last one below "ultra", whose windows no kernel has
/// room for.
const ZSTD_LEVEL: i32 = 19;
/// Window of 8 MiB, the most that the kernel's decompressor takes.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Builds an initramfs.
///
/// # Errors
/// When the kernel, a module or the agent is missing or cannot be read.
pub fn build(options: &Options) -> Result<Initramfs, InitramfsError> {
    let agent = read_program(&options.agent, options.allow_dynamic)?;
    let kernel = KernelModules::open(&options.root, &options.kernel_release)?;
    let closure = choose_modules(&kernel, options)?;
    let storage = match options.storage {
        true => kernel.closure(drivers::STORAGE.iter().copied())?,
        false => Closure::default(),
    };
    let release = &options.kernel_release;
    let mut summary = Summary {
        kernel_release: release.clone(),
        size: 0,
        unpacked: 0,
        agent: agent.len(),
        modules: module_names(&closure, &storage),
        firmware: Vec::new(),
        left_out: Vec::new(),
    };
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "run", "etc", "newroot"] {
        archive.folder(folder);
    }
    // Before devtmpfs is mounted the kernel opens /dev/console for PID 1.
    archive.character_device("dev/console", 0o600, 5, 1);
    archive.character_device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, agent);
    if let Some(shell) = &options.shell {
        archive.file("bin/sh", 0o755, read_program(shell, options.allow_dynamic)?);
    }
    for (path, content) in trust::files(options.image_keys.as_deref(), options.ca.as_deref())? {
        archive.file(path, 0o644, content);
    }
    let folder = format!("lib/modules/{release}");
    archive.file(
        &format!("{folder}/{FILE_NAME}"),
        0o644,
        closure.index.render().into_bytes(),
    );
    if options.storage {
        let index = storage.index.render().into_bytes();
        archive.file(&format!("{folder}/{STORAGE_FILE_NAME}"), 0o644, index);
    }
    add_firmware(&mut archive, &options.root, &closure.firmware, &mut summary)?;
    // A module may be for both.
    let modules: BTreeMap<_, _> = closure.modules.into_iter().chain(storage.modules).collect();
    let mut packed = None;
    for (_, module) in modules {
        let archive = match Packing::of(&module.content) {
            Some(_) => packed.get_or_insert_with(Archive::default),
            None => &mut archive,
        };
        archive.file(&format!("{folder}/{}", module.path), 0o644, module.content);
    }
    let archive = archive.into_bytes();
    let packed = packed.map(Archive::into_bytes).unwrap_or_default();
    summary.unpacked = archive.len() + packed.len();
    let bytes = join(archive, packed, options.compress).map_err(InitramfsError::Compress)?;
    summary.size = bytes.len();
    Ok(Initramfs { bytes, summary })
}

/// The archive, and behind it the one of what is compressed already: the kernel
/// unpacks both, from places that 4 divides.
fn join(archive: Vec<u8>, packed: Vec<u8>, how: Compression) -> io::Result<Vec<u8>> {
    let mut bytes = match how {
        Compression::None => archive,
        Compression::Zstd => compress(&archive)?,
    };
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(packed);
    Ok(bytes)
}

fn read_program(path: &Path, allow_dynamic: bool) -> Result<Vec<u8>, InitramfsError> {
    let content = fs::read(path).map_err(|source| InitramfsError::Read {
        path: path.to_owned(),
        source,
    })?;
    let reason = match elf::needs_loader(&content) {
        Some(true) if !allow_dynamic => {
            "it needs shared libraries, which an initramfs does not have; take a static one \
             (for node-agent: RUSTFLAGS='-C target-feature=+crt-static' and --target), or give \
             --allow-dynamic"
        }
        None => "it is no 64-bit ELF program",
        Some(_) => return Ok(content),
    };
    Err(InitramfsError::Program {
        program: path.to_owned(),
        reason,
    })
}

fn module_names(closure: &Closure, storage: &Closure) -> Vec<String> {
    let names = closure.modules.keys().chain(storage.modules.keys());
    let names: BTreeSet<&String> = names.collect();
    names.into_iter().cloned().collect()
}

fn choose_modules(kernel: &KernelModules, options: &Options) -> Result<Closure, InitramfsError> {
    let asked = options.modules.iter().map(String::as_str);
    let required: Vec<&str> = drivers::REQUIRED.iter().copied().chain(asked).collect();
    let wished = drivers::WELCOME.iter().copied();
    let wished: Vec<&str> = wished.chain(options.drivers.nics()).collect();
    let closure = kernel.closure(required.iter().chain(&wished).copied())?;
    // A driver of the table that this kernel lacks is no mistake; what was asked
    // for, or what a packed module cannot do without, is.
    let wished: BTreeSet<String> = wished
        .into_iter()
        .map(crate::modules::module_name)
        .collect();
    let required: BTreeSet<String> = required
        .into_iter()
        .map(crate::modules::module_name)
        .collect();
    let names: Vec<String> = closure
        .missing
        .iter()
        .filter(|name| required.contains(*name) || !wished.contains(*name))
        .cloned()
        .collect();
    if names.is_empty() {
        return Ok(closure);
    }
    Err(InitramfsError::MissingModules {
        release: options.kernel_release.clone(),
        names,
    })
}

/// Packs the firmware that the root has; a NIC whose firmware is not there can
/// still be one that has it in its own memory.
fn add_firmware(
    archive: &mut Archive,
    root: &Path,
    names: &BTreeSet<String>,
    summary: &mut Summary,
) -> Result<(), InitramfsError> {
    let mut total = 0;
    for name in names {
        if name.split('/').any(|part| part == ".." || part.is_empty()) {
            continue;
        }
        let found = ["usr/lib/firmware", "lib/firmware"]
            .iter()
            .flat_map(|folder| {
                decompress::SUFFIXES.map(|suffix| root.join(format!("{folder}/{name}{suffix}")))
            })
            .find(|path| path.is_file());
        let Some(path) = found else { continue };
        let content = fs::read(&path)
            .and_then(decompress::decompress)
            .map_err(|source| InitramfsError::Read {
                path: path.clone(),
                source,
            })?;
        if total + content.len() > FIRMWARE_LIMIT {
            summary.left_out.push(name.clone());
            continue;
        }
        total += content.len();
        archive.file(&format!("lib/firmware/{name}"), 0o644, content);
        summary.firmware.push(name.clone());
    }
    Ok(())
}

fn compress(plain: &[u8]) -> io::Result<Vec<u8>> {
    use zstd::zstd_safe::CParameter;
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    compressor.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG))?;
    compressor.compress(plain)
}

#[cfg(test)]
mod tests;
