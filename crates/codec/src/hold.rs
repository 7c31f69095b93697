//! The hold rung: every channel stays at its first value.

use crate::alphabet;
use crate::context::{self, Context, History, load};
use crate::first::Lattice;
use crate::grid::{extent, is_step};
use crate::model::Model;
use crate::range::{Coder, Stop};

/// Replaces every value by the one its channel is held at, the cheapest within all bounds; false if some channel
/// moves further than its bound allows.
pub(crate) fn choose(model: &Model<'_>, values: &mut [i32], histories: &mut [i32], reserve: i32) -> bool {
    choose_but(model, None, values, histories, reserve)
}

/// The same but for channel `forced.0`, which takes value `forced.1` of those within all bounds; false if there is none.
pub(crate) fn choose_but(
    model: &Model<'_>,
    forced: Option<(usize, i32)>,
    values: &mut [i32],
    histories: &mut [i32],
    reserve: i32,
) -> bool {
    let n_channels = model.channels();
    histories[..n_channels * History::WORDS].fill(0);
    let mut firsts = model.firsts();
    for idx in 0..n_channels {
        let Some(first) = firsts.next() else { return false };
        let Some((from, to)) = candidates(model, idx, values, reserve) else { continue };
        let lattice = model.lattice(idx);
        let predicted = context::predict_first(model, idx, histories);
        let (from, to) = match forced {
            Some((channel, place)) if channel == idx => (from + place, to.min(from + place)),
            _ => (from, to),
        };
        let cheapest = cheapest(lattice, from, to, &|r| first.cost(predicted, r));
        let Some((r, value)) = cheapest else { return false };
        push(histories, idx, r);
        hold(values, idx, n_channels, value);
    }
    true
}

/// Codes one value a channel and fills the window with it; an encoder's `values` come from [`choose`].
pub(crate) fn code(
    model: &Model<'_>,
    coder: &mut dyn Coder,
    values: &mut [i32],
    histories: &mut [i32],
) -> Result<(), Stop> {
    let n_channels = model.channels();
    histories[..n_channels * History::WORDS].fill(0);
    for idx in 0..n_channels {
        let lattice = model.lattice(idx);
        let Some(held) = held(values, idx, n_channels) else { continue };
        let r = context::code_first(model, coder, idx, histories, lattice.nearest(held))?;
        let value = lattice.value(r).ok_or(Stop)?;
        push(histories, idx, r);
        hold(values, idx, n_channels, value);
    }
    Ok(())
}

/// [`choose`] for a window that follows the lattice values `past`.
pub(crate) fn choose_after(
    model: &Model<'_>,
    context: &Context<'_>,
    past: &[i32],
    values: &mut [i32],
    histories: &mut [i32],
    reserve: i32,
) -> bool {
    let n_channels = model.channels();
    context::begin(n_channels, past, histories);
    let mut firsts = model.firsts();
    for idx in 0..n_channels {
        let Some(first) = firsts.next() else { return false };
        let Some((from, to)) = candidates(model, idx, values, reserve) else { continue };
        let lattice = model.lattice(idx);
        let history = load(histories, idx);
        let predicted = context::predict_first(model, idx, histories);
        let table = context.table(context::next_context(n_channels, idx, &history, histories));
        let cost = |r: i32| match history.is_empty() {
            true => first.cost(predicted, r),
            false => alphabet::cost(table, r.wrapping_sub(history.r)),
        };
        let Some((r, value)) = cheapest(lattice, from, to, &cost) else { return false };
        push(histories, idx, r);
        hold(values, idx, n_channels, value);
    }
    true
}

/// [`code`] for a window that follows the lattice values `past`.
pub(crate) fn code_after(
    model: &Model<'_>,
    context: &Context<'_>,
    coder: &mut dyn Coder,
    past: &[i32],
    values: &mut [i32],
    histories: &mut [i32],
) -> Result<(), Stop> {
    let n_channels = model.channels();
    context::begin(n_channels, past, histories);
    for idx in 0..n_channels {
        let lattice = model.lattice(idx);
        let Some(held) = held(values, idx, n_channels) else { continue };
        let r = context::code_next(model, context, coder, idx, histories, lattice.nearest(held))?;
        let value = lattice.value(r).ok_or(Stop)?;
        push(histories, idx, r);
        hold(values, idx, n_channels, value);
    }
    Ok(())
}

/// The lattice values that lie within the bound of all of a channel's; `None` if it has no values.
fn candidates(model: &Model<'_>, idx: usize, values: &[i32], reserve: i32) -> Option<(i32, i32)> {
    let bound = (model.bound_steps(idx) - reserve).max(0);
    let (low, high) = extent(values, idx, model.channels())?;
    let lattice = model.lattice(idx);
    Some((lattice.candidates(high, bound).0, lattice.candidates(low, bound).1))
}

/// The first of the cheapest lattice values from `from` to `to`, and what it stands for.
fn cheapest(lattice: Lattice, from: i32, to: i32, cost: &dyn Fn(i32) -> u32) -> Option<(i32, i32)> {
    let (mut cheapest, mut least) = (None, u32::MAX);
    for r in from..=to {
        let Some(value) = lattice.value(r) else { continue };
        let cost = cost(r);
        if cheapest.is_none() || cost < least {
            (cheapest, least) = (Some((r, value)), cost);
        }
    }
    cheapest
}

/// The first value of channel `idx`.
fn held(values: &[i32], idx: usize, n_channels: usize) -> Option<i32> {
    let mut at = idx;
    loop {
        let &x = values.get(at)?;
        if is_step(x) {
            return Some(x);
        }
        at += n_channels;
    }
}

fn hold(values: &mut [i32], idx: usize, n_channels: usize, value: i32) {
    let mut at = idx;
    while let Some(x) = values.get_mut(at) {
        if is_step(*x) {
            *x = value;
        }
        at += n_channels;
    }
}

fn push(histories: &mut [i32], idx: usize, r: i32) {
    let mut history = load(histories, idx);
    history.push(r);
    history.store(&mut histories[idx * History::WORDS..]);
}
