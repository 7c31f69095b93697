//! The context rung, learned by counting: search paths with the tables so far, count, cluster, repeat.

use kinglet_codec::learn::{
    CLASSES_MAX, ContextPart, Parts, RAW_CONTEXTS, SYMBOLS_MAX, Site, TABLES_MAX, observe,
};
use kinglet_codec::{Model, Rung, Window};

use super::cluster::{Counts, cluster};

/// Counts by raw context over the largest alphabet.
pub(crate) struct DiffCounts(Vec<Counts>);

/// Counts the differences the context rung says for `windows`, on a model made of `parts`.
pub(crate) fn count<'w>(parts: &Parts, windows: impl Iterator<Item = &'w [i32]>) -> DiffCounts {
    let bytes = parts.emit();
    let mut counts = vec![Counts::new(); RAW_CONTEXTS * parts.channels.len()];
    let Ok(model) = Model::parse(&bytes) else { return DiffCounts(counts) };
    let mut workspace = vec![0; model.workspace_len()];
    for steps in windows {
        let window = Window { steps, off_grid: false };
        observe(&model, window, Rung::Context, &mut workspace, &mut |site, sym| {
            if let Site::Diff(raw) = site {
                if counts[raw].is_empty() {
                    counts[raw] = vec![0.0; SYMBOLS_MAX];
                }
                counts[raw][sym] += 1.0;
            }
        });
    }
    DiffCounts(counts)
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
