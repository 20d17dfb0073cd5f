//! How far each node is, read from boot-server's boots. Pure.

use boot_proto::api::BootView;
use boot_proto::time::WallClock;

/// How far one node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProgress {
    /// The node.
    pub name: String,
    /// Where it is.
    pub stage: Stage,
    /// The phase in boot-server's words, or `off`, `firmware`.
    pub phase: String,
    /// Percent of that phase, where known.
    pub percent: Option<u8>,
    /// What went wrong last.
    pub reason: Option<String>,
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Not powered on yet.
    Off,
    /// On its way.
    Booting,
    /// Its kubelet said Ready.
    Ready,
    /// Its boot failed; it may try again.
    Failed,
}

/// How far node `name` is, which was powered on at `powered_on`.
///
/// A boot that began before is of an earlier time the machine was on.
#[must_use]
pub fn progress(name: &str, powered_on: Option<WallClock>, boots: &[BootView]) -> NodeProgress {
    let latest = powered_on.and_then(|since| latest_boot(name, since, boots));
    let (stage, phase) = match (powered_on, latest) {
        (None, _) => (Stage::Off, "off"),
        (_, None) => (Stage::Booting, "firmware"),
        (_, Some(boot)) => match boot.outcome.as_str() {
            "ready" => (Stage::Ready, "ready"),
            "failed" => (Stage::Failed, boot.phase.as_str()),
            _ => (Stage::Booting, boot.phase.as_str()),
        },
    };
    NodeProgress {
        name: name.to_owned(),
        stage,
        phase: phase.to_owned(),
        percent: latest
            .and_then(|boot| boot.percent)
            .filter(|_| stage == Stage::Booting),
        reason: latest.and_then(|boot| boot.reason.clone()),
    }
}

/// The latest boot of `machine` that began at `since` or later. Of two servers
/// that both saw it, the one that heard of it last has gone on with it.
#[must_use]
pub fn latest_boot<'a>(
    machine: &str,
    since: WallClock,
    boots: &'a [BootView],
) -> Option<&'a BootView> {
    boots
        .iter()
        .filter(|boot| boot.machine.as_deref() == Some(machine) && boot.started >= since)
        .max_by_key(|boot| (boot.updated, boot.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(id: u64, machine: &str, started: u64, phase: &str, outcome: &str) -> BootView {
        BootView {
            id,
            machine: Some(machine.into()),
            started: WallClock(started),
            phase: phase.into(),
            outcome: outcome.into(),
            percent: Some(40),
            ..BootView::default()
        }
    }

    #[test]
    fn the_latest_boot_since_power_on_counts() {
        let boots = [
            boot(1, "m1-c1n1", 10, "ready", "ready"),
            boot(2, "m1-c1n1", 50, "image", "running"),
            boot(3, "m1-c2n1", 60, "image", "failed"),
        ];
        for (name, powered_on, stage, phase, percent) in [
            ("m1-c1n1", None, Stage::Off, "off", None),
            ("m1-c1n1", Some(5), Stage::Booting, "image", Some(40)),
            ("m1-c1n1", Some(55), Stage::Booting, "firmware", None),
            ("m1-c2n1", Some(55), Stage::Failed, "image", None),
            ("m1-c9n1", Some(55), Stage::Booting, "firmware", None),
        ] {
            let found = progress(name, powered_on.map(WallClock), &boots);
            assert_eq!(
                (found.stage, found.phase.as_str(), found.percent),
                (stage, phase, percent),
                "{name}"
            );
        }
        assert_eq!(
            progress("m1-c1n1", Some(WallClock(5)), &boots[..1]).stage,
            Stage::Ready
        );
    }
}
