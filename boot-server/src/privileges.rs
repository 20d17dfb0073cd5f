//! Capabilities: which the server keeps, and what it says where one is missing.
//!
//! It needs CAP_NET_BIND_SERVICE for ports 67 and 69, and CAP_NET_RAW for
//! answers to clients without an address, for address probes, and for answers
//! to IPv6 router solicitations. All else is given up before the first thread
//! starts, and cannot be had again.

use caps::{CapSet, Capability, CapsHashSet};

/// What is kept.
const KEPT: [Capability; 2] = [Capability::CAP_NET_BIND_SERVICE, Capability::CAP_NET_RAW];

/// Gives up every capability but those that are needed, and the right to gain
/// any by running another program. To be called before any thread is started:
/// capabilities belong to threads.
pub fn drop_all_but_needed() {
    let given_up = give_up();
    if let Err(error) = given_up {
        tracing::warn!(%error, "capabilities that are not needed could not all be given up");
    }
    if let Err(error) = nix::sys::prctl::set_no_new_privs() {
        tracing::warn!(%error, "the right to gain privileges could not be given up");
    }
}

fn give_up() -> Result<(), caps::errors::CapsError> {
    let kept = CapsHashSet::from(KEPT);
    let held = caps::read(None, CapSet::Permitted)?;
    caps::clear(None, CapSet::Ambient)?;
    // Taking capabilities off the bounding set is itself a privilege.
    if held.contains(&Capability::CAP_SETPCAP) {
        for capability in caps::all() {
            if !kept.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability)? {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    let held: CapsHashSet = held.intersection(&kept).copied().collect();
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &held)?;
    caps::set(None, CapSet::Permitted, &held)
}

/// Says which needed capabilities are missing, and what does not work without.
pub fn report_missing() {
    for (capability, lost) in [
        (
            Capability::CAP_NET_BIND_SERVICE,
            "ports 67, 69 and 4011 may be refused",
        ),
        (
            Capability::CAP_NET_RAW,
            "answers to clients without an address are broadcast, addresses are not probed before they are given, and IPv6 router solicitations stay unanswered",
        ),
    ] {
        if !has(capability) {
            tracing::warn!(
                %capability,
                "capability is missing: {lost}; give it with AmbientCapabilities= in the systemd unit, or with setcap or setpriv"
            );
        }
    }
}

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}
