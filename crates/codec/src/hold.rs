//! The hold rung: every channel stays at its first value.

use crate::alphabet;
use crate::context::{self, Context, History, load};
use crate::grid::is_step;
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
    for (idx, first) in model.firsts().enumerate() {
        let Some((from, to)) = candidates(model, idx, values, reserve) else { continue };
        let lattice = model.lattice(idx);
        let predicted = context::predict_first(model, idx, histories);
        let (from, to) = match forced {
            Some((channel, place)) if channel == idx => (from + place, to.min(from + place)),
            _ => (from, to),
        };
        let cheapest =
            (from..=to).filter(|&r| lattice.value(r).is_some()).min_by_key(|&r| first.cost(predicted, r));
        let Some(r) = cheapest else { return false };
        let Some(value) = lattice.value(r) else { return false };
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
        let Some(held) = values.iter().skip(idx).step_by(n_channels).copied().find(|&x| is_step(x)) else {
            continue;
        };
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
    for (idx, first) in model.firsts().enumerate() {
        let Some((from, to)) = candidates(model, idx, values, reserve) else { continue };
        let lattice = model.lattice(idx);
        let history = load(histories, idx);
        let predicted = context::predict_first(model, idx, histories);
        let table = context.table(context::next_context(n_channels, idx, &history, histories));
        let cost = |r: i32| match history.is_empty() {
            true => first.cost(predicted, r),
            false => alphabet::cost(table, r.wrapping_sub(history.r)),
        };
        let cheapest = (from..=to).filter(|&r| lattice.value(r).is_some()).min_by_key(|&r| cost(r));
        let Some((r, value)) = cheapest.and_then(|r| Some((r, lattice.value(r)?))) else { return false };
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
        let Some(held) = values.iter().skip(idx).step_by(n_channels).copied().find(|&x| is_step(x)) else {
            continue;
        };
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
    let channel = || values.iter().skip(idx).step_by(model.channels()).copied().filter(|&x| is_step(x));
    let (low, high) = (channel().min()?, channel().max()?);
    let lattice = model.lattice(idx);
    Some((lattice.candidates(high, bound).0, lattice.candidates(low, bound).1))
}

fn hold(values: &mut [i32], idx: usize, n_channels: usize, value: i32) {
    for x in values.iter_mut().skip(idx).step_by(n_channels).filter(|x| is_step(**x)) {
        *x = value;
    }
}

fn push(histories: &mut [i32], idx: usize, r: i32) {
    let mut history = load(histories, idx);
    history.push(r);
    history.store(&mut histories[idx * History::WORDS..]);
}
