//! Users, scripts, hosts and recovery of a Profile.

use serde_json::json;

use super::profile::{by, public_key, whole_path};
use super::{Patch, patch, rule};

/// A login name as useradd(8) takes it.
const LOGIN: &str = "^[a-z_][a-z0-9_-]{0,31}$";
/// The form of crypt(5): all of ASCII that is seen but `!`, `*`, `:`, `;` and
/// `\`; or `!` and `*` for no password at all.
const PASSWORD_HASH: &str = "^([!*]|[$][\\x22-\\x29\\x2b-\\x39\\x3c-\\x5b\\x5d-\\x7e]*[$][\\x22-\\x29\\x2b-\\x39\\x3c-\\x5b\\x5d-\\x7e]*)$";
/// Most of a script, in bytes, as of a unit.
const MAX_SCRIPT: u32 = 131_072;

pub(super) fn rules() -> Vec<Patch> {
    // A colon cannot stand in passwd(5).
    let path = whole_path("^(/[^/:\\x00-\\x1f\\x7f]+)+$", 1024);
    vec![
        patch("spec.users", by("name", 64)),
        patch(
            "spec.users[]",
            rule(
                "!has(self.uid) || (self.name == 'root') == (self.uid == 0)",
                "number 0 is root's, and root's only",
            ),
        ),
        patch(
            "spec.users[].name",
            json!({"pattern": LOGIN, "maxLength": 32}),
        ),
        patch(
            "spec.users[].groups[]",
            json!({"pattern": LOGIN, "maxLength": 32}),
        ),
        patch("spec.users[].shell", path.clone()),
        patch("spec.users[].home", path),
        patch(
            "spec.users[].passwordHash",
            json!({"pattern": PASSWORD_HASH, "maxLength": 384}),
        ),
        patch("spec.users[].sshAuthorizedKeys[]", public_key()),
        patch("spec.scripts", by("name", 64)),
        patch(
            "spec.scripts[].name",
            json!({"pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$", "maxLength": 64}),
        ),
        patch(
            "spec.scripts[].content",
            json!({"pattern": "^#!/", "maxLength": MAX_SCRIPT}),
        ),
        patch(
            "spec.scripts[].timeoutSeconds",
            json!({"minimum": 1, "maximum": 3600}),
        ),
        patch(
            "spec.hosts",
            rule("self.all(key, isIP(key))", "this is no IP address"),
        ),
        patch(
            "spec.hosts{}[]",
            json!({
                "pattern": "^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?([.][A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$",
                "maxLength": 253,
            }),
        ),
        patch("spec.hosts{}", json!({"maxItems": 32})),
        // Below that, one slow step of a boot would be taken for a hang.
        patch(
            "spec.recovery.watchdogSeconds",
            rule(
                "self == 0 || (self >= 30 && self <= 3600)",
                "write 30 to 3600 seconds, or 0 to leave the watchdog alone",
            ),
        ),
    ]
}
