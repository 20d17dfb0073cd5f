//! One boot as it is kept, and the order of the steps it takes.

use std::net::Ipv4Addr;

use boot_proto::api::{BootStep, BootView};
use boot_proto::ids::MacAddr;
use boot_proto::report::Phase;
use boot_proto::time::WallClock;
use serde::{Deserialize, Serialize};

use crate::store::Record;

/// Most steps kept of one boot; the first and the last ones stay.
const STEPS: usize = 120;
/// Most of one message that is kept, in characters.
const MESSAGE: usize = 2_000;

/// One boot and what is needed to place the next report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Boot {
    /// What the management API shows.
    pub view: BootView,
    /// When its kernel started, as early as the reports allow.
    pub kernel_started: Option<WallClock>,
    /// `uptime_ms` of the latest report.
    pub uptime_ms: u64,
    /// When its kernel can have started at the earliest, where that was before
    /// anything was heard of the boot.
    pub kernel_since: Option<WallClock>,
    /// When its firmware or boot loader last asked for something to boot.
    pub asked: WallClock,
    /// SMBIOS UUID that its firmware says.
    pub uuid: Option<String>,
    /// The machine that DHCP knew it as, before it asked for a script.
    pub known_as: Option<String>,
    /// MACs of further NICs that it went on from.
    pub more_macs: Vec<MacAddr>,
}

impl Record for Boot {
    const TABLE: &'static str = "boots";

    fn key(&self) -> String {
        key(self.view.id)
    }
}

/// The key of a boot: sorts as the number does.
pub(super) fn key(id: u64) -> String {
    format!("{id:020}")
}

/// The outcomes of a boot in the management API's words.
pub(super) const RUNNING: &str = "running";
pub(super) const READY: &str = "ready";
pub(super) const FAILED: &str = "failed";
/// A machine that does not report has all that it fetches here.
pub(super) const HANDED_OVER: &str = "handed-over";

/// How far a boot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Firmware or loader asks for an address.
    Dhcp,
    /// A boot loader is fetched.
    Loader,
    /// The boot script is fetched.
    Script,
    /// The kernel is fetched.
    Kernel,
    /// The initramfs is fetched.
    Initramfs,
    /// The node agent's own phases.
    Node(Phase),
}

impl Stage {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Loader => "loader",
            Self::Script => "script",
            Self::Kernel => "kernel",
            Self::Initramfs => "initramfs",
            Self::Node(phase) => phase.name(),
        }
    }

    pub fn from_name(name: &str) -> Self {
        let node = serde_json::from_value::<Phase>(serde_json::Value::String(name.to_owned()));
        match (name, node) {
            (_, Ok(phase)) => Self::Node(phase),
            ("loader", _) => Self::Loader,
            ("script", _) => Self::Script,
            ("kernel", _) => Self::Kernel,
            ("initramfs", _) => Self::Initramfs,
            _ => Self::Dhcp,
        }
    }
}

impl Boot {
    /// A boot that begins now.
    pub fn begin(id: u64, now: WallClock, mac: MacAddr, address: Option<Ipv4Addr>) -> Self {
        let view = BootView {
            id,
            mac: Some(mac),
            address,
            started: now,
            updated: now,
            phase: Stage::Dhcp.name().into(),
            outcome: RUNNING.into(),
            ..BootView::default()
        };
        Self {
            view,
            asked: now,
            ..Self::default()
        }
    }

    pub fn stage(&self) -> Stage {
        Stage::from_name(&self.view.phase)
    }

    /// Reports of a kernel that was started before are another boot's.
    pub fn began(&self) -> WallClock {
        self.kernel_since.unwrap_or(self.view.started)
    }

    pub fn is_running(&self) -> bool {
        self.view.outcome == RUNNING
    }

    /// Whether it takes DHCP to begin the next boot: this one began so, and has
    /// made the machine a node. From there on a request from the machine's
    /// address may as well come from a pod, whose traffic leaves with the node's
    /// address; DHCP from firmware or a boot loader does not.
    pub fn is_settled(&self) -> bool {
        let dhcp = Stage::Dhcp.name();
        self.view.outcome == READY && self.view.steps.iter().any(|step| step.step == dhcp)
    }

    /// Moves on to `stage`, unless it is past that already. What went wrong
    /// before is over once it gets further.
    pub fn reach(&mut self, now: WallClock, stage: Stage) -> bool {
        self.view.updated = now;
        let current = self.stage();
        if stage < current {
            return false;
        }
        if stage > current {
            self.view.percent = None;
            self.view.reason = None;
            self.view.log = None;
            stage.name().clone_into(&mut self.view.phase);
        }
        if self.view.outcome == FAILED {
            self.view.outcome = RUNNING.into();
        }
        true
    }

    /// Adds a line to the timeline, unless the last one says the same.
    pub fn step(&mut self, now: WallClock, step: &str, message: &str) {
        let message = shorten(message, MESSAGE);
        let steps = &mut self.view.steps;
        if steps
            .last()
            .is_some_and(|last| last.step == step && last.message == message)
        {
            return;
        }
        if steps.len() >= STEPS {
            // The middle goes: how it began and how it ended tell the most.
            steps.remove(STEPS / 2);
        }
        steps.push(BootStep {
            at: now,
            step: step.to_owned(),
            message,
        });
    }

    /// Ends without being Ready, for now: a later report may tell otherwise.
    pub fn fail(&mut self, reason: &str) {
        self.view.outcome = FAILED.into();
        self.view.reason = Some(shorten(reason, MESSAGE));
    }
}

/// At most `limit` characters of `text`, without control characters but line
/// ends: it is shown on terminals.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .take(limit)
        .collect::<String>()
        .trim_end()
        .to_owned()
}
