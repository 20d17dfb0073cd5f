//! Who the machine is: host name, hosts, machine-id.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Change, Changes, Machine};
use crate::root_dir::RootView;

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let hostname = &machine.config.hostname;
    changes.add(Change::file("/etc/hostname", format!("{hostname}\n")));
    changes.add(Change::file("/etc/hosts", hosts(machine)));
    changes.add(Change::file(
        "/etc/machine-id",
        format!("{}\n", machine_id(machine)),
    ));
    // D-Bus has a copy of its own where it is not a link; two would differ.
    if root.exists("/var/lib/dbus/machine-id") {
        changes.add(Change::link("/var/lib/dbus/machine-id", "/etc/machine-id"));
    }
}

fn hosts(machine: &Machine<'_>) -> String {
    let hostname = &machine.config.hostname;
    let mut names = hostname.clone();
    if let Some((short, _)) = hostname.split_once('.') {
        let _ = write!(names, " {short}");
    }
    let mut text = String::from(
        "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\n\
         ff02::2 ip6-allrouters\n",
    );
    // Debian's stand-in for a machine without an address of its own.
    let own = machine
        .address
        .map_or_else(|| "127.0.1.1".to_owned(), |own| own.to_string());
    let _ = writeln!(text, "{own} {names}");
    for (address, names) in &machine.config.system.hosts {
        let _ = writeln!(text, "{address} {}", names.join(" "));
    }
    text
}

/// The same at every boot, of the board's UUID where it has one of its own, else
/// of the lowest MAC: the node keeps its identity although nothing is stored.
/// Hashed, as machine-id(5) asks for something that does not give away the source.
fn machine_id(machine: &Machine<'_>) -> String {
    let source = match &machine.facts.uuid {
        Some(uuid) => format!("moonfarm machine-id uuid {uuid}"),
        None => {
            let mac = machine.facts.macs.first().copied().unwrap_or(machine.mac);
            format!("moonfarm machine-id mac {mac}")
        }
    };
    let hash: [u8; 32] = Sha256::digest(source.as_bytes()).into();
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash) {
        *to = from;
    }
    // The form of a random UUID (RFC 9562 §5.4), which some readers insist on.
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut id;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    hex::encode(id)
}
