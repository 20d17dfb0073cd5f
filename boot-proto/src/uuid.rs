//! SMBIOS system UUIDs: one spelling, and which of them say nothing.
//!
//! Boards leave the factory with the UUID of the firmware's sample code, with
//! zeros or with ones (SMBIOS 3.7 §7.2.1 gives the last two a meaning of their
//! own: "not present" and "not set"). Two machines with such a UUID are not one
//! machine.

/// UUIDs that whole product lines share, in the two byte orders in which they
/// are met: as `/sys/class/dmi/id` prints them, and as DHCP option 97 of
/// firmware that does not swap the first three fields sends them.
const PLACEHOLDERS: [&str; 10] = [
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    // AMI Aptio's sample board.
    "03000200-0400-0500-0006-000700080009",
    "00020003-0004-0005-0006-000700080009",
    "03020100-0504-0706-0809-0a0b0c0d0e0f",
    "00010203-0405-0607-0809-0a0b0c0d0e0f",
    "00112233-4455-6677-8899-aabbccddeeff",
    "33221100-5544-7766-8899-aabbccddeeff",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "78563412-3412-7856-90ab-cddeefaabbcc",
];

/// The UUID in lower case with dashes, or `None` where the text is no UUID.
#[must_use]
pub fn normal(text: &str) -> Option<String> {
    let text = text.trim();
    let is_dashed = text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(at, b)| (b == b'-') == matches!(at, 8 | 13 | 18 | 23));
    if !is_dashed && text.len() != 32 {
        return None;
    }
    let digits: String = text
        .chars()
        .filter(|c| *c != '-')
        .collect::<String>()
        .to_ascii_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let parts = [
        digits.get(..8)?,
        digits.get(8..12)?,
        digits.get(12..16)?,
        digits.get(16..20)?,
        digits.get(20..)?,
    ];
    Some(parts.join("-"))
}

/// Whether many machines share this UUID, so that it tells none of them.
#[must_use]
pub fn is_placeholder(uuid: &str) -> bool {
    normal(uuid).is_none_or(|uuid| PLACEHOLDERS.contains(&uuid.as_str()))
}

/// The UUIDs that are known to be shared by whole product lines.
pub fn placeholders() -> impl Iterator<Item = &'static str> {
    PLACEHOLDERS.into_iter()
}

/// The UUID in its normal form where it can tell a machine from others.
#[must_use]
pub fn usable(text: &str) -> Option<String> {
    normal(text).filter(|uuid| !is_placeholder(uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        let normal_form = "31393736-3935-584d-5137-343630314d58";
        assert_eq!(
            normal("31393736-3935-584D-5137-343630314D58").as_deref(),
            Some(normal_form)
        );
        assert_eq!(
            normal(" 313937363935584d5137343630314d58").as_deref(),
            Some(normal_form)
        );
        for text in [
            "",
            "Not Present",
            "31393736-3935-584d-5137",
            "3139373-63935-584d-5137-343630314d58",
            "é1393736-3935-584d-5137-343630314d5",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
    }

    #[test]
    fn placeholders_tell_nothing() {
        for text in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "no UUID",
        ] {
            assert!(is_placeholder(text), "{text}");
            assert_eq!(usable(text), None, "{text}");
        }
        assert!(!is_placeholder("31393736-3935-584d-5137-343630314d58"));
    }
}
