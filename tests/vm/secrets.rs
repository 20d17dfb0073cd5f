//! Where a join token is after a join whose overlay was on a local disk: in the API
//! server and nowhere else.

use std::path::Path;

use moonfarm_tests::lab::farm::layout::{self, STRAY_MAC};
use moonfarm_tests::lab::farm::manifests::{self, Manifest, Pool};
use moonfarm_tests::lab::farm::{ClusterOptions, latest_boot};
use moonfarm_tests::lab::{DiskDrive, Firmware, MachineSpec};
use moonfarm_tests::needs;

use crate::disks::disk;
use crate::images;
use crate::minted::{MintedTokens, files_with};
use crate::seen::{self, Seen};
use crate::shell::Shell;
use crate::support::{TO_READY, TestFarm, artefacts, now};

/// What is written to the node's root and deleted again, in two halves.
const PLANTED: [&str; 2] = ["planted-", "needle-of-the-search"];

/// A machine that writes to its disk, and that notes while it joins what its
/// processes were started with, and where kubeadm's file with the token is.
fn profile(key: &str) -> Manifest {
    let text = format!(
        r#"apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata:
  name: writes
spec:
  keepImage: {{label: images}}
  overlay: {{place: disk, label: images}}
  sshAuthorizedKeys: ["{key}"]
  files:
    - path: /usr/local/sbin/notes
      mode: "0755"
      content: |
        #!/bin/sh
        while sleep 0.5; do
          {{
            cat /run/notes
            cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\0' '\n'
            stat -c 'named: %F %N' /etc/kubernetes/bootstrap-kubelet.conf
            stat -L -c 'holds: %F %a' /etc/kubernetes/bootstrap-kubelet.conf
          }} 2> /dev/null | sort -u > /run/notes.new
          mv /run/notes.new /run/notes
        done
  units:
    - name: notes.service
      enabled: true
      content: |
        [Service]
        ExecStart=/usr/local/sbin/notes
        [Install]
        WantedBy=multi-user.target
"#
    );
    ("profile-writes.yaml".into(), text)
}

/// A pattern that does not match itself on a command line.
fn pattern(texts: &[String]) -> String {
    let one = |text: &String| {
        let (first, rest) = text.split_at(1);
        format!(" -e '[{first}]{rest}'")
    };
    texts.iter().map(one).collect()
}

/// Lists files with the pattern in all that can be written to; the image cannot.
fn in_files(pattern: &str) -> String {
    let places = "awk '$3 ~ /^(tmpfs|devtmpfs|ramfs|ext4)$/ {print $2}' /proc/self/mounts";
    let find = "find \"$place\" -xdev -type f ! -name '*.squashfs' -print0";
    format!(
        "{places} | sort -u | while read -r place; do {find}; done | \
         xargs -0 grep -las{pattern}; true"
    )
}

fn looks(secrets: &str, planted: &str) -> String {
    let processes = "/proc/[0-9]*/cmdline /proc/[0-9]*/environ";
    let journal = "journalctl --no-pager --output export";
    let [first, second] = PLANTED;
    let plant = format!("printf '%s%s\\n' {first} {second} > /root/planted; sync");
    seen::script(&[
        ("plant", &plant),
        (
            "notes",
            "systemctl stop notes; grep -e '^named:' -e '^holds:' -e '^/run/moonfarm/kubeadm' /run/notes",
        ),
        ("planted", &in_files(planted)),
        ("in files", &in_files(secrets)),
        (
            "kubelets",
            &format!("grep -las -e '[k]ubelet' {processes} | wc -l"),
        ),
        (
            "in processes",
            &format!("grep -las{secrets} {processes}; true"),
        ),
        (
            "joins",
            &format!("{journal} | grep -ac 'MESSAGE=.*[k]ubeadm: '"),
        ),
        ("in journal", &format!("{journal} | grep -a{secrets}; true")),
        ("delete", "rm /root/planted; sync"),
    ])
}

#[test]
fn a_join_token_is_neither_on_disks_nor_in_logs_nor_on_command_lines() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let kernel = images::direct_kernel(&artefacts.image, STRAY_MAC, "");
    let scratch = tempfile::tempdir().expect("a folder");
    let file = disk(scratch.path());
    let mut shell = Shell::new(scratch.path());
    let key = shell.public_key();
    let cluster = Some(ClusterOptions::default());
    let mut test = TestFarm::start(artefacts, Vec::new(), cluster, &|facts| {
        let pool = Pool {
            name: "strays",
            profiles: &["writes"],
            ..Pool::default()
        };
        vec![profile(&key), manifests::pool(facts, &pool)]
    });
    shell.within(test.farm.namespace());
    let mut minted = MintedTokens::watch(test.farm.control_plane());
    let spec = MachineSpec {
        disks: vec![DiskDrive {
            file: file.clone(),
            serial: "KEEP".into(),
        }],
        kernel: Some(kernel),
        ..layout::stray(test.farm.layout(), Firmware::Bios)
    };
    let mut machine = test.farm.machine(spec);
    let since = now();
    let powered = machine.power_on();
    powered.unwrap_or_else(|error| panic!("{}", error.chain()));
    let name = STRAY_MAC.dashed();
    test.wait_until_ready(&name, since, &machine.console_log());

    let secrets = minted.secrets(1);
    let planted = PLANTED.concat();
    let boots = test.farm.boots().expect("boots");
    let address = latest_boot(&name, since, &boots).and_then(|boot| boot.address);
    let script = looks(&pattern(&secrets), &pattern(std::slice::from_ref(&planted)));
    let text = shell.wait_and_run(address.expect("an address"), TO_READY, &script);
    test.say(&format!("the node says:\n{text}"));
    check_node(&Seen::of(&text));
    machine.power_off();
    check_disk(&file, planted, &secrets);
    minted.are_kept_nowhere(&test, 1, &name);
}

fn check_node(seen: &Seen<'_>) {
    let named = "named: symbolic link '/etc/kubernetes/bootstrap-kubelet.conf' -> \
                 '/run/moonfarm/bootstrap-kubelet.conf'";
    let notes = [
        "/run/moonfarm/kubeadm-join.yaml",
        "holds: regular file 600",
        named,
    ];
    seen.is("notes", &notes.join("\n"));
    let upper = "/run/moonfarm/disk-images/moonfarm/overlay/upper/root/planted";
    seen.is("planted", upper);
    for (control, search) in [("kubelets", "in processes"), ("joins", "in journal")] {
        let found: usize = seen.get(control).parse().expect("a number");
        assert!(found > 0, "{control}: nothing is found");
        seen.is(search, "");
    }
    seen.is("in files", "");
}

/// The disk block by block: what is deleted is still there.
fn check_disk(file: &Path, planted: String, secrets: &[String]) {
    let places = [file.to_owned()];
    let found = files_with(&places, &[planted]);
    assert_eq!(found, places, "what was planted and deleted is not found");
    let found = files_with(&places, secrets);
    assert!(found.is_empty(), "the disk has the token");
}
