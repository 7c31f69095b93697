//! Which reading comes when: a recording replayed, faster than it was measured.

use kinglet_node::Reading;
use kinglet_train::recording::Recording;

/// Below this period stamps in whole milliseconds are too coarse to tell a steady clock.
const STEADY_PERIOD_MS: i64 = 20;

/// A recording replayed without end from some row on; times go on rising where it begins again. Of fast signals
/// each sample follows the one before it by exactly one period, as on the device they came from.
pub(crate) struct Feed<'a> {
    recording: &'a Recording,
    row: usize,
    /// Added to the recording's own time.
    shift_ms: i64,
}

impl<'a> Feed<'a> {
    /// Begins at `row`, whose sample is said to be at `t_first_ms`.
    pub(crate) fn new(recording: &'a Recording, row: usize, t_first_ms: i64) -> Self {
        let row = row % recording.len();
        Self { recording, row, shift_ms: t_first_ms.saturating_sub(recording.times_ms()[row]) }
    }

    /// Time of the next sample.
    pub(crate) fn next_t_ms(&self) -> i64 {
        self.recording.times_ms()[self.row].saturating_add(self.shift_ms)
    }

    /// The next sample: its time and its row.
    pub(crate) fn next(&mut self) -> (i64, usize) {
        let (t_ms, row) = (self.next_t_ms(), self.row);
        let period_ms = i64::from(self.recording.period_ms());
        self.row = (self.row + 1) % self.recording.len();
        if self.row == 0 || period_ms < STEADY_PERIOD_MS {
            let t_next = t_ms.saturating_add(period_ms);
            self.shift_ms = t_next.saturating_sub(self.recording.times_ms()[self.row]);
        }
        (t_ms, row)
    }
}

/// The readings of one row.
pub(crate) fn readings(recording: &Recording, row: usize) -> Vec<Reading> {
    recording.channels().iter().map(|channel| channel.values.get(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_train::recording::{RecordedChannel, Values};

    #[test]
    fn begins_again_with_rising_times() {
        let values: Values = (0..3).map(|i| format!("{i}").parse().ok()).collect();
        let channel = RecordedChannel { name: "x".into(), unit: String::new(), values };
        let recording = Recording::new(vec![0, 100, 500], vec![channel], 100).unwrap();
        let mut feed = Feed::new(&recording, 1, 1000);
        let told: Vec<_> = (0..5).map(|_| feed.next()).collect();
        assert_eq!(told, [(1000, 1), (1400, 2), (1500, 0), (1600, 1), (2000, 2)]);
    }
}
