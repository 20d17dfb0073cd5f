//! The systemd units: systemd's own judgement of them.

use std::fs;
use std::path::Path;

use moonfarm_tests::charts::checkout;
use moonfarm_tests::lab::process::run;
use moonfarm_tests::needs;

/// Exposure as systemd counts it, in tenths, from 0 (none) to 100.
const MOST_EXPOSED: &str = "25";

#[test]
fn units_are_right_and_confined() {
    if !needs::is_met(missing()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for unit in ["boot-server.service", "chassis-agent.service"] {
        let text = fs::read_to_string(checkout().join("deploy/systemd").join(unit)).unwrap();
        // The programs are not installed here, and systemd looks for them.
        let program = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .unwrap();
        let program = program.split(' ').next().unwrap();
        let file = folder.path().join(unit);
        fs::write(&file, text.replace(program, "/usr/bin/true")).unwrap();
        check(&file);
    }
}

fn check(file: &Path) {
    let file = file.display().to_string();
    let threshold = format!("--threshold={MOST_EXPOSED}");
    for arguments in [
        vec!["verify", &file],
        vec!["security", "--offline=true", &threshold, &file],
    ] {
        run("systemd-analyze", arguments).unwrap_or_else(|error| panic!("{}", error.chain()));
    }
}

fn missing() -> Option<String> {
    let is_missing = run("systemd-analyze", ["--version"]).is_err();
    is_missing.then(|| "systemd-analyze is not installed".to_owned())
}
