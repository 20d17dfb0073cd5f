//! What a container's security context leaves it: capabilities it may have, and
//! whether it may gain any.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::items;
use crate::lab::LabError;

/// Capabilities that charts add, and their numbers (capabilities(7)).
const NUMBERS: [(&str, u32); 3] = [("NET_BIND_SERVICE", 10), ("NET_ADMIN", 12), ("NET_RAW", 13)];
/// Where the kernel tells the last number that it knows.
const LAST: &str = "/proc/sys/kernel/cap_last_cap";

/// Shows as the arguments of capsh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confinement {
    dropped: Vec<u32>,
    gains_none: bool,
}

impl Confinement {
    pub fn of(container: &Value) -> Result<Self, LabError> {
        let last = fs::read_to_string(LAST).map_err(LabError::file("reading", Path::new(LAST)))?;
        let last = last
            .trim()
            .parse()
            .map_err(|_| LabError::Other(format!("{LAST}: {last:?} is no number")))?;
        Self::within(&container["securityContext"], last)
    }

    fn within(context: &Value, last: u32) -> Result<Self, LabError> {
        let capabilities = &context["capabilities"];
        let mut dropped = Vec::new();
        if items(capabilities, "drop").iter().any(|it| it == "ALL") {
            dropped = (0..=last).collect();
        }
        for added in items(capabilities, "add") {
            let number = NUMBERS.iter().find(|(name, _)| added == name);
            let (_, number) = number
                .ok_or_else(|| LabError::Other(format!("capability {added} is not known here")))?;
            dropped.retain(|it| it != number);
        }
        Ok(Self {
            dropped,
            gains_none: context["allowPrivilegeEscalation"] == false,
        })
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.dropped.is_empty() {
            let numbers: Vec<String> = self.dropped.iter().map(u32::to_string).collect();
            write!(f, "--drop={}", numbers.join(","))?;
        }
        if self.gains_none {
            f.write_str(" --no-new-privs")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_added_is_not_dropped() {
        let context = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        });
        let confinement = Confinement::within(&context, 11).unwrap();
        let shown = "--drop=0,1,2,3,4,5,6,7,8,9,11 --no-new-privs";
        assert_eq!(confinement.to_string(), shown);
        let free = Confinement::within(&json!({}), 11).unwrap();
        assert_eq!(free.to_string(), "");
        let unknown = json!({"capabilities": {"add": ["SYS_BOOT"]}});
        assert!(Confinement::within(&unknown, 11).is_err());
    }
}
