//! Pieces of a bundle's model, where nothing else says which bytes are meant: over MQTT and CoAP.
//!
//! ```text
//! request   fingerprint 16 │ from u32 │ length u16
//! piece     fingerprint 16 │ from u32 │ bytes
//! ```
//!
//! Neither is sealed: an update is signed as a whole ([`crate::update`]), so anybody may bring its bytes. A piece says itself
//! what it is, so that one that comes late is not taken for another.

use crate::cursor::{Reader, Writer};
use crate::{BufferTooSmall, Field, Fingerprint, ParseError};

/// Bytes of a request.
pub const REQUEST_LEN: usize = HEAD_LEN + 2;
/// Bytes of a piece before the model's own.
pub const HEAD_LEN: usize = 16 + 4;
/// Most bytes of the model in a piece: with all around it, it fits a datagram of any path.
pub const PIECE_LEN_MAX: u16 = 1024;

/// Which bytes of which model are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceRequest {
    /// Of which bundle.
    pub fingerprint: Fingerprint,
    /// The first byte.
    pub from: u32,
    /// How many bytes, at least 1; at most [`PIECE_LEN_MAX`] are given.
    pub len: u16,
}

/// Bytes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Of which bundle.
    pub fingerprint: Fingerprint,
    /// Where the first byte belongs.
    pub from: u32,
    /// At least one.
    pub bytes: &'a [u8],
}

impl PieceRequest {
    /// Reads a request.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        let request = Self { fingerprint: r.array()?, from: r.u32()?, len: r.u16()? };
        r.end()?;
        if request.len == 0 { Err(ParseError::Malformed(Field::Piece)) } else { Ok(request) }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> [u8; REQUEST_LEN] {
        let mut out = [0; REQUEST_LEN];
        out[..16].copy_from_slice(&self.fingerprint);
        out[16..HEAD_LEN].copy_from_slice(&self.from.to_be_bytes());
        out[HEAD_LEN..].copy_from_slice(&self.len.to_be_bytes());
        out
    }

    /// The model's bytes in `answer`, if that is a piece that was asked for by this.
    pub fn read<'a>(&self, answer: &'a [u8]) -> Option<&'a [u8]> {
        let piece = Piece::parse(answer).ok()?;
        let is_asked = (piece.fingerprint, piece.from) == (self.fingerprint, self.from);
        (is_asked && piece.bytes.len() <= usize::from(self.len)).then_some(piece.bytes)
    }
}

impl<'a> Piece<'a> {
    /// Reads a piece.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        let piece = Self { fingerprint: r.array()?, from: r.u32()?, bytes: r.rest() };
        match piece.bytes.len() {
            0 => Err(ParseError::NeedMore { at_least: HEAD_LEN + 1 }),
            len if len > PIECE_LEN_MAX.into() => Err(ParseError::TooLong),
            _ => Ok(piece),
        }
    }

    /// Writes it into the front of `out`, and gives its length.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, BufferTooSmall> {
        let len = HEAD_LEN + self.bytes.len();
        let mut w = Writer::new(out, len)?;
        w.put(&self.fingerprint);
        w.u32(self.from);
        w.put(self.bytes);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: PieceRequest = PieceRequest { fingerprint: [0xAB; 16], from: 0x0102_0304, len: 3 };

    #[test]
    fn a_piece_is_that_which_was_asked_for_or_none() {
        let mut out = [0; 64];
        let piece = Piece { fingerprint: [0xAB; 16], from: 0x0102_0304, bytes: &[7, 8, 9] };
        let len = piece.emit(&mut out).unwrap();
        assert_eq!((Piece::parse(&out[..len]), REQUEST.read(&out[..len])), (Ok(piece), Some(&[7, 8, 9][..])));
        for other in [
            PieceRequest { fingerprint: [0xAC; 16], ..REQUEST },
            PieceRequest { from: 5, ..REQUEST },
            PieceRequest { len: 2, ..REQUEST },
        ] {
            assert_eq!(other.read(&out[..len]), None, "{other:?}");
        }
        assert_eq!(REQUEST.read(&out[..HEAD_LEN]), None, "a piece of nothing");
        assert!(piece.emit(&mut out[..len - 1]).is_err());
    }

    #[test]
    fn every_other_length_is_refused() {
        let whole = REQUEST.to_bytes();
        assert_eq!(PieceRequest::parse(&whole), Ok(REQUEST));
        for len in 0..whole.len() {
            assert!(matches!(PieceRequest::parse(&whole[..len]), Err(ParseError::NeedMore { .. })), "{len}");
        }
        assert_eq!(PieceRequest::parse(&[&whole[..], &[0]].concat()), Err(ParseError::TooLong));
        let longest = [0; HEAD_LEN + PIECE_LEN_MAX as usize + 1];
        assert!(Piece::parse(&longest[1..]).is_ok());
        assert_eq!(Piece::parse(&longest), Err(ParseError::TooLong));
    }
}
