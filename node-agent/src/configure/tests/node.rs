//! Users, SSH host keys, scripts, disks and fstab.

use std::collections::BTreeMap;

use boot_proto::boot_config::SshHostKey;
use boot_proto::resources::{DiskSpec, FstabEntry, Script, User};

use super::{Files, changes_of, config, file, has};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nold:x:1000:1000::/home/old:/bin/sh\n";

fn root() -> Files {
    Files(BTreeMap::from([
        ("/etc/passwd", PASSWD),
        (
            "/etc/shadow",
            "root:*:19000:0:99999:7:::\nold:!:19000:0:99999:7:::\n",
        ),
        (
            "/etc/group",
            "root:x:0:\nshadow:x:42:\nsudo:x:27:old\nold:x:1000:\n",
        ),
        ("/etc/fstab", "# of the image"),
    ]))
}

#[test]
fn users_are_added_and_changed_in_the_files_of_the_image() {
    let mut config = config();
    let users: Vec<User> = serde_json::from_value(serde_json::json!([
        {"name": "root", "passwordHash": "$y$j9T$a$b"},
        {"name": "ops", "groups": ["sudo", "farm"], "shell": "/bin/sh",
         "sshAuthorizedKeys": ["ssh-ed25519 AAAA ops"]},
        {"name": "svc", "uid": 2000, "gid": 42, "home": "/srv/svc"},
        {"name": "sudo", "uid": 2001},
    ]))
    .unwrap();
    config.system.users = users;
    let changes = changes_of(&config, &root());
    let passwd = file(&changes, "/etc/passwd");
    assert!(passwd.starts_with(PASSWD), "{passwd}");
    assert!(
        passwd.contains("\nops:x:1001:1001::/home/ops:/bin/sh\n"),
        "{passwd}"
    );
    assert!(
        passwd.contains("\nsvc:x:2000:42::/srv/svc:/bin/bash\n"),
        "{passwd}"
    );
    let shadow = file(&changes, "/etc/shadow");
    assert!(shadow.starts_with("root:$y$j9T$a$b:19000:"), "{shadow}");
    assert!(shadow.contains("\nops:!::0:"), "{shadow}");
    assert!(has(&changes, "file /etc/shadow 0640 0:42"));
    let group = file(&changes, "/etc/group");
    // A user with the name of a group of the image's does not get its number.
    for line in [
        "sudo:x:27:old,ops",
        "farm:x:900:ops",
        "ops:x:1001:",
        "sudo-2001:x:2001:",
    ] {
        assert!(group.lines().any(|own| own == line), "{line} in {group}");
    }
    assert!(has(&changes, "directory /home/ops/.ssh 0700 1001:1001"));
    assert!(has(
        &changes,
        "file /home/ops/.ssh/authorized_keys 0600 1001:1001"
    ));
}

#[test]
fn host_keys_are_the_only_ones_that_sshd_uses() {
    let mut config = config();
    config.system.ssh_host_keys = vec![SshHostKey {
        kind: "ed25519".into(),
        private: "secret".into(),
        public: "ssh-ed25519 AAAA m1".into(),
    }];
    let changes = changes_of(&config, &root());
    assert!(has(&changes, "file /etc/ssh/ssh_host_ed25519_key 0600"));
    let sshd = file(&changes, "/etc/ssh/sshd_config.d/10-moonfarm.conf");
    assert_eq!(sshd, "HostKey /etc/ssh/ssh_host_ed25519_key\n");
    // A type that is a path writes nothing.
    config.system.ssh_host_keys[0].kind = "../x".into();
    assert!(!has(
        &changes_of(&config, &root()),
        "file /etc/ssh/ssh_host_"
    ));
}

#[test]
fn scripts_and_what_they_are_told() {
    let mut config = config();
    config.system.scripts = serde_json::from_value::<Vec<Script>>(serde_json::json!([
        {"name": "a", "when": "beforeRoot", "content": "#!/bin/sh"},
        {"name": "b", "when": "inRoot", "content": "#!/bin/sh"},
        {"name": "c", "when": "afterNetwork", "content": "#!/bin/sh", "onFailure": "fail"},
    ]))
    .unwrap();
    let changes = changes_of(&config, &root());
    assert!(!has(&changes, "file /etc/moonfarm/scripts/a"));
    assert!(has(&changes, "file /etc/moonfarm/scripts/b 0700"));
    let unit = "/etc/systemd/system/moonfarm-script-c.service";
    assert!(file(&changes, unit).contains("Before=node-agent-join.service"));
    assert!(has(
        &changes,
        "link /etc/systemd/system/node-agent-join.service.requires/"
    ));
    let facts = file(&changes, "/etc/moonfarm/boot.env");
    for line in [
        "IP_ADDRESS=10.0.0.77",
        "GATEWAY=10.0.0.1",
        "DNS_SERVER=10.0.0.1",
        "IPCONFIG_IPV4NETMASK=255.255.255.0",
        "IPCONFIG_IPV4BROADCAST=10.0.0.255",
        "HOSTNAME=m1-c1n1",
    ] {
        assert!(facts.lines().any(|own| own == line), "{line} in {facts}");
    }
}

#[test]
fn disks_and_lines_of_fstab() {
    let mut config = config();
    let disk = serde_json::json!({"name": "d", "match": {"serial": "S"}, "format": "ifEmpty",
        "partitions": [
            {"label": "ctr", "size": "1Gi", "path": "/var/lib/containerd", "options": ["noatime"]},
            {"label": "swp", "type": "swap"}]});
    config.system.disks = vec![serde_json::from_value::<DiskSpec>(disk).unwrap()];
    let entry = serde_json::json!({"device": "10.0.0.9:/x y", "path": "/x", "type": "nfs", "nofail": false});
    config.system.fstab = vec![serde_json::from_value::<FstabEntry>(entry).unwrap()];
    let changes = changes_of(&config, &root());
    let fstab = file(&changes, "/etc/fstab");
    assert!(fstab.starts_with("# of the image\n"), "{fstab}");
    assert!(
        fstab.contains("10.0.0.9:/x\\040y /x nfs defaults 0 0\n"),
        "{fstab}"
    );
    let line = fstab
        .lines()
        .find(|line| line.starts_with("LABEL=ctr"))
        .unwrap();
    assert!(
        line.contains(" ext4 noatime,") && line.contains("nofail"),
        "{line}"
    );
    assert!(fstab.contains("LABEL=swp none swap "), "{fstab}");
    // A disk takes the place of the tmpfs, never both.
    assert!(!fstab.contains("tmpfs /var/lib/containerd"), "{fstab}");
    assert!(has(
        &changes,
        "file /etc/systemd/system/moonfarm-disks.service"
    ));
}
