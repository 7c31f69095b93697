//! Joins: replay, flood, forgery; and what a device accepts as an answer.

use proptest::prelude::*;

use super::*;
use crate::ParseError;
use crate::join::{Accept, Grant, JOIN_STATE_LEN_MAX, JoinError, JoinState, Joined, Joining, PENDING_MAX};
use crate::join::{REMEMBERED_MAX, REQUEST_LEN_MAX, Request, RequestFrame};
use crate::keys::JoinKey;

fn join_key() -> JoinKey {
    device_key().join_key(&id())
}

fn joining(nonce: u8, known: u32) -> Joining {
    Joining::new(id(), [nonce; 16], known, FINGERPRINT)
}

fn request(joining: &Joining) -> Vec<u8> {
    let mut out = [0; REQUEST_LEN_MAX];
    let len = joining.emit(&join_key(), &mut out).unwrap();
    out[..len].to_vec()
}

fn accept(grant: Grant) -> Vec<u8> {
    let mut out = [0; crate::join::ACCEPT_LEN];
    let accept = Accept { suite: Suite::AesCcm16, short_id: ShortId(7), grant };
    assert_eq!(accept.emit(&join_key(), &mut out), Ok(out.len()));
    out.to_vec()
}

fn time(n: i64) -> Millis {
    Millis::new(n).unwrap()
}

/// Sends one request through the state; `server_nonce` and `now` come from `n`.
fn ask(state: &mut JoinState, joining: &Joining, n: u8) -> Result<Joined, JoinError> {
    let bytes = request(joining);
    let frame = RequestFrame::parse(&bytes).unwrap();
    assert_eq!(frame.id(), &id());
    let request = frame.open(&join_key()).unwrap();
    state.handle_request(&request, &[0x80 | n; 16], time(n.into()))
}

fn granted(state: &mut JoinState, joining: &Joining, n: u8) -> Grant {
    match ask(state, joining, n) {
        Ok(Joined::New(grant)) => grant,
        other => panic!("expected a new grant, not {other:?}"),
    }
}

#[test]
fn both_ends_come_to_the_same_keys() {
    let mut state = JoinState::new();
    let device = joining(1, 0);
    let grant = granted(&mut state, &device, 1);
    let accepted = device.open(&accept(grant), &join_key()).unwrap();
    assert_eq!((accepted.grant, accepted.short_id), (grant, ShortId(7)));
    let (ours, theirs) = (grant.secret(&device_key(), &id()), accepted.grant.secret(&device_key(), &id()));
    assert_eq!(ours.expose_secret(), theirs.expose_secret());
    assert!(state.confirmed().is_none());
    assert!(state.confirm(grant.generation));
    assert!(!state.confirm(grant.generation), "only the first frame changes the state");
    assert_eq!(state.confirmed(), Some(&grant));
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_changes_nothing() {
    let mut state = JoinState::new();
    let device = joining(1, 0);
    let grant = granted(&mut state, &device, 1);
    let before = state.clone();
    for n in 2..20 {
        assert_eq!(ask(&mut state, &device, n), Ok(Joined::Again(grant)));
    }
    assert_eq!(state, before);
    // A replay after the generation is in use: the same, and it stays in use.
    state.confirm(grant.generation);
    let before = state.clone();
    assert_eq!(ask(&mut state, &device, 30), Ok(Joined::Again(grant)));
    assert_eq!(state, before);
}

#[test]
fn the_last_64_requests_are_remembered() {
    let mut state = JoinState::new();
    let first = granted(&mut state, &joining(0, 0), 0);
    for nonce in 1..REMEMBERED_MAX as u8 {
        granted(&mut state, &joining(nonce, 0), nonce);
    }
    assert_eq!(ask(&mut state, &joining(0, 0), 99), Ok(Joined::Again(first)));
    granted(&mut state, &joining(64, 0), 64);
    assert!(matches!(ask(&mut state, &joining(0, 0), 99), Ok(Joined::New(_))), "the 65th is forgotten");
}

#[test]
fn a_flood_leaves_four_pending_and_the_generation_in_use() {
    let mut state = JoinState::new();
    let in_use = granted(&mut state, &joining(0, 0), 0);
    state.confirm(in_use.generation);
    for nonce in 1..=200 {
        granted(&mut state, &joining(nonce, 0), 1);
    }
    assert_eq!(state.confirmed(), Some(&in_use));
    assert_eq!(state.generation(crate::frame::low4(in_use.generation)), Some(&in_use));
    assert_eq!(state.pending().len(), PENDING_MAX);
    let newest = state.pending()[PENDING_MAX - 1];
    assert_eq!(newest.device_nonce, [200; 16]);
    assert!(state.confirm(newest.generation));
    assert!(state.pending().is_empty(), "the first frame ends the rest");
    assert_eq!(state.generation(crate::frame::low4(in_use.generation)), None);
}

#[test]
fn a_generation_that_was_never_granted_is_not_confirmed() {
    let mut state = JoinState::new();
    let grant = granted(&mut state, &joining(1, 0), 1);
    for other in [0, grant.generation + 1, grant.generation + 16, u32::MAX] {
        assert!(!state.confirm(other));
    }
    assert_eq!(state.pending(), [grant]);
}

#[test]
fn generations_only_grow_and_their_four_bits_are_distinct() {
    let mut state = JoinState::new();
    let first = granted(&mut state, &joining(1, 0), 1);
    assert_eq!(first.generation, 1);
    state.confirm(1);
    // A server restored from an old copy: the device knows more.
    assert_eq!(granted(&mut state, &joining(2, 9), 2).generation, 10);
    // 17 has the four bits of 1, which is in use.
    assert_eq!(granted(&mut state, &joining(3, 16), 3).generation, 18);
    // 26 has those of 10, which is pending.
    assert_eq!(granted(&mut state, &joining(4, 25), 4).generation, 27);
    // A wiped device knows nothing.
    assert_eq!(granted(&mut state, &joining(5, 0), 5).generation, 28);
    assert_eq!(ask(&mut state, &joining(6, u32::MAX), 6), Err(JoinError::Exhausted));
}

#[test]
fn a_device_takes_only_the_answer_to_its_own_request() {
    let mut state = JoinState::new();
    let device = joining(1, 4);
    let grant = granted(&mut state, &device, 1);
    assert_eq!(grant.generation, 5);
    let answer = accept(grant);
    assert!(device.open(&answer, &join_key()).is_ok());
    assert_eq!(joining(2, 4).open(&answer, &join_key()), Err(OpenError), "an answer to another request");
    assert_eq!(joining(1, 5).open(&answer, &join_key()), Err(OpenError), "a generation it knows already");
    let other = device_key().join_key(&DeviceId::new("cellar-8").unwrap());
    assert_eq!(device.open(&answer, &other), Err(OpenError), "another device's key");
    assert_eq!(device.open(&request(&device), &join_key()), Err(OpenError), "its own request, reflected");
}

#[test]
fn every_changed_bit_and_length_of_a_join_is_refused() {
    let device = joining(1, 0);
    let grant = granted(&mut JoinState::new(), &device, 1);
    let opens = |bytes: &[u8]| {
        let as_request = RequestFrame::parse(bytes).is_ok_and(|frame| {
            // The server takes the key of whoever the request names.
            frame.open(&device_key().join_key(frame.id())).is_ok()
        });
        as_request || device.open(bytes, &join_key()).is_ok()
    };
    for bytes in [request(&device), accept(grant)] {
        assert!(opens(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&changed), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(!opens(&bytes[..len]), "{len} bytes");
        }
        for n in 1..40 {
            let mut longer = bytes.clone();
            longer.resize(bytes.len() + n, 0);
            assert!(!opens(&longer), "{n} bytes more");
        }
    }
}

#[test]
fn hostile_ids_are_refused_by_name() {
    let check = |id: &[u8], ok: bool| assert_eq!(DeviceId::parse(id).is_ok(), ok, "{id:?}");
    check(b"a", true);
    check(b"24:6f:28:aa-x_y.z", true);
    check(&[b'x'; 32], true);
    check(b"", false);
    check(&[b'x'; 33], false);
    for bad in
        ["../etc", ".hidden", "a/b", "a+b", "#", "$SYS", "a b", "a\nb", "a\0", "é", "-x", "a,b", "a\"b"]
    {
        check(bad.as_bytes(), false);
    }
    let mut bytes = request(&joining(1, 0));
    bytes[1] = 0;
    assert_eq!(RequestFrame::parse(&bytes).err(), Some(ParseError::Malformed(crate::Field::DeviceId)));
    bytes[1] = 255;
    assert_eq!(RequestFrame::parse(&bytes).err(), Some(ParseError::Malformed(crate::Field::DeviceId)));
}

#[test]
fn a_damaged_state_is_refused() {
    let mut state = JoinState::new();
    granted(&mut state, &joining(1, 0), 1);
    state.confirm(1);
    granted(&mut state, &joining(2, 0), 2);
    let mut stored = [0; JOIN_STATE_LEN_MAX];
    let len = state.emit(&mut stored).unwrap();
    assert_eq!(len, state.emit_len());
    assert_eq!(JoinState::parse(&stored[..len]), Ok(state));
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: ParseError| {
        let mut bytes = stored[..len].to_vec();
        change(&mut bytes);
        assert_eq!(JoinState::parse(&bytes), Err(expected));
    };
    let bad = ParseError::Malformed(crate::Field::Join);
    check(&|b| b[0] = 2, ParseError::Version(2));
    check(&|b| b[4] = 1, bad); // highest below a generation that was granted
    check(&|b| b[5] = 2, bad);
    check(&|b| b[48] = 5, bad); // more pending than there may be
    check(&|b| b[48] = 3, bad); // more pending than remembered
    check(&|b| b[49] = 65, bad);
    check(&|b| b[48] = 2, bad); // the confirmed one pending as well
    check(&|b| b.push(0), ParseError::TooLong);
    check(&|b| b.truncate(60), ParseError::NeedMore { at_least: 70 });
}

proptest! {
    #![proptest_config(super::seeded())]

    #[test]
    fn any_course_of_joins_survives_storing(steps in prop::collection::vec((0u8..90, 0u32..40, any::<bool>()), 0..150)) {
        let mut state = JoinState::new();
        for (i, (nonce, known, confirm)) in steps.into_iter().enumerate() {
            let highest = state.pending().iter().chain(state.confirmed()).map(|g| g.generation).max();
            let request = Request {
                suite: Suite::AesCcm16, id: id(), device_nonce: [nonce; 16], known, fingerprint: FINGERPRINT,
            };
            let joined = state.handle_request(&request, &[i as u8; 16], time(i as i64)).unwrap();
            if let Joined::New(grant) = joined {
                prop_assert!(grant.generation > known && Some(grant.generation) > highest);
                prop_assert_eq!(state.generation(crate::frame::low4(grant.generation)), Some(&grant));
                if confirm {
                    prop_assert!(state.confirm(grant.generation));
                }
            }
            prop_assert!(state.pending().len() <= PENDING_MAX);
            let mut stored = [0; JOIN_STATE_LEN_MAX];
            let len = state.emit(&mut stored).unwrap();
            prop_assert_eq!(JoinState::parse(&stored[..len]), Ok(state.clone()));
        }
    }
}
