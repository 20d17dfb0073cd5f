mod node;

use std::collections::BTreeMap;

use boot_proto::boot_config::{ImageSource, JoinConfig, NetworkConfig, SystemConfig};
use boot_proto::ids::Digest;
use boot_proto::resources::{FileEntry, TmpfsMount, Unit};

use super::*;
use crate::root_dir::EmptyRoot;

const MAC: MacAddr = MacAddr::new([0x52, 0x54, 0, 0, 0, 1]);

/// A boot config as small as it can be, joining a cluster.
pub fn config() -> BootConfig {
    BootConfig {
        version: 1,
        machine: "m1-c1n1".to_owned(),
        hostname: "m1-c1n1".to_owned(),
        macs: vec![MAC],
        server: "http://10.0.0.1:8080".to_owned(),
        image: ImageSource {
            name: "node".to_owned(),
            digest: Digest::of(b"m"),
            kernel_release: "6.1".to_owned(),
            url: "http://10.0.0.1:8080/blobs/x".to_owned(),
            size: 100 << 20,
            root_digest: Digest::of(b"r"),
            checks: Default::default(),
            mirrors: Vec::new(),
            signed: None,
        },
        network: NetworkConfig {
            address: Some(Ipv4Addr::new(10, 0, 0, 77)),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 0, 0, 1)),
            dns: vec![Ipv4Addr::new(10, 0, 0, 1)],
            search: vec!["farm.example".to_owned()],
            dhcp: true,
            mtu: None,
            spec: boot_proto::resources::NetworkSpec::default(),
        },
        system: SystemConfig::default(),
        join: Some(JoinConfig {
            cluster: "prod".to_owned(),
            endpoint: "10.0.0.1:6443".to_owned(),
            ca_cert_hashes: vec!["sha256:00".to_owned()],
            labels: BTreeMap::new(),
            taints: Vec::new(),
            kubelet_arguments: BTreeMap::new(),
        }),
    }
}

struct Files(BTreeMap<&'static str, &'static str>);

impl RootView for Files {
    fn read(&self, path: &str) -> Option<String> {
        self.0.get(path).map(|text| (*text).to_owned())
    }
    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
    fn link_target(&self, path: &str) -> Option<String> {
        self.0
            .get(path)
            .and_then(|text| text.strip_prefix("-> "))
            .map(str::to_owned)
    }
}

fn changes_of(config: &BootConfig, root: &dyn RootView) -> Changes {
    let facts = MachineFacts {
        memory_bytes: 2 << 30,
        ..MachineFacts::default()
    };
    changes(
        &Machine {
            config,
            mac: MAC,
            address: config.network.address,
            own: None,
            device: None,
            nics: &[],
            facts: &facts,
        },
        root,
    )
}

fn file<'a>(changes: &'a Changes, wanted: &str) -> &'a str {
    changes
        .list
        .iter()
        .find_map(|change| match change {
            Change::File { path, content, .. } if path == wanted => Some(content.as_str()),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no {wanted} in {:#?}", changes.list))
}

fn has(changes: &Changes, text: &str) -> bool {
    changes
        .list
        .iter()
        .any(|change| change.to_string().starts_with(text))
}

/// netplan has no words for them: the file that it makes is added to.
#[test]
fn what_lacp_tells_of_this_end_is_said_with_netplan_and_without() {
    let mut config = config();
    config.network.spec = serde_json::from_value(serde_json::json!({"interfaces": {
        "bond0": {"bond": {"ports": ["all"], "mode": "802.3ad", "adActorSystemPriority": 7,
            "adActorSystem": "02:00:00:00:00:09", "adUserPortKey": 0, "peerNotifyDelay": 300}},
        "all": {"match": {"name": "eth*"}},
    }}))
    .unwrap();
    let lines = "AdActorSystemPriority=7\nAdActorSystem=02:00:00:00:00:09\nAdUserPortKey=0\n";
    let netplan = Files(BTreeMap::from([("/usr/sbin/netplan", "")]));
    for (root, name) in [
        (
            &netplan as &dyn RootView,
            "10-netplan-bond0.netdev.d/50-moonfarm.conf",
        ),
        (&EmptyRoot, "10-moonfarm-bond0.netdev"),
    ] {
        let changes = changes_of(&config, root);
        let text = file(&changes, &format!("/etc/systemd/network/{name}"));
        assert!(text.contains("[Bond]\n") && text.contains(lines), "{text}");
        let rules = file(&changes, "/etc/udev/rules.d/70-moonfarm-bonds.rules");
        let rule = "KERNEL==\"bond0\", ATTR{bonding/peer_notif_delay}=\"300\"\n";
        assert!(rules.ends_with(rule), "{rules}");
    }
}

/// Its driver is none of the initramfs': the booted system's udev finds it.
#[test]
fn a_nic_that_is_not_there_yet_is_configured_and_does_not_take_the_default_route() {
    let mut config = config();
    config.network.spec = serde_json::from_value(serde_json::json!({"interfaces": {
        "storage": {"match": {"mac": "52:54:00:00:00:77"}, "dhcp": true, "mtu": 9000},
        "other": {"match": {"mac": "52:54:00:00:00:78", "boot": true}},
    }}))
    .unwrap();
    let netplan = Files(BTreeMap::from([("/usr/sbin/netplan", "")]));
    let changes = changes_of(&config, &netplan);
    let text = file(&changes, "/etc/netplan/10-moonfarm.yaml");
    let yaml: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    let nics = &yaml["network"]["ethernets"];
    let storage = &nics["storage"];
    assert_eq!(storage["match"]["macaddress"], "52:54:00:00:00:77");
    assert_eq!(storage["dhcp4-overrides"]["route-metric"], 2048);
    assert!(nics["other"].is_null(), "{text}");
    let changes = changes_of(&config, &EmptyRoot);
    let text = file(&changes, "/etc/systemd/network/10-moonfarm-storage.network");
    assert!(text.contains("MACAddress=52:54:00:00:00:77"), "{text}");
    assert!(text.contains("RouteMetric=2048"), "{text}");
}

#[test]
fn identity() {
    let changes = changes_of(&config(), &EmptyRoot);
    assert_eq!(file(&changes, "/etc/hostname"), "m1-c1n1\n");
    assert!(file(&changes, "/etc/hosts").contains("\n10.0.0.77 m1-c1n1\n"));
    let id = file(&changes, "/etc/machine-id").trim().to_owned();
    assert_eq!(id.len(), 32);
    assert_eq!(
        (&id[12..13], id.as_bytes()[16] & 0b11 != 0),
        ("4", true),
        "{id}"
    );
    // Of the MAC, as there is no UUID; another with one, and stable.
    assert_eq!(
        id,
        file(&changes_of(&config(), &EmptyRoot), "/etc/machine-id").trim()
    );
    let config = config();
    let facts = MachineFacts {
        uuid: Some("u".to_owned()),
        ..MachineFacts::default()
    };
    let machine = Machine {
        config: &config,
        mac: MAC,
        address: None,
        own: None,
        device: None,
        nics: &[],
        facts: &facts,
    };
    let other = super::changes(&machine, &EmptyRoot);
    assert_ne!(id, file(&other, "/etc/machine-id").trim());
    assert!(file(&other, "/etc/hosts").contains("127.0.1.1 m1-c1n1"));
}

#[test]
fn netplan_is_yaml_with_what_was_meant() {
    let root = Files(BTreeMap::from([
        ("/usr/libexec/netplan/generate", ""),
        (
            "/etc/resolv.conf",
            "-> ../run/systemd/resolve/stub-resolv.conf",
        ),
    ]));
    let mut config = config();
    let changes = changes_of(&config, &root);
    let yaml: serde_json::Value =
        serde_yaml_ng::from_str(file(&changes, "/etc/netplan/10-moonfarm.yaml")).unwrap();
    let boot = &yaml["network"]["ethernets"]["boot"];
    assert_eq!(boot["match"]["macaddress"], "52:54:00:00:00:01");
    assert_eq!(
        (&boot["dhcp4"], &boot["dhcp-identifier"]),
        (&true.into(), &"mac".into())
    );
    assert_eq!(boot["nameservers"]["search"][0], "farm.example");
    assert!(has(&changes, "file /etc/netplan/10-moonfarm.yaml 0600"));
    assert!(!has(&changes, "file /etc/resolv.conf") && !has(&changes, "link /etc/resolv.conf"));

    config.network.dhcp = false;
    config.network.gateway = Some(Ipv4Addr::new(10, 9, 9, 9));
    config.network.mtu = Some(9000);
    let changes = changes_of(&config, &root);
    let yaml: serde_json::Value =
        serde_yaml_ng::from_str(file(&changes, "/etc/netplan/10-moonfarm.yaml")).unwrap();
    let boot = &yaml["network"]["ethernets"]["boot"];
    assert_eq!(
        (&boot["addresses"][0], &boot["mtu"]),
        (&"10.0.0.77/24".into(), &9000.into())
    );
    assert_eq!(boot["routes"][0]["via"], "10.9.9.9");
    assert_eq!(boot["routes"][0]["on-link"], true);
}

#[test]
fn an_image_without_netplan_and_resolved_is_served_too() {
    let changes = changes_of(&config(), &EmptyRoot);
    let unit = file(&changes, "/etc/systemd/network/10-moonfarm.network");
    assert!(
        unit.contains("MACAddress=52:54:00:00:00:01") && unit.contains("DHCP=ipv4"),
        "{unit}"
    );
    let resolv = file(&changes, "/etc/resolv.conf");
    assert_eq!(resolv, "search farm.example\nnameserver 10.0.0.1\n");
}

#[test]
fn every_tmpfs_has_a_size_and_the_runtime_has_one() {
    let mut config = config();
    let changes = changes_of(&config, &EmptyRoot);
    let fstab = file(&changes, "/etc/fstab");
    assert!(
        fstab.contains("tmpfs /var/lib/kubelet tmpfs size=214748364,mode=0755 0 0"),
        "{fstab}"
    );
    assert!(
        fstab.contains("tmpfs /var/lib/containerd tmpfs size=536870912,"),
        "{fstab}"
    );
    let with_crio = Files(BTreeMap::from([("/usr/bin/crio", "")]));
    let changes = changes_of(&config, &with_crio);
    let fstab = file(&changes, "/etc/fstab");
    assert!(
        fstab.contains("tmpfs /var/lib/containers tmpfs size=536870912,"),
        "{fstab}"
    );
    assert!(!fstab.contains("containerd"), "{fstab}");
    config.join = None;
    config.system.tmpfs = vec![TmpfsMount {
        path: "/srv/a b".to_owned(),
        size: "1Gi".parse().unwrap(),
        mode: Some("1777".to_owned()),
    }];
    let root = Files(BTreeMap::from([("/etc/fstab", "# own")]));
    let changes = changes_of(&config, &root);
    let fstab = file(&changes, "/etc/fstab");
    let line = "tmpfs /srv/a\\040b tmpfs size=1073741824,mode=1777 0 0";
    assert_eq!(fstab, format!("# own\n{line}\n"));
}

#[test]
fn units_are_enabled_disabled_and_masked() {
    let root = Files(BTreeMap::from([
        (
            "/usr/lib/systemd/system/a.service",
            "[Install]\nWantedBy=multi-user.target\nAlias=b.service",
        ),
        (
            "/usr/lib/systemd/system/t@.service",
            "[Install]\nRequiredBy=x.target",
        ),
        (
            "/usr/lib/systemd/system/static.service",
            "[Unit]\nWantedBy=no.target",
        ),
    ]));
    let unit = |name: &str, content: Option<&str>, enabled: Option<bool>, masked: bool| Unit {
        name: name.to_owned(),
        content: content.map(str::to_owned),
        enabled,
        masked,
    };
    let mut config = config();
    config.join = None;
    config.system.units = vec![
        unit("a.service", None, Some(false), false),
        unit("t@1.service", None, Some(true), false),
        unit(
            "own.service",
            Some("[Install]\nWantedBy=a.target"),
            Some(true),
            false,
        ),
        unit("m.service", None, None, true),
        unit("static.service", None, Some(true), false),
        unit("none.service", None, Some(true), false),
        unit("../x", Some(""), None, false),
    ];
    let changes = changes_of(&config, &root);
    let folder = "/etc/systemd/system";
    for expected in [
        format!("remove {folder}/multi-user.target.wants/a.service"),
        format!("remove {folder}/b.service"),
        format!(
            "link {folder}/x.target.requires/t@1.service -> /usr/lib/systemd/system/t@.service"
        ),
        format!("file {folder}/own.service 0644"),
        format!("link {folder}/a.target.wants/own.service -> {folder}/own.service"),
        format!("link {folder}/m.service -> /dev/null"),
    ] {
        assert!(
            has(&changes, &expected),
            "{expected} in {:#?}",
            changes.list
        );
    }
    assert_eq!(changes.warnings.len(), 3, "{:?}", changes.warnings);
}

#[test]
fn the_join_is_a_unit_of_its_own() {
    let changes = changes_of(&config(), &EmptyRoot);
    let unit = file(&changes, "/etc/systemd/system/node-agent-join.service");
    assert!(
        unit.contains("\nExecStart=/run/moonfarm/node-agent join\n"),
        "{unit}"
    );
    assert!(has(
        &changes,
        "link /etc/systemd/system/multi-user.target.wants/node-agent-join"
    ));
}

#[test]
fn files_keys_and_kernel_settings() {
    let mut config = config();
    config.system.files = vec![FileEntry {
        path: "/etc/x".to_owned(),
        content: "secret".to_owned(),
        mode: Some("0640".to_owned()),
        owner: Some("0:999".to_owned()),
    }];
    config.system.ssh_authorized_keys = vec!["ssh-ed25519 AAAA me".to_owned()];
    config.system.modules = vec!["br_netfilter".to_owned(), "loop max_loop=64".to_owned()];
    config.system.sysctls = BTreeMap::from([("vm.swappiness".to_owned(), "0".to_owned())]);
    config.system.time_zone = Some("Europe/Prague".to_owned());
    let root = Files(BTreeMap::from([("/usr/share/zoneinfo/Europe/Prague", "")]));
    let changes = changes_of(&config, &root);
    assert!(has(&changes, "file /etc/x 0640 0:999, 6 bytes"));
    assert!(has(&changes, "directory /root/.ssh 0700"));
    assert!(has(&changes, "file /root/.ssh/authorized_keys 0600"));
    assert!(has(
        &changes,
        "link /etc/localtime -> ../usr/share/zoneinfo/Europe/Prague"
    ));
    assert_eq!(
        file(&changes, "/etc/modules-load.d/90-moonfarm.conf"),
        "br_netfilter\nloop\n"
    );
    assert_eq!(
        file(&changes, "/etc/modprobe.d/90-moonfarm.conf"),
        "options loop max_loop=64\n"
    );
    assert_eq!(
        file(&changes, "/etc/sysctl.d/99-moonfarm.conf"),
        "vm.swappiness = 0\n"
    );
    assert!(changes.warnings.is_empty(), "{:?}", changes.warnings);
    config.system.time_zone = Some("../../etc/shadow".to_owned());
    assert_eq!(changes_of(&config, &root).warnings.len(), 1);
}
