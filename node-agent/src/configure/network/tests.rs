use boot_proto::report::MachineFacts;

use super::*;
use crate::configure::tests::config;
use crate::net::Link;
use crate::net::nics::Nic;

/// What kubefarm's advanced_network example does, and a bridge.
fn advanced() -> serde_json::Value {
    serde_json::json!({
        "dns": ["10.0.0.53"],
        "interfaces": {
            "nic0": {"match": {"boot": true}, "mtu": 9000, "optional": true},
            "nic1": {"match": {"boot": false}, "mtu": 9000, "optional": true},
            "bond0": {"mtu": 9000, "lease": "static", "bond": {
                "ports": ["nic0", "nic1"], "mode": "802.3ad", "lacpRate": "fast", "miimon": 100,
                "upDelay": 200, "downDelay": 200, "transmitHashPolicy": "layer3+4",
                "adSelect": "bandwidth"}},
            "vlan2": {"vlan": {"link": "bond0", "id": 2},
                "derivedAddresses": [{"network": "10.30.0.0/16"}],
                "routes": [{"to": "10.40.0.0/16", "via": "10.30.0.1", "metric": 5}]},
            "br0": {"bridge": {"ports": ["vlan3"], "stp": true, "forwardDelay": 4}, "dhcp": true},
            "vlan3": {"vlan": {"link": "bond0", "id": 3}},
        },
    })
}

fn rendered(spec: serde_json::Value) -> (String, Vec<(String, String)>) {
    let mut config = config();
    config.network.spec = serde_json::from_value(spec).unwrap();
    let nic = |name: &str, last: u8| Nic {
        link: Link {
            index: u32::from(last),
            name: name.to_owned(),
            mac: boot_proto::ids::MacAddr::new([0x52, 0x54, 0, 0, 0, last]),
            is_up: true,
            has_carrier: true,
            kind: None,
            master: None,
            mtu: 1500,
        },
        driver: None,
        names: vec![name.to_owned()],
    };
    let nics = [nic("eth0", 2), nic("eth1", 1)];
    let machine = Machine {
        config: &config,
        mac: nics[1].link.mac,
        address: config.network.address,
        own: None,
        device: None,
        nics: &nics,
        facts: &MachineFacts::default(),
    };
    let interfaces = resolve::resolve(&machine);
    let network = &config.network;
    (
        netplan::render(&interfaces, network),
        networkd::render(&interfaces, network),
    )
}

/// Compares with a file beside the tests; `UPDATE_GOLDEN=1` writes it anew.
fn golden(name: &str, text: &str) {
    let path = format!(
        "{}/src/configure/network/golden/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{path}");
}

#[test]
fn bonds_vlans_and_bridges() {
    let (netplan, networkd) = rendered(advanced());
    golden("advanced.yaml", &netplan);
    let files: String = networkd
        .iter()
        .map(|(name, text)| format!("### {name}\n{text}\n"))
        .collect();
    golden("advanced.networkd", &files);
}

#[test]
fn every_mode_of_a_bond_is_yaml() {
    for mode in [
        "balance-rr",
        "active-backup",
        "balance-xor",
        "broadcast",
        "balance-tlb",
        "balance-alb",
    ] {
        let (netplan, _) = rendered(serde_json::json!({"interfaces": {
            "all": {"match": {"name": "eth*"}},
            "bond0": {"bond": {"ports": ["all"], "mode": mode, "arpInterval": 200,
                "arpTargets": ["10.0.0.1", "10.0.0.2"]}},
        }}));
        let yaml: serde_json::Value = serde_yaml_ng::from_str(&netplan).unwrap();
        let bond = &yaml["network"]["bonds"]["bond0"];
        assert_eq!(bond["parameters"]["mode"], mode);
        assert_eq!(bond["parameters"]["arp-ip-targets"][1], "10.0.0.2");
        // The NIC that booted is the first.
        assert_eq!(bond["interfaces"][0], "all-0");
        let first = &yaml["network"]["ethernets"]["all-0"]["match"]["macaddress"];
        assert_eq!(first, "52:54:00:00:00:01");
        assert_eq!(bond["macaddress"], "52:54:00:00:00:01");
    }
}

/// The real `netplan generate`, where it is installed, takes what we write.
#[test]
fn netplan_itself_takes_it() {
    let found = [
        "/usr/libexec/netplan/generate",
        "/usr/lib/netplan/generate",
        "/lib/netplan/generate",
    ];
    let Some(program) = found
        .iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        println!("skipped: netplan.io is not installed");
        return;
    };
    let made = |spec: serde_json::Value, file: &str| {
        let root = tempfile::tempdir().unwrap();
        generate(program, root.path(), &rendered(spec).0);
        let file = root.path().join("run/systemd/network").join(file);
        std::fs::read_to_string(file).unwrap()
    };
    let lacp = made(advanced(), "10-netplan-bond0.netdev");
    for line in ["Mode=802.3ad", "LACPTransmitRate=fast"] {
        assert!(lacp.contains(line), "{lacp}");
    }
    for (mode, options, lines) in OPTIONS {
        let text = format!(
            r#"{{"interfaces": {{"all": {{"match": {{"name": "eth*"}}}}, 
            "bond0": {{"bond": {{"ports": ["all"], "mode": "{mode}", {options}}}}}}}}}"#
        );
        let spec: serde_json::Value = serde_json::from_str(&text).unwrap();
        let netdev = made(spec.clone(), "10-netplan-bond0.netdev");
        let own = rendered(spec).1;
        let own = own.iter().find(|(name, _)| name.ends_with("bond0.netdev"));
        let own = &own.unwrap().1;
        for line in *lines {
            assert!(netdev.contains(line), "{mode}: {line} in {netdev}");
            assert!(own.contains(line), "{mode}: {line} in {own}");
        }
    }
}

/// Options of modes, and what systemd-networkd is to read, by netplan as by us.
const OPTIONS: &[(&str, &str, &[&str])] = &[
    (
        "balance-alb",
        r#""learnPacketInterval": 5, "resendIgmp": 2, "transmitHashPolicy": "layer2+3""#,
        &[
            "LearnPacketIntervalSec=5",
            "ResendIGMP=2",
            "TransmitHashPolicy=layer2+3",
        ],
    ),
    (
        "active-backup",
        r#""failOverMac": "follow", "gratuitousArp": 3, "allPortsActive": true, "arpInterval": 100,
        "arpTargets": ["10.0.0.1"], "arpValidate": "backup", "arpAllTargets": "all""#,
        &[
            "FailOverMACPolicy=follow",
            "GratuitousARP=3",
            "AllSlavesActive=",
            "ARPIPTargets=10.0.0.1",
            "ARPValidate=backup",
            "ARPAllTargets=all",
        ],
    ),
    (
        "balance-rr",
        r#""packetsPerPort": 7, "minLinks": 2"#,
        &["PacketsPerSlave=7", "MinLinks=2"],
    ),
];

fn generate(program: &str, root: &std::path::Path, text: &str) {
    let folder = root.join("etc/netplan");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("10-moonfarm.yaml");
    std::fs::write(&file, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, mode).unwrap();
    let output = std::process::Command::new(program)
        .arg("--root-dir")
        .arg(root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{said}");
}
