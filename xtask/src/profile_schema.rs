//! The JSON Schema of hardware profiles, `hardware-profiles/schema.json`.

use std::fs;

use anyhow::{Context as _, Result, bail};
use boot_proto::hardware_profile;

use crate::cache;

fn path() -> std::path::PathBuf {
    cache::checkout().join("hardware-profiles/schema.json")
}

fn text() -> Result<String> {
    let text = serde_json::to_string_pretty(&hardware_profile::schema())?;
    Ok(format!("{text}\n"))
}

/// Writes it.
///
/// # Errors
/// When the file cannot be written.
pub fn write() -> Result<()> {
    let path = path();
    fs::write(&path, text()?).with_context(|| format!("writing {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// Compares it.
///
/// # Errors
/// When the file is not what would be written.
pub fn check() -> Result<()> {
    let path = path();
    if fs::read_to_string(&path).unwrap_or_default() != text()? {
        bail!(
            "{} is not what boot-proto says: run `cargo xtask crds`",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn profiles(folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![cache::checkout().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "yaml") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// What the schema has against a profile.
    fn complaints(validator: &jsonschema::Validator, path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        match serde_yaml_ng::from_str(&text) {
            Err(error) => vec![error.to_string()],
            Ok(profile) => validator
                .iter_errors(&profile)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect(),
        }
    }

    fn validator() -> jsonschema::Validator {
        let schema = serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    #[test]
    fn the_schema_is_what_boot_proto_says() {
        check().unwrap();
    }

    #[test]
    fn every_profile_fits_the_schema_and_names_it() {
        let validator = validator();
        let all = profiles("hardware-profiles");
        assert!(all.len() >= 13, "{}", all.len());
        for path in all {
            let found = complaints(&validator, &path);
            assert_eq!(found, Vec::<String>::new(), "{}", path.display());
            let text = fs::read_to_string(&path).unwrap();
            let modeline = "# yaml-language-server: $schema=../schema.json";
            assert_eq!(text.lines().next(), Some(modeline), "{}", path.display());
        }
    }

    /// The program refuses all wrong profiles (see chassis-agent's tests); an
    /// editor with the schema shows those that are wrong in form.
    #[test]
    fn what_is_wrong_in_form_is_seen_by_the_schema() {
        let validator = validator();
        for name in [
            "driver-is-no-word",
            "missing-list",
            "redfish-boot-way",
            "redfish-login-way",
            "redfish-misspelt",
            "redfish-span-without-unit",
            "span-without-unit",
            "state-word",
            "unknown-driver",
            "unknown-field",
            "redfish-number-as-text",
            "redfish-list-as-text",
        ] {
            let path = cache::checkout().join(format!("tests/fixtures/profiles/bad/{name}.yaml"));
            assert!(!complaints(&validator, &path).is_empty(), "{name}");
        }
    }
}
