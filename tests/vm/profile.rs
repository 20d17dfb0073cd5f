//! All that a Profile says, seen in a booted machine, and again after a restart.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boot_proto::time::WallClock;
use moonfarm_tests::lab::farm::latest_boot;
use moonfarm_tests::lab::farm::layout::{self, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::{self, Manifest, Pool};
use moonfarm_tests::lab::{DiskDrive, Firmware, MachineSpec, QemuMachine};
use moonfarm_tests::needs;
use moonfarm_tests::wait::until;

use crate::images::{self, Variant};
use crate::seen::{self, Seen};
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts, keep_picture, now};

/// How long sshd may take once the image has taken over.
const TO_SHELL: Duration = Duration::from_secs(240);
const MIB: usize = 1 << 20;
/// A hash as crypt(5) has it; nobody has to know a password for it.
const HASH: &str = "$6$moonfarm$0123456789abcdefghijklmnopqrstuvwxyz";
/// Variables of every script, under the names that LTSP's and klibc's have.
const VARIABLES: [&str; 9] = [
    "DEVICE",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "GATEWAY",
    "DNS_SERVER",
    "SERVER",
    "HOSTNAME",
    "IPCONFIG_IPV4ADDR",
    "IPCONFIG_IPV4NETMASK",
];

fn profile(key: &str) -> Manifest {
    let text = format!(
        r#"apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata:
  name: whole
spec:
  kernelArguments: [farm.word=seven]
  hosts: {{ "10.77.0.250": [registry.farm.example, registry] }}
  timeZone: Europe/Prague
  sshAuthorizedKeys: ["{key}"]
  users:
    - name: root
      passwordHash: "{HASH}root"
    - name: operator
      uid: 1500
      groups: [systemd-journal]
      shell: /bin/bash
      passwordHash: "{HASH}"
      sshAuthorizedKeys: ["{key}"]
  modules: [dummy]
  moduleOptions: {{ dummy: numdummies=3 }}
  sysctls: {{ vm.swappiness: "7" }}
  files:
    - path: /etc/farm/note
      content: "a note\n"
      mode: "0640"
      owner: "1500:4"
  units:
    - name: farm-own.service
      enabled: true
      content: |
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/true
        [Install]
        WantedBy=multi-user.target
    - name: systemd-timesyncd.service
      masked: true
    - name: e2scrub_reap.service
      enabled: false
  scripts:
    - name: early
      when: beforeRoot
      onFailure: fail
      content: |
        #!/bin/sh
        export -p > /run/script-early
    - name: inside
      when: inRoot
      onFailure: fail
      content: |
        #!/bin/sh
        env > /var/script-inside
        readlink /proc/1/root > /dev/null && [ ! -d /run/systemd/system ] && echo before-systemd >> /var/script-inside
    - name: late
      when: afterNetwork
      content: |
        #!/bin/sh
        env > /run/script-late
        ip -4 -o address show scope global >> /run/script-late
  fstab:
    - device: LABEL=absent
      path: /mnt/absent
  tmpfs:
    - path: /scratch
      size: 16Mi
      mode: "1777"
  disks:
    - name: data
      match: {{ serial: DATA }}
      format: ifEmpty
      partitions:
        - {{ label: data, path: /var/lib/data, size: 64Mi }}
        - {{ label: runtime, path: /var/lib/containerd, size: 64Mi }}
        - {{ label: logs, path: /var/log/farm }}
    - name: used
      match: {{ serial: USED }}
      format: ifEmpty
      partitions:
        - {{ label: used, path: /mnt/used }}
    - name: gone
      match: {{ serial: GONE }}
      format: ifEmpty
      partitions:
        - {{ label: gone, path: /var/lib/kubelet }}
"#
    );
    ("profile-whole.yaml".into(), text)
}

/// The machine's disks: one to be used, one that is selected but not empty, one
/// that nobody named.
struct Disks {
    used: PathBuf,
    unnamed: PathBuf,
    drives: Vec<DiskDrive>,
}

impl Disks {
    fn make(folder: &Path) -> Self {
        let file = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            fs::write(&path, content).expect("a disk");
            path
        };
        let data = file("data.img", &[]);
        let sparse = fs::OpenOptions::new().write(true).open(&data);
        sparse
            .and_then(|file| file.set_len(192 * MIB as u64))
            .expect("a sparse disk");
        // Its ends are zero, its table of partitions is not where one would look.
        let unnamed = file("unnamed.img", &vec![0; 8 * MIB]);
        let used = file("used.img", &pattern(8 * MIB));
        let drive = |file: &PathBuf, serial: &str| DiskDrive {
            file: file.clone(),
            serial: serial.into(),
        };
        let drives = vec![
            drive(&unnamed, "SPARE"),
            drive(&data, "DATA"),
            drive(&used, "USED"),
        ];
        Self {
            used,
            unnamed,
            drives,
        }
    }

    fn assert_untouched(&self) {
        let read = |path: &Path| fs::read(path).expect("a disk");
        assert!(
            read(&self.unnamed).iter().all(|byte| *byte == 0),
            "the disk that nobody named was written to"
        );
        assert!(
            read(&self.used) == pattern(8 * MIB),
            "the disk that was not empty was written to"
        );
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8 | 1).collect()
}

#[test]
fn a_booted_machine_is_all_that_its_profile_says() {
    boot(false);
}

/// After a reset the disk has what it had, and the machine is the same to SSH.
#[test]
fn a_second_boot_finds_its_disk_and_keeps_its_host_key() {
    if needs::is_long_run() {
        boot(true);
    }
}

fn boot(and_again: bool) {
    let Some(mut artefacts) = artefacts() else {
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let variant = Variant {
        base: &artefacts.image.clone(),
        folder: scratch.path(),
        name: "with-shell",
    };
    artefacts.image = variant.with_archive(images::shell());
    let mut shell = Shell::new(scratch.path());
    let key = shell.public_key();
    let disks = Disks::make(scratch.path());
    let mut test = TestFarm::start(artefacts, Vec::new(), None, &|facts| {
        let pool = Pool {
            name: "strays",
            profiles: &["whole"],
            ..Pool::default()
        };
        vec![profile(&key), manifests::pool(facts, &pool)]
    });
    shell.within(test.farm.namespace());
    let spec = MachineSpec {
        disks: disks.drives.clone(),
        has_screen: true,
        has_watchdog: true,
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    let since = now();
    machine
        .power_on()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let at = wait_for_image(&mut test, &machine.console_log(), since);
    keep_picture(&mut machine, "good-boot");
    let text = shell.wait_and_run(at, TO_SHELL, &seen::script(LOOKS));
    let seen = Seen::of(&text);
    test.say(&format!("the booted machine says:\n{text}"));
    check_system(&seen);
    check_scripts(&seen, at);
    check_storage(&seen);
    seen.is("first boot", "");
    // Debian has a group of that name, which is not this user's.
    let operator = shell.run("operator", at, "id -un; id -nG; true");
    let operator = operator.unwrap_or_else(|error| panic!("{}", error.chain()));
    assert!(operator.starts_with("operator\n"), "{operator}");
    assert!(operator.contains(" systemd-journal\n"), "{operator}");
    if and_again {
        check_again(&mut test, &mut machine, &shell, at);
    }
    machine.power_off();
    disks.assert_untouched();
}

fn check_again(test: &mut TestFarm, machine: &mut QemuMachine, shell: &Shell, at: Ipv4Addr) {
    let host_keys = shell.known_hosts();
    assert!(host_keys.contains("ssh-ed25519"), "{host_keys}");
    shell.wait_and_run(at, TO_SHELL, "echo kept > /var/lib/data/kept; sync");
    let since = now();
    machine
        .reset()
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    let again = wait_for_image(test, &machine.console_log(), since);
    assert_eq!(again, at);
    let text = shell.wait_and_run(at, TO_SHELL, &seen::script(LOOKS));
    let seen = Seen::of(&text);
    seen.is("first boot", "kept");
    check_storage(&seen);
    assert_eq!(shell.known_hosts(), host_keys, "the host key is another");
}

/// Waits until the image has taken over, and returns the machine's address.
fn wait_for_image(test: &mut TestFarm, console: &Path, since: WallClock) -> Ipv4Addr {
    let name = STRAY_MAC.dashed();
    let address = until(TO_READY, || {
        test.farm
            .check()
            .unwrap_or_else(|error| panic!("{}", error.chain()));
        let boots = test.farm.boots().ok()?;
        let boot = latest_boot(&name, since, &boots)?;
        if boot.outcome == "failed" {
            return Some(None);
        }
        // A machine without a cluster has no step after these.
        matches!(boot.phase.as_str(), "switch-root" | "ready").then_some(boot.address)
    });
    address.flatten().unwrap_or_else(|| {
        test.explain(&name, since, console);
        panic!("it does not get to its image");
    })
}

/// What is looked at: a name, and the command that shows it.
const LOOKS: &[(&str, &str)] = &[
    (
        "word",
        "tr ' ' '\\n' < /proc/cmdline | grep -x farm.word=seven",
    ),
    ("hostname", "hostname"),
    ("static hostname", "cat /etc/hostname"),
    ("hosts", "getent hosts registry"),
    ("zone", "readlink -f /etc/localtime"),
    ("user", "getent passwd operator"),
    ("hash", "getent shadow operator | cut -d: -f2"),
    ("root hash", "getent shadow root | cut -d: -f2"),
    (
        "keys",
        "stat -c '%U %a' /home/operator/.ssh/authorized_keys",
    ),
    ("dummies", "ls -d /sys/class/net/dummy? | wc -l"),
    ("swappiness", "cat /proc/sys/vm/swappiness"),
    (
        "note",
        "stat -c '%u:%g %a' /etc/farm/note; cat /etc/farm/note",
    ),
    (
        "own unit",
        "systemctl is-enabled farm-own.service; systemctl is-active farm-own.service",
    ),
    (
        "masked unit",
        "systemctl is-enabled systemd-timesyncd.service",
    ),
    ("disabled unit", "systemctl is-enabled e2scrub_reap.service"),
    ("early", "cat /run/script-early"),
    ("inside", "cat /var/script-inside"),
    (
        "late",
        "for i in $(seq 60); do [ -s /run/script-late ] && break; sleep 1; done; cat /run/script-late",
    ),
    ("absent", "grep ' /mnt/absent ' /etc/fstab"),
    (
        "scratch",
        "findmnt -bno FSTYPE,SIZE /scratch; stat -c %a /scratch",
    ),
    ("data", "findmnt -no FSTYPE,LABEL /var/lib/data"),
    ("logs", "findmnt -no FSTYPE,LABEL /var/log/farm"),
    ("runtime", "findmnt -no FSTYPE,LABEL /var/lib/containerd"),
    ("used", "findmnt -no FSTYPE /mnt/used || echo not mounted"),
    (
        "order",
        "at() { systemctl show --property=$1 --value $2; }; \
         a=$(at ActiveEnterTimestampMonotonic var-lib-containerd.mount); \
         b=$(at ExecMainStartTimestampMonotonic containerd.service); \
         [ $a -gt 0 ] && [ $b -gt $a ] && echo runtime after its disk",
    ),
    (
        "given up",
        "journalctl -o cat -u moonfarm-disks.service | grep -o 'goes on without.*' | sort",
    ),
    ("state", "timeout 150 systemctl is-system-running --wait"),
    (
        "disks unit",
        "journalctl -o cat -u moonfarm-disks.service | grep -c 'is not empty and stays as it is'",
    ),
    ("first boot", "cat /var/lib/data/kept 2>/dev/null"),
    (
        "cri",
        "for i in $(seq 60); do ctr plugins ls 2>/dev/null | awk '$2 == \"cri\" {print $NF}' | grep ok && break; sleep 1; done",
    ),
    ("address", "ip -4 -o address show scope global | grep -c ."),
    (
        "watchdog",
        "cat /sys/class/watchdog/watchdog0/state /sys/class/watchdog/watchdog0/timeout; systemctl show -p RuntimeWatchdogUSec --value",
    ),
    (
        "failed",
        "systemctl --failed --no-legend --plain | awk '{print $1}'",
    ),
];

fn check_system(seen: &Seen<'_>) {
    let name = STRAY_MAC.dashed();
    seen.is("word", "farm.word=seven");
    seen.is("hostname", &name);
    seen.is("static hostname", &name);
    seen.is("hosts", "10.77.0.250 registry.farm.example registry");
    seen.is("zone", "/usr/share/zoneinfo/Europe/Prague");
    let user = seen.get("user");
    assert!(user.starts_with("operator:x:1500:1500:"), "{user}");
    assert!(user.ends_with(":/home/operator:/bin/bash"), "{user}");
    seen.is("hash", HASH);
    seen.is("root hash", &format!("{HASH}root"));
    seen.is("keys", "operator 600");
    seen.is("dummies", "3");
    seen.is("swappiness", "7");
    seen.is("note", "1500:4 640\na note");
    seen.is("own unit", "enabled\nactive");
    seen.is("masked unit", "masked");
    seen.is("disabled unit", "disabled");
    seen.is("cri", "ok");
    seen.is("address", "1");
    seen.is("watchdog", "active\n120\n2min");
    seen.is("failed", "");
}

/// All moments find the same facts under the names that hooks expect.
fn check_scripts(seen: &Seen<'_>, at: Ipv4Addr) {
    for moment in ["early", "inside", "late"] {
        let text = seen
            .get(moment)
            .replace("export ", "")
            .replace(['\'', '"'], "");
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("{moment}: no {name} in {text}"))
                .to_owned()
        };
        for name in VARIABLES {
            assert_ne!(value(name), "", "{moment}: {name}");
        }
        assert_eq!(value("IP_ADDRESS"), at.to_string(), "{moment}");
        assert_eq!(value("IPCONFIG_IPV4ADDR"), at.to_string(), "{moment}");
        assert_eq!(value("MAC_ADDRESS"), STRAY_MAC.to_string(), "{moment}");
        assert_eq!(value("HOSTNAME"), STRAY_MAC.dashed(), "{moment}");
        assert_eq!(value("GATEWAY"), layout::SERVER.to_string(), "{moment}");
        assert_eq!(value("SERVER"), layout::SERVER.to_string(), "{moment}");
        assert_eq!(value("IPCONFIG_IPV4NETMASK"), "255.255.255.0", "{moment}");
    }
    assert!(seen.get("inside").contains("before-systemd"));
    assert!(
        seen.get("late").contains(&format!("inet {at}/24")),
        "the network was not up for the last script: {}",
        seen.get("late")
    );
}

fn check_storage(seen: &Seen<'_>) {
    let absent = seen.get("absent");
    assert!(absent.contains("nofail"), "{absent}");
    seen.is("scratch", &format!("tmpfs {}\n1777", 16 * MIB));
    seen.is("data", "ext4 data");
    seen.is("logs", "ext4 logs");
    seen.is("used", "not mounted");
    seen.is("runtime", "ext4 runtime");
    seen.is("order", "runtime after its disk");
    seen.is(
        "given up",
        "goes on without /mnt/used\ngoes on without /var/lib/kubelet",
    );
    // No job waits for what is not there.
    seen.is("state", "running");
    seen.is("disks unit", "1");
}
