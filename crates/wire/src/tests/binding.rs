//! A frame opens only where it belongs: its device, direction, generation, server run, bundle, counter.

use super::*;
use crate::SealError;
use crate::frame::Frame;

/// The frame of `case` does not open with this key and binding.
fn check_refused(case: &Case, key: &LinkKey, bound: &Binding<'_>, what: &str) {
    let mut frame = case.sealed();
    assert_eq!(open(key, bound, &mut frame).err(), Some(OpenError), "{}: {what}", case.name);
    let case_frame = case.sealed();
    let at = case.header.header_len();
    assert_eq!(frame[..at], case_frame[..at], "{}: {what}: the header stays", case.name);
    assert!(frame[at..frame.len() - crate::TAG_LEN].iter().all(|&b| b == 0), "{}: {what}", case.name);
}

#[test]
fn another_device_does_not_open() {
    let other = DeviceId::new("cellar-8").unwrap();
    for case in cases() {
        check_refused(&case, &case.key(), &case.bound(&other), "the id in the AAD");
        let theirs =
            device_key().generation_secret(&other, GENERATION, b"device nonce 16b", b"server nonce 16b");
        check_refused(&case, &theirs.up(Suite::AesCcm16), &case.bound(&id()), "the id in the key");
    }
}

#[test]
fn another_key_generation_or_run_does_not_open() {
    let suite = Suite::AesCcm16;
    let (dn, sn) = (b"device nonce 16b", b"server nonce 16b");
    let secrets = [
        device_key().generation_secret(&id(), GENERATION + 16, dn, sn),
        device_key().generation_secret(&id(), GENERATION, sn, dn),
        device_key().static_secret(&id()),
        DeviceKey::from_bytes([9; 32]).generation_secret(&id(), GENERATION, dn, sn),
    ];
    for case in cases() {
        for secret in &secrets {
            check_refused(&case, &secret.up(suite), &case.bound(&id()), "another secret, up");
            check_refused(&case, &secret.down(suite, &RUN), &case.bound(&id()), "another secret, down");
        }
        check_refused(&case, &secret().down(suite, b"another run!"), &case.bound(&id()), "another run");
    }
}

#[test]
fn a_reflected_frame_does_not_open() {
    for case in cases() {
        let wrong_way = match case.key().direction() {
            crate::keys::Direction::Up => secret().down(Suite::AesCcm16, &RUN),
            crate::keys::Direction::Down => secret().up(Suite::AesCcm16),
        };
        check_refused(&case, &wrong_way, &case.bound(&id()), "the other direction's key");
    }
    // Nor if its type is rewritten to one of the other direction: a data frame made to look like an ack.
    let case = &cases()[2];
    let mut frame = case.sealed();
    frame[0] = cases()[5].sealed()[0];
    frame[1] &= 0xf0;
    let run: [u8; 12] = frame[6..18].try_into().unwrap();
    let bound = Binding {
        bundle: None,
        counter: match Frame::new_checked(&frame[..]).unwrap().counter() {
            crate::counter::ShortCounter::Low(low) => low.into(),
            crate::counter::ShortCounter::Full(full) => full,
        },
        id: &id(),
    };
    for key in [secret().down(Suite::AesCcm16, &run), secret().up(Suite::AesCcm16)] {
        assert!(open(&key, &bound, &mut frame.clone()).is_err());
    }
}

#[test]
fn another_bundle_does_not_open() {
    let other = *b"the 2nd bundle's";
    for case in cases() {
        let (id, key) = (id(), case.key());
        let bound = case.bound(&id);
        check_refused(&case, &key, &Binding { bundle: Some(&other), ..bound }, "another fingerprint");
        let flipped = bound.bundle.is_none().then_some(&FINGERPRINT);
        check_refused(&case, &key, &Binding { bundle: flipped, ..bound }, "one too few or too many");
    }
}

#[test]
fn another_counter_does_not_open() {
    for case in cases() {
        let (id, n) = (id(), case.counter.get());
        for other in [n + 1, n ^ (1 << 16), n ^ (1 << 31), n ^ (1 << 32), n ^ (1 << 47)] {
            let bound = Binding { counter: counter(other), ..case.bound(&id) };
            check_refused(&case, &case.key(), &bound, "another counter");
        }
    }
}

#[test]
fn no_two_nonces_are_equal() {
    let mut seen = std::collections::BTreeSet::new();
    let mut check = |key: &LinkKey, n: u64| {
        let nonce = crate::seal::nonce(key, counter(n));
        assert!(seen.insert((*key.key(), nonce)), "a nonce twice under one key: counter {n}");
    };
    let key = secret().up(Suite::AesCcm16);
    (0..1000).chain((0..1000).map(|i| (1 << 47) + (i << 32))).for_each(|n| check(&key, n));
    for run in 0..100u8 {
        let key = secret().down(Suite::AesCcm16, &[run; 12]);
        (0..10).for_each(|n| check(&key, n));
    }
}

#[test]
fn a_callers_mistake_is_named() {
    let case = &cases()[1];
    let id = id();
    let bound = case.bound(&id);
    let mut buf = [0; 64];
    let mut check =
        |key: &LinkKey, header: &FrameRepr, bound: &Binding<'_>, len: usize, expected: SealError| {
            assert_eq!(crate::seal::seal(key, header, bound, &mut buf, len), Err(expected));
        };
    let (up_key, down_key) = (secret().up(Suite::AesCcm16), secret().down(Suite::AesCcm16, &RUN));
    check(&down_key, &case.header, &bound, 4, SealError::WrongKey);
    check(&up_key, &case.header, &Binding { counter: counter(301), ..bound }, 4, SealError::WrongCounter);
    check(&up_key, &case.header, &Binding { bundle: None, ..bound }, 4, SealError::WrongBundle);
    check(&up_key, &FrameRepr::Status { up: up(300, false) }, &bound, 4, SealError::WrongBundle);
    check(&up_key, &case.header, &bound, 39, SealError::BufferTooSmall { need: 65 });
    check(&up_key, &case.header, &bound, crate::CONTENT_LEN_MAX + 1, SealError::ContentTooLong);
}
