//! systemd units: those of the profiles, and the join.

use std::collections::BTreeSet;

use boot_proto::ids::Digest;
use boot_proto::resources::{KeepImage, OnCorruption, Unit};

use super::{Change, Changes, Machine};
use crate::paths::{Paths, in_use};
use crate::root_dir::RootView;

const FOLDER: &str = "/etc/systemd/system";
/// Where units lie, first found first taken.
const SEARCHED: [&str; 3] = [
    FOLDER,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// Name of the unit that tells an orderly shutdown from another.
const KEPT_UNIT: &str = "moonfarm-kept-image.service";
/// Name of the unit that joins the cluster.
pub(super) const JOIN_UNIT: &str = "node-agent-join.service";

pub(super) fn add(machine: &Machine<'_>, root: &dyn RootView, changes: &mut Changes) {
    let config = machine.config;
    if let Some(join) = &config.join {
        add_own(JOIN_UNIT, join_unit(&join.cluster), root, changes);
    }
    // Where the machine outlives a wrong block, its shutdown says nothing.
    let is_told =
        |keep: &&KeepImage| keep.verity && keep.on_corruption != Some(OnCorruption::Error);
    if let Some(keep) = config.system.keep_image.as_ref().filter(is_told) {
        let content = kept_unit(&keep.label, &config.image.root_digest);
        add_own(KEPT_UNIT, content, root, changes);
    }
    for unit in &config.system.units {
        add_unit(unit, root, changes);
    }
}

fn add_own(name: &str, content: String, root: &dyn RootView, changes: &mut Changes) {
    let unit = Unit {
        name: name.to_owned(),
        content: Some(content),
        enabled: Some(true),
        masked: false,
    };
    add_unit(&unit, root, changes);
}

/// Takes away the mark of an image that is in use, as nothing does where the machine
/// does not shut down in order.
fn kept_unit(label: &str, digest: &Digest) -> String {
    let mark = in_use(&Paths::default().kept_image(label, digest));
    let mark = mark.display();
    format!(
        "[Unit]\n\
         Description=The image on the disk {label} is in use\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/bin/true\n\
         ExecStop=/bin/rm -f {mark}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    )
}

/// The agent lies in /run: the image has none, and needs none.
fn join_unit(cluster: &str) -> String {
    format!(
        "[Unit]\n\
         Description=Join the Kubernetes cluster {cluster}\n\
         Wants=network-online.target\n\
         After=network-online.target containerd.service crio.service moonfarm-images.service\n\
         ConditionPathExists=/run/moonfarm/boot-config.json\n\
         # An API server that is away for an hour must not end the attempts.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStart=/run/moonfarm/node-agent join\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         # It and kubeadm have the token in memory; a dump would be a file.\n\
         LimitCORE=0\n\
         StandardOutput=journal+console\n\
         StandardError=journal+console\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        cluster = cluster.replace(['%', '\n'], " ")
    )
}

fn add_unit(unit: &Unit, root: &dyn RootView, changes: &mut Changes) {
    let name = &unit.name;
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        changes.warn(format!("{name:?} is no name of a unit"));
        return;
    }
    let own = format!("{FOLDER}/{name}");
    if unit.masked {
        if unit.content.is_some() {
            changes.warn(format!("{name} is masked, its text is not written"));
        }
        changes.add(Change::link(own, "/dev/null"));
        return;
    }
    if let Some(content) = &unit.content {
        changes.add(Change::file(own.clone(), content.clone()));
    }
    let Some(enabled) = unit.enabled else { return };
    let found = match &unit.content {
        Some(content) => Some((own, content.clone())),
        None => find(name, root),
    };
    let Some((path, text)) = found else {
        changes.warn(format!("the image has no unit {name}"));
        return;
    };
    let links = install_links(name, &text);
    if links.is_empty() {
        changes.warn(format!("{name} has no [Install] section to be enabled by"));
    }
    for link in links {
        changes.add(if enabled {
            Change::link(link, path.clone())
        } else {
            Change::Remove { path: link }
        });
    }
}

/// The file of a unit, that of its template for an instance, and its text.
fn find(name: &str, root: &dyn RootView) -> Option<(String, String)> {
    let template = name.split_once('@').and_then(|(base, rest)| {
        let (_, suffix) = rest.rsplit_once('.')?;
        Some(format!("{base}@.{suffix}"))
    });
    [Some(name.to_owned()), template]
        .into_iter()
        .flatten()
        .find_map(|file| {
            SEARCHED.iter().find_map(|folder| {
                let path = format!("{folder}/{file}");
                root.read(&path).map(|text| (path, text))
            })
        })
}

/// The links that `systemctl enable` would make (systemd.unit(5), [Install]).
fn install_links(name: &str, text: &str) -> BTreeSet<String> {
    let mut links = BTreeSet::new();
    let mut in_install = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_install = line == "[Install]";
            continue;
        }
        let Some((key, values)) = line.split_once('=').filter(|_| in_install) else {
            continue;
        };
        for value in values
            .split_ascii_whitespace()
            .filter(|value| !value.contains(['/', '%']))
        {
            match key.trim() {
                "WantedBy" => links.insert(format!("{FOLDER}/{value}.wants/{name}")),
                "RequiredBy" => links.insert(format!("{FOLDER}/{value}.requires/{name}")),
                "UpheldBy" => links.insert(format!("{FOLDER}/{value}.upholds/{name}")),
                "Alias" if value != name => links.insert(format!("{FOLDER}/{value}")),
                _ => false,
            };
        }
    }
    links
}
