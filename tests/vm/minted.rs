//! The join tokens that boot-server minted, learned from the API server, and where
//! they are found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use moonfarm_tests::kube::ControlPlane;
use moonfarm_tests::lab::Process;
use moonfarm_tests::wait::until;

use crate::support::TestFarm;

/// One line for a token: its halves, and the secret one as the API has it.
const SHOWN: &str = "go-template={{index .data \"token-id\" | base64decode}} \
                     {{index .data \"token-secret\" | base64decode}} \
                     {{index .data \"token-secret\"}}{{\"\\n\"}}";
/// Characters of a token's secret half.
const SECRET_CHARS: usize = 16;

/// Watches what is minted.
pub struct MintedTokens {
    watch: Process,
    // What it learns must not be among what is searched.
    _folder: tempfile::TempDir,
}

impl MintedTokens {
    /// Learns of all tokens from now on.
    pub fn watch(plane: &ControlPlane) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let kind = "type=bootstrap.kubernetes.io/token";
        let get = ["--namespace", "kube-system", "get", "secrets", "--watch"];
        let how = ["--field-selector", kind, "--output", SHOWN];
        let arguments = [&get[..], &how].concat();
        let watch = plane.kubectl_process("minted", folder.path(), &arguments);
        Self {
            watch: watch.unwrap_or_else(|error| panic!("{}", error.chain())),
            _folder: folder,
        }
    }

    /// The halves that are secret, as they are and as the API has them (base64).
    /// The watch may be behind: it is given a moment to have learned of `least`.
    pub fn secrets(&mut self, least: usize) -> Vec<String> {
        let log = self.watch.spec().log.clone();
        let mut secrets = BTreeSet::new();
        let enough = until(Duration::from_secs(10), || {
            let text = fs::read_to_string(&log).ok()?;
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let [_, secret, coded] = words[..]
                    && secret.len() == SECRET_CHARS
                {
                    secrets.extend([secret.to_owned(), coded.to_owned()]);
                }
            }
            (secrets.len() >= 2 * least).then_some(())
        });
        let is_watching = self.watch.check();
        is_watching.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(
            enough.is_some(),
            "{} tokens, not {least}",
            secrets.len() / 2
        );
        secrets.into_iter().collect()
    }

    /// None of what the farm wrote holds a token: consoles, logs, what the servers
    /// keep. etcd has them, and the search finds them there; and it finds the name
    /// of the node in all these places.
    pub fn are_kept_nowhere(&mut self, test: &TestFarm, least: usize, node: &str) {
        let secrets = self.secrets(least);
        let layout = test.farm.layout();
        let etcd = layout.cluster().join("etcd");
        let in_etcd = files_with(&[etcd], &secrets);
        assert!(!in_etcd.is_empty(), "the search finds no token in etcd");

        let entries = fs::read_dir(layout.folder()).expect("the farm's folder");
        let entries = entries.map(|entry| entry.expect("an entry").path());
        let written: Vec<PathBuf> = entries.filter(|path| *path != layout.cluster()).collect();
        let known = files_with(&written, &[node.to_owned()]);
        let logs = layout.folder().join("boot-server.log");
        for place in [layout.state(), logs, layout.folder().join("machines")] {
            let is_searched = known.iter().any(|file| file.starts_with(&place));
            assert!(
                is_searched,
                "{node} is not in {}: {known:#?}",
                place.display()
            );
        }
        let holders = files_with(&written, &secrets);
        assert!(holders.is_empty(), "tokens are in {holders:#?}");
        test.say(&format!("{} tokens are nowhere", secrets.len() / 2));
    }
}

/// Files with one of these texts, raw, in all that is below these places.
pub fn files_with(places: &[PathBuf], texts: &[String]) -> Vec<PathBuf> {
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--text", "--fixed-strings"]);
    grep.arg("--files-with-matches");
    for text in texts {
        grep.arg("--regexp").arg(text);
    }
    let output = grep.arg("--").args(places).output().expect("grep");
    // 1 is that nothing was found.
    let is_done = matches!(output.status.code(), Some(0 | 1));
    assert!(is_done, "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| Path::new(line).to_owned())
        .collect()
}
