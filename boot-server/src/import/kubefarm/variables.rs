//! `ltsp.conf` variables as parts of a profile.

use std::collections::BTreeMap;

use boot_proto::quantity::ByteSize;
use boot_proto::resources::{
    FileEntry, FstabEntry, ProfileSpec, Taint, TaintEffect, TmpfsMount, Unit,
};

use super::layers::{Assigned, Variables};
use crate::import::Findings;

/// Limits for the two tmpfs of kubefarm's own defaults, which name none.
const KUBELET_SIZE: ByteSize = ByteSize(2 << 30);
const RUNTIME_SIZE: ByteSize = ByteSize(8 << 30);
const OTHER_SIZE: ByteSize = ByteSize(1 << 30);

/// What variables say, in our words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub profile: ProfileSpec,
    /// `DEFAULT_IMAGE`.
    pub image: Option<String>,
}

/// Variables that need nothing, because nodes do so anyway.
const ALREADY_SO: [&str; 3] = ["IMAGE_TO_RAM", "OVERLAY", "HTTP"];

/// Variables by name or, with a `*`, by how they begin, and why they are left out.
const NO_COUNTERPART: [(&str, &str); 19] = [
    (
        "MENU_TIMEOUT",
        "there is no boot menu; what a machine boots is decided by its pool",
    ),
    (
        "OMIT_FUNCTIONS",
        "it switches parts of LTSP off that node-agent does not have",
    ),
    (
        "HOSTNAME",
        "machines are named one by one, or by the pool's hostname pattern with {mac}",
    ),
    (
        "SERVER",
        "boot-server names itself on the kernel command line",
    ),
    ("NAT", "boot-server is no router"),
    (
        "INCLUDE",
        "list the profile under the pool's or the machine's profiles",
    ),
    (
        "LOCAL_SWAP",
        "kubelets run without swap; nothing on a node's disks is touched",
    ),
    (
        "DEBUG_LOG",
        "node-agent reports every phase to boot-server: boot-server get boots NAME",
    ),
    ("RPI_IMAGE", "Raspberry Pi boards are not supported"),
    (
        "READ_AHEAD_KB",
        "the image is in memory; nothing is read ahead",
    ),
    (
        "HTTP_*",
        "boot-server gives image, kernel and initramfs over HTTP always",
    ),
    ("PWMERGE_*", "nodes take no accounts from the boot server"),
    ("AUTOLOGIN", "nodes have no desktop"),
    ("RELOGIN", "nodes have no desktop"),
    ("X_*", "nodes have no desktop"),
    (
        "KEEP_SYSTEM_SERVICES",
        "nothing is masked that would have to be kept",
    ),
    (
        "PRE_*",
        "hooks between LTSP's own steps have no counterpart; write a unit with the right Before= \
         and After=",
    ),
    (
        "POST_*",
        "hooks between LTSP's own steps have no counterpart; write a unit with the right Before= \
         and After=",
    ),
    (
        "PASSWORDS_*",
        "passwords are not carried over; give SSH keys",
    ),
];

/// Turns variables into a profile.
pub(super) fn read(variables: &Variables, findings: &mut Findings) -> Said {
    let mut said = Said::default();
    // In order of names, as the client puts labels, taints and arguments together.
    for (name, assigned) in variables {
        read_one(name, assigned, &mut said, findings);
    }
    said
}

fn read_one(name: &str, assigned: &Assigned, said: &mut Said, findings: &mut Findings) {
    let Assigned { value, path } = assigned;
    let profile = &mut said.profile;
    match name {
        "KERNEL_PARAMETERS" => profile.kernel_arguments.extend(words(value)),
        "DEFAULT_IMAGE" => said.image = Some(value.clone()).filter(|image| !image.is_empty()),
        "DEBUG_SHELL" => {
            if is_on(value) {
                profile.kernel_arguments.push("moonfarm.debug".into());
                findings.changed(
                    path,
                    "moonfarm.debug offers a shell where a boot fails and the initramfs carries one",
                );
            }
        }
        "DNS_SERVER" => dhcp(profile, "domain-name-servers", value),
        "SEARCH_DOMAIN" => dhcp(profile, "domain-search", value),
        "MASK_SYSTEM_SERVICES" => services(profile, value, None, true),
        "DISABLE_SYSTEM_SERVICES" => services(profile, value, Some(false), false),
        _ if ALREADY_SO.contains(&name) => {}
        _ if name.starts_with("HOSTS_") => hosts(value, path, profile, findings),
        _ if name.starts_with("FSTAB_") => mount(value, path, profile, findings),
        _ if name.starts_with("CRONTAB_") => cron(name, assigned, profile, findings),
        _ if name.starts_with("KUBERNETES_LABELS_") => labels(assigned, profile, findings),
        _ if name.starts_with("KUBERNETES_TAINTS_") => taints(assigned, profile, findings),
        _ if name.starts_with("KUBELET_EXTRA_ARGS_") => kubelet(assigned, profile, findings),
        _ => findings.left_out(path, reason(name)),
    }
}

fn reason(name: &str) -> String {
    let known = NO_COUNTERPART.iter().find(|(pattern, _)| {
        let start = pattern.strip_suffix('*');
        start.map_or(*pattern == name, |start| name.starts_with(start))
    });
    known.map_or_else(
        || {
            "nothing on a node reads this variable; give what it was for as a file or unit of a \
             profile"
                .into()
        },
        |(_, reason)| (*reason).into(),
    )
}

fn is_on(value: &str) -> bool {
    !matches!(value.trim(), "" | "0" | "false")
}

fn dhcp(profile: &mut ProfileSpec, option: &str, value: &str) {
    let value = value.split_whitespace().collect::<Vec<_>>().join(",");
    profile.dhcp_options.insert(option.into(), value);
}

fn services(profile: &mut ProfileSpec, value: &str, enabled: Option<bool>, masked: bool) {
    for name in value.split_whitespace() {
        let has_suffix = name.contains('.');
        profile.units.push(Unit {
            name: if has_suffix {
                name.into()
            } else {
                format!("{name}.service")
            },
            content: None,
            enabled,
            masked,
        });
    }
}

/// Words with blanks between them; in double quotes a blank is part of a word,
/// as the kernel reads its command line.
fn words(value: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in value.chars() {
        is_quoted ^= c == '"';
        if c.is_whitespace() && !is_quoted {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        } else {
            word.push(c);
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// A line of hosts(5).
fn hosts(line: &str, path: &str, profile: &mut ProfileSpec, findings: &mut Findings) {
    let mut words = line.split_whitespace();
    match words.next().and_then(|address| address.parse().ok()) {
        Some(address) => {
            let names = profile.hosts.entry(address).or_default();
            names.extend(words.map(str::to_owned));
        }
        None => findings.left_out(path, format!("{line:?} does not begin with an address")),
    }
}

/// A line of fstab(5).
fn mount(line: &str, path: &str, profile: &mut ProfileSpec, findings: &mut Findings) {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (Some(target), Some(kind)) = (fields.get(1), fields.get(2)) else {
        return findings.left_out(path, format!("{line:?} is no line of fstab"));
    };
    let options = fields.get(3).copied().unwrap_or_default();
    if *kind == "swap" {
        return findings.left_out(path, "kubelets run without swap");
    }
    if *kind != "tmpfs" {
        let all: Vec<&str> = options.split(',').filter(|it| !it.is_empty()).collect();
        let is_plain = |option: &&&str| !matches!(**option, "defaults" | "nofail");
        return profile.fstab.push(FstabEntry {
            device: fields.first().copied().unwrap_or_default().into(),
            path: (*target).into(),
            kind: (*kind).into(),
            options: all.iter().filter(is_plain).map(|it| (*it).into()).collect(),
            nofail: all.contains(&"nofail"),
        });
    }
    let option = |name: &str| {
        options
            .split(',')
            .find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    };
    let is_docker = *target == "/var/lib/docker";
    let target = if is_docker {
        findings.changed(
            path,
            "the runtime is containerd: its tmpfs is on /var/lib/containerd",
        );
        "/var/lib/containerd"
    } else {
        target
    };
    let size = option("size").and_then(tmpfs_size).unwrap_or_else(|| {
        let size = match target {
            "/var/lib/kubelet" => KUBELET_SIZE,
            "/var/lib/containerd" => RUNTIME_SIZE,
            _ => OTHER_SIZE,
        };
        let given = option("size").unwrap_or("none, which means half of the memory");
        findings.changed(
            path,
            format!("every tmpfs has a size in bytes; {size} is written (it was {given})"),
        );
        size
    });
    let mode = option("mode").map(str::to_owned);
    let path = target.into();
    profile.tmpfs.push(TmpfsMount { path, size, mode });
}

/// tmpfs' own suffixes are powers of 1024 (tmpfs(5)).
fn tmpfs_size(text: &str) -> Option<ByteSize> {
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if lower.ends_with('k') => (digits, 1 << 10),
        Some(digits) if lower.ends_with('m') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (lower.as_str(), 1),
    };
    let number: u64 = digits.parse().ok()?;
    number
        .checked_mul(factor)
        .filter(|size| *size > 0)
        .map(ByteSize)
}

/// A line of root's crontab; in /etc/cron.d it names the user.
fn cron(name: &str, assigned: &Assigned, profile: &mut ProfileSpec, findings: &mut Findings) {
    let line = assigned.value.trim();
    let fields = if line.starts_with('@') { 1 } else { 5 };
    let parts: Vec<&str> = line.splitn(fields + 1, char::is_whitespace).collect();
    let Some((command, times)) = parts.split_last().filter(|_| parts.len() == fields + 1) else {
        return findings.left_out(&assigned.path, format!("{line:?} is no line of a crontab"));
    };
    findings.changed(
        &assigned.path,
        "it becomes a file in /etc/cron.d, which the image needs cron for",
    );
    profile.files.push(FileEntry {
        path: format!(
            "/etc/cron.d/{}",
            name.to_ascii_lowercase().replace('_', "-")
        ),
        content: format!("{} root {command}\n", times.join(" ")),
        mode: None,
        owner: None,
    });
}

fn labels(assigned: &Assigned, profile: &mut ProfileSpec, findings: &mut Findings) {
    for word in list(&assigned.value) {
        match word.split_once('=') {
            Some((key, value)) => drop(profile.labels.insert(key.into(), value.into())),
            None => findings.left_out(&assigned.path, format!("{word:?} is no label")),
        }
    }
}

fn taints(assigned: &Assigned, profile: &mut ProfileSpec, findings: &mut Findings) {
    for word in list(&assigned.value) {
        match taint(word) {
            Some(taint) if !profile.taints.contains(&taint) => profile.taints.push(taint),
            Some(_) => {}
            None => findings.left_out(&assigned.path, format!("{word:?} is no taint")),
        }
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// `KEY[=VALUE]:EFFECT`.
fn taint(word: &str) -> Option<Taint> {
    let (rest, effect) = word.rsplit_once(':')?;
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    let effect = match effect {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return None,
    };
    let (key, value) = (key.to_owned(), value.to_owned());
    Some(Taint { key, value, effect })
}

/// Kubelet arguments that are given through other fields, or decided by kubeadm.
fn kubelet(assigned: &Assigned, profile: &mut ProfileSpec, findings: &mut Findings) {
    let Assigned { value, path } = assigned;
    for (key, value) in arguments(value) {
        match key.as_str() {
            "node-labels" => labels(&within(path, value), profile, findings),
            "register-with-taints" => taints(&within(path, value), profile, findings),
            // kubeadm's KubeletConfiguration says it since Kubernetes 1.22.
            "cgroup-driver" if value == "systemd" => {}
            "hostname-override" | "kubeconfig" | "bootstrap-kubeconfig" => {
                findings.left_out(path, format!("Moonfarm gives the kubelet {key} itself"));
            }
            _ => drop(profile.kubelet_arguments.insert(key, value)),
        }
    }
}

fn within(path: &str, value: String) -> Assigned {
    let path = path.to_owned();
    Assigned { value, path }
}

/// `--key=value` and `--key value`; a flag alone is `true`.
fn arguments(text: &str) -> BTreeMap<String, String> {
    let mut arguments = BTreeMap::new();
    let mut last: Option<String> = None;
    for word in words(text) {
        if let Some(flag) = word.strip_prefix("--") {
            let (key, value) = flag.split_once('=').unwrap_or((flag, "true"));
            arguments.insert(key.to_owned(), value.trim_matches('"').to_owned());
            last = (!flag.contains('=')).then(|| key.to_owned());
        } else if let Some(key) = last.take() {
            arguments.insert(key, word.trim_matches('"').to_owned());
        }
    }
    arguments
}
