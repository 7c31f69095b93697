//! What was said comes out as it went in: every content, every header, through sealing and opening.

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::frame::Frame;
use crate::payload::Origin;
use crate::payload::{UpdateRefused, UpdateState};
use crate::{CONTENT_LEN_MAX, Field, ParseError};

fn emitted(content: &impl Content) -> Vec<u8> {
    let mut out = std::vec![0xee; content.len() + 3];
    assert_eq!(content.emit(&mut out), Ok(content.len()));
    assert_eq!(&out[content.len()..], [0xee; 3], "nothing is written past the end");
    if content.len() > 0 {
        let short = &mut out[..content.len() - 1];
        assert_eq!(content.emit(short), Err(crate::BufferTooSmall { need: content.len() }));
    }
    let mut out = std::vec![0; content.len()];
    content.emit(&mut out).unwrap();
    out
}

#[test]
fn every_case_opens_as_what_was_sealed() {
    for case in cases() {
        let mut frame = case.sealed();
        let view = Frame::new_checked(&frame[..]).unwrap();
        assert_eq!(FrameRepr::parse(&view), case.header, "{}", case.name);
        assert_eq!(view.counter().rebuild(Some(case.counter)), case.counter);
        assert_ne!(view.sealed(), case.content, "{}: sealed is not plain", case.name);
        assert_eq!(case.open(&mut frame), Ok(case.content.clone()), "{}", case.name);
    }
}

#[test]
fn the_largest_content_is_sealed() {
    let case = Case::new("largest", cases()[1].header, counter(300), &Raw(&[7; CONTENT_LEN_MAX]));
    assert_eq!(case.open(&mut case.sealed()), Ok(case.content.clone()));
}

#[test]
fn times_take_few_bytes() {
    let check = |t_ms: i64, time: Time, len: usize| {
        assert_eq!(Time::unix(t_ms), time);
        assert_eq!(Data::new(time, Quality::Synced, b"").len(), len);
        assert_eq!(time.t_ms(0), if time == Time::Arrival { Some(0) } else { Some(t_ms) });
    };
    check(0, Time::UnixS(0), 5);
    check(1_790_000_000_000, Time::UnixS(1_790_000_000), 5);
    check(1_790_000_000_001, Time::UnixMs(Millis::saturating(1_790_000_000_001)), 7);
    check(4_294_967_295_000, Time::UnixS(u32::MAX), 5);
    check(4_294_967_296_000, Time::UnixMs(Millis::saturating(4_294_967_296_000)), 7);
    check(-1, Time::Arrival, 1);
    check(i64::MAX, Time::Arrival, 1);
    assert_eq!(Time::Age(1500).t_ms(10_000), Some(8500));
    assert_eq!(Time::Uptime { boot: 1, uptime: Millis::default() }.t_ms(0), None);
}

#[test]
fn padding_hides_the_length() {
    let check = |code_len: usize, class: usize, expected: usize| {
        let code = std::vec![0u8; code_len];
        let data = Data::new(Time::unix(0), Quality::Synced, &code).padded_to(class);
        assert_eq!(data.len(), expected, "{code_len} bytes, class {class}");
        let bytes = emitted(&data);
        assert_eq!(Data::parse(&bytes), Ok(data));
    };
    check(0, 16, 16);
    check(10, 16, 16);
    // Padding always adds its marker, so an exact fit goes one class up.
    check(11, 16, 32);
    check(12, 16, 32);
    check(7, 0, 12);
    check(7, 1, 13);
}

#[test]
fn malformed_contents_are_refused_by_field() {
    let data =
        |bytes: &[u8], expected: ParseError| assert_eq!(Data::parse(bytes), Err(expected), "{bytes:?}");
    data(&[], ParseError::NeedMore { at_least: 1 });
    data(&[0x80], ParseError::Malformed(Field::Reserved));
    data(&[0x18], ParseError::Malformed(Field::Quality));
    data(&[0x05], ParseError::Malformed(Field::Time));
    data(&[0x01, 0, 0, 0], ParseError::NeedMore { at_least: 5 });
    data(&[0x20, 0, 0, 0, 1], ParseError::NeedMore { at_least: 11 });
    data(&[0x40], ParseError::Malformed(Field::Padding));
    data(&[0x40, 0, 0], ParseError::Malformed(Field::Padding));
    data(&[0x40, 0x80, 1], ParseError::Malformed(Field::Padding));

    let good = emitted(&super::status());
    let status = |at: usize, to: u8, expected: ParseError| {
        let mut bytes = good.clone();
        bytes[at] = to;
        assert_eq!(Status::parse(&bytes), Err(expected), "byte {at}");
    };
    status(0, 0x1b, ParseError::Malformed(Field::Reserved));
    status(0, 0x0f, ParseError::Malformed(Field::Quality));
    status(0, 0x08, ParseError::TooLong);
    status(1, 16, ParseError::Malformed(Field::Slot));
    status(2, 8, ParseError::Malformed(Field::Reset));
    assert_eq!(Status::parse(&good[..38]), Err(ParseError::NeedMore { at_least: 39 }));
    assert_eq!(Ack::parse(&[0; 18]), Err(ParseError::NeedMore { at_least: 19 }));
    assert_eq!(Ack::parse(&[0; 20]), Err(ParseError::TooLong));
    assert_eq!(Command::parse(&[0; 12]), Err(ParseError::NeedMore { at_least: 13 }));
}

#[test]
fn an_ack_names_what_it_covers() {
    let ack = Ack {
        base: counter(10),
        run: 3,
        bitmap: 0x8000_0005,
        ..Ack::time_only(Millis::default(), AckFlags::default())
    };
    let covered: Vec<u64> = (0..100).filter(|&n| ack.covers(counter(n))).collect();
    assert_eq!(covered, [10, 11, 12, 13, 15, 44]);
    let nothing = Ack::time_only(Millis::default(), AckFlags::default());
    assert!((0..100).all(|n| !nothing.covers(counter(n))));
    let last = Ack { base: Counter::MAX, run: 1, ..nothing };
    assert!(last.covers(Counter::MAX) && !last.covers(counter(0)));
}

#[test]
fn a_command_is_done_once() {
    let command = Command { expires: Millis::saturating(5000), last_uplink: counter(99), code: 1, body: b"" };
    let check = |now: Option<i64>, mark: u64, next: u64, due: bool| {
        let now = now.and_then(Millis::new);
        assert_eq!(command.is_due(now, mark, counter(next)), due, "now {now:?}, mark {mark}, next {next}");
    };
    check(Some(5000), 0, 100, true);
    check(Some(5001), 0, 100, false);
    // Done at 100: repeats and replays lie before the mark, for ever.
    check(Some(5000), 100, 100, false);
    check(Some(5000), 100, 5000, false);
    // Without a clock the counter says how old it is.
    check(None, 0, 100 + 1000, true);
    check(None, 0, 100 + 1024, false);
    // It names an uplink that was never sent.
    check(Some(0), 0, 99, false);
}

fn time() -> impl Strategy<Value = Time> {
    let millis = || (0..1i64 << 48).prop_map(|n| Millis::new(n).unwrap());
    prop_oneof![
        Just(Time::Arrival),
        any::<u32>().prop_map(Time::UnixS),
        millis().prop_map(Time::UnixMs),
        (any::<u16>(), millis()).prop_map(|(boot, uptime)| Time::Uptime { boot, uptime }),
        any::<u32>().prop_map(Time::Age),
    ]
}

fn quality() -> impl Strategy<Value = Quality> {
    prop_oneof![Just(Quality::Unknown), Just(Quality::Held), Just(Quality::Synced)]
}

fn any_counter() -> impl Strategy<Value = Counter> {
    (0..1u64 << 48).prop_map(counter)
}

proptest! {
    #![proptest_config(super::seeded())]

    #[test]
    fn any_window_survives(
        time in time(), quality in quality(), code in prop::collection::vec(any::<u8>(), 0..300),
        origin in option::of((any::<u32>(), any_counter())), class in 0usize..70,
        n in any_counter(), boot in any::<bool>(), slot in 0u8..16, short_id in any::<u32>(), g in any::<u32>(),
    ) {
        let origin = origin.map(|(generation, counter)| Origin { generation, counter });
        let data = Data { origin, ..Data::new(time, quality, &code) }.padded_to(class);
        prop_assert!(class == 0 || data.len().is_multiple_of(class));
        let bytes = emitted(&data);
        prop_assert_eq!(Data::parse(&bytes), Ok(data));

        let up = Up::new(Suite::AesCcm16, g, ShortId(short_id), n, boot);
        let case = Case::new("any", FrameRepr::Data { slot: Slot::new(slot).unwrap(), up }, n, &data);
        let mut frame = case.sealed();
        let view = Frame::new_checked(&frame[..]).unwrap();
        prop_assert_eq!(FrameRepr::parse(&view), case.header);
        prop_assert_eq!(view.counter().rebuild(Some(n)), n);
        prop_assert_eq!(case.open(&mut frame), Ok(bytes));
    }

    #[test]
    fn any_status_survives(
        slot in 0u8..16, fingerprint in any::<[u8; 16]>(), windows_lost in any::<u32>(), boot in any::<u16>(),
        reset in 0u8..8, uptime in 0i64..1 << 48, unix in option::of(0i64..1 << 48), quality in quality(),
        battery_mv in option::of(any::<u16>()),
        update in option::of((any::<u32>(), any::<bool>(), option::of((1u32.., 1u8..8)))), heap_free in option::of(any::<u32>()),
    ) {
        let resets = [Reset::Unknown, Reset::PowerOn, Reset::Pin, Reset::Software, Reset::Watchdog,
            Reset::Brownout, Reset::Panic, Reset::Sleep];
        let status = Status {
            slot: Slot::new(slot).unwrap(), fingerprint, windows_lost, boot, reset: resets[usize::from(reset)],
            uptime: Millis::new(uptime).unwrap(), unix: unix.and_then(Millis::new), quality, battery_mv,
            update: update.map(|(serial, is_trial, refused)| UpdateState {
                serial, is_trial, refused: refused.map(|(serial, why)| (serial, UpdateRefused::from_number(why).unwrap())),
            }),
            heap_free,
        };
        prop_assert_eq!(Status::parse(&emitted(&status)), Ok(status));
    }

    #[test]
    fn any_downlink_survives(
        base in any_counter(), run in any::<u16>(), bitmap in any::<u32>(), flags in any::<u8>(),
        t in 0i64..1 << 48, code in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let t = Millis::new(t).unwrap();
        let ack = Ack { flags: AckFlags(flags), server_time: t, base, run, bitmap };
        prop_assert_eq!(Ack::parse(&emitted(&ack)), Ok(ack));
        let command = Command { expires: t, last_uplink: base, code, body: &body };
        let bytes = emitted(&command);
        prop_assert_eq!(Command::parse(&bytes), Ok(command));
    }

    #[test]
    fn no_bytes_break_a_door(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        crate::fuzz::fuzz_frame(&bytes);
        crate::fuzz::fuzz_open(&bytes);
        crate::fuzz::fuzz_join(&bytes);
        crate::fuzz::fuzz_payload(&bytes);
        crate::fuzz::fuzz_ranges(&bytes);
    }

    #[test]
    fn no_changed_frame_breaks_a_door(which in 0usize..6, at in 0usize..60, to in any::<u8>()) {
        let case = &cases()[which];
        for mut bytes in [case.sealed(), case.content.clone()] {
            let len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte = to;
            }
            crate::fuzz::fuzz_frame(&bytes);
            crate::fuzz::fuzz_open(&bytes);
            crate::fuzz::fuzz_payload(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 24, ..super::seeded() })]

    #[test]
    fn no_long_course_breaks_what_a_server_stores(bytes in prop::collection::vec(any::<u8>(), 900..2400)) {
        crate::fuzz::fuzz_join(&bytes);
        crate::fuzz::fuzz_ranges(&bytes);
    }
}
