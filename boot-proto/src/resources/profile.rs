//! `Profile`: a named fragment of node configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::NetworkSpec;
use super::storage::{DiskSpec, FstabEntry, KeepImage, OverlaySpec};
use super::system::{RecoverySpec, Script, SshHostKeys, User};
use crate::quantity::ByteSize;

/// A fragment of node configuration. A pool lists several; they are merged in
/// that order (see [`ProfileSpec::merge`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "crd",
    derive(kube_derive::CustomResource, schemars::JsonSchema),
    kube(
        group = "moonfarm.dev",
        version = "v1alpha1",
        kind = "Profile",
        plural = "profiles",
        shortname = "prof",
        category = "moonfarm",
        namespaced,
        status = "crate::kubernetes::status::ResourceStatus",
        crates(kube_core = "::kube_core")
    )
)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ProfileSpec {
    /// Kernel arguments; those of later profiles come after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    /// Links, bonds, VLANs and addresses; later ones of the same name win.
    #[serde(skip_serializing_if = "NetworkSpec::is_empty")]
    pub network: NetworkSpec,
    /// Entries of `/etc/hosts`: names by address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<IpAddr, Vec<String>>,
    /// Users; a later one of the same name wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// Where the SSH host keys come from; `stable` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_host_keys: Option<SshHostKeys>,
    /// Scripts; a later one of the same name wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// Lines of `/etc/fstab`; a later one of the same path and device wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fstab: Vec<FstabEntry>,
    /// Local disks; a later one of the same name wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpec>,
    /// What happens when a boot fails.
    #[serde(skip_serializing_if = "RecoverySpec::is_empty")]
    pub recovery: RecoverySpec,
    /// MTU in bytes of the booting link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Size limit of all that is written to `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay_size: Option<ByteSize>,
    /// Where that is: RAM when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlaySpec>,
    /// Keeps the image on a local disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_image: Option<KeepImage>,
    /// Further servers that have the images, such as `http://10.0.0.2:8080`: other
    /// boot-servers, or any web server with files `blobs/sha256/HEX`. A node goes
    /// on at the next when one does not give it the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_servers: Vec<String>,
    /// tmpfs mounts; a later one of the same path wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<TmpfsMount>,
    /// Files; a later one of the same path wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileEntry>,
    /// systemd units; a later one of the same name wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
    /// Public keys that may log in as root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_authorized_keys: Vec<String>,
    /// Kernel modules to load, each with its options after a blank.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Options of kernel modules by name, also of modules that something else
    /// loads, in the initramfs too.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub module_options: BTreeMap<String, String>,
    /// sysctls.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// IANA time zone, such as `Europe/Prague`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Kubelet command line arguments without the leading dashes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kubelet_arguments: BTreeMap<String, String>,
    /// Node labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Node taints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// DHCP options by number or name (`ntp-servers`), values as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dhcp_options: BTreeMap<String, String>,
}

/// A tmpfs with an explicit size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct TmpfsMount {
    /// Absolute mount point.
    pub path: String,
    /// Size limit.
    pub size: ByteSize,
    /// Octal mode of its root directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// A file written into the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FileEntry {
    /// Absolute path.
    pub path: String,
    /// Its text.
    pub content: String,
    /// Octal mode, 0644 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `user:group` by number, `0:0` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A systemd unit, written, enabled or masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Unit {
    /// Name with its suffix, such as `chrony.service`.
    pub name: String,
    /// Text of the unit; without it the image's own is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Enable (`true`) or disable (`false`) it; left alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Mask it, so that nothing can start it.
    #[serde(default)]
    pub masked: bool,
}

/// A Kubernetes taint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Taint {
    /// Key, a qualified name.
    pub key: String,
    /// Value; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect.
    pub effect: TaintEffect,
}

/// Effect of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "crd", derive(schemars::JsonSchema))]
pub enum TaintEffect {
    /// New pods that do not tolerate it are not scheduled.
    NoSchedule,
    /// They are scheduled only where nothing else is left.
    PreferNoSchedule,
    /// Running pods that do not tolerate it are evicted as well.
    NoExecute,
}

impl ProfileSpec {
    /// Lays `later` over `self`: single values and map entries of `later` win,
    /// named items (files, units, tmpfs) replace those of the same name, lists
    /// and taints add up without repeating.
    pub fn merge(&mut self, later: &Self) {
        append(&mut self.kernel_arguments, &later.kernel_arguments);
        append(&mut self.ssh_authorized_keys, &later.ssh_authorized_keys);
        append(&mut self.modules, &later.modules);
        append(&mut self.taints, &later.taints);
        self.network.merge(&later.network);
        self.recovery.merge(&later.recovery);
        replace_by(&mut self.tmpfs, &later.tmpfs, |mount| mount.path.clone());
        replace_by(&mut self.files, &later.files, |file| file.path.clone());
        replace_by(&mut self.units, &later.units, |unit| unit.name.clone());
        replace_by(&mut self.users, &later.users, |user| user.name.clone());
        replace_by(&mut self.scripts, &later.scripts, |script| {
            script.name.clone()
        });
        replace_by(&mut self.disks, &later.disks, |disk| disk.name.clone());
        replace_by(&mut self.fstab, &later.fstab, |entry| match &*entry.path {
            "none" => entry.device.clone(),
            path => path.to_owned(),
        });
        self.hosts.extend(later.hosts.clone());
        append(&mut self.image_servers, &later.image_servers);
        self.module_options.extend(later.module_options.clone());
        self.sysctls.extend(later.sysctls.clone());
        self.kubelet_arguments
            .extend(later.kubelet_arguments.clone());
        self.labels.extend(later.labels.clone());
        self.dhcp_options.extend(later.dhcp_options.clone());
        self.mtu = later.mtu.or(self.mtu);
        self.overlay_size = later.overlay_size.or(self.overlay_size);
        self.overlay = later.overlay.clone().or(self.overlay.take());
        self.keep_image = later.keep_image.clone().or(self.keep_image.take());
        self.ssh_host_keys = later.ssh_host_keys.or(self.ssh_host_keys);
        if later.time_zone.is_some() {
            self.time_zone.clone_from(&later.time_zone);
        }
    }
}

fn append<T: Clone + PartialEq>(items: &mut Vec<T>, later: &[T]) {
    for item in later {
        if !items.contains(item) {
            items.push(item.clone());
        }
    }
}

fn replace_by<T: Clone>(items: &mut Vec<T>, later: &[T], name: impl Fn(&T) -> String) {
    for item in later {
        match items.iter_mut().find(|known| name(known) == name(item)) {
            Some(known) => *known = item.clone(),
            None => items.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_profiles_win_and_lists_add_up() {
        let taint = Taint {
            key: "a".into(),
            value: String::new(),
            effect: TaintEffect::NoSchedule,
        };
        let tmpfs = |size| TmpfsMount {
            path: "/var/lib/kubelet".into(),
            size: ByteSize(size),
            mode: None,
        };
        let mut merged = ProfileSpec {
            kernel_arguments: vec!["quiet".into()],
            tmpfs: vec![tmpfs(1)],
            taints: vec![taint.clone()],
            labels: [("x".into(), "1".into()), ("y".into(), "1".into())].into(),
            time_zone: Some("Europe/Prague".into()),
            ..ProfileSpec::default()
        };
        merged.merge(&ProfileSpec {
            kernel_arguments: vec!["quiet".into(), "panic=10".into()],
            tmpfs: vec![tmpfs(2)],
            taints: vec![taint.clone()],
            labels: [("y".into(), "2".into())].into(),
            ..ProfileSpec::default()
        });
        assert_eq!(merged.kernel_arguments, ["quiet", "panic=10"]);
        assert_eq!(merged.tmpfs, [tmpfs(2)]);
        assert_eq!(merged.taints, [taint]);
        assert_eq!(merged.labels["x"], "1");
        assert_eq!(merged.labels["y"], "2");
        assert_eq!(merged.time_zone.as_deref(), Some("Europe/Prague"));
    }
}
