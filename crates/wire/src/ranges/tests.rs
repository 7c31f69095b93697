use std::collections::BTreeSet;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn counter(n: u64) -> Counter {
    Counter::new(n).unwrap()
}

fn of(counters: impl IntoIterator<Item = u64>) -> ReceivedRanges {
    let mut ranges = ReceivedRanges::new();
    counters.into_iter().for_each(|n| assert_eq!(ranges.insert(counter(n)), Received::New, "{n}"));
    ranges
}

fn stored(ranges: &ReceivedRanges) -> Vec<u8> {
    let mut out = std::vec![0; RANGES_LEN_MAX];
    let len = ranges.emit(&mut out).unwrap();
    assert_eq!(len, ranges.emit_len());
    out.truncate(len);
    out
}

#[test]
fn every_counter_is_new_once() {
    for order in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [1, 3, 5, 2, 4], [3, 5, 1, 4, 2]] {
        let mut ranges = of(order);
        assert_eq!(ranges.n_ranges(), 1);
        for n in order {
            assert_eq!(ranges.insert(counter(n)), Received::Already);
        }
        assert_eq!((ranges.check(counter(0)), ranges.check(counter(6))), (Received::New, Received::New));
    }
    let ends = of([0, Counter::MAX.get(), 1 << 31, 1 << 16]);
    assert_eq!((ends.n_ranges(), ends.highest()), (4, Some(Counter::MAX)));
}

#[test]
fn a_late_frame_is_new_however_late() {
    let mut ranges = of((0..100).chain(101..200).chain((1 << 40)..(1 << 40) + 10));
    assert_eq!(ranges.insert(counter(100)), Received::New);
    assert_eq!(ranges.insert(counter(100)), Received::Already);
    assert_eq!(ranges.n_received(), 210);
}

#[test]
fn memory_is_bounded_and_nothing_is_new_twice() {
    // 300 counters, no two together: the lowest 44 are closed.
    let ranges = of((0..300).map(|i| i * 2));
    assert_eq!(ranges.n_ranges(), RANGES_MAX);
    for n in 0..600 {
        let expected = match n {
            0..88 => Received::Closed,
            _ if n % 2 == 0 => Received::Already,
            _ => Received::New,
        };
        assert_eq!(ranges.check(counter(n)), expected, "{n}");
    }
    // One below all that is remembered, while full: taken once, then closed.
    let mut ranges = of((1..=256).map(|i| i * 2));
    assert_eq!(ranges.insert(counter(0)), Received::New);
    assert_eq!(ranges.insert(counter(0)), Received::Closed);
    assert_eq!(ranges.insert(counter(1)), Received::Closed);
    assert_eq!(ranges.check(counter(2)), Received::Already);
    assert!(stored(&ranges).len() <= RANGES_LEN_MAX);
}

#[test]
fn an_ack_covers_what_is_received_and_nothing_else() {
    let ranges = of((0..70_000).chain([70_001, 70_031, 70_032, 80_000]));
    for n in [0, 5, 65_534, 65_535, 69_999, 70_001, 70_032, 80_000] {
        let ack = ranges.ack_around(counter(n), Millis::default(), AckFlags::default()).unwrap();
        assert!(ack.covers(counter(n)), "{n}");
        for other in (0..80_100).step_by(7).chain(69_990..70_040) {
            let received = ranges.check(counter(other)) == Received::Already;
            assert!(received || !ack.covers(counter(other)), "ack around {n} covers {other}");
        }
    }
    assert_eq!(ranges.ack_around(counter(70_000), Millis::default(), AckFlags::default()), None);
    let top = of([Counter::MAX.get()]);
    assert!(
        top.ack_around(Counter::MAX, Millis::default(), AckFlags::default()).unwrap().covers(Counter::MAX)
    );
}

#[test]
fn damaged_ranges_are_refused() {
    const BAD: Result<ReceivedRanges, ParseError> = Err(ParseError::Malformed(Field::Ranges));
    let check = |bytes: &[u8], expected: Result<ReceivedRanges, ParseError>| {
        assert_eq!(ReceivedRanges::parse(bytes), expected, "{bytes:?}");
    };
    check(&stored(&of([3, 4, 9])), Ok(of([3, 4, 9])));
    assert_eq!(stored(&of([3, 4, 9])), [1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 1, 3, 0]);
    check(&[2, 0, 0, 0, 0, 0, 0, 0, 0], Err(ParseError::Version(2)));
    check(&[1, 0, 0, 0, 0, 0, 0, 1, 1], BAD); // 257 ranges
    check(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0, 0], BAD); // a longer way to write 0
    check(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0], BAD); // past 2^48
    check(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], BAD);
    check(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], Err(ParseError::TooLong));
    let good = stored(&of([3, 4, 9]));
    for len in 0..good.len() {
        assert!(matches!(ReceivedRanges::parse(&good[..len]), Err(ParseError::NeedMore { .. })), "{len}");
    }
}

proptest! {
    #![proptest_config(crate::tests::seeded())]

    #[test]
    fn agrees_with_a_plain_set(counters in prop::collection::vec(0u64..400, 0..600)) {
        // At most 200 gaps fit below 400, so nothing is ever closed and the set is exact.
        let (mut ranges, mut set) = (ReceivedRanges::new(), BTreeSet::new());
        for n in counters {
            let expected = if set.insert(n) { Received::New } else { Received::Already };
            prop_assert_eq!(ranges.insert(counter(n)), expected);
        }
        prop_assert_eq!(ranges.n_received(), set.len() as u64);
        prop_assert_eq!(ranges.highest().map(Counter::get), set.last().copied());
        prop_assert_eq!(ReceivedRanges::parse(&stored(&ranges)), Ok(ranges));
    }

    #[test]
    fn nothing_is_new_twice_in_any_course(counters in prop::collection::vec(0u64..1 << 48, 0..700), near in 1u64..2000) {
        let mut ranges = ReceivedRanges::new();
        for n in counters {
            let n = if n % 2 == 0 { n } else { n % near };
            let before = ranges.check(counter(n));
            prop_assert_eq!(ranges.insert(counter(n)), before);
            prop_assert_ne!(ranges.check(counter(n)), Received::New);
        }
        prop_assert_eq!(ReceivedRanges::parse(&stored(&ranges)), Ok(ranges));
    }
}
