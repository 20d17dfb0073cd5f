//! systemd's names for mounts and devices. Pure.

/// The unit of a mount point: `/var/lib/data` is `var-lib-data.mount`.
#[must_use]
pub fn mount_unit(path: &str) -> String {
    format!("{}.mount", escape(path))
}

/// The unit that waits for the file system with a label, or the swap.
#[must_use]
pub fn label_unit(label: &str) -> String {
    format!("{}.device", escape(&label_link(label)))
}

/// The link that udev makes for a label: `/dev/disk/by-label/data`. What is unsafe
/// in a file name is written in hexadecimal, as in libblkid's
/// `blkid_encode_string`.
#[must_use]
pub fn label_link(label: &str) -> String {
    let mut name = String::new();
    for character in label.chars() {
        let is_safe = character.is_ascii_alphanumeric()
            || "#+-.:=@_".contains(character)
            || !character.is_ascii();
        push(&mut name, character, is_safe);
    }
    format!("/dev/disk/by-label/{name}")
}

/// A path as a unit's name (systemd.unit(5), "String escaping for inclusion in
/// unit names").
fn escape(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            name.push('-');
        }
        for character in part.chars() {
            let is_hidden = name.is_empty() && character == '.';
            let is_plain = character.is_ascii_alphanumeric() || ":_.".contains(character);
            push(&mut name, character, is_plain && !is_hidden);
        }
    }
    name
}

/// Appends a character as it is, or each of its octets as `\xNN`.
fn push(text: &mut String, character: char, is_plain: bool) {
    if is_plain {
        text.push(character);
        return;
    }
    let mut octets = [0; 4];
    for octet in character.encode_utf8(&mut octets).bytes() {
        text.push_str(&format!("\\x{octet:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `systemd-escape --path --suffix=mount` prints them.
    #[test]
    fn mount_points() {
        for (path, unit) in [
            ("/var/lib/containerd", "var-lib-containerd.mount"),
            ("/var//lib/my-data/", "var-lib-my\\x2ddata.mount"),
            ("/", "-.mount"),
            ("/.hidden/.too", "\\x2ehidden-.too.mount"),
            ("/mnt/ä b", "mnt-\\xc3\\xa4\\x20b.mount"),
        ] {
            assert_eq!(mount_unit(path), unit, "{path}");
        }
    }

    #[test]
    fn labels() {
        assert_eq!(label_unit("data"), "dev-disk-by\\x2dlabel-data.device");
        assert_eq!(
            label_link("my data/1"),
            "/dev/disk/by-label/my\\x20data\\x2f1"
        );
        assert_eq!(
            label_unit("my data"),
            "dev-disk-by\\x2dlabel-my\\x5cx20data.device"
        );
    }
}
