//! Reading and writing big-endian fields without a panic.

use crate::{BufferTooSmall, ParseError};

/// Reads fields from the front of bytes.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], ParseError> {
        let end = self.at.saturating_add(n);
        let field = self.bytes.get(self.at..end).ok_or(ParseError::NeedMore { at_least: end })?;
        self.at = end;
        Ok(field)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N)?);
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ParseError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ParseError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ParseError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u48(&mut self) -> Result<u64, ParseError> {
        let [a, b, c, d, e, f] = self.array()?;
        Ok(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), ParseError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(ParseError::TooLong) }
    }
}

/// Writes fields into a buffer whose room was checked at the start.
pub(crate) struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    /// A writer for exactly `len` bytes at the front of `out`.
    pub(crate) fn new(out: &'a mut [u8], len: usize) -> Result<Self, BufferTooSmall> {
        let bytes = out.get_mut(..len).ok_or(BufferTooSmall { need: len })?;
        Ok(Self { bytes, at: 0 })
    }

    pub(crate) fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }

    pub(crate) fn u8(&mut self, field: u8) {
        self.put(&[field]);
    }

    pub(crate) fn u16(&mut self, field: u16) {
        self.put(&field.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, field: u32) {
        self.put(&field.to_be_bytes());
    }

    pub(crate) fn u48(&mut self, field: u64) {
        self.put(&field.to_be_bytes()[2..]);
    }

    pub(crate) fn zeros(&mut self, n: usize) {
        self.bytes[self.at..self.at + n].fill(0);
        self.at += n;
    }

    /// Bytes written so far.
    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// The length, all of it written.
    pub(crate) fn end(self) -> usize {
        debug_assert_eq!(self.at, self.bytes.len(), "the length said up front is the length written");
        self.at
    }
}
