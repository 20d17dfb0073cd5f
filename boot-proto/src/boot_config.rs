//! The boot config: all that one machine needs to know to become a node.
//!
//! Served at `GET /v1/boot-config` to the address leased to the machine, and
//! to no other. Strict on both sides, and therefore versioned.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, MacAddr};
use crate::image::RootChecks;
use crate::quantity::ByteSize;
use crate::resources::{
    DiskSpec, FileEntry, FstabEntry, KeepImage, NetworkSpec, OverlaySpec, Script, Taint,
    TmpfsMount, Unit, User,
};

/// The version of the format that this code writes and reads.
pub const VERSION: u32 = 1;

/// The boot config of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BootConfig {
    /// Version of this format: 1.
    pub version: u32,
    /// The Machine's name.
    pub machine: String,
    /// Host name and node name.
    pub hostname: String,
    /// All MACs known of this machine, the booting one first.
    pub macs: Vec<MacAddr>,
    /// Boot-server's boot face, such as `http://10.0.0.1:8080`.
    pub server: String,
    /// The image to run.
    pub image: ImageSource,
    /// The network of the booted system.
    pub network: NetworkConfig,
    /// What is written into the new root.
    pub system: SystemConfig,
    /// The cluster to join; without it the machine stays a plain machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinConfig>,
}

/// Where the root file system comes from and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImageSource {
    /// Name of the image, for people.
    pub name: String,
    /// Digest of the image's manifest.
    pub digest: Digest,
    /// `uname -r` that the image's modules are for; the agent warns when the
    /// running kernel is another.
    pub kernel_release: String,
    /// URL of the squashfs.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub root_digest: Digest,
    /// Further hashes of it, from the image's manifest.
    #[serde(default, skip_serializing_if = "RootChecks::is_empty")]
    pub checks: RootChecks,
    /// Further URLs of the same file, tried in turn when one does not give it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
    /// The manifest with its signature, where the image was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<SignedManifest>,
}

/// An image's manifest as its builder signed it, offline: a server passes it on
/// and can change nothing in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SignedManifest {
    /// The text of `manifest.json`, byte for byte.
    pub manifest: String,
    /// The text of `manifest.json.minisig`, in the format of minisign.
    pub signature: String,
}

/// The network of the booted system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NetworkConfig {
    /// The leased or reserved address of the booting NIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Length of the network prefix in bits.
    #[serde(default)]
    pub prefix: u8,
    /// The default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv4Addr>,
    /// DNS search domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Whether the booted system keeps its address by DHCP (a dynamic lease has
    /// to be renewed) or as a static one (a reservation).
    #[serde(default)]
    pub dhcp: bool,
    /// MTU in bytes, where it is not the link's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Links, bonds, VLANs and bridges, and what they have beside that address.
    #[serde(default, skip_serializing_if = "NetworkSpec::is_empty")]
    pub spec: NetworkSpec,
}

/// What is written into the new root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SystemConfig {
    /// Size limit of the overlay's tmpfs: all that is written to `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay_size: Option<ByteSize>,
    /// Where that is: RAM when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<OverlaySpec>,
    /// Where the image is kept on a local disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_image: Option<KeepImage>,
    /// tmpfs mounts, each with its size.
    pub tmpfs: Vec<TmpfsMount>,
    /// `/etc/hosts` entries: address and names.
    pub hosts: BTreeMap<IpAddr, Vec<String>>,
    /// Users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<User>,
    /// The machine's SSH host keys, the same at every boot; none where the image
    /// is to have its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_host_keys: Vec<SshHostKey>,
    /// Scripts, in the order of their moments and names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<Script>,
    /// Lines of `/etc/fstab`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fstab: Vec<FstabEntry>,
    /// Local disks that may be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskSpec>,
    /// Options of kernel modules by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub module_options: BTreeMap<String, String>,
    /// Files.
    pub files: Vec<FileEntry>,
    /// systemd units.
    pub units: Vec<Unit>,
    /// Public keys that may log in as root.
    pub ssh_authorized_keys: Vec<String>,
    /// Kernel modules to load, with their options.
    pub modules: Vec<String>,
    /// sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// IANA time zone, such as `Europe/Prague`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// An SSH host key. The secret half is given to the machine it belongs to only,
/// and is nowhere but in boot-server's state and that machine's RAM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SshHostKey {
    /// Its type in file names: `ed25519` for `ssh_host_ed25519_key`.
    pub kind: String,
    /// The secret key in OpenSSH's format.
    pub private: String,
    /// The line of the public key.
    pub public: String,
}

impl std::fmt::Debug for SshHostKey {
    /// The secret half is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshHostKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// The cluster to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JoinConfig {
    /// Name of the Cluster.
    pub cluster: String,
    /// `host:port` of the API server.
    pub endpoint: String,
    /// `sha256:…` of the cluster CA's public key (kubeadm's
    /// `discovery-token-ca-cert-hash`).
    pub ca_cert_hashes: Vec<String>,
    /// Labels that the kubelet gives itself.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Taints that the node registers with.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Kubelet command line arguments without the leading dashes.
    #[serde(default)]
    pub kubelet_arguments: BTreeMap<String, String>,
}

/// The answer to `POST /v1/join-token`: minted for the asking machine, usable
/// for minutes, revoked once the node has joined.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct JoinToken {
    /// The bootstrap token, `id.secret`.
    pub token: String,
    /// Seconds until it expires.
    pub expires_in_secs: u64,
    /// Milliseconds since 1970 by boot-server's clock, for a machine whose own
    /// clock is badly wrong.
    pub server_time_ms: u64,
}

impl std::fmt::Debug for JoinToken {
    /// The token is a secret: it is not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("expires_in_secs", &self.expires_in_secs)
            .finish_non_exhaustive()
    }
}
