//! Pieces of a model and requests for them: written by this version, and read again.

use super::*;
use crate::piece::{HEAD_LEN, PIECE_LEN_MAX, Piece, PieceRequest};
use crate::{Field, ParseError};

const FINGERPRINT: [u8; 16] = *b"of some bundle..";

pub(super) fn pieces() -> String {
    let mut text = Text::new("Pieces of a bundle's model, and requests for them.");
    let mut request = [0; 22];
    for (name, from, len) in [("first", 0, 1024), ("one_byte_far_on", 0x0001_0203, 1)] {
        request = PieceRequest { fingerprint: FINGERPRINT, from, len }.to_bytes();
        text = text.case(&std::format!("request_{name}")).text("kind", "request");
        text = text.hex("fingerprint", &FINGERPRINT).hex("from", &from.to_be_bytes());
        text = text.hex("len", &len.to_be_bytes()).hex("bytes", &request);
    }
    let of_nothing = [&request[..20], &[0, 0]].concat();
    for (name, bytes, refused) in [
        ("request_of_nothing", of_nothing, "piece"),
        ("request_short", request[..21].to_vec(), "short"),
        ("request_long", [&request[..], &[0]].concat(), "long"),
    ] {
        text = text.case(name).text("kind", "request").hex("bytes", &bytes).text("refused", refused);
    }
    let model: std::vec::Vec<u8> = (0..=u8::MAX).cycle().take(PIECE_LEN_MAX.into()).collect();
    let mut out = [0; HEAD_LEN + PIECE_LEN_MAX as usize];
    for (name, from, bytes) in [("piece", 0x0001_0203, &b"KNGL"[..]), ("piece_longest", 0, &model)] {
        let len = Piece { fingerprint: FINGERPRINT, from, bytes }.emit(&mut out).unwrap();
        text = text.case(name).text("kind", "piece").hex("fingerprint", &FINGERPRINT);
        text = text.hex("from", &from.to_be_bytes()).hex("model", bytes).hex("bytes", &out[..len]);
    }
    for (name, bytes, refused) in [
        ("piece_of_nothing", out[..HEAD_LEN].to_vec(), "short"),
        ("piece_long", [&out[..], &[0]].concat(), "long"),
    ] {
        text = text.case(name).text("kind", "piece").hex("bytes", &bytes).text("refused", refused);
    }
    text.0
}

#[test]
fn pieces_are_read_as_ever() {
    for block in read("v1_pieces.txt") {
        let (name, bytes) = (block.name(), block.bytes("bytes"));
        let is_request = block.text("kind") == "request";
        if block.has("refused") {
            let read =
                if is_request { PieceRequest::parse(&bytes).err() } else { Piece::parse(&bytes).err() };
            match block.text("refused") {
                "short" => assert!(matches!(read, Some(ParseError::NeedMore { .. })), "{name}"),
                "long" => assert_eq!(read, Some(ParseError::TooLong), "{name}"),
                _ => assert_eq!(read, Some(ParseError::Malformed(Field::Piece)), "{name}"),
            }
            continue;
        }
        let (fingerprint, from) = (block.array("fingerprint"), block.number("from") as u32);
        if is_request {
            let request = PieceRequest { fingerprint, from, len: block.number("len") as u16 };
            assert_eq!(
                (PieceRequest::parse(&bytes), &request.to_bytes()[..]),
                (Ok(request), &bytes[..]),
                "{name}"
            );
        } else {
            let model = block.bytes("model");
            let piece = Piece { fingerprint, from, bytes: &model };
            let mut out = std::vec![0; bytes.len()];
            assert_eq!((Piece::parse(&bytes), piece.emit(&mut out)), (Ok(piece), Ok(bytes.len())), "{name}");
            assert_eq!(out, bytes, "{name}");
        }
    }
}
