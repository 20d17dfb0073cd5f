//! The hardware profiles this program knows: those built in, and those of a
//! folder an operator names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boot_proto::hardware_profile::{HardwareProfile, ProfileMistake};

/// The word for recognising the device.
pub const AUTO: &str = "auto";

/// A profile of the source tree, put into the program.
macro_rules! built_in {
    ($path:literal) => {
        (
            concat!("hardware-profiles/", $path),
            include_str!(concat!("../../hardware-profiles/", $path)),
        )
    };
}

const BUILT_IN: [(&str, &str); 13] = [
    built_in!("hpe/moonshot-1500.yaml"),
    built_in!("hpe/moonshot-cm2.yaml"),
    built_in!("redfish/ami-megarac.yaml"),
    built_in!("redfish/cray-controller.yaml"),
    built_in!("redfish/dell-idrac.yaml"),
    built_in!("redfish/generic.yaml"),
    built_in!("redfish/hpe-ilo.yaml"),
    built_in!("redfish/intel-bmc.yaml"),
    built_in!("redfish/lenovo-xcc.yaml"),
    built_in!("redfish/nvidia-openbmc.yaml"),
    built_in!("redfish/openbmc.yaml"),
    built_in!("redfish/supermicro.yaml"),
    built_in!("redfish/virtual.yaml"),
];

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file is not a profile.
    #[error("hardware profile {file}: {reason}")]
    Unreadable {
        /// Which file.
        file: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// The profile means something impossible.
    #[error("hardware profile {file}")]
    Wrong {
        /// Which file.
        file: String,
        /// The mistake.
        #[source]
        source: ProfileMistake,
    },
    /// Two files have one name.
    #[error("hardware profile {file}: the name {name:?} is taken by {other}")]
    Twice {
        /// Which file.
        file: String,
        /// The name.
        name: String,
        /// The other file.
        other: String,
    },
    /// The folder cannot be read.
    #[error("reading hardware profiles from {}", path.display())]
    Folder {
        /// Which folder or file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// There is no such profile.
    #[error("there is no hardware profile {name:?}; there is {known}, or auto")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// Hardware profiles by name.
#[derive(Clone, Debug)]
pub struct Profiles {
    by_name: BTreeMap<String, (String, Arc<HardwareProfile>)>,
}

impl Profiles {
    /// The profiles built into the program.
    ///
    /// # Errors
    /// When one of them is wrong, which a test rules out.
    pub fn built_in() -> Result<Self, ProfileError> {
        let mut profiles = Self {
            by_name: BTreeMap::new(),
        };
        for (file, text) in BUILT_IN {
            profiles.add(file, text)?;
        }
        Ok(profiles)
    }

    /// The same, and the `.yaml` files of `folder` and of its folders. A file
    /// there may replace a built-in profile by taking its name.
    ///
    /// # Errors
    /// When the folder cannot be read or a profile in it is wrong.
    pub fn with_folder(folder: &Path) -> Result<Self, ProfileError> {
        let mut own = Self {
            by_name: BTreeMap::new(),
        };
        let failed = |path: &Path, source| ProfileError::Folder {
            path: path.to_owned(),
            source,
        };
        let mut folders = vec![(folder.to_owned(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            const DEEPEST: usize = 4;
            let entries = std::fs::read_dir(&folder).map_err(|e| failed(&folder, e))?;
            for entry in entries {
                let path = entry.map_err(|e| failed(&folder, e))?.path();
                let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
                if path.is_dir() && depth < DEEPEST {
                    folders.push((path, depth + 1));
                } else if is_yaml {
                    let text = std::fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
                    own.add(&path.display().to_string(), &text)?;
                }
            }
        }
        let mut all = Self::built_in()?;
        all.by_name.extend(own.by_name);
        Ok(all)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ProfileError> {
        let profile = read(file, text)?;
        let name = profile.name.clone();
        if let Some((other, _)) = self.by_name.get(&name) {
            return Err(ProfileError::Twice {
                file: file.into(),
                name,
                other: other.clone(),
            });
        }
        self.by_name
            .insert(name, (file.to_owned(), Arc::new(profile)));
        Ok(())
    }

    /// The profile with this name.
    ///
    /// # Errors
    /// When there is none; the message lists those there are.
    pub fn named(&self, name: &str) -> Result<Arc<HardwareProfile>, ProfileError> {
        let found = self
            .by_name
            .get(name)
            .map(|(_, profile)| Arc::clone(profile));
        found.ok_or_else(|| ProfileError::Unknown {
            name: name.into(),
            known: self.names(),
        })
    }

    /// All profiles, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<HardwareProfile>> {
        self.by_name.values().map(|(_, profile)| profile)
    }

    /// All names, for messages.
    #[must_use]
    pub fn names(&self) -> String {
        self.by_name.keys().cloned().collect::<Vec<_>>().join(", ")
    }
}

/// Reads one profile.
///
/// # Errors
/// When the text is no profile (with line and column) or means something
/// impossible (with the field).
pub fn read(file: &str, text: &str) -> Result<HardwareProfile, ProfileError> {
    let profile: HardwareProfile =
        serde_yaml_ng::from_str(text).map_err(|error| ProfileError::Unreadable {
            file: file.into(),
            reason: error.to_string(),
        })?;
    profile.check().map_err(|source| ProfileError::Wrong {
        file: file.into(),
        source,
    })?;
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error and its causes, as the edge prints them.
    fn chain(error: &dyn std::error::Error) -> String {
        let cause = error
            .source()
            .map(chain)
            .map_or_else(String::new, |c| format!(": {c}"));
        format!("{error}{cause}")
    }

    #[test]
    fn every_profile_loads_and_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hardware-profiles");
        let all = Profiles::with_folder(&folder).unwrap();
        let built_in = Profiles::built_in().unwrap();
        assert_eq!(all.names(), built_in.names());
        let profile = all.named("hpe-moonshot-1500").unwrap();
        assert!(profile.quirks.iter().all(|quirk| quirk.story.len() > 20));
        let error = all.named("nonsense").unwrap_err().to_string();
        assert!(error.contains("hpe-moonshot-1500"), "{error}");
    }

    #[test]
    fn wrong_profiles_are_refused_with_a_message_that_helps() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/profiles/bad");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            // The first line tells what the message must say.
            let expected = text
                .lines()
                .next()
                .unwrap()
                .strip_prefix("# expect: ")
                .unwrap();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let error = read(&file, &text).expect_err(&file);
            let message = chain(&error);
            assert!(message.contains(&file), "{message}");
            assert!(
                message.contains(expected),
                "{file}: {message:?} does not say {expected:?}"
            );
            seen += 1;
        }
        assert!(seen >= 8, "only {seen} wrong profiles");
    }
}
