//! A namespace with boot-server, an NFS server and one virtual machine in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::marks::Marks;
use crate::bench::usage::Usage;
use crate::run::run;

/// Address of boot-server.
pub const SERVER: &str = "10.34.0.1";
/// How long one boot may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// Pause between two looks at the console.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Serves NFS from the root that is its argument, in namespaces of its own.
const NFS: &str = "\
mount --bind \"$1\" \"$1\" && mount -t proc proc \"$1/proc\" && mount --bind /dev \"$1/dev\" &&
chroot \"$1\" /usr/sbin/rpcbind &&
exec chroot \"$1\" /usr/bin/ganesha.nfsd -F -f /etc/ganesha.conf -L /dev/stderr -p /run/ganesha.pid
";

const MANIFESTS: &str = "\
apiVersion: moonfarm.dev/v1alpha1
kind: Subnet
metadata: {name: bench}
spec:
  cidr: 10.34.0.0/24
  gateway: 10.34.0.1
  ranges: [{from: 10.34.0.100, to: 10.34.0.200}]
---
apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata: {name: bench}
spec:
  overlaySize: 256Mi
  tmpfs:
    - {path: /var/lib/kubelet, size: 16Mi}
    - {path: /var/lib/containerd, size: 16Mi}
---
apiVersion: moonfarm.dev/v1alpha1
kind: NodePool
metadata: {name: bench}
spec:
  catchAll: true
  image: bench
  subnet: bench
  profiles: [bench]
";

/// What one boot gave.
pub struct Outcome {
    /// What the booted system said.
    pub marks: Marks,
    /// What QEMU used.
    pub qemu: Usage,
}

/// The namespace; removed when dropped, with the servers.
pub struct Lab {
    name: String,
    folder: PathBuf,
    servers: Vec<Child>,
    boots: u8,
}

impl Lab {
    /// Makes the namespace and starts boot-server with the image in `image`, and
    /// the NFS server of the root `nfs`, which exports its `/srv/ltsp`.
    ///
    /// # Errors
    /// When `ip` or a server fails.
    pub fn start(boot_server: &Path, image: &Path, nfs: &Path) -> Result<Self> {
        let name = format!("mfboot{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        let mut lab = Self {
            name,
            folder,
            servers: Vec::new(),
            boots: 0,
        };
        let manifests = lab.folder.join("manifests");
        fs::create_dir_all(&manifests)?;
        fs::write(manifests.join("bench.yaml"), MANIFESTS)?;
        ip(&["netns", "add", &lab.name])?;
        lab.ip(&["link", "set", "lo", "up"])?;
        lab.ip(&["link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
        lab.ip(&["address", "add", &format!("{SERVER}/24"), "dev", "br0"])?;
        lab.ip(&["link", "set", "br0", "up"])?;
        lab.ip(&["tuntap", "add", "t0", "mode", "tap"])?;
        lab.ip(&["link", "set", "t0", "master", "br0", "up"])?;
        let state = lab.folder.join("state");
        run(Command::new(boot_server)
            .args(["image", "add"])
            .arg(image)
            .arg("--state")
            .arg(&state))?;
        let log = File::create(lab.folder.join("boot-server.log"))?;
        let child = lab
            .inside(boot_server)
            .args(["serve", "--no-tftp", "--interface", "br0", "--manifests"])
            .arg(&manifests)
            .arg("--state")
            .arg(&state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        lab.servers.push(child.context("starting boot-server")?);
        let log = File::create(lab.folder.join("nfs.log"))?;
        let child = lab
            .inside(Path::new("unshare"))
            .args(["--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", NFS, "nfs"])
            .arg(nfs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        lab.servers.push(child.context("starting the NFS server")?);
        std::thread::sleep(Duration::from_secs(3));
        Ok(lab)
    }

    /// Boots kernel and initramfs once, until the booted system has told all.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`]; the end of its console is in the error.
    pub fn boot(&mut self, kernel: &Path, initramfs: &Path, arguments: &str) -> Result<Outcome> {
        let console = self.folder.join("console.log");
        let _ = fs::remove_file(&console);
        let serial = format!("file:{}", console.display());
        // boot-server gives no second boot config to a machine that has finished
        // booting and came back without asking for a script: QEMU loads the kernel.
        self.boots = self.boots.wrapping_add(1);
        let mac = format!("52:54:00:4d:46:{:02x}", self.boots);
        let nic = format!("virtio-net-pci,netdev=n,mac={mac},romfile=");
        let cmdline = format!("console=ttyS0 quiet init=/sbin/init {arguments}");
        let mut qemu = self
            .inside(Path::new("qemu-system-x86_64"))
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-machine", "q35", "-accel", "tcg,thread=multi,tb-size=256"])
            .args(["-cpu", "max,erms=off,fsrm=off", "-smp", "2", "-m", "2048"])
            .args(["-device", "virtio-rng-pci", "-device", &nic])
            .args(["-netdev", "tap,id=n,ifname=t0,script=no,downscript=no"])
            .args(["-serial", &serial, "-append", &cmdline])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting QEMU")?;
        let marks = wait(&console);
        let used = Usage::of(qemu.id());
        let _ = qemu.kill();
        let _ = qemu.wait();
        Ok(Outcome {
            marks: marks?,
            qemu: used?,
        })
    }

    /// `ip netns exec` becomes the program, so that its number is the program's.
    fn inside(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.name], arguments].concat())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .output();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wait(console: &Path) -> Result<Marks> {
    let looks = PATIENCE.as_millis() / LOOK_AGAIN.as_millis();
    let mut text = String::new();
    for _ in 0..looks {
        std::thread::sleep(LOOK_AGAIN);
        let bytes = fs::read(console).unwrap_or_default();
        text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(marks) = Marks::read(&text) {
            return Ok(marks);
        }
    }
    let end: Vec<&str> = text.lines().rev().take(25).collect();
    let end: Vec<&str> = end.into_iter().rev().collect();
    bail!("it did not come up; its console ends:\n{}", end.join("\n"))
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}
