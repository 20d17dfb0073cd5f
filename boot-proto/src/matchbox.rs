//! How Matchbox spells what machines say of themselves.

/// A hardware address in colon form with small letters, as Go's `net.ParseMAC`
/// reads one: 6, 8 or 20 octets with colons or dashes between them, groups of two
/// octets with dots, or the bare digits. `None` where it is none.
#[must_use]
pub fn normal_mac(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    if !text.is_ascii() {
        return None;
    }
    if matches!(bytes.len(), 12 | 16 | 40) && bytes.iter().all(u8::is_ascii_hexdigit) {
        let (octets, _) = bytes.as_chunks::<2>();
        let octets = octets.iter().map(|octet| octet.map(char::from));
        let octets: Vec<String> = octets.map(|octet| octet.iter().collect()).collect();
        return Some(octets.join(":").to_ascii_lowercase());
    }
    let (mark, width) = match (bytes.get(2)?, bytes.get(4)?) {
        (mark @ (b':' | b'-'), _) => (char::from(*mark), 2),
        (_, b'.') => ('.', 4),
        _ => return None,
    };
    let mut octets = Vec::new();
    for group in text.split(mark) {
        if group.len() != width || !group.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let group = group.to_ascii_lowercase();
        octets.push(group.get(..2)?.to_owned());
        if width == 4 {
            octets.push(group.get(2..)?.to_owned());
        }
    }
    matches!(octets.len(), 6 | 8 | 20).then(|| octets.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, normal) in [
            ("52:54:00:A1:9C:AE", Some("52:54:00:a1:9c:ae")),
            ("52-54-00-a1-9c-ae", Some("52:54:00:a1:9c:ae")),
            ("5254.00a1.9cae", Some("52:54:00:a1:9c:ae")),
            ("02:00:5e:10:00:00:00:01", Some("02:00:5e:10:00:00:00:01")),
            ("0200.5e10.0000.0001", Some("02:00:5e:10:00:00:00:01")),
            ("525400A19cae", Some("52:54:00:a1:9c:ae")),
            ("52:54:00:a1:9c", None),
            ("52:54:00-a1:9c:ae", None),
            ("52:54:00:a1:9c:ag", None),
            ("52:54:00:a1:9c:ae:", None),
            ("52:54:00:a1:9c:\u{e9}1", None),
            ("", None),
        ] {
            assert_eq!(normal_mac(text).as_deref(), normal, "{text}");
        }
    }
}
