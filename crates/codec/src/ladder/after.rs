//! Codes that refer to an earlier window.
//!
//! The path is searched after the tail, so that a sensor that stands still is held where it was. What it finds is
//! written twice: after the tail, and alone. On the same rung, so that whoever reads the first can write the second.

#[cfg(feature = "bundle")]
use super::spending::{Noting, Spending};
use super::{Areas, Counted, check, has_budget, is_plain, length, said_words, settle, to_values, write};
use crate::context::{self, Context};
use crate::counts::code_rests;
use crate::grid::is_step;
use crate::hold;
use crate::model::Model;
use crate::predict::{self, Memory, PADDING_MAX};
use crate::range::{Coder, Decoder, Encoder, Metered, Site, Stop};
use crate::reference::{self, DISTANCE_MAX, Reference, ReferenceTables, Referring, TAIL_SAMPLES_MAX};
use crate::search::{self, Search};
use crate::shape;
use crate::{DecodeError, Decoded, EncodeError, Rung, Window};

/// Rungs in the order of the head table of codes that refer.
const RUNGS: [Rung; reference::HEAD_SYMBOLS - 1] = [Rung::Hold, Rung::Context, Rung::Predict];
/// Head symbol of a window that is short or has values without a step.
const SPECIAL: usize = RUNGS.len();

/// The parts of a model that codes which refer lean on.
#[derive(Clone, Copy)]
struct Parts<'m, 'a> {
    model: &'m Model<'a>,
    tables: &'m ReferenceTables<'a>,
    context: &'m Context<'a>,
}

impl<'m, 'a> Parts<'m, 'a> {
    fn of(model: &'m Model<'a>) -> Option<Self> {
        match (&model.reference, &model.context) {
            (Some(tables), Some(context)) => Some(Self { model, tables, context }),
            _ => None,
        }
    }
}

/// The parts of a workspace.
struct Room<'w> {
    /// The tail's lattice values, then the window's; at last what a decoder reads.
    whole: &'w mut [i32],
    n_past: usize,
    path: &'w mut [i32],
    back: &'w mut [i32],
    /// What networks said of each value, where an encoder keeps that; and whether it was kept.
    said: &'w mut [i32],
    has_said: bool,
    scratch: &'w mut [i32],
}

impl<'w> Room<'w> {
    /// `None` if the tail has no value to go on from.
    fn new(model: &Model<'_>, tail: &[i32], workspace: &'w mut [i32], n_values: usize) -> Option<Self> {
        let n_channels = model.channels();
        let room = TAIL_SAMPLES_MAX * n_channels;
        let n_past = (tail.len() / n_channels * n_channels).min(room);
        let (whole, rest) = workspace.split_at_mut(room + model.values());
        let (path, rest) = rest.split_at_mut(model.values());
        let (back, rest) = rest.split_at_mut(model.values());
        let (said, scratch) = rest.split_at_mut(said_words(model) * n_values);
        let whole = &mut whole[room - n_past..room + n_values];
        let past = &mut whole[..n_past];
        past.copy_from_slice(&tail[tail.len() - n_past..]);
        if let Some(counts) = &model.counts {
            counts.count(past);
        }
        for (at, r) in past.iter_mut().enumerate().filter(|(_, r)| is_step(**r)) {
            *r = model.lattice(at % n_channels).nearest(*r);
        }
        let is_known = past.iter().any(|&r| is_step(r));
        let (path, back) = (&mut path[..n_values], &mut back[..n_values]);
        is_known.then_some(Self { whole, n_past, path, back, said, has_said: false, scratch })
    }

    fn values(&mut self) -> &mut [i32] {
        &mut self.whole[self.n_past..]
    }

    /// Cuts what was room for a full window to the `n_values` of this one.
    fn cut(&mut self, n_values: usize) {
        let shorten = |part: &mut &'w mut [i32], len: usize| {
            let whole = core::mem::take(part);
            *part = &mut whole[..len];
        };
        shorten(&mut self.whole, self.n_past + n_values);
        shorten(&mut self.path, n_values);
        shorten(&mut self.back, n_values);
    }

    /// Puts what a code that stands alone says to where it is written from; `path` holds the lattice values, and `back`
    /// on hold what is held.
    fn prepare_alone(&mut self, rung: Rung) {
        let from = if rung == Rung::Hold { &*self.back } else { &*self.path };
        self.whole[self.n_past..].copy_from_slice(from);
    }

    /// The same room for a code that stands alone.
    fn alone(&mut self) -> Areas<'_> {
        Areas {
            values: &mut self.whole[self.n_past..],
            best: &mut [],
            path: self.path,
            has_path: true,
            back: self.back,
            said: &mut [],
            has_said: false,
            scratch: self.scratch,
        }
    }
}

/// See [`crate::encode_after`].
pub(crate) fn encode_after(
    model: &Model<'_>,
    reference: Reference<'_>,
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Result<Option<Referring>, EncodeError> {
    check(model, window, workspace.len(), out.len() / 2)?;
    let Some(parts) = Parts::of(model) else { return Ok(None) };
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let distance = reference.distance;
    let in_reach = (1..=DISTANCE_MAX).contains(&distance);
    let Some(mut room) = Room::new(model, reference.tail, workspace, window.steps.len()) else {
        return Ok(None);
    };
    if !in_reach || !find_path(parts, window, &mut room) {
        return Ok(None);
    }
    let mut best: Option<(usize, u32, Rung)> = None;
    for rung in RUNGS {
        if rung == Rung::Predict && has_budget(model) {
            break;
        }
        let cost_max = best.map_or(u32::MAX, |(len, ..)| u32::try_from(len * 128 + 127).unwrap_or(u32::MAX));
        let mut metered = Metered::new(out, cost_max);
        if write_after(parts, window, (rung, distance), &mut room, &mut metered).is_err() {
            continue;
        }
        let cost = metered.cost();
        if let Ok(len) = metered.finish()
            && best.is_none_or(|best| (len, cost) < (best.0, best.1))
        {
            best = Some((len, cost, rung));
        }
    }
    let (code, rest) = out.split_at_mut(model.code_len_max());
    let (code_len, rung) = if let Some(code_len) = fitting(parts, window, distance, &mut room, best, code) {
        (Ok(code_len), Rung::Predict)
    } else {
        let Some((_, _, rung)) = best else { return Ok(None) };
        let mut encoder = Encoder::new(code);
        let written = write_after(parts, window, (rung, distance), &mut room, &mut encoder);
        (written.and_then(|()| encoder.finish()), rung)
    };
    room.prepare_alone(rung);
    let mut encoder = Encoder::new(&mut rest[..model.code_len_max()]);
    let written = write(model, window, rung, &mut room.alone(), &mut encoder);
    settle(model, window, rung, &mut room.alone());
    let alone_len = written.and_then(|()| encoder.finish());
    // A window far beyond what was learned is said better by a rung that needs no tail.
    let (Ok(code_len), Ok(alone_len)) = (code_len, alone_len) else { return Ok(None) };
    out.copy_within(model.code_len_max()..model.code_len_max() + alone_len, code_len);
    // Where a caller looks for what a decoder will read.
    let from = TAIL_SAMPLES_MAX * model.channels();
    workspace.copy_within(from..from + window.steps.len(), 0);
    Ok((code_len < alone_len).then_some(Referring { code_len, alone_len, rung }))
}

/// Searches the path after the tail into `room.path`; false if there is none.
fn find_path(Parts { model, context, .. }: Parts<'_, '_>, window: Counted<'_>, room: &mut Room<'_>) -> bool {
    let reserve = i32::from(window.off_grid);
    let Room { whole, n_past, path, back, scratch, .. } = room;
    let search = Search::new(model, context, window.steps, reserve, &whole[..*n_past]);
    search.run(path, back, &mut scratch[..search::workspace_len(model.channels())])
}

/// Where the length of a code tells, writes the window on the predict rung if that is shorter than the best of the others;
/// its bytes.
fn fitting(
    parts: Parts<'_, '_>,
    window: Counted<'_>,
    distance: u8,
    room: &mut Room<'_>,
    best: Option<(usize, u32, Rung)>,
    out: &mut [u8],
) -> Option<usize> {
    if !has_budget(parts.model) {
        return None;
    }
    let len_max = best.map_or(usize::MAX, |(len, ..)| len).checked_sub(1)?;
    let cost_max = u32::try_from(len_max.saturating_mul(128))
        .map_or(u32::MAX, |cost| cost.saturating_add(127 - length::END));
    length::encode(window.is_beside, cost_max, out, &mut |coder| {
        let written = write_after(parts, window, (Rung::Predict, distance), room, coder);
        room.has_said = true;
        written
    })
}

/// Writes a window after the tail. What a decoder reads is left to the code that stands alone; `room.back` becomes what is held.
fn write_after(
    Parts { model, tables, context }: Parts<'_, '_>,
    window: Counted<'_>,
    (rung, distance): (Rung, u8),
    room: &mut Room<'_>,
    coder: &mut dyn Coder,
) -> Result<(), Stop> {
    let head = RUNGS.iter().position(|&r| r == rung).ok_or(Stop)?;
    let n_past = room.n_past;
    match rung {
        Rung::Hold => {
            let (past, values) = room.whole.split_at_mut(n_past);
            values.copy_from_slice(window.steps);
            let reserve = i32::from(window.off_grid);
            if !hold::choose_after(model, context, past, values, room.scratch, reserve) {
                return Err(Stop);
            }
        }
        _ => room.whole[n_past..].copy_from_slice(room.path),
    }
    tables.code(coder, Some(distance))?;
    if window.is_beside || !is_plain(model, window.steps) {
        coder.symbol(Site::Fixed, tables.head, SPECIAL)?;
        room.back.copy_from_slice(window.steps);
        let n_samples = window.steps.len() / model.channels();
        shape::code(model, coder, (n_samples, window.is_beside), room.back)?;
    }
    coder.symbol(Site::Fixed, tables.head, head)?;
    code_rung(model, context, coder, rung, room)?;
    if rung == Rung::Hold {
        room.back.copy_from_slice(&room.whole[n_past..]);
    }
    match &model.counts {
        Some(counts) if window.is_beside => {
            to_grid(model, rung, room.values());
            code_rests(counts, coder, true, window.given, room.values())
        }
        _ => Ok(()),
    }
}

/// The symbols of a rung, both ways: what stands in `room.values()` is coded, or becomes what was read.
fn code_rung(
    model: &Model<'_>,
    context: &Context<'_>,
    coder: &mut dyn Coder,
    rung: Rung,
    room: &mut Room<'_>,
) -> Result<(), Stop> {
    let (past, values) = room.whole.split_at_mut(room.n_past);
    match (rung, &model.predict) {
        (Rung::Hold, _) => hold::code_after(model, context, coder, past, values, room.scratch),
        (Rung::Context, _) => context::code(model, context, coder, past, values, room.scratch),
        (Rung::Predict, Some(predict)) => {
            let memory = Memory::of(room.said, room.has_said);
            predict::code(model, (predict, context), coder, room.whole, room.n_past, room.scratch, memory)
        }
        _ => Err(Stop),
    }
}

/// Lattice values become grid steps or counts; on hold they are that.
fn to_grid(model: &Model<'_>, rung: Rung, values: &mut [i32]) {
    if rung != Rung::Hold {
        to_values(model, values);
    }
}

/// Reads a window of at most as many values as there is room for; gives also whether values lie beside the counts.
/// `room` is cut to the window, and keeps its lattice path in `path` and what the rung said, before rests, in `back`.
fn read_after(
    Parts { model, tables, context }: Parts<'_, '_>,
    coder: &mut dyn Coder,
    room: &mut Room<'_>,
) -> Result<(Decoded, bool), Stop> {
    let (mut n_samples, mut is_beside) = (model.samples(), false);
    room.values().fill(0);
    tables.code(coder, None)?.ok_or(Stop)?;
    let mut head = coder.symbol(Site::Fixed, tables.head, 0)?;
    if head == SPECIAL {
        (n_samples, is_beside) = shape::code(model, coder, (0, false), room.values())?;
        head = coder.symbol(Site::Fixed, tables.head, 0)?;
        if is_beside {
            coder.hide_len();
        }
    }
    let rung = *RUNGS.get(head).ok_or(Stop)?;
    room.cut(n_samples * model.channels());
    code_rung(model, context, coder, rung, room)?;
    room.path.copy_from_slice(&room.whole[room.n_past..]);
    to_grid(model, rung, room.values());
    room.back.copy_from_slice(&room.whole[room.n_past..]);
    if let Some(counts) = &model.counts {
        code_rests(counts, coder, is_beside, &[], room.values())?;
    }
    Ok((Decoded { n_samples, rung }, is_beside))
}

/// See [`crate::decode_after`].
pub(crate) fn decode_after(
    model: &Model<'_>,
    tail: &[i32],
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
) -> Result<Decoded, DecodeError> {
    read_code(model, tail, code, workspace, steps).map(|(_, decoded, _)| decoded)
}

/// The same; gives also the room as [`read_after`] leaves it, and whether values lie beside the counts.
fn read_code<'w>(
    model: &Model<'_>,
    tail: &[i32],
    code: &[u8],
    workspace: &'w mut [i32],
    steps: &mut [i32],
) -> Result<(Room<'w>, Decoded, bool), DecodeError> {
    if workspace.len() < model.workspace_len() {
        return Err(DecodeError::WorkspaceTooSmall);
    }
    if steps.len() < model.values() {
        return Err(DecodeError::OutTooSmall);
    }
    let parts = Parts::of(model).ok_or(DecodeError::Reference)?;
    if reference::distance(model, code).is_none() {
        return Err(DecodeError::Reference);
    }
    let mut room = Room::new(model, tail, workspace, model.values()).ok_or(DecodeError::Reference)?;
    // Who reads asks the networks once.
    room.said = &mut [];
    let mut decoder = Decoder::new(code);
    let read = read_after(parts, &mut decoder, &mut room);
    let (decoded, is_beside) = read
        .and_then(|read| {
            let is_padded = read.0.rung == Rung::Predict && has_budget(model);
            decoder.finish_padded(if is_padded { PADDING_MAX } else { 0 }).map(|()| read)
        })
        .map_err(|Stop| DecodeError::Malformed)?;
    let values = room.values();
    steps[..values.len()].copy_from_slice(values);
    Ok((room, decoded, is_beside))
}

/// See [`crate::resolve`].
pub(crate) fn resolve(
    model: &Model<'_>,
    tail: &[i32],
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
    out: &mut [u8],
) -> Result<usize, DecodeError> {
    if out.len() < model.code_len_max() {
        return Err(DecodeError::OutTooSmall);
    }
    let (mut room, Decoded { n_samples, rung }, is_beside) = read_code(model, tail, code, workspace, steps)?;
    let given = &mut steps[..n_samples * model.channels()];
    if let (Some(counts), true) = (&model.counts, is_beside) {
        counts.beside(room.back, given);
    }
    // Of the window only the marks are looked at, and where it lies beside the counts how far.
    let window = Counted { steps: given, off_grid: false, given, is_beside };
    room.prepare_alone(rung);
    let mut encoder = Encoder::new(&mut out[..model.code_len_max()]);
    let written = write(model, window, rung, &mut room.alone(), &mut encoder);
    // No encoder refers where what stands alone has no room.
    let code_len = written.and_then(|()| encoder.finish()).map_err(|Stop| DecodeError::Malformed)?;
    settle(model, window, rung, &mut room.alone());
    given.copy_from_slice(room.values());
    Ok(code_len)
}

/// See [`crate::learn::path_after`]: the lattice values of tail and window, those of the tail, and if `out` has room and there
/// are networks, what a code that refers has spent before each value and its bytes, as if its length told nothing.
#[cfg(feature = "bundle")]
pub(crate) fn path_after<'w>(
    model: &Model<'_>,
    tail: &[i32],
    window: Window<'_>,
    workspace: &'w mut [i32],
    out: &mut [u8],
) -> Option<(&'w [i32], usize, Option<Spending>)> {
    let parts = Parts::of(model)?;
    check(model, window, workspace.len(), out.len()).ok()?;
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut room = Room::new(model, tail, workspace, window.steps.len())?;
    if !find_path(parts, window, &mut room) {
        return None;
    }
    let mut noting = Noting::new(Encoder::new(out));
    let written = write_after(parts, window, (Rung::Predict, 1), &mut room, &mut noting);
    let spending = noting.finish().filter(|_| written.is_ok());
    let Room { whole, n_past, path, .. } = room;
    whole[n_past..].copy_from_slice(path);
    Some((whole, n_past, spending))
}
