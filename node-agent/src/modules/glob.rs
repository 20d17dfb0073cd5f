//! The patterns of module aliases: `*`, `?` and `[0-9a-f]`, as fnmatch(3) has
//! them.

/// Whether `text` has the form `pattern`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    matches_bytes(pattern.as_bytes(), text.as_bytes())
}

/// Takes the last `*` one octet longer at every mismatch, so the work is
/// bounded by the product of the lengths whatever the pattern.
fn matches_bytes(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        match (text.get(t), element(pattern, p)) {
            (None, None) => return true,
            (Some(octet), Some(element)) if element.accepts(*octet) => {
                p += element.length();
                t += 1;
                continue;
            }
            _ => {}
        }
        match star {
            Some((after, from)) if from < text.len() => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            _ => return false,
        }
    }
}

/// What one octet is compared with.
#[derive(Clone, Copy)]
enum Element<'a> {
    Any,
    One(u8),
    Set(&'a [u8]),
}

impl Element<'_> {
    /// Octets it takes in the pattern.
    fn length(self) -> usize {
        match self {
            Self::Any | Self::One(_) => 1,
            Self::Set(inside) => inside.len() + 2,
        }
    }

    fn accepts(self, octet: u8) -> bool {
        match self {
            Self::Any => true,
            Self::One(wanted) => wanted == octet,
            Self::Set(inside) => set_accepts(inside, octet),
        }
    }
}

fn element(pattern: &[u8], at: usize) -> Option<Element<'_>> {
    match pattern.get(at)? {
        b'?' => Some(Element::Any),
        b'[' => {
            let rest = pattern.get(at + 1..)?;
            let end = rest.iter().position(|octet| *octet == b']')?;
            rest.get(..end).map(Element::Set)
        }
        octet => Some(Element::One(*octet)),
    }
}

fn set_accepts(mut inside: &[u8], octet: u8) -> bool {
    loop {
        match inside {
            [from, b'-', to, rest @ ..] => {
                if (*from..=*to).contains(&octet) {
                    return true;
                }
                inside = rest;
            }
            [one, rest @ ..] => {
                if *one == octet {
                    return true;
                }
                inside = rest;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("virtio:d00000002v*", "virtio:d00000001v00001AF4", false),
            (
                "pci:v00008086d0000100Esv*sd*bc*sc*i*",
                "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
                true,
            ),
            ("usb:v1d[0-9a-f]*", "usb:v1dax", true),
            ("usb:v1d[0-9]*", "usb:v1da", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("[", "x", false),
            ("[a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(190)));
    }
}
