//! Changed bytes do not open: every bit, every truncation, every extension; and nothing comes out.

use super::{Case, cases};
use crate::frame::Frame;
use crate::{OpenError, ParseError, TAG_LEN};

/// Changed bytes do not open; where they are still a frame, their content is wiped.
fn check_refused(case: &Case, mut changed: std::vec::Vec<u8>, what: &str) {
    let content = Frame::new_checked(&changed[..]).ok().map(|f| f.header_len()..changed.len() - TAG_LEN);
    assert_eq!(case.open(&mut changed), Err(OpenError), "{}: {what}", case.name);
    if let Some(content) = content {
        assert!(changed[content].iter().all(|&b| b == 0), "{}: {what}: content is wiped", case.name);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for case in cases() {
        let frame = case.sealed();
        for bit in 0..frame.len() * 8 {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            check_refused(&case, changed, &std::format!("bit {bit}"));
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for case in cases() {
        let frame = case.sealed();
        let shortest = case.header.header_len() + TAG_LEN;
        for len in 0..frame.len() {
            let cut = frame[..len].to_vec();
            let need_more = matches!(Frame::new_checked(&cut[..]), Err(ParseError::NeedMore { .. }));
            assert_eq!(need_more, len < shortest, "{}: {len} bytes", case.name);
            check_refused(&case, cut, &std::format!("{len} bytes"));
        }
    }
}

#[test]
fn every_extension_is_refused() {
    for case in cases() {
        for n in 1..=64 {
            for fill in [0, 0x80, 0xff] {
                let mut longer = case.sealed();
                longer.resize(longer.len() + n, fill);
                check_refused(&case, longer, &std::format!("{n} bytes more"));
            }
        }
    }
    assert_eq!(Frame::new_checked(&[0x40; crate::FRAME_LEN_MAX + 1][..]).err(), Some(ParseError::TooLong));
}

#[test]
fn unknown_versions_types_and_suites_are_refused_before_any_key() {
    let frame = cases()[1].sealed();
    let with_b0 = |b0| {
        let mut frame = frame.clone();
        frame[0] = b0;
        Frame::new_checked(frame).err()
    };
    for b0 in 0..=255u8 {
        let (version, kind, suite, wide) = (b0 >> 6, b0 >> 3 & 7, b0 >> 1 & 3, b0 & 1);
        let expected = match (version, kind, suite, wide) {
            (0 | 2 | 3, ..) => Some(ParseError::Version(version)),
            (_, 6 | 7, ..) => Some(ParseError::Kind(kind)),
            (.., 1..=3, _) => Some(ParseError::Suite(suite)),
            // A join is no sealed frame.
            (_, 2 | 3, ..) => Some(ParseError::Kind(kind)),
            (_, 4 | 5, _, 1) => Some(ParseError::Malformed(crate::Field::Wide)),
            // These are longer than this frame, or have no slot in their second byte.
            (_, 4 | 5, ..) => Some(ParseError::NeedMore { at_least: 38 }),
            (_, 1, ..) => Some(ParseError::Malformed(crate::Field::Reserved)),
            _ => None,
        };
        assert_eq!(with_b0(b0), expected, "first byte {b0:#04x}");
    }
}
