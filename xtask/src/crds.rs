//! `cargo xtask crds`: the CustomResourceDefinitions into `deploy/crds`, and the
//! schema of hardware profiles beside them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use boot_proto::kubernetes::crd::{Definition, definitions};
use clap::Args;

/// First lines of every file.
const HEAD: &str = "# Written by `cargo xtask crds` from boot-proto; changes belong there.\n";

/// Options of `crds`.
#[derive(Debug, Args)]
pub struct CrdsOptions {
    /// Write nothing; fail when a file is not what would be written.
    #[arg(long)]
    check: bool,
}

/// Writes or compares the files.
pub fn run(options: &CrdsOptions) -> anyhow::Result<()> {
    let folder = crate::cache::checkout().join("deploy/crds");
    if options.check {
        crate::profile_schema::check()?;
        return check(&folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for definition in definitions() {
        let path = folder.join(file_name(&definition));
        fs::write(&path, text(&definition)?)
            .with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    crate::profile_schema::write()
}

fn check(folder: &Path) -> anyhow::Result<()> {
    for definition in definitions() {
        let path = folder.join(file_name(&definition));
        let there = fs::read_to_string(&path).unwrap_or_default();
        if there != text(&definition)? {
            bail!(
                "{} is not what boot-proto says: run `cargo xtask crds`",
                path.display()
            );
        }
    }
    Ok(())
}

fn file_name(definition: &Definition) -> String {
    format!("{}.yaml", definition.plural)
}

fn text(definition: &Definition) -> anyhow::Result<String> {
    let yaml = serde_yaml_ng::to_string(&definition.object)?;
    let lines = yaml.lines().map(quoted).collect::<Vec<_>>();
    Ok(format!("{HEAD}{}\n", lines.join("\n")))
}

/// kubectl reads YAML 1.1, in which a bare `off` is a truth value.
fn quoted(line: &str) -> String {
    const TRUTHS: [&str; 6] = ["on", "off", "yes", "no", "y", "n"];
    let at = line.rfind(' ').map_or(0, |at| at + 1);
    let (before, word) = line.split_at(at);
    if before.trim_end().ends_with(['-', ':']) && TRUTHS.contains(&word.to_lowercase().as_str()) {
        format!("{before}'{word}'")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_checked_in_is_what_boot_proto_says() {
        check(&crate::cache::checkout().join("deploy/crds")).unwrap();
    }
}
