//! The plan of a boot: named steps as values, so that a plan can be printed,
//! compared and tested whole. `boot/` carries them out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use boot_proto::boot_config::{BootConfig, ImageSource};
use boot_proto::cmdline::{BootArguments, IpArgument};
use boot_proto::ids::MacAddr;
use boot_proto::report::Phase;
use boot_proto::resources::{KeepImage, OverlayPlace, OverlaySpec, ScriptMoment};

use crate::kernel::Mount;
use crate::memory::{Budget, mib};
use crate::net::Address;
use crate::paths::Paths;

/// One phase: what it does and how often it may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub phase: Phase,
    /// What it does.
    pub action: Action,
    /// How it is repeated.
    pub retry: Retry,
}

/// How a step is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: u32,
    /// Pause after the first failure; it doubles each time.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Retry {
    const fn times(attempts: u32, first_secs: u64, longest_secs: u64) -> Self {
        Self {
            attempts,
            first_pause: Duration::from_secs(first_secs),
            longest_pause: Duration::from_secs(longest_secs),
        }
    }

    /// The pause after the failure of attempt number `attempt`, from 1.
    #[must_use]
    pub fn pause_after(&self, attempt: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << attempt.saturating_sub(1).min(16));
        doubled.min(self.longest_pause)
    }
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Mounts the kernel's own file systems.
    MountBasics(Vec<Mount>),
    /// Loads modules for the devices there are, then these by name.
    LoadModules {
        /// Names.
        by_name: &'static [&'static str],
    },
    /// Brings up the link with this MAC; without one, or when it is nowhere,
    /// every Ethernet link.
    BringUpLinks {
        /// `BOOTIF=` of the kernel command line.
        boot_interface: Option<MacAddr>,
    },
    /// Asks for an address by DHCP.
    AskForAddress,
    /// Takes the address of the kernel command line.
    SetAddress(Address),
    /// Fetches and checks the boot config.
    FetchConfig {
        /// Boot-server's boot face; without it, the DHCP server's address.
        server: Option<String>,
    },
    /// Runs the scripts that are for the initramfs.
    RunScripts,
    /// Mounts file systems of local disks.
    OpenDisks {
        /// Their labels.
        labels: Vec<String>,
    },
    /// Downloads and checks the image.
    FetchImage {
        /// Where it is stored.
        tmpfs: Mount,
        /// The file.
        file: PathBuf,
        /// The image.
        image: Box<ImageSource>,
        /// The disk that it is kept on, if any.
        keep: Option<KeepImage>,
    },
    /// Mounts the image read-only and an overlay over it.
    MountRoot {
        /// The image's file.
        file: PathBuf,
        /// Where the image is mounted.
        lower: PathBuf,
        /// The tmpfs that takes what is written.
        overlay: Mount,
        /// Where else that is, if not there.
        spec: OverlaySpec,
        /// The new root.
        root: PathBuf,
    },
    /// Tells the new root about its machine.
    Configure {
        /// The new root.
        root: PathBuf,
    },
    /// Makes the new root the root and starts its init.
    SwitchRoot {
        /// Mounts that move along, by name below `/`.
        moving: &'static [&'static str],
        /// The new root.
        root: PathBuf,
        /// Program to start.
        init: &'static str,
    },
}

/// Modules that no device asks for.
const BY_NAME: &[&str] = &["af_packet", "loop", "squashfs", "overlay"];
/// Init of the new root.
pub const INIT: &str = "/sbin/init";
/// Mounts that move into the new root. `/run` has the image below it.
const MOVING: &[&str] = &["dev", "proc", "sys", "run"];

/// The steps up to the boot config, which says what the rest is.
#[must_use]
pub fn opening(arguments: &BootArguments, paths: &Paths) -> Vec<Step> {
    let address = match &arguments.ip {
        Some(IpArgument::Static {
            address,
            prefix,
            gateway,
        }) => {
            let (address, prefix, gateway) = (*address, *prefix, *gateway);
            Action::SetAddress(Address {
                address,
                prefix,
                gateway,
            })
        }
        Some(IpArgument::Dhcp) | None => Action::AskForAddress,
    };
    let links = Action::BringUpLinks {
        boot_interface: arguments.boot_interface,
    };
    let config = Action::FetchConfig {
        server: arguments.server.clone(),
    };
    vec![
        mounts(paths),
        Step {
            phase: Phase::Modules,
            action: Action::LoadModules { by_name: BY_NAME },
            retry: Retry::times(1, 0, 0),
        },
        // Each attempt waits for drivers and carrier by itself.
        Step {
            phase: Phase::Links,
            action: links,
            retry: Retry::times(4, 2, 10),
        },
        Step {
            phase: Phase::Address,
            action: address,
            retry: Retry::times(6, 1, 10),
        },
        // About four minutes: boot-server may be starting as well.
        Step {
            phase: Phase::Config,
            action: config,
            retry: Retry::times(18, 1, 15),
        },
    ]
}

/// The first step, which needs to know nothing.
#[must_use]
pub fn mounts(paths: &Paths) -> Step {
    let basics = vec![
        Mount::new("proc", "proc", &paths.at("proc")),
        Mount::new("sysfs", "sysfs", &paths.at("sys")),
        Mount::new("devtmpfs", "devtmpfs", &paths.at("dev"))
            .with_options("mode=0755,size=4m".to_owned()),
        // The share that systemd gives it too; the image is not in it, but in a
        // tmpfs of its own below.
        Mount::new("tmpfs", "run", &paths.at("run"))
            .with_options("mode=0755,size=20%,nr_inodes=800k".to_owned()),
    ];
    let action = Action::MountBasics(basics);
    Step {
        phase: Phase::Mounts,
        action,
        retry: Retry::times(2, 1, 1),
    }
}

/// The steps that the boot config asks for.
#[must_use]
pub fn closing(config: &BootConfig, budget: &Budget, paths: &Paths) -> Vec<Step> {
    let tmpfs = |name: &str, size: u64| {
        let mount = Mount::new("tmpfs", name, &paths.run(name));
        // Programs of the root file system lie here.
        Mount {
            plain_files: false,
            ..mount
        }
        .with_options(format!("mode=0755,size={size}"))
    };
    let (file, root) = (paths.image_file(), paths.new_root());
    let fetch = Action::FetchImage {
        tmpfs: tmpfs("image", budget.image),
        file: file.clone(),
        image: Box::new(config.image.clone()),
        keep: config.system.keep_image.clone(),
    };
    let lower = paths.run("rootfs");
    let overlay = tmpfs("overlay", budget.overlay);
    let mount = Action::MountRoot {
        file,
        lower,
        overlay,
        spec: config.system.overlay.clone().unwrap_or_default(),
        root: root.clone(),
    };
    let switch = Action::SwitchRoot {
        moving: MOVING,
        root: root.clone(),
        init: INIT,
    };
    let mut steps = Vec::new();
    let has_scripts = config
        .system
        .scripts
        .iter()
        .any(|script| script.when == ScriptMoment::BeforeRoot);
    if has_scripts {
        steps.push(Step {
            phase: Phase::Config,
            action: Action::RunScripts,
            retry: Retry::times(1, 0, 0),
        });
    }
    let labels = disk_labels(config);
    if !labels.is_empty() {
        steps.push(Step {
            phase: Phase::Image,
            action: Action::OpenDisks { labels },
            retry: Retry::times(1, 0, 0),
        });
    }
    steps.extend([
        // The download has retries of its own; a second one starts anew, as a
        // proxy on the way may have kept a broken copy.
        Step {
            phase: Phase::Image,
            action: fetch,
            retry: Retry::times(2, 2, 2),
        },
        Step {
            phase: Phase::Root,
            action: mount,
            retry: Retry::times(2, 1, 1),
        },
        Step {
            phase: Phase::Configure,
            action: Action::Configure { root },
            retry: Retry::times(2, 1, 1),
        },
        Step {
            phase: Phase::SwitchRoot,
            action: switch,
            retry: Retry::times(1, 0, 0),
        },
    ]);
    steps
}

/// Label of the disk that the image is kept on.
#[must_use]
pub fn kept_on(config: &BootConfig) -> Option<&str> {
    let keep = config.system.keep_image.as_ref()?;
    Some(&keep.label)
}

/// Label of the disk that the overlay is on.
#[must_use]
pub fn overlay_on(config: &BootConfig) -> Option<&str> {
    let overlay = config.system.overlay.as_ref()?;
    let label = overlay.label.as_deref();
    label.filter(|_| overlay.place == OverlayPlace::Disk)
}

/// The disks that the boot config asks for, each once.
fn disk_labels(config: &BootConfig) -> Vec<String> {
    let mut labels: Vec<String> = [kept_on(config), overlay_on(config)]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
    labels.dedup();
    labels
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12} {}", self.phase.name(), self.action)?;
        if self.retry.attempts > 1 {
            write!(f, " (up to {} times)", self.retry.attempts)?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountBasics(mounts) => {
                let list: Vec<String> = mounts.iter().map(ToString::to_string).collect();
                write!(f, "mount {}", list.join("; "))
            }
            Self::LoadModules { by_name } => {
                write!(
                    f,
                    "load modules for every device, then {}",
                    by_name.join(", ")
                )
            }
            Self::BringUpLinks {
                boot_interface: Some(mac),
            } => {
                write!(
                    f,
                    "bring up the link with MAC {mac}, else every Ethernet link"
                )
            }
            Self::BringUpLinks {
                boot_interface: None,
            } => f.write_str("bring up every Ethernet link"),
            Self::AskForAddress => f.write_str("ask for an address by DHCP"),
            Self::SetAddress(own) => write!(f, "take the address {}/{}", own.address, own.prefix),
            Self::FetchConfig {
                server: Some(server),
            } => {
                write!(f, "fetch the boot config from {server}")
            }
            Self::FetchConfig { server: None } => {
                f.write_str("fetch the boot config from the DHCP server's address")
            }
            Self::RunScripts => f.write_str("run the scripts for the initramfs"),
            Self::OpenDisks { labels } => {
                write!(f, "mount the file systems {}", labels.join(", "))
            }
            Self::FetchImage {
                tmpfs, image, keep, ..
            } => {
                match keep {
                    Some(keep) => write!(f, "unless it is kept on the disk {}, ", keep.label)?,
                    None => write!(f, "mount {tmpfs}, ")?,
                }
                let (name, size) = (&image.name, mib(image.size));
                let (digest, url) = (image.root_digest, &image.url);
                write!(f, "download {name} ({size}, {digest}) from {url}")
            }
            Self::MountRoot {
                lower,
                overlay,
                spec,
                root,
                ..
            } => {
                write!(f, "mount the image on {}, ", lower.display())?;
                match (spec.place, &spec.label) {
                    (OverlayPlace::Disk, Some(label)) => write!(f, "a folder of disk {label}")?,
                    (OverlayPlace::Zram, _) => write!(f, "zram in place of {overlay}")?,
                    _ => write!(f, "{overlay}")?,
                }
                write!(f, ", overlay of both on {}", root.display())
            }
            Self::Configure { root } => write!(f, "configure {}", root.display()),
            Self::SwitchRoot { moving, init, .. } => {
                write!(
                    f,
                    "move {}, free the initramfs, start {init}",
                    moving.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configure::tests::config;

    #[test]
    fn the_phases_are_those_of_the_design_in_order() {
        let paths = Paths::default();
        let config = config();
        let budget = Budget::of(&config, &[], 2 << 30);
        let mut steps = opening(&BootArguments::default(), &paths);
        steps.extend(closing(&config, &budget, &paths));
        let names: Vec<&str> = steps.iter().map(|step| step.phase.name()).collect();
        assert_eq!(
            names,
            [
                "mounts",
                "modules",
                "links",
                "address",
                "config",
                "image",
                "root",
                "configure",
                "switch-root"
            ]
        );
        let text: String = steps.iter().map(|step| format!("{step}\n")).collect();
        for part in [
            "tmpfs on /run/moonfarm/image (mode=0755,size=105906176)",
            "tmpfs on /run/moonfarm/overlay (mode=0755,size=536870912)",
            "overlay of both on /newroot",
            "start /sbin/init",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_kernel_command_line_decides_on_the_address() {
        let arguments = BootArguments::parse(
            "ip=10.0.0.5::10.0.0.1:255.255.255.0:::off BOOTIF=01-52-54-00-00-00-01",
        );
        let steps = opening(&arguments, &Paths::default());
        assert!(matches!(&steps[3].action, Action::SetAddress(own) if own.prefix == 24));
        let step = steps[2].to_string();
        assert!(step.contains("52:54:00:00:00:01"), "{step}");
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let retry = Retry::times(5, 1, 5);
        let pauses: Vec<u64> = (1..5).map(|n| retry.pause_after(n).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5]);
    }
}
