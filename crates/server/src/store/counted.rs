//! What is counted of devices and days.

/// An arrival later than this from now was dated by a clock that was ahead; servers' clocks differ by less.
pub(super) const AHEAD_MS: i64 = 60_000;

/// What was counted about a device on one day (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DayStats {
    /// The device's short id.
    pub device: u32,
    /// Days since 1970-01-01.
    pub day: i32,
    /// When the last frame of the day came.
    pub t_last: i64,
    /// What was counted.
    pub totals: Totals,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames accepted, repeats included.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Windows stored.
    pub windows: u64,
    /// Readings in decoded windows.
    pub readings: u64,
    /// Frames that were stored already.
    pub duplicates: u64,
}

/// How often frames were turned away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RejectCount {
    /// The device's short id, 0 if none is known.
    pub device: u32,
    /// Days since 1970-01-01.
    pub day: i32,
    /// Why, one short word.
    pub reason: String,
    /// How often.
    pub n: u64,
}

/// How completely a stretch of time is covered by windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Samples stored.
    pub n_samples: u64,
    /// Time spanned by those samples.
    pub covered_ms: i64,
    /// Time between consecutive windows that nothing arrived for.
    pub missing_ms: i64,
}
