//! The fewest whole bytes.
//!
//! A window of a calm sensor is a byte or two, and whether it is one or two is half chance: a range of 2^-9 holds a
//! number of one byte or it does not. So where the bound leaves several ways to say a window, all are written, and
//! the one of fewest bytes goes out. The window that is expected most costs none: its symbols are the first of their
//! tables, so that the empty code says it.

use super::{Areas, Counted, is_plain, prepare, read, settle, write, write_head};
use crate::Rung;
use crate::context::{self, History};
use crate::grid::is_step;
use crate::hold;
use crate::model::Model;
use crate::range::{Decoder, Encoder, Metered, Stop};
use crate::search::{self, CANDIDATES_MAX, Search};

/// Lattice values within its bound that the first value is forced to, one after the other: a search each.
const FORCED_MAX: i32 = 4;

/// Encodes a window; its bytes and its rung.
pub(super) fn encode(
    model: &Model<'_>,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    out: &mut [u8],
) -> Result<(usize, Rung), Stop> {
    if let Some(rung) = expected(model, window, areas) {
        return Ok((0, rung));
    }
    let mut best = Best { len: usize::MAX, cost: u32::MAX, rung: Rung::Raw };
    // The path of least cost first: the networks follow it.
    if prepare(model, window, Rung::Context, areas) {
        best.offer(model, window, Rung::Context, areas, out);
    }
    if prepare(model, window, Rung::Predict, areas) {
        let cost_max = u32::try_from(best.len.saturating_mul(128).saturating_add(127)).unwrap_or(u32::MAX);
        let mut metered = Metered::new(out, cost_max);
        if write(model, window, Rung::Predict, areas, &mut metered).is_ok() {
            let cost = metered.cost();
            best.take(metered.finish()?, cost, Rung::Predict, areas);
        }
    }
    offer_paths(model, window, areas, out, &mut best);
    for idx in 0..model.channels() {
        for place in 0..CANDIDATES_MAX as i32 {
            areas.values.copy_from_slice(window.steps);
            let reserve = i32::from(window.off_grid);
            if !hold::choose_but(model, Some((idx, place)), areas.values, areas.scratch, reserve) {
                break;
            }
            areas.path.copy_from_slice(areas.values);
            best.offer(model, window, Rung::Hold, areas, out);
        }
    }
    for rung in [Rung::Latent, Rung::Raw] {
        if prepare(model, window, rung, areas) {
            best.offer(model, window, rung, areas, out);
        }
    }
    match best.rung {
        Rung::Context => areas.path.copy_from_slice(areas.best),
        Rung::Hold | Rung::Predict => areas.values.copy_from_slice(areas.best),
        rung => _ = prepare(model, window, rung, areas),
    }
    let mut encoder = Encoder::new(out);
    write(model, window, best.rung, areas, &mut encoder)?;
    settle(model, window, best.rung, areas);
    Ok((encoder.finish()?, best.rung))
}

/// Offers the paths that the search ends with, for each value within the bound that the first may take.
fn offer_paths(
    model: &Model<'_>,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    out: &mut [u8],
    best: &mut Best,
) {
    let Some(context) = &model.context else { return };
    // Writing a special window needs the place of the back pointers.
    if window.is_beside || !is_plain(model, window.steps) {
        return;
    }
    let reserve = i32::from(window.off_grid);
    let search = Search::new(model, context, window.steps, reserve, &[]);
    for forced in 0..FORCED_MAX {
        let beam = &mut areas.scratch[..search::workspace_len(model.channels())];
        let Some(Some(costs)) = search.ends(Some(forced), areas.path, areas.back, beam) else { return };
        let n_paths = costs.iter().take_while(|&&cost| cost != i32::MAX).count();
        _ = offer_ends(&search, n_paths, window, areas, out, best);
    }
}

/// Offers the paths a search has kept. They differ in their last values at most: what they share is written once.
fn offer_ends(
    search: &Search<'_>,
    n_paths: usize,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    out: &mut [u8],
    best: &mut Best,
) -> Result<(), Stop> {
    let Search { model, context, .. } = *search;
    let (n_shared, n_values) = (search.n_shared(areas.back, n_paths), window.steps.len());
    search.trace(areas.path, areas.back, 0);
    let mut metered = Metered::new(out, u32::MAX);
    write_head(model, window, Rung::Context, areas, &mut metered)?;
    let histories_len = model.channels() * History::WORDS;
    let (histories, kept) = areas.scratch.split_at_mut(histories_len);
    context::begin(model.channels(), &[], histories);
    context::code_run(model, context, &mut metered, areas.path, 0..n_shared, histories)?;
    let mark = metered.mark();
    kept[..histories_len].copy_from_slice(histories);
    for slot in 0..n_paths {
        search.trace_from(n_shared, areas.path, areas.back, slot);
        let (histories, kept) = areas.scratch.split_at_mut(histories_len);
        histories.copy_from_slice(&kept[..histories_len]);
        let end = context::code_run(model, context, &mut metered, areas.path, n_shared..n_values, histories);
        if let Ok(len) = end.and_then(|()| metered.end()) {
            best.take(len, metered.cost(), Rung::Context, areas);
        }
        metered.back_to(&mark);
    }
    Ok(())
}

/// The rung of the empty code if what it says lies within the window's bounds; `areas.values` then holds that.
fn expected(model: &Model<'_>, window: Counted<'_>, areas: &mut Areas<'_>) -> Option<Rung> {
    if window.given.len() != model.values() {
        return None;
    }
    let mut decoder = Decoder::new(&[]);
    let rest = Areas {
        values: &mut [],
        path: areas.path,
        has_path: false,
        best: &mut [],
        back: areas.back,
        said: &mut [],
        has_said: false,
        scratch: areas.scratch,
    };
    let decoded = read(model, &mut decoder, rest, areas.values).ok()?;
    decoder.finish().ok()?;
    let n_channels = model.channels();
    let within = |(at, (&x, &y)): (usize, (&i32, &i32))| {
        let bound = (model.grid_bound(at % n_channels) - i32::from(window.off_grid)).max(0);
        is_step(x) && is_step(y) && (x - y).abs() <= bound
    };
    let is_whole = decoded.n_samples * n_channels == window.given.len();
    (is_whole && window.given.iter().zip(areas.values.iter()).enumerate().all(within)).then_some(decoded.rung)
}

/// The shortest code so far.
struct Best {
    len: usize,
    cost: u32,
    rung: Rung,
}

impl Best {
    /// Measures what was prepared, of hold and context also in `areas.path`.
    fn offer(
        &mut self,
        model: &Model<'_>,
        window: Counted<'_>,
        rung: Rung,
        areas: &mut Areas<'_>,
        out: &mut [u8],
    ) {
        let mut metered = Metered::new(out, u32::MAX);
        if write(model, window, rung, areas, &mut metered).is_ok() {
            let cost = metered.cost();
            if let Ok(len) = metered.finish() {
                self.take(len, cost, rung, areas);
            }
        }
    }

    /// Keeps a code if it is the shortest so far, and of those of equal length the one that costs least.
    fn take(&mut self, len: usize, cost: u32, rung: Rung, areas: &mut Areas<'_>) {
        if (len, cost) < (self.len, self.cost) {
            *self = Self { len, cost, rung };
            areas.best.copy_from_slice(areas.path);
        }
    }
}
