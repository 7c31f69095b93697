use std::vec::Vec;

use super::*;

const TAG: [u8; TAG_LEN] = [7; TAG_LEN];
const MINUTE: u64 = 60_000;

fn sample(n: i64) -> Sample {
    Sample {
        temperature: Some(Decimal::new(n, 1)),
        humidity: (n % 5 != 0).then_some(Decimal::new(-n, 2)),
        pressure: None,
    }
}

/// A board that samples every minute in windows of 30; each start knows what the memory says and nothing else.
struct Board {
    memory: [u8; KEPT_LEN],
    now: u64,
    n_taken: i64,
    /// What the node was given, and how often the radio was on.
    given: Vec<(u64, Sample)>,
    sent_at: Vec<u64>,
    n_in_outbox: usize,
}

impl Board {
    fn new() -> Self {
        Self {
            memory: [0xA5; KEPT_LEN],
            now: 5,
            n_taken: 0,
            given: Vec::new(),
            sent_at: Vec::new(),
            n_in_outbox: 0,
        }
    }

    /// One start, which takes 300 ms, or a session of 5 s; then sleep.
    fn start(&mut self, is_reached: bool, is_power_on: bool) {
        let kept = Kept::read(&self.memory, &TAG, self.now);
        let by_hand = is_power_on || kept.is_none();
        let mut kept = kept.unwrap_or_else(|| Kept::new(TAG));
        kept.fit(MINUTE as u32, 30);
        self.now += 300;
        if kept.is_due(self.now) {
            self.n_taken += 1;
            kept.take(self.now, sample(self.n_taken));
        }
        let next = kept.next(self.now, by_hand && !kept.sleeps_first());
        if let Next::Sleep(until) = next {
            assert!(until > self.now && until <= self.now + MINUTE, "{until} at {}", self.now);
            kept.slept();
            self.now = until;
        } else {
            self.given.extend(kept.drain());
            self.n_in_outbox += 1;
            let has_radio = next == Next::Send;
            let began = self.now;
            if has_radio {
                self.sent_at.push(self.now);
                self.now += 5_000;
                self.n_in_outbox *= usize::from(!is_reached);
            }
            let session = Session {
                began,
                heard: began,
                is_busy: false,
                n_waiting: self.n_in_outbox,
                is_due: false,
                has_radio,
                by_hand: false,
            };
            let unix = is_reached.then(|| 1_790_000_000_000 + self.now as i64);
            kept.ended(self.now, &session, unix, 1 << 31);
        }
        kept.write(&mut self.memory);
    }

    fn run_until(&mut self, end: u64, is_reached: bool) {
        while self.now < end {
            self.start(is_reached, false);
        }
    }
}

#[test]
fn a_day_of_minutes_is_sent_a_window_at_a_time() {
    let mut board = Board::new();
    board.start(true, true);
    board.run_until(24 * 60 * MINUTE, true);
    assert!((1410..=1440).contains(&board.given.len()), "{}", board.given.len());
    let kept = Kept::read(&board.memory, &TAG, board.now).unwrap();
    assert_eq!(board.given.len() + kept.samples.len(), board.n_taken as usize);
    // Every sample once, in order, on the minute's beat, with its reading.
    for (n, (at, got)) in board.given.iter().enumerate() {
        assert_eq!(*got, sample(n as i64 + 1));
        assert!((at - board.given[0].0).abs_diff(n as u64 * MINUTE) <= 1_000, "{n} at {at}");
    }
    // One session by hand, then one for each 30 samples.
    assert!((48..=49).contains(&board.sent_at.len()), "{}", board.sent_at.len());
    assert_eq!(kept.unix_ms(board.now), Some(1_790_000_000_000 + board.now as i64));
}

#[test]
fn without_a_server_windows_go_to_flash_and_the_radio_comes_on_ever_more_seldom() {
    let mut board = Board::new();
    board.start(false, true);
    board.run_until(24 * 60 * MINUTE, false);
    assert!(board.given.len() >= 1410 && board.n_in_outbox >= 47);
    let waits: Vec<u64> = board.sent_at.windows(2).map(|pair| (pair[1] - pair[0]) / MINUTE).collect();
    assert_eq!(waits[..5], [5, 10, 20, 40, 60]);
    assert!(board.sent_at.len() <= 29, "{}", board.sent_at.len());
    // It comes back within the hour, and with it everything that waits.
    let (n, now) = (board.sent_at.len(), board.now);
    board.run_until(now + 76 * MINUTE, true);
    assert!(board.sent_at.len() > n && board.n_in_outbox == 0);
}

#[test]
fn memory_that_lost_its_power_or_is_another_devices_is_none() {
    let mut kept = Kept::new(TAG);
    kept.fit(1_000, 3);
    for n in 0..200 {
        kept.take(n * 1_000 + 1, sample(n as i64));
    }
    assert_eq!((kept.samples.len(), kept.samples[0].1), (SAMPLES_MAX, sample(72)));
    let mut memory = [0xFF; KEPT_LEN];
    kept.write(&mut memory);
    assert_eq!(Kept::read(&memory, &TAG, 200_000).as_ref(), Some(&kept));
    assert_eq!(Kept::read(&memory, &[8; TAG_LEN], 200_000), None);
    // The supply was gone: the RTC began anew.
    assert_eq!(Kept::read(&memory, &TAG, 199_000), None);
    for bit in (0..8 * KEPT_LEN).step_by(7) {
        let mut damaged = memory;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Kept::read(&damaged, &TAG, u64::MAX), None, "bit {bit}");
    }
    for fill in [0, 0xFF] {
        assert_eq!(Kept::read(&[fill; KEPT_LEN], &[fill; TAG_LEN], u64::MAX), None);
    }
}

#[test]
fn a_session_ends_when_all_is_sent_or_nobody_answers() {
    let kept = Kept::new(TAG);
    let session = Session {
        began: 1_000,
        heard: 1_000,
        is_busy: false,
        n_waiting: 0,
        is_due: false,
        has_radio: true,
        by_hand: false,
    };
    let check =
        |now, session: Session, want| assert_eq!(kept.is_over(now, &session), want, "{now} {session:?}");
    check(1_001, session, true);
    for going_on in [
        Session { n_waiting: 1, ..session },
        Session { is_due: true, ..session },
        Session { is_busy: true, ..session },
    ] {
        check(30_999, going_on, false);
        check(31_000, going_on, true);
        check(31_000, Session { heard: 20_000, ..going_on }, false);
        check(1_001, Session { has_radio: false, ..going_on }, true);
    }
    check(60_999, Session { by_hand: true, ..session }, false);
    check(61_000, Session { by_hand: true, ..session }, true);
    check(1_001, Session { by_hand: true, has_radio: false, ..session }, true);
}
