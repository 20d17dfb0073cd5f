//! What Matchbox answers, from groups and profiles among the manifests: which
//! group a request belongs to, and the texts made of its profile. Pure.
//!
//! Who may have which text is decided at the HTTP face.

mod butane;
mod cloud;
mod ignition;
mod labels;
mod scripts;
mod select;
mod template;
#[cfg(test)]
mod tests;
mod variables;

use boot_proto::resources::{MatchboxProfileSpec, MatchboxTemplate};

pub use ignition::{ConfigError, ignition};
pub use labels::labels;
pub use scripts::{BOOTSTRAP, grub, ipxe};
pub use select::{Match, select};
pub use template::{MAX_OUTPUT, Template, TemplateError, Value};
pub use variables::{environment, variables};

/// Query parameters of a request, each once.
pub type Labels = std::collections::BTreeMap<String, String>;

/// A text that machines fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// `/ignition`
    Ignition,
    /// `/cloud`
    Cloud,
    /// `/generic`
    Generic,
}

impl ConfigKind {
    /// The word for it, as in the path.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ignition => "ignition",
            Self::Cloud => "cloud",
            Self::Generic => "generic",
        }
    }

    /// The template that a profile has for it.
    #[must_use]
    pub const fn of(self, profile: &MatchboxProfileSpec) -> Option<&MatchboxTemplate> {
        match self {
            Self::Ignition => profile.ignition.as_ref(),
            Self::Cloud => profile.cloud.as_ref(),
            Self::Generic => profile.generic.as_ref(),
        }
    }
}

/// The templates of a profile that Go's rules apply to, each with its field.
pub(crate) fn templates(
    profile: &MatchboxProfileSpec,
) -> impl Iterator<Item = (&'static str, &MatchboxTemplate)> {
    let kinds = [ConfigKind::Ignition, ConfigKind::Cloud, ConfigKind::Generic];
    kinds
        .into_iter()
        .filter_map(|kind| Some((kind.name(), kind.of(profile)?)))
        .filter(|(_, template)| !ignition::is_raw(&template.name))
}

/// The text of a config, rendered with the group's values.
///
/// # Errors
/// When the template cannot be rendered or is no config of its kind.
pub fn config(
    kind: ConfigKind,
    template: &MatchboxTemplate,
    values: &Value,
) -> Result<String, ConfigError> {
    if kind == ConfigKind::Ignition && ignition::is_raw(&template.name) {
        return ignition(&template.text);
    }
    let text = Template::parse(&template.text)?.render(values)?;
    match kind {
        ConfigKind::Ignition => butane::translate(&text),
        ConfigKind::Cloud => cloud::checked(text),
        ConfigKind::Generic => Ok(text),
    }
}
