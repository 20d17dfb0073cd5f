//! What a booted node is made of, told by a unit that prints it on the console.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use moonfarm_tests::lab::console;
use moonfarm_tests::wait::until;

/// Name of the profile with the unit.
pub const PROFILE: &str = "facts";

const MARK: &str = "FACT|";
const END: &str = "FACT|end";

/// A profile with a unit that prints mounts, loop devices and memory before
/// anything large runs. Caches are dropped first: what is left is what cannot be
/// given back, such as an image in a tmpfs or ramfs.
pub fn manifest() -> (String, String) {
    let text = "apiVersion: moonfarm.dev/v1alpha1
kind: Profile
metadata:
  name: facts
spec:
  files:
    - path: /usr/local/sbin/facts
      mode: \"0755\"
      content: |
        #!/bin/sh
        sync
        echo 3 > /proc/sys/vm/drop_caches
        {
          sed 's/^/mount|/' /proc/self/mounts
          sed 's/^/memory|/' /proc/meminfo
          awk '$3 ~ /^(tmpfs|devtmpfs|ramfs)$/ {print $2}' /proc/self/mounts |
            while read -r point; do
              echo \"held|$(stat -c %d \"$point\") $(stat -f -c '%S %b %f' \"$point\") $point\"
            done
          for loop in /sys/block/loop*/loop/backing_file; do
            [ -e \"$loop\" ] && echo \"loop|$loop|$(cat \"$loop\")\"
          done
          echo \"machine-id|$(cat /etc/machine-id)\"
          echo end
        } | sed 's/^/FACT|/' > /dev/console
  units:
    - name: facts.service
      enabled: true
      content: |
        [Unit]
        Description=Prints what this node is made of
        After=local-fs.target
        Before=containerd.service kubelet.service
        [Service]
        Type=oneshot
        ExecStart=/usr/local/sbin/facts
        [Install]
        WantedBy=multi-user.target
";
    ("profile-facts.yaml".into(), text.into())
}

/// What the unit printed.
#[derive(Debug)]
pub struct NodeFacts {
    lines: Vec<String>,
}

impl NodeFacts {
    /// Reads the last facts on a console, waiting for them if need be.
    pub fn read(log: &Path) -> Self {
        let text = until(Duration::from_secs(30), || {
            let text = console::text(log);
            text.contains(END).then_some(text)
        });
        let text = text.expect("the facts unit has printed");
        let all: Vec<&str> = text
            .lines()
            .filter_map(|line| Some(line.split_once(MARK)?.1.trim_end()))
            .collect();
        let lines = all
            .iter()
            .rev()
            .skip_while(|line| **line != "end")
            .skip(1)
            .take_while(|line| **line != "end");
        Self {
            lines: lines.map(|line| (*line).to_owned()).collect(),
        }
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines
            .iter()
            .filter_map(move |line| line.strip_prefix(kind)?.strip_prefix('|'))
    }

    /// Mounts: source, mount point, type, options.
    pub fn mounts(&self) -> Vec<[String; 4]> {
        let four = |line: &str| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some([words.next()?, words.next()?, words.next()?, words.next()?])
        };
        self.of_kind("mount").filter_map(four).collect()
    }

    /// The mount at `point` that is on top.
    pub fn mount(&self, point: &str) -> [String; 4] {
        // The lines are in reverse order, so the first is the one on top.
        let found = self.mounts().into_iter().find(|mount| mount[1] == point);
        found.unwrap_or_else(|| panic!("nothing is mounted at {point}: {:#?}", self.mounts()))
    }

    /// Bytes in each file system in memory that is mounted, by mount point; one that
    /// is mounted in several places counts once.
    pub fn held(&self) -> BTreeMap<&str, u64> {
        let mut devices = BTreeSet::new();
        let held = self.of_kind("held").filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [device, block, blocks, free, point] = words[..] else {
                panic!("{line:?} is not what stat prints");
            };
            let [block, blocks, free] = [block, blocks, free].map(number);
            let used = block * blocks.saturating_sub(free);
            devices.insert(device).then_some((point, used))
        });
        held.collect()
    }

    /// Bytes in files in memory that no mounted file system has, such as those of an
    /// initramfs that was left and not emptied: its pages count as `Shmem` where it
    /// is a tmpfs, and as `Unevictable` where it is a ramfs.
    pub fn hidden(&self) -> u64 {
        let unevictable = self.memory("Unevictable");
        let pinned = unevictable.saturating_sub(self.memory("Mlocked"));
        let files = self.memory("Shmem") + pinned;
        files.saturating_sub(self.held().values().sum())
    }

    /// Backing files of loop devices.
    pub fn loops(&self) -> Vec<String> {
        self.of_kind("loop").map(str::to_owned).collect()
    }

    /// An entry of `/proc/meminfo` in bytes.
    pub fn memory(&self, name: &str) -> u64 {
        let entry = self
            .of_kind("memory")
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = entry.and_then(|entry| entry.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no {name} in {:#?}", self.lines)) * 1024
    }
}

fn number(word: &str) -> u64 {
    let number = word.parse();
    number.unwrap_or_else(|_| panic!("{word:?} is no number"))
}
