//! What a Profile writes into a node.

use serde_json::{Value, json};

use super::names::{labels, taints};
use super::{Patch, patch, rule};

/// An absolute path without empty parts; `.` and `..` need a rule of their own.
const PATH: &str = "^(/[^/\\x00-\\x1f\\x7f]+)+$";
const ONE_LINE: &str = "^[^\\x00-\\x1f\\x7f]*$";
const UNIT_NAME: &str = "^[A-Za-z0-9:_.\\\\@-]+[.](service|socket|device|mount|automount|swap|target|path|timer|slice|scope)$";
/// Kubelet arguments that Moonfarm gives itself.
const OWN_ARGUMENTS: &str = "['node-labels', 'register-with-taints', 'hostname-override', 'kubeconfig', 'bootstrap-kubeconfig']";

pub(super) fn rules() -> Vec<Patch> {
    let mut patches = vec![
        patch("spec.kernelArguments[]", kernel_argument()),
        patch("spec.mtu", json!({"minimum": 576, "maximum": 65535})),
        patch("spec.overlaySize", some_size()),
        patch(
            "spec.imageServers[]",
            json!({
                "pattern": "^https?://([0-9]{1,3}([.][0-9]{1,3}){3}|\\[[0-9A-Fa-f:]+\\])(:[0-9]{1,5})?/?$",
                "maxLength": 80,
            }),
        ),
        patch(
            "spec.modules[]",
            json!({"pattern": "^[A-Za-z0-9_-]+( [^\\x00-\\x1f\\x7f]*)?$"}),
        ),
        patch(
            "spec.timeZone",
            json!({"pattern": "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"}),
        ),
        patch("spec.sshAuthorizedKeys[]", public_key()),
    ];
    patches.extend(tables());
    patches.extend(files());
    patches.extend(super::accounts::rules());
    patches.extend(super::network::rules());
    patches.extend(super::storage::rules());
    patches.extend(dhcp_options("spec.dhcpOptions", "spec.dhcpOptions{}"));
    patches.extend(labels("spec.labels", "spec.labels{}"));
    patches.extend(taints(
        "spec.taints",
        "spec.taints[].key",
        "spec.taints[].value",
    ));
    patches
}

/// One kernel argument; a blank is part of it in double quotes only
/// (kernel: lib/cmdline.c).
pub(super) fn kernel_argument() -> Value {
    json!({
        "pattern": "^([^\\s\"\\x00-\\x1f\\x7f]|\"[^\"\\x00-\\x1f\\x7f]*\")+$",
        "maxLength": 2048,
    })
}

/// A line of `authorized_keys` (sshd(8)); options may stand before the key.
pub(super) fn public_key() -> Value {
    json!({
        "pattern": "^([^\\n\\r]*\\s)?(ssh-|ecdsa-sha2-|sk-)\\S*[ \\t]+AAAA[A-Za-z0-9+/]*={0,2}([ \\t][^\\n\\r]*)?\\s*$",
        "maxLength": 16384,
    })
}

/// A size that is not 0.
fn some_size() -> Value {
    json!({"minimum": 1, "pattern": "^0*[1-9][0-9]{0,18}(Ti|Gi|Mi|Ki|T|G|M|k)?$"})
}

fn tables() -> Vec<Patch> {
    vec![
        patch(
            "spec.sysctls",
            rule(
                "self.all(key, key.matches('^[A-Za-z0-9_:@-]+([./][A-Za-z0-9_:@-]+)+$'))",
                "this is no sysctl: write a name such as net.ipv4.ip_forward",
            ),
        ),
        patch(
            "spec.sysctls{}",
            json!({"pattern": "^[^\\x00-\\x08\\x0a-\\x1f\\x7f]*\\s*$"}),
        ),
        patch(
            "spec.kubeletArguments",
            rule(
                "self.all(key, key.matches('^[a-z][a-z0-9.-]*$'))",
                "this is no kubelet argument: write its name without dashes in front, such as max-pods",
            ),
        ),
        patch(
            "spec.kubeletArguments",
            rule(
                format!("self.all(key, !(key in {OWN_ARGUMENTS}))"),
                "Moonfarm gives the kubelet this argument itself: use labels, taints or hostname",
            ),
        ),
        patch("spec.kubeletArguments{}", json!({"pattern": ONE_LINE})),
        patch(
            "spec.moduleOptions",
            rule(
                "self.all(key, key.matches('^[A-Za-z0-9_-]+$'))",
                "this is no kernel module: write the module's name, such as mlx4_core",
            ),
        ),
        patch(
            "spec.moduleOptions{}",
            json!({"pattern": "^[^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f][^\\x00-\\x1f\\x7f]*$"}),
        ),
    ]
}

/// A list whose items are told apart by one field.
pub(super) fn by(key: &str, most: u32) -> Value {
    json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key], "maxItems": most})
}

/// A path of that form without `.` and `..`.
pub(super) fn whole_path(pattern: &str, most: u32) -> Value {
    json!({
        "pattern": pattern,
        "maxLength": most,
        "x-kubernetes-validations": [{
            "rule": "!self.matches('/[.][.]?(/|$)')",
            "message": "write the path without '.' and '..'",
        }],
    })
}

fn files() -> Vec<Patch> {
    let path = whole_path(PATH, 4095);
    let mode = json!({"pattern": "^[0-7]{3,4}$"});
    vec![
        patch("spec.tmpfs", by("path", 64)),
        patch("spec.tmpfs[].path", path.clone()),
        patch("spec.tmpfs[].size", some_size()),
        patch("spec.tmpfs[].mode", mode.clone()),
        patch("spec.files", by("path", 128)),
        patch("spec.files[].path", path),
        patch("spec.files[].content", json!({"maxLength": 524_288})),
        patch("spec.files[].mode", mode),
        patch(
            "spec.files[].owner",
            json!({"pattern": "^[0-9]{1,10}:[0-9]{1,10}$"}),
        ),
        patch("spec.units", by("name", 128)),
        patch(
            "spec.units[].name",
            json!({"pattern": UNIT_NAME, "maxLength": 255}),
        ),
        patch("spec.units[].content", json!({"maxLength": 131_072})),
        patch(
            "spec.units[]",
            rule(
                "!self.masked || (!has(self.content) && !(has(self.enabled) && self.enabled))",
                "a masked unit cannot be enabled or written: take masked out, or enabled and content",
            ),
        ),
    ]
}

/// DHCP options by number or name.
pub(super) fn dhcp_options(path: &'static str, values: &'static str) -> [Patch; 3] {
    // What the protocol decides itself (RFC 2131 §3, §4.3).
    let own = "^0*(5[0-5]|5[7-9]|61|82|97)$";
    [
        patch(
            path,
            rule(
                "self.all(key, key.matches('^(0*([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-4])|[a-z][a-z0-9-]*)$'))",
                "this is no DHCP option: write its number from 1 to 254, or its name such as ntp-servers",
            ),
        ),
        patch(
            path,
            rule(
                format!("self.all(key, !key.matches('{own}'))"),
                "this DHCP option belongs to the protocol: leave it out",
            ),
        ),
        patch(values, json!({"maxLength": 1024})),
    ]
}
