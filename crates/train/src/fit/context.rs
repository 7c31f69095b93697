//! The context rung, learned by counting: search paths with the tables so far, count, cluster, repeat.

use kinglet_codec::learn::{
    CLASSES_MAX, ChannelPart, ContextPart, Parts, RAW_CONTEXTS, SYMBOLS_MAX, Site, TABLES_MAX, observe,
};
use kinglet_codec::{Model, Rung, Window, is_step};

use super::cluster::{Counts, cluster};
use super::rows::Rows;

/// Counts by raw context over the largest alphabet.
pub(crate) struct DiffCounts(Vec<Counts>);

/// Counts the differences the context rung says for windows of `rows` on a model made of `parts`; the first begins `skip`
/// samples into each piece.
///
/// Few rows are counted several times, cut at other places and moved against the lattice: where both lie is chance.
pub(crate) fn count(parts: &Parts, rows: &Rows, skip: usize) -> DiffCounts {
    let bytes = parts.emit();
    let mut counts = vec![Counts::new(); RAW_CONTEXTS * parts.channels.len()];
    let Ok(model) = Model::parse(&bytes) else { return DiffCounts(counts) };
    let mut workspace = vec![0; model.workspace_len()];
    let n_samples = usize::from(parts.n_samples);
    let n_passes = if is_bounded(parts) && rows.len() < FEW_ROWS { N_PASSES } else { 1 };
    let weight = 1.0 / n_passes as f64;
    let mut moved = Vec::new();
    for pass in 0..n_passes {
        let shifts = lattice_shifts(parts, pass, n_passes);
        for steps in rows.windows_from(n_samples, (skip + pass * n_samples / n_passes) % n_samples) {
            shift(steps, &shifts, &mut moved);
            let window = Window { steps: &moved, off_grid: false };
            observe(&model, window, Rung::Context, &mut workspace, &mut |site, sym| {
                if let Site::Diff(raw) = site {
                    if counts[raw].is_empty() {
                        counts[raw] = vec![0.0; SYMBOLS_MAX];
                    }
                    counts[raw][sym] += weight;
                }
            });
        }
    }
    DiffCounts(counts)
}

/// Fewer rows than this are counted so often.
const FEW_ROWS: usize = 1500;
const N_PASSES: usize = 8;

/// True if the bound leaves some channel a choice, and so makes its lattice a matter of chance.
pub(crate) fn is_bounded(parts: &Parts) -> bool {
    parts.channels.iter().any(|channel| channel.grid.bound_steps > 0)
}

/// How far each channel is moved against its lattice in one of `n_passes` passes, grid steps.
pub(crate) fn lattice_shifts(parts: &Parts, pass: usize, n_passes: usize) -> Vec<i32> {
    let turned = |(idx, channel): (usize, &ChannelPart)| {
        let turn = pass * (2 * idx + 1) % n_passes;
        (channel.lattice.step as usize * turn / n_passes) as i32
    };
    parts.channels.iter().enumerate().map(turned).collect()
}

/// `moved` becomes `steps`, sample-major, each channel moved by its shift; what is no step stays as it is.
pub(crate) fn shift(steps: &[i32], shifts: &[i32], moved: &mut Vec<i32>) {
    moved.clear();
    let shifted = |(&x, by): (&i32, &i32)| if is_step(x) { x + by } else { x };
    moved.extend(steps.iter().zip(shifts.iter().cycle()).map(shifted));
}

/// Tables from counts; `None` when nothing was counted.
pub(crate) fn tables(counts: DiffCounts, n_tables_max: usize) -> Option<ContextPart> {
    let n_raw = counts.0.len();
    let seen: Vec<usize> = (0..n_raw).filter(|&raw| !counts.0[raw].is_empty()).collect();
    if seen.is_empty() {
        return None;
    }
    let top = seen.iter().filter_map(|&raw| counts.0[raw].iter().rposition(|&n| n > 0.0)).max().unwrap_or(0);
    // Two classes more than were seen: the last is open-ended, the one before it a step beyond.
    let n_classes = (top.div_ceil(2) + 2).clamp(4, CLASSES_MAX);
    let n_symbols = 2 * n_classes + 1;
    let contexts: Vec<Counts> = seen.iter().map(|&raw| counts.0[raw][..n_symbols].to_vec()).collect();
    let clusters = cluster(&contexts, n_tables_max.min(TABLES_MAX));
    let mut map = vec![0u8; n_raw];
    for (raw, table) in map.iter_mut().enumerate() {
        let nearest = (0..seen.len()).min_by_key(|&at| distance(raw, seen[at])).unwrap_or(0);
        *table = clusters.group_of[nearest] as u8;
    }
    Some(ContextPart { n_classes: n_classes as u8, map, tables: clusters.counts })
}

/// How unlike two raw contexts are; 0 for the same. Movement weighs most, then the channel, then the neighbour.
fn distance(a: usize, b: usize) -> usize {
    let part = |raw: usize| (raw / RAW_CONTEXTS, raw % RAW_CONTEXTS / 5, raw % 5);
    let ((channel_a, state_a, beside_a), (channel_b, state_b, beside_b)) = (part(a), part(b));
    100 * state_a.abs_diff(state_b) + 40 * usize::from(channel_a != channel_b) + beside_a.abs_diff(beside_b)
}
