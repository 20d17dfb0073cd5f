//! Frames: a mark, a length, a checksum, records. Pure.

use super::super::Change;
use super::record;

/// Begins every frame; also what a reader looks for behind a damaged one.
const MARK: [u8; 4] = *b"MFL1";
const HEADER_BYTES: usize = 12;

/// Writes changes as one frame.
pub(super) fn write(frame: &mut Vec<u8>, changes: &[Change]) {
    write_with(frame, |body| {
        for change in changes {
            match &change.after {
                Some(lease) => record::put(body, lease),
                None => record::delete(body, change.address),
            }
        }
    });
}

/// Writes what `fill` writes as one frame.
pub(super) fn write_with(frame: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    frame.clear();
    frame.resize(HEADER_BYTES, 0);
    fill(frame);
    let body = frame.get(HEADER_BYTES..).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(body);
    let header = [MARK, length.to_le_bytes(), sum.to_le_bytes()].concat();
    if let Some(place) = frame.get_mut(..HEADER_BYTES) {
        place.copy_from_slice(&header);
    }
}

/// What a file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frames<'a> {
    /// The records of each whole frame.
    pub bodies: Vec<&'a [u8]>,
    /// Bytes that belong to no whole frame, with whole frames behind them:
    /// damage, which a crash does not leave.
    pub damaged: usize,
    /// Bytes at the end that belong to no whole frame: a commit that a crash
    /// cut off.
    pub cut_off: usize,
}

/// Finds the frames of a file.
pub(super) fn read(file: &[u8]) -> Frames<'_> {
    let mut frames = Frames::default();
    let (mut rest, mut skipped) = (file, 0);
    while !rest.is_empty() {
        if let Some((body, next)) = whole(rest) {
            frames.bodies.push(body);
            frames.damaged += std::mem::take(&mut skipped);
            rest = next;
            continue;
        }
        let step = next_mark(rest);
        skipped += step;
        rest = rest.get(step..).unwrap_or_default();
    }
    frames.cut_off = skipped;
    frames
}

fn whole(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(&MARK)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let (body, next) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    (crc32fast::hash(body) == u32::from_le_bytes(*sum)).then_some((body, next))
}

/// How far it is to the next mark, or to the end.
fn next_mark(bytes: &[u8]) -> usize {
    let behind = bytes.get(1..).unwrap_or_default();
    let mark = behind.windows(MARK.len()).position(|window| window == MARK);
    mark.map_or(bytes.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bodies: &[&[u8]]) -> Vec<u8> {
        let mut file = Vec::new();
        for body in bodies {
            let mut frame = Vec::new();
            write_with(&mut frame, |out| out.extend_from_slice(body));
            file.extend(frame);
        }
        file
    }

    #[test]
    fn a_cut_off_end_is_told_from_damage() {
        let whole = file(&[b"one", b"two", b"three"]);
        assert_eq!(read(&whole).bodies, [&b"one"[..], b"two", b"three"]);
        for end in 31..whole.len() {
            let frames = read(&whole[..end]);
            assert_eq!(frames.bodies, [&b"one"[..], b"two"], "{end}");
            assert_eq!((frames.damaged, frames.cut_off), (0, end - 30), "{end}");
        }
        for at in 15..30 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            let frames = read(&damaged);
            assert_eq!(frames.bodies, [&b"one"[..], b"three"], "{at}");
            assert_eq!((frames.damaged, frames.cut_off), (15, 0), "{at}");
        }
        assert_eq!(read(&[]), Frames::default());
        assert_eq!(read(&[0; 40]).cut_off, 40);
    }
}
