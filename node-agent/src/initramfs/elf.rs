//! The little that is needed of ELF: whether a program brings its own libraries,
//! and what a kernel module says about itself.

/// Whether the program needs a dynamic loader (has a `PT_INTERP` header).
/// `None` when it is no ELF file of 64 bits and little endian.
#[must_use]
pub fn needs_loader(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    check_header(file)?;
    let table = number(file, 0x20, 8)?;
    let (size, count) = (number(file, 0x36, 2)?, number(file, 0x38, 2)?);
    for index in 0..count {
        let at = table.checked_add(index.checked_mul(size)?)?;
        if number(file, at, 4)? == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

/// The `key=value` texts in a module's `.modinfo` section.
#[must_use]
pub fn modinfo(file: &[u8]) -> Option<Vec<(String, String)>> {
    check_header(file)?;
    let table = number(file, 0x28, 8)?;
    let (size, count) = (number(file, 0x3A, 2)?, number(file, 0x3C, 2)?);
    let names = number(file, 0x3E, 2)?;
    let section = |index: u64| -> Option<(u64, &[u8])> {
        let at = table.checked_add(index.checked_mul(size)?)?;
        let name = number(file, at, 4)?;
        let from = usize::try_from(number(file, at.checked_add(0x18)?, 8)?).ok()?;
        let length = usize::try_from(number(file, at.checked_add(0x20)?, 8)?).ok()?;
        let content = file.get(from..from.checked_add(length)?);
        // A section without content in the file (.bss) has an offset all the same.
        Some((name, content.unwrap_or_default()))
    };
    let (_, names) = section(names)?;
    for index in 0..count {
        let (name, content) = section(index)?;
        let name = names.get(usize::try_from(name).ok()?..)?;
        if name.starts_with(b".modinfo\0") {
            return Some(texts(content));
        }
    }
    None
}

fn texts(section: &[u8]) -> Vec<(String, String)> {
    section
        .split(|octet| *octet == 0)
        .filter_map(|text| {
            let text = String::from_utf8_lossy(text);
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect()
}

fn check_header(file: &[u8]) -> Option<()> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    match file {
        [0x7f, b'E', b'L', b'F', CLASS_64, LITTLE_ENDIAN, ..] => Some(()),
        _ => None,
    }
}

fn number(file: &[u8], at: u64, octets: u64) -> Option<u64> {
    let from = usize::try_from(at).ok()?;
    let to = usize::try_from(at.checked_add(octets)?).ok()?;
    let bytes = file.get(from..to)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, octet| value << 8 | u64::from(*octet)),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A module file with the given `.modinfo` texts.
    pub fn module(texts: &[&str]) -> Vec<u8> {
        let mut info = Vec::new();
        for text in texts {
            info.extend_from_slice(text.as_bytes());
            info.push(0);
        }
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        let info_at = file.len() as u64;
        file.extend_from_slice(&info);
        let names_at = file.len() as u64;
        file.extend_from_slice(names);
        let table = file.len() as u64;
        for (name, at, length) in [
            (0, 0, 0),
            (1, info_at, info.len() as u64),
            (10, names_at, names.len() as u64),
        ] {
            let mut header = vec![0; 64];
            header[..4].copy_from_slice(&u32::to_le_bytes(name));
            header[0x18..0x20].copy_from_slice(&u64::to_le_bytes(at));
            header[0x20..0x28].copy_from_slice(&u64::to_le_bytes(length));
            file.extend_from_slice(&header);
        }
        file[0x28..0x30].copy_from_slice(&u64::to_le_bytes(table));
        file[0x3A..0x3C].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3C..0x3E].copy_from_slice(&3_u16.to_le_bytes());
        file[0x3E..0x40].copy_from_slice(&2_u16.to_le_bytes());
        file
    }

    #[test]
    fn modinfo_is_read() {
        let file = module(&["depends=a,b", "alias=pci:v1d*", "no value"]);
        let info = modinfo(&file).unwrap();
        assert_eq!(info[0], ("depends".to_owned(), "a,b".to_owned()));
        assert_eq!(info.len(), 2);
    }

    #[test]
    fn cut_and_garbled_files_give_nothing() {
        let file = module(&["depends=a"]);
        for length in 0..file.len() {
            let _ = modinfo(&file[..length]);
            let _ = needs_loader(&file[..length]);
        }
        let mut far = file.clone();
        far[0x28..0x30].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(modinfo(&far), None);
        assert_eq!(needs_loader(b"#!/bin/sh"), None);
    }

    #[test]
    fn this_test_needs_a_loader() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(
            needs_loader(&file),
            Some(!cfg!(target_feature = "crt-static"))
        );
    }
}
