//! What a test needs that not every machine has, and what is said when it is
//! not there.

use std::path::PathBuf;

use crate::lab::process::run;

/// Where this is set, a test that cannot run has failed.
const MUST_RUN: &str = "MOONFARM_REQUIRE_VM";

/// Where this is set, tests that take minutes run too.
const ALL: &str = "MOONFARM_TEST_ALL";

/// Whether we are root and the tools for namespaces are there; prints the reason
/// where not.
///
/// # Panics
/// When something is missing and the tests must run.
#[must_use]
pub fn has_namespaces() -> bool {
    is_met(missing_for_namespaces())
}

/// Whether namespaces and QEMU are there; prints the reason where not.
///
/// # Panics
/// When something is missing and the tests must run.
#[must_use]
pub fn has_virtual_machines() -> bool {
    is_met(missing_for_namespaces().or_else(|| missing_program("qemu-system-x86_64", "--version")))
}

/// Whether tests that take minutes are asked for; says how where not.
#[must_use]
pub fn is_long_run() -> bool {
    let is_asked = std::env::var_os(ALL).is_some();
    if !is_asked {
        println!("SKIPPED: it takes minutes: cargo xtask test --all runs it");
    }
    is_asked
}

/// The folder that an environment variable of `cargo xtask test` names; prints
/// the reason where it is not set.
///
/// # Panics
/// When it is not set and the tests must run.
#[must_use]
pub fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).filter(|value| !value.is_empty());
    let missing = folder
        .is_none()
        .then(|| format!("{variable} is not set: use cargo xtask test"));
    is_met(missing).then_some(())?;
    folder.map(PathBuf::from)
}

/// Whether nothing is missing; prints what is, in the line that `cargo xtask
/// test` counts.
///
/// # Panics
/// When something is missing and the tests must run.
#[must_use]
pub fn is_met(missing: Option<String>) -> bool {
    let Some(reason) = missing else { return true };
    assert!(
        std::env::var_os(MUST_RUN).is_none(),
        "{MUST_RUN} is set, but {reason}"
    );
    println!("SKIPPED: {reason}");
    false
}

fn missing_for_namespaces() -> Option<String> {
    if run("id", ["-u"]).is_ok_and(|id| id.trim() != "0") {
        return Some("namespaces and taps need root".into());
    }
    missing_program("ip", "-V").or_else(|| missing_program("setpriv", "--version"))
}

fn missing_program(program: &str, harmless: &str) -> Option<String> {
    run(program, [harmless])
        .is_err()
        .then(|| format!("{program} is not installed"))
}
