//! OVMF's files, as Debian's package has them.

use std::path::Path;

use super::arguments::Flash;
use super::spec::{Firmware, MachineSpec};
use crate::lab::LabError;

/// Code and variables that belong together, the current layout first.
const OVMF: [(&str, &str); 2] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];
/// The same that enforces Secure Boot, with the variables of a machine as it is
/// sold: Microsoft's keys are enrolled.
const SECURE: [(&str, &str); 1] = [(
    "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
)];

/// The flash of a UEFI machine, its variables fresh if it has none yet; nothing
/// for a BIOS machine.
///
/// # Errors
/// When OVMF is not installed or the copy fails.
pub(super) fn flash(spec: &MachineSpec) -> Result<Option<Flash>, LabError> {
    if spec.firmware == Firmware::Bios {
        return Ok(None);
    }
    let builds: &[(&str, &str)] = if spec.firmware.is_secure() {
        &SECURE
    } else {
        &OVMF
    };
    let Some((code, fresh)) = builds
        .iter()
        .find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists())
    else {
        return Err(LabError::Missing {
            what: "OVMF".into(),
            remedy: "apt-get install ovmf".into(),
        });
    };
    let variables = spec.folder.join("variables.fd");
    if !variables.exists() {
        std::fs::copy(fresh, &variables).map_err(LabError::file("making", &variables))?;
    }
    Ok(Some(Flash {
        code: code.into(),
        variables,
    }))
}
