//! Cloud-Config, which Matchbox still gives, and only where it is some.

use super::ConfigError;

/// The text itself, where it is a script or a Cloud-Config that can be read.
pub(super) fn checked(text: String) -> Result<String, ConfigError> {
    if text.starts_with("#!") {
        return Ok(text);
    }
    let first = text.lines().next().unwrap_or_default();
    if first.trim_end() != "#cloud-config" {
        return Err(ConfigError::NotCloudConfig);
    }
    serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text)?;
    Ok(text)
}
