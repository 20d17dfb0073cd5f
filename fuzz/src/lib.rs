//! What the fuzz targets share: an input that holds several messages.
//!
//! A target is `fuzz_targets/NAME.rs`; `cargo xtask fuzz NAME` makes its first
//! inputs and runs it, and so does `cargo fuzz run NAME` where that is installed.

/// Takes messages off an input: each is two octets of length, least first, and
/// so many octets; the last one may be shorter.
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Messages<'a> {
    /// One octet, where there is one.
    pub fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Two octets, least first.
    pub fn number(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.octet()?, self.octet()?]))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?).min(self.0.len());
        let (message, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(message)
    }
}
