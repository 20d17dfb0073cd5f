//! `node-agent plan`: the plan for a boot config, as text.

use std::fmt::Write as _;

use boot_proto::boot_config::BootConfig;
use boot_proto::cmdline::BootArguments;
use boot_proto::ids::MacAddr;
use boot_proto::report::MachineFacts;

use crate::configure::{Machine, changes, default_tmpfs};
use crate::memory::Budget;
use crate::paths::Paths;
use crate::plan;
use crate::root_dir::RootView;

/// The steps a machine with `memory_bytes` of RAM would walk with this boot
/// config, and what it would change in `root`.
#[must_use]
pub fn plan(config: &BootConfig, memory_bytes: u64, root: &dyn RootView) -> String {
    let mac = config.macs.first().copied().unwrap_or(MacAddr::new([0; 6]));
    let facts = MachineFacts {
        memory_bytes,
        macs: config.macs.clone(),
        ..MachineFacts::default()
    };
    let machine = Machine {
        config,
        mac,
        address: config.network.address,
        own: None,
        device: None,
        nics: &[],
        facts: &facts,
    };
    let budget = Budget::of(config, &default_tmpfs(&machine), memory_bytes);
    let arguments = BootArguments {
        server: Some(config.server.clone()),
        machine: Some(config.machine.clone()),
        boot_interface: Some(mac),
        ..BootArguments::default()
    };
    let paths = Paths::default();
    let mut text = String::new();
    for step in plan::opening(&arguments, &paths) {
        let _ = writeln!(text, "{step}");
    }
    for step in plan::closing(config, &budget, &paths) {
        let _ = writeln!(text, "{step}");
    }
    match budget.check() {
        Ok(None) => {}
        Ok(Some(warning)) => {
            let _ = writeln!(text, "\nwarning: {warning}");
        }
        Err(error) => {
            let _ = writeln!(text, "\nthis would fail: {error}");
        }
    }
    let changes = changes(&machine, root);
    let _ = writeln!(text, "\nconfigure would change in the new root:");
    for change in &changes.list {
        let _ = writeln!(text, "  {change}");
    }
    for warning in &changes.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_dir::EmptyRoot;

    #[test]
    fn the_plan_names_phases_and_files_but_no_content() {
        let mut config = crate::configure::tests::config();
        config.system.ssh_authorized_keys = vec!["ssh-ed25519 KEYTEXT".to_owned()];
        let text = plan(&config, 2 << 30, &EmptyRoot);
        for part in [
            "mounts ",
            "switch-root ",
            "file /etc/hostname",
            "bring up the link with MAC",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("KEYTEXT"));
        assert!(plan(&config, 64 << 20, &EmptyRoot).contains("this would fail: not enough memory"));
    }
}
