//! A managed switch: Open vSwitch with its datapath in user space, so that the
//! kernel needs neither bonding nor VLANs.

use std::path::Path;
use std::time::Duration;

use super::process::{output, run};
use super::{LabError, Namespace, Process, ProcessSpec};
use crate::wait::until;

/// Its bridge.
const BRIDGE: &str = "sw0";
/// The two ends of the cable between the switch and the lab's bridge.
const UPLINK: [&str; 2] = ["sw-up", "sw-down"];
const START: Duration = Duration::from_secs(20);
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// A running switch, cabled to a bridge of its namespace.
#[derive(Debug)]
pub struct Switch {
    namespace: String,
    // Dropped in this order: the switch before its database, the files last.
    _switch: Process,
    _database: Process,
    folder: tempfile::TempDir,
}

impl Switch {
    /// Starts one and plugs it into `bridge`, untagged or as an access port of a
    /// VLAN.
    ///
    /// # Errors
    /// When Open vSwitch is not installed or does not start.
    pub fn start(namespace: &Namespace, bridge: &str, vlan: Option<u16>) -> Result<Self, LabError> {
        let folder = tempfile::tempdir().map_err(LabError::file("making", "a folder"))?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        run("ovsdb-tool", ["create", &file("conf.db"), SCHEMA])?;
        let process = |name: &str, arguments: &[String]| {
            ProcessSpec::new(name, name, folder.path())
                .args(arguments)
                .env("OVS_RUNDIR", folder.path())
                .env("OVS_LOGDIR", folder.path())
                .within(namespace.name())
                .spawn()
        };
        let socket = file("db.sock");
        let mut database = process(
            "ovsdb-server",
            &[file("conf.db"), format!("--remote=punix:{socket}")],
        )?;
        until(START, || Path::new(&socket).exists().then_some(()));
        database.check()?;
        let switch = process("ovs-vswitchd", &[format!("unix:{socket}")])?;
        let switch = Self {
            namespace: namespace.name().to_owned(),
            _switch: switch,
            _database: database,
            folder,
        };
        switch.set(&["--no-wait", "init"])?;
        let kind = ["--", "set", "bridge", BRIDGE, "datapath_type=netdev"];
        switch.set(&[&["add-br", BRIDGE], &kind[..]].concat())?;
        switch.plug_in(namespace, bridge, vlan)?;
        Ok(switch)
    }

    /// Its checksums are those of real cables: the switch sees frames as they
    /// are, and would pass on what the kernel leaves for a card to fill in.
    fn plug_in(
        &self,
        namespace: &Namespace,
        bridge: &str,
        vlan: Option<u16>,
    ) -> Result<(), LabError> {
        let [up, down] = UPLINK;
        namespace.ip(&["link", "add", up, "type", "veth", "peer", "name", down])?;
        for end in UPLINK {
            let mut command = namespace.command("ethtool");
            command.args(["-K", end, "tx", "off", "rx", "off", "gro", "off"]);
            output(command)?;
            namespace.ip(&["link", "set", end, "up"])?;
        }
        let mut command = namespace.command("ethtool");
        command.args(["-K", bridge, "tx", "off"]);
        output(command)?;
        namespace.ip(&["link", "set", down, "master", bridge])?;
        let tag = vlan.map(|vlan| format!("tag={vlan}"));
        let mut words = vec!["add-port", BRIDGE, up];
        words.extend(tag.as_deref());
        self.set(&words)
    }

    fn set(&self, words: &[&str]) -> Result<(), LabError> {
        let database = format!("--db=unix:{}", self.folder.path().join("db.sock").display());
        let time_out = format!("--timeout={}", START.as_secs());
        run(
            "ovs-vsctl",
            [&[database.as_str(), &time_out], words].concat(),
        )
        .map(drop)
    }

    fn add_tap(&self, tap: &str) -> Result<(), LabError> {
        let ip = |words: &[&str]| run("ip", [&["-netns", self.namespace.as_str()], words].concat());
        ip(&["tuntap", "add", "dev", tap, "mode", "tap"])?;
        ip(&["link", "set", tap, "up"]).map(drop)
    }

    /// Makes taps and bonds their ports. Until LACP has come about the ports pass
    /// nothing.
    ///
    /// # Errors
    /// When a tool says no.
    pub fn add_lacp_bond(&self, name: &str, taps: &[&str]) -> Result<(), LabError> {
        taps.iter().try_for_each(|tap| self.add_tap(tap))?;
        let mut words = vec!["add-bond", BRIDGE, name];
        words.extend(taps);
        words.extend(["lacp=active", "bond_mode=balance-tcp"]);
        words.extend(["other_config:lacp-time=fast"]);
        self.set(&words)
    }

    /// Makes a tap whose port has this VLAN, tagged, and no other.
    ///
    /// # Errors
    /// When a tool says no.
    pub fn add_trunk(&self, tap: &str, vlan: u16) -> Result<(), LabError> {
        self.add_tap(tap)?;
        let trunks = format!("trunks={vlan}");
        self.set(&["add-port", BRIDGE, tap, &trunks, "vlan_mode=trunk"])
    }

    /// What it knows of LACP, as `ovs-appctl lacp/show` prints it.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn lacp(&self) -> Result<String, LabError> {
        let entries = std::fs::read_dir(self.folder.path());
        let sockets = entries.map_err(LabError::file("reading", self.folder.path()))?;
        let control = sockets
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("ovs-vswitchd.") && name.ends_with(".ctl")
            })
            .unwrap_or_default();
        let target = control.display().to_string();
        run("ovs-appctl", ["-t", &target, "lacp/show"])
    }
}
