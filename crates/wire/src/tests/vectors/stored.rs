//! Counters and what a server stores.

use super::joins::joining;
use super::*;
use crate::counter::ShortCounter;
use crate::join::{JOIN_STATE_LEN_MAX, JoinState, Request};
use crate::ranges::{RANGES_LEN_MAX, ReceivedRanges};

pub(super) fn counters() -> String {
    let cases: [(&str, u32, Option<u64>); 11] = [
        ("first", 0, None),
        ("first_is_late", 0xffff_ffff, None),
        ("next", 5, Some(4)),
        ("before", 4, Some(5)),
        ("next_lap", 0, Some(0xffff_ffff)),
        ("lap_before", 0xffff_ffff, Some(0x1_0000_0000)),
        ("jump_2_16", 0x0001_0000, Some(0)),
        ("jump_below_2_31", 0x7fff_ffff, Some(0x5_0000_0000)),
        ("past_2_31_is_back", 0x8000_0001, Some(0x5_0000_0000)),
        ("2_31_is_back", 0x8000_0000, Some(0x5_0000_0000)),
        ("last_lap", 0, Some(0xffff_ffff_ffff)),
    ];
    let about = "The 48-bit counter from its low 32 bits and the highest that opened so far.";
    cases
        .iter()
        .fold(Text::new(about), |text, &(name, low, highest)| {
            let full = ShortCounter::Low(low).rebuild(highest.map(counter));
            let text = text.case(name).hex("low", &low.to_be_bytes());
            let text = match highest {
                Some(n) => text.u48("highest", n),
                None => text,
            };
            text.u48("counter", full.get())
        })
        .0
}

pub(super) fn stored() -> String {
    let about = "What a server stores: counters received (a run of 6-byte counters, in order of arrival), join states.";
    let received: [(&str, Vec<u64>); 3] = [
        ("ranges_empty", std::vec![]),
        ("ranges", std::vec![0, 1, 2, 5, 4, 200, 3, 0xffff_ffff_ffff]),
        ("ranges_closed", (0..258).map(|i| i * 200).collect()),
    ];
    let text = received.iter().fold(Text::new(about), |text, (name, counters)| {
        let mut ranges = ReceivedRanges::new();
        counters.iter().for_each(|&n| assert_eq!(ranges.insert(counter(n)), crate::ranges::Received::New));
        let arrived: Vec<u8> = counters.iter().flat_map(|n| n.to_be_bytes()[2..].to_vec()).collect();
        let mut out = [0; RANGES_LEN_MAX];
        let len = ranges.emit(&mut out).unwrap();
        text.case(name).hex("received", &arrived).hex("ranges", &out[..len])
    });
    let mut state = JoinState::new();
    let mut out = [0; JOIN_STATE_LEN_MAX];
    let len = state.emit(&mut out).unwrap();
    let text = text.case("join_state_empty").hex("join_state", &out[..len]);
    let first = Request { known: 0, ..*joining().request() };
    state.handle_request(&first, b"server nonce 16b", Millis::saturating(1_790_000_000_456)).unwrap();
    state.confirm(1);
    let second = Request { device_nonce: *b"Device nonce 16b", ..first };
    state.handle_request(&second, b"Server nonce 16b", Millis::saturating(1_790_000_009_999)).unwrap();
    let len = state.emit(&mut out).unwrap();
    text.case("join_state").hex("join_state", &out[..len]).0
}
