//! The kernel seam over real system calls. The only file with `unsafe`.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::errno::Errno;
use nix::kmod::ModuleInitFlags;
use nix::libc;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::reboot::RebootMode;
use nix::sys::statfs::{FsType, TMPFS_MAGIC};
use nix::sys::time::TimeSpec;
use nix::time::ClockId;

use super::device_mapper::{HEAD, Message, Request};
use super::{Kernel, KernelError, Loaded, ModuleFile, Mount, Result, Run, Verity};
use crate::initramfs::decompress::{Packing, decompress};

/// The running kernel.
#[derive(Debug, Default)]
pub struct Linux;

impl Kernel for Linux {
    fn mount(&mut self, mount: &Mount) -> Result<()> {
        let error = |source| KernelError::new(format!("mounting {mount}"), source);
        fs::create_dir_all(&mount.target).map_err(error)?;
        let mut flags = MsFlags::empty();
        flags.set(MsFlags::MS_RDONLY, mount.read_only);
        if mount.plain_files {
            flags |= MsFlags::MS_NOSUID;
            // A device file system without device nodes would be of little use.
            flags.set(
                MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
                mount.kind != "devtmpfs",
            );
            // /run holds the agent that systemd is to start later.
            flags.set(
                MsFlags::MS_NOEXEC,
                !matches!(mount.kind, "devtmpfs" | "tmpfs"),
            );
        }
        if mount.kind == "bind" {
            flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        }
        let options = (!mount.options.is_empty()).then_some(mount.options.as_str());
        nix::mount::mount(
            Some(mount.source.as_str()),
            &mount.target,
            Some(mount.kind),
            flags,
            options,
        )
        .map_err(|errno| error(errno.into()))
    }

    fn unmount(&mut self, target: &Path) -> Result<()> {
        nix::mount::umount2(target, MntFlags::MNT_DETACH)
            .map_err(|errno| KernelError::new(format!("unmounting {}", target.display()), errno))
    }

    fn move_mount(&mut self, from: &Path, to: &Path) -> Result<()> {
        let what = || format!("moving the mount {} to {}", from.display(), to.display());
        fs::create_dir_all(to).map_err(|source| KernelError::new(what(), source))?;
        nix::mount::mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
            .map_err(|errno| KernelError::new(what(), errno))
    }

    fn attach_loop(&mut self, file: &Path) -> Result<PathBuf> {
        attach_loop(file).map_err(|source| {
            KernelError::new(
                format!("making a loop device of {}", file.display()),
                source,
            )
        })
    }

    fn detach_loop(&mut self, device: &Path) -> Result<()> {
        detach_loop(device)
            .map_err(|source| KernelError::new(format!("giving up {}", device.display()), source))
    }

    fn open_verity(&mut self, verity: &Verity) -> Result<PathBuf> {
        open_verity(verity).map_err(|source| {
            let data = verity.data.display();
            KernelError::new(format!("making a dm-verity device of {data}"), source)
        })
    }

    fn load_module(&mut self, file: &Path, parameters: &str) -> Result<Loaded> {
        load_module(file, parameters)
    }

    fn load_modules_behind(&mut self, modules: Vec<ModuleFile>) -> Receiver<Result<Loaded>> {
        let (results, receiver) = channel();
        let work = move || {
            for module in modules {
                let _ = results.send(load_module(&module.file, &module.parameters));
            }
        };
        let thread = std::thread::Builder::new().name("modules".to_owned());
        if let Err(error) = thread.spawn(work) {
            let (results, receiver) = channel();
            let _ = results.send(Err(KernelError::new(
                "starting a thread for modules",
                error,
            )));
            return receiver;
        }
        receiver
    }

    fn empty_initramfs(&mut self) -> Result<()> {
        empty_initramfs(Path::new("/"))
            .map_err(|source| KernelError::new("freeing the initramfs", source))
    }

    fn enter_root(&mut self, root: &Path) -> Result<()> {
        let enter = || -> nix::Result<()> {
            nix::unistd::chdir(root)?;
            // pivot_root(2) does not work on the first root file system; moving
            // the new one over it does.
            nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
            nix::unistd::chroot(".")?;
            nix::unistd::chdir("/")
        };
        enter()
            .map_err(|errno| KernelError::new(format!("making {} the root", root.display()), errno))
    }

    fn run(&mut self, run: &Run) -> Result<()> {
        run_in_root(run)
            .map_err(|source| KernelError::new(format!("running {}", run.program), source))
    }

    fn exec(&mut self, program: &Path, arguments: &[&str]) -> KernelError {
        let what = format!("starting {}", program.display());
        let run = || -> io::Result<std::convert::Infallible> {
            let path = CString::new(program.as_os_str().as_encoded_bytes())?;
            let mut words = vec![path.clone()];
            for argument in arguments {
                words.push(CString::new(*argument)?);
            }
            Ok(nix::unistd::execv(&path, &words)?)
        };
        match run() {
            Ok(never) => match never {},
            Err(source) => KernelError::new(what, source),
        }
    }

    fn reboot(&mut self) -> KernelError {
        nix::unistd::sync();
        match nix::sys::reboot::reboot(RebootMode::RB_AUTOBOOT) {
            Ok(never) => match never {},
            Err(errno) => KernelError::new("restarting the machine", errno),
        }
    }

    fn set_clock(&mut self, unix_ms: u64) -> Result<()> {
        let time = TimeSpec::from_duration(Duration::from_millis(unix_ms));
        nix::time::clock_settime(ClockId::CLOCK_REALTIME, time)
            .map_err(|errno| KernelError::new("setting the clock", errno))
    }
}

fn load_module(file: &Path, parameters: &str) -> Result<Loaded> {
    let error = |source| KernelError::new(format!("loading the module {}", file.display()), source);
    let parameters = CString::new(parameters).map_err(|wrong| error(wrong.into()))?;
    let packing = packing(file).map_err(error)?;
    let flags = match packing {
        None => Some(ModuleInitFlags::empty()),
        Some(packing) => unpacks(packing).then_some(COMPRESSED_FILE),
    };
    if let Some(flags) = flags {
        let module = File::open(file).map_err(error)?;
        match nix::kmod::finit_module(module, &parameters, flags) {
            // It may not know all variants of its own packing.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) if packing.is_some() => {}
            answer => return outcome(answer, Loaded::Now).map_err(error),
        }
    }
    let module = fs::read(file).and_then(decompress).map_err(error)?;
    outcome(
        nix::kmod::init_module(&module, &parameters),
        Loaded::Unpacked,
    )
    .map_err(error)
}

/// `MODULE_INIT_COMPRESSED_FILE` of Linux 5.17 and later.
const COMPRESSED_FILE: ModuleInitFlags = ModuleInitFlags::from_bits_retain(4);

/// How a module's file is packed, by its first octets.
fn packing(file: &Path) -> io::Result<Option<Packing>> {
    let mut start = Vec::new();
    File::open(file)?.take(6).read_to_end(&mut start)?;
    Ok(Packing::of(&start))
}

/// Whether the kernel unpacks modules of this packing. It was built for one alone,
/// or for none.
fn unpacks(packing: Packing) -> bool {
    let own = fs::read_to_string("/sys/module/compression").unwrap_or_default();
    own.trim() == packing.name()
}

fn outcome(answer: nix::Result<()>, loaded: Loaded) -> io::Result<Loaded> {
    match answer {
        Ok(()) => Ok(loaded),
        Err(Errno::EEXIST) => Ok(Loaded::Before),
        Err(errno) => Err(errno.into()),
    }
}

/// How often a running program is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

fn run_in_root(run: &Run) -> io::Result<()> {
    let output = File::create(&run.output)?;
    let mut command = Command::new(&run.program);
    command
        .args(&run.arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/root")
        .envs(run.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        // A group of its own, so that its children end with it.
        .process_group(0);
    let root = CString::new(run.root.as_os_str().as_encoded_bytes())?;
    // SAFETY: between fork and exec the closure makes two system calls with a
    // string made before; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            nix::unistd::chroot(root.as_c_str())?;
            Ok(nix::unistd::chdir(c"/")?)
        });
    }
    let mut child = command.spawn()?;
    let mut left = run.timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() {
                Ok(())
            } else {
                Err(io::Error::other(status.to_string()))
            };
        }
        if left.is_zero() {
            let group = i32::try_from(child.id()).map_err(io::Error::other)?;
            let _ = nix::sys::signal::killpg(
                nix::unistd::Pid::from_raw(group),
                nix::sys::signal::Signal::SIGKILL,
            );
            child.wait()?;
            let secs = run.timeout.as_secs();
            return Err(io::Error::other(format!("not done after {secs} s")));
        }
        std::thread::sleep(LOOK_AGAIN);
        left = left.saturating_sub(LOOK_AGAIN);
    }
}

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const LOOP_READ_ONLY: u32 = 1;
const LOOP_CONFIGURE: u16 = 0x4C0A;
const LOOP_CLEAR: u16 = 0x4C01;
const LOOP_GET_FREE: u16 = 0x4C82;

nix::ioctl_write_ptr_bad!(
    /// `LOOP_CONFIGURE`: binds a file to a loop device, with all its settings.
    loop_configure, LOOP_CONFIGURE, LoopConfig);
nix::ioctl_none_bad!(
    /// `LOOP_CLR_FD`: lets go of the file.
    loop_clear, LOOP_CLEAR);
nix::ioctl_none_bad!(
    /// `LOOP_CTL_GET_FREE`: the number of a loop device that nobody uses.
    loop_get_free, LOOP_GET_FREE);

nix::ioctl_readwrite!(
    /// `WDIOC_SETTIMEOUT` of linux/watchdog.h, in seconds.
    watchdog_set_timeout, b'W', 6, libc::c_int);

/// Sets the time-out of an open watchdog.
///
/// # Errors
/// When the driver does not take it.
pub fn set_watchdog_timeout(watchdog: &File, secs: u32) -> io::Result<()> {
    let mut secs = libc::c_int::try_from(secs).map_err(io::Error::other)?;
    // SAFETY: the kernel reads and writes one int behind the pointer, which
    // lives through the call; the descriptor is open.
    unsafe { watchdog_set_timeout(watchdog.as_raw_fd(), &raw mut secs) }?;
    Ok(())
}

/// How often to ask again when another process took the free device first.
const LOOP_ATTEMPTS: u32 = 8;

fn attach_loop(path: &Path) -> io::Result<PathBuf> {
    let file = File::open(path)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LOOP_READ_ONLY,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // `losetup` shows this name; the last byte stays 0.
    let name = path.as_os_str().as_encoded_bytes();
    for (to, from) in config.info.file_name.iter_mut().take(63).zip(name) {
        *to = *from;
    }
    for _ in 0..LOOP_ATTEMPTS {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of
        // ours; the descriptor is open for the length of the call.
        let number = unsafe { loop_get_free(control.as_fd().as_raw_fd()) }?;
        let device = PathBuf::from(format!("/dev/loop{number}"));
        let handle = File::open(&device)?;
        // SAFETY: the kernel reads one `struct loop_config`, whose layout the
        // type above has, from a reference that lives through the call; it
        // keeps its own reference to the file behind `fd`.
        match unsafe { loop_configure(handle.as_raw_fd(), &raw const config) } {
            Ok(_) => return Ok(device),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(io::Error::other(
        "every free loop device was taken by somebody else",
    ))
}

fn detach_loop(device: &Path) -> io::Result<()> {
    let handle = File::open(device)?;
    // SAFETY: LOOP_CLR_FD takes no argument and touches no memory of ours; the
    // descriptor is open for the length of the call.
    unsafe { loop_clear(handle.as_raw_fd()) }?;
    Ok(())
}

/// Type of the device mapper's requests (linux/dm-ioctl.h).
const DM_IOCTL: u8 = 0xfd;

fn open_verity(verity: &Verity) -> io::Result<PathBuf> {
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/mapper/control")?;
    let mut created = Message::plain();
    ask_device_mapper(&control, Request::Create, &mut created)?;
    let loaded = ask_device_mapper(&control, Request::Load, &mut Message::table(verity))
        .and_then(|()| ask_device_mapper(&control, Request::Resume, &mut Message::plain()));
    if let Err(error) = loaded {
        let _ = ask_device_mapper(&control, Request::Remove, &mut Message::plain());
        return Err(error);
    }
    let minor = nix::sys::stat::minor(created.device());
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

fn ask_device_mapper(control: &File, request: Request, message: &mut Message) -> io::Result<()> {
    let code = nix::request_code_readwrite!(DM_IOCTL, request as u8, HEAD);
    let bytes = message.0.as_mut_ptr();
    // SAFETY: the kernel reads and writes no more bytes behind the pointer than the
    // message's size field says, which is its length; it lives through the call, and
    // the descriptor is open.
    Errno::result(unsafe { libc::ioctl(control.as_raw_fd(), code, bytes) })?;
    Ok(())
}

/// `RAMFS_MAGIC` of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

fn empty_initramfs(root: &Path) -> io::Result<()> {
    // The checks of switch_root(8): deleting a disk by mistake is not forgiven.
    let kind = nix::sys::statfs::statfs(root)?.filesystem_type();
    if kind != RAMFS_MAGIC && kind != TMPFS_MAGIC {
        return Err(io::Error::other(
            "/ is not an initramfs, nothing was deleted",
        ));
    }
    if !root.join("init").is_file() {
        return Err(io::Error::other("/ has no /init, nothing was deleted"));
    }
    let device = fs::symlink_metadata(root)?.dev();
    delete_below(root, device);
    Ok(())
}

/// Deletes everything below `folder` that is on `device`. What cannot be
/// deleted stays: it is only some memory.
fn delete_below(folder: &Path, device: u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            delete_below(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}
