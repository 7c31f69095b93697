//! How often a device is used to come, from the times at which it came.

/// Arrivals an interval is learned from.
pub(crate) const ARRIVALS: u32 = 17;
/// Arrivals closer together belong to one visit.
const VISIT_MS: i64 = 1000;

/// The middle of a device's last intervals, or the length of a window, `span_ms`, if that is longer or it has come once.
pub(crate) fn interval_ms(mut arrivals: Vec<i64>, span_ms: i64) -> i64 {
    arrivals.sort_unstable();
    let gaps = arrivals.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let mut gaps: Vec<i64> = gaps.filter(|gap| *gap >= VISIT_MS).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(0).max(span_ms)
}
