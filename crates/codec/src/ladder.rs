//! The ladder: a window is coded on the rung that needs the fewest bytes.
//!
//! A code is: the rung (one symbol with a trained prior); the rung's own symbols. A window that is short or has
//! values without a step begins with the mark "special" instead, then says its length and which values are steps,
//! then the rung.

mod after;
mod length;
mod shortest;
#[cfg(feature = "bundle")]
mod spending;

use crate::context::{self, History};
use crate::counts::code_rests;
use crate::fixed;
use crate::grid::is_step;
use crate::hold;
use crate::latent;
use crate::model::{HEAD_SYMBOLS, Model};
use crate::predict::{self, Memory, PADDING_MAX, Said};
use crate::range::{Coder, Decoder, Encoder, Meter, Metered, Site, Stop};
use crate::raw;
use crate::search::{self, Search};
use crate::shape::{self, ABSENT};
use crate::{DecodeError, Decoded, EncodeError, Encoded, Rung, TAIL_SAMPLES_MAX, Window};

pub(crate) use after::{decode_after, encode_after, resolve};

#[cfg(feature = "bundle")]
pub(crate) use after::path_after;
#[cfg(feature = "bundle")]
pub(crate) use spending::spending;

/// Rungs in the order of the head table.
const RUNGS: [Rung; HEAD_SYMBOLS - 1] = [Rung::Hold, Rung::Context, Rung::Predict, Rung::Latent, Rung::Raw];
/// Head symbol of a window that is short or has values without a step.
const SPECIAL: usize = HEAD_SYMBOLS - 1;

/// Words of workspace: see [`Areas`].
pub(crate) fn workspace_len(model: &Model<'_>) -> usize {
    let beam = search::workspace_len(model.channels()).max(model.channels() * History::WORDS);
    let n_areas =
        3 + usize::from(model.counts.is_some()) + usize::from(model.is_shortest()) + said_words(model);
    let tail = if model.has_references() { TAIL_SAMPLES_MAX * model.channels() } else { 0 };
    n_areas * model.values() + tail + beam.max(latent::scratch_len(model)).max(fixed::scratch_len(model))
}

/// Words a value of what networks said, where an encoder keeps it.
fn said_words(model: &Model<'_>) -> usize {
    if has_budget(model) { Said::WORDS } else { 0 }
}

fn has_budget(model: &Model<'_>) -> bool {
    matches!(&model.predict, Some(predict) if predict.has_budget())
}

/// True if the length of a code that stands alone moves what networks say. Where codes may refer it is only theirs that
/// does: the code that stands beside one is then written once, by the device and by whoever resolves the other.
fn tells_alone(model: &Model<'_>) -> bool {
    has_budget(model) && !model.has_references()
}

/// See [`crate::encode`].
pub(crate) fn encode(
    model: &Model<'_>,
    window: Window<'_>,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Result<Encoded, EncodeError> {
    check(model, window, workspace.len(), out.len())?;
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut areas = Areas::split(model, workspace, window.steps.len());
    if let (Some(fixed), true) = (&model.fixed, is_plain(model, window.steps)) {
        let code_len = fixed.encode(model, window.steps, areas.values, areas.scratch, out);
        return Ok(Encoded { code_len, rung: Rung::Fixed });
    }
    if model.is_shortest() {
        let (code_len, rung) =
            shortest::encode(model, window, &mut areas, out).map_err(|Stop| EncodeError::OutTooSmall)?;
        return Ok(Encoded { code_len, rung });
    }
    let mut best = (u32::MAX, Rung::Raw);
    // The context rung comes first: what it has found stays in `path`, the others are soon prepared again.
    for rung in [Rung::Context, Rung::Hold, Rung::Latent, Rung::Raw] {
        if !prepare(model, window, rung, &mut areas) {
            continue;
        }
        let mut meter = Meter::new();
        if write(model, window, rung, &mut areas, &mut meter).is_ok() && meter.cost() < best.0 {
            best = (meter.cost(), rung);
        }
    }
    // The networks are dear: they run once, writing what they measure, and no further than where they have lost.
    if tells_alone(model) {
        if let Some(code_len) = fitting(model, window, &mut areas, best.0, out) {
            settle(model, window, Rung::Predict, &mut areas);
            return Ok(Encoded { code_len, rung: Rung::Predict });
        }
    } else if prepare(model, window, Rung::Predict, &mut areas) {
        let mut metered = Metered::new(out, best.0);
        let written = write(model, window, Rung::Predict, &mut areas, &mut metered);
        let on_par_wins = matches!(best.1, Rung::Latent | Rung::Raw);
        if written.is_ok() && (metered.cost() < best.0 || on_par_wins && metered.cost() == best.0) {
            settle(model, window, Rung::Predict, &mut areas);
            return finished(model, metered.finish(), Rung::Predict, out);
        }
    }
    let (_, rung) = best;
    if rung != Rung::Context {
        prepare(model, window, rung, &mut areas);
    }
    let mut encoder = Encoder::new(out);
    let written = write(model, window, rung, &mut areas, &mut encoder).and_then(|()| encoder.finish());
    settle(model, window, rung, &mut areas);
    finished(model, written, rung, out)
}

/// Writes a window on the predict rung, as long as it says itself; its bytes, if it costs no more than `cost_max`.
fn fitting(
    model: &Model<'_>,
    window: Counted<'_>,
    areas: &mut Areas<'_>,
    cost_max: u32,
    out: &mut [u8],
) -> Option<usize> {
    areas.has_said = false;
    length::encode(window.is_beside, cost_max, out, &mut |coder| {
        if !prepare(model, window, Rung::Predict, areas) {
            return Err(Stop);
        }
        let written = write(model, window, Rung::Predict, areas, coder);
        areas.has_said = true;
        written
    })
}

/// A code on one of the ladder's rungs, told apart from codes of a fixed size.
fn finished(
    model: &Model<'_>,
    written: Result<usize, Stop>,
    rung: Rung,
    out: &mut [u8],
) -> Result<Encoded, EncodeError> {
    let mut code_len = written.map_err(|Stop| EncodeError::OutTooSmall)?;
    if model.fixed_code_len() == Some(code_len) {
        // A full window has this many bytes; no code ends in zero, so a zero tells them apart.
        out[code_len] = 0;
        code_len += 1;
    }
    Ok(Encoded { code_len, rung })
}

/// See [`crate::decode`].
pub(crate) fn decode(
    model: &Model<'_>,
    code: &[u8],
    workspace: &mut [i32],
    steps: &mut [i32],
) -> Result<Decoded, DecodeError> {
    if workspace.len() < model.workspace_len() {
        return Err(DecodeError::WorkspaceTooSmall);
    }
    if steps.len() < model.values() {
        return Err(DecodeError::OutTooSmall);
    }
    let (workspace, _) = Counted::split(model, workspace);
    let areas = Areas::split(model, workspace, model.values());
    let mut code = code;
    if let Some(fixed) = &model.fixed {
        if code.len() == fixed.code_len() {
            fixed.decode(model, code, &mut steps[..model.values()], areas.scratch);
            return Ok(Decoded { n_samples: model.samples(), rung: Rung::Fixed });
        }
        if code.len() == fixed.code_len() + 1 {
            code = code.strip_suffix(&[0]).unwrap_or(code);
        }
    }
    let mut decoder = Decoder::new(code);
    let read = read(model, &mut decoder, areas, steps).and_then(|decoded| {
        let is_padded = decoded.rung == Rung::Predict && tells_alone(model);
        decoder.finish_padded(if is_padded { PADDING_MAX } else { 0 }).map(|()| decoded)
    });
    read.map_err(|Stop| match crate::distance_of(model, code) {
        Some(_) => DecodeError::Reference,
        None => DecodeError::Malformed,
    })
}

fn check(
    model: &Model<'_>,
    window: Window<'_>,
    workspace_len: usize,
    out_len: usize,
) -> Result<(), EncodeError> {
    let n_values = window.steps.len();
    let whole = n_values > 0 && n_values.is_multiple_of(model.channels()) && n_values <= model.values();
    let sayable = |x: &i32| x.unsigned_abs() <= crate::STEP_MAX.unsigned_abs() || ABSENT[1..].contains(x);
    if !whole || !window.steps.iter().all(sayable) {
        return Err(EncodeError::WindowShape);
    }
    if workspace_len < model.workspace_len() {
        return Err(EncodeError::WorkspaceTooSmall);
    }
    if out_len < model.code_len_max() { Err(EncodeError::OutTooSmall) } else { Ok(()) }
}

/// True for a full window of steps.
fn is_plain(model: &Model<'_>, steps: &[i32]) -> bool {
    steps.len() == model.values() && steps.iter().all(|&x| is_step(x))
}

/// The parts of a workspace.
struct Areas<'w> {
    /// What a decoder will read.
    values: &'w mut [i32],
    /// The best path so far, where whole bytes are looked for; else nothing.
    best: &'w mut [i32],
    /// The context rung's lattice path.
    path: &'w mut [i32],
    /// Whether there is one.
    has_path: bool,
    /// Back pointers of the search, or the autoencoder's guess.
    back: &'w mut [i32],
    /// What networks said of each value, where that is kept; and whether it was.
    said: &'w mut [i32],
    has_said: bool,
    scratch: &'w mut [i32],
}

impl<'w> Areas<'w> {
    fn split(model: &Model<'_>, workspace: &'w mut [i32], n_values: usize) -> Self {
        let (values, rest) = workspace.split_at_mut(model.values());
        let (path, rest) = rest.split_at_mut(model.values());
        let (back, rest) = rest.split_at_mut(model.values());
        let best_len = if model.is_shortest() { n_values } else { 0 };
        let (best, rest) = rest.split_at_mut(best_len);
        let (said, scratch) = rest.split_at_mut(said_words(model) * n_values);
        Self {
            values: &mut values[..n_values],
            path: &mut path[..n_values],
            has_path: false,
            best,
            back: &mut back[..n_values],
            said,
            has_said: false,
            scratch,
        }
    }
}

/// A window as the rungs see it.
#[derive(Clone, Copy)]
struct Counted<'a> {
    /// Counts where the model has them, else grid steps.
    steps: &'a [i32],
    off_grid: bool,
    /// The window as it was given, in grid steps.
    given: &'a [i32],
    /// Some values lie beside the counts.
    is_beside: bool,
}

impl<'a> Counted<'a> {
    /// Takes what [`Counted::new`] needs off a workspace.
    fn split<'w>(model: &Model<'_>, workspace: &'w mut [i32]) -> (&'w mut [i32], &'w mut [i32]) {
        let spare_len = if model.counts.is_some() { model.values() } else { 0 };
        workspace.split_at_mut(workspace.len() - spare_len)
    }

    fn new(model: &Model<'_>, window: Window<'a>, spare: &'a mut [i32]) -> Self {
        let Window { steps: given, off_grid } = window;
        let Some(counts) = &model.counts else {
            return Self { steps: given, off_grid, given, is_beside: false };
        };
        let counted = &mut spare[..given.len()];
        counted.copy_from_slice(given);
        let is_beside = counts.count(counted);
        Self { steps: counted, off_grid, given, is_beside }
    }
}

/// Makes ready what [`write`] says on `rung`; false if the rung cannot keep this window's bound.
fn prepare(model: &Model<'_>, window: Counted<'_>, rung: Rung, areas: &mut Areas<'_>) -> bool {
    let reserve = i32::from(window.off_grid);
    match (rung, &model.context, &model.latent) {
        (Rung::Context, Some(context), _) => {
            let search = Search::new(model, context, window.steps, reserve, &[]);
            let beam = &mut areas.scratch[..search::workspace_len(model.channels())];
            areas.has_path = search.run(areas.path, areas.back, beam);
            areas.has_path
        }
        (Rung::Latent, _, Some(latent)) if window.steps.len() == model.values() && !window.off_grid => {
            latent.net.encode(model.channels(), window.steps, areas.values, areas.scratch);
            areas.values.copy_from_slice(window.steps);
            true
        }
        (Rung::Predict, ..) => match &model.predict {
            // What the context rung has found stands in `path`: it comes first.
            Some(predict) if predict.follows_path() => {
                areas.values.copy_from_slice(areas.path);
                areas.has_path
            }
            Some(_) => nearest(model, window.steps, reserve, areas.values),
            None => false,
        },
        (Rung::Hold, ..) => {
            areas.values.copy_from_slice(window.steps);
            hold::choose(model, areas.values, areas.scratch, reserve)
        }
        (Rung::Raw, ..) => {
            areas.values.copy_from_slice(window.steps);
            true
        }
        _ => false,
    }
}

/// The lattice values nearest to `steps`; false if one lies beyond its bound.
fn nearest(model: &Model<'_>, steps: &[i32], reserve: i32, rs: &mut [i32]) -> bool {
    let n_channels = model.channels();
    rs.iter_mut().zip(steps).enumerate().all(|(at, (r, &x))| {
        let lattice = model.lattice(at % n_channels);
        *r = if is_step(x) { lattice.nearest(x) } else { x };
        let bound = (model.bound_steps(at % n_channels) - reserve).max(0);
        !is_step(x) || lattice.value(*r).is_some_and(|value| (value - x).abs() <= bound)
    })
}

/// Lattice values become what they stand for.
fn to_values(model: &Model<'_>, rs: &mut [i32]) {
    for (at, r) in rs.iter_mut().enumerate() {
        *r = context::to_value(model.lattice(at % model.channels()), *r);
    }
}

/// Writes a prepared window; [`settle`] then makes `areas.values` what a decoder reads.
fn write(
    model: &Model<'_>,
    window: Counted<'_>,
    rung: Rung,
    areas: &mut Areas<'_>,
    coder: &mut dyn Coder,
) -> Result<(), Stop> {
    write_head(model, window, rung, areas, coder)?;
    match (rung, &model.context, &model.latent) {
        (Rung::Context, Some(context), _) => {
            context::code(model, context, coder, &[], areas.path, areas.scratch)?;
        }
        (Rung::Predict, Some(context), _) => {
            let Some(predict) = &model.predict else { return Err(Stop) };
            let memory = Memory::of(areas.said, areas.has_said);
            predict::code(model, (predict, context), coder, areas.values, 0, areas.scratch, memory)?;
        }
        (Rung::Hold, ..) => hold::code(model, coder, areas.values, areas.scratch)?,
        (Rung::Latent, _, Some(latent)) => {
            latent.code(model, coder, areas.values, areas.back, areas.scratch)?;
        }
        (Rung::Raw, ..) => raw::code(model, coder, areas.values, window.off_grid)?,
        _ => return Err(Stop),
    }
    // What nobody needs to go on is left for the code that is taken: many are only measured.
    if window.is_beside { finish_values(model, window, rung, areas, coder) } else { Ok(()) }
}

/// What stands before the rung's own symbols.
fn write_head(
    model: &Model<'_>,
    window: Counted<'_>,
    rung: Rung,
    areas: &mut Areas<'_>,
    coder: &mut dyn Coder,
) -> Result<(), Stop> {
    let head = RUNGS.iter().position(|&r| r == rung).ok_or(Stop)?;
    if let Some(reference) = &model.reference {
        reference.code(coder, None)?;
    }
    if window.is_beside || !is_plain(model, window.steps) {
        coder.symbol(Site::Head, model.head, model.head_symbol(SPECIAL))?;
        // Walks serve both directions and so take what they could change; here they only look.
        areas.back.copy_from_slice(window.steps);
        let shape = (window.steps.len() / model.channels(), window.is_beside);
        shape::code(model, coder, shape, areas.back)?;
    }
    coder.symbol(Site::Head, model.head, model.head_symbol(head)).map(|_| ())
}

/// Makes `areas.values` what a decoder reads of the window that was written last.
fn settle(model: &Model<'_>, window: Counted<'_>, rung: Rung, areas: &mut Areas<'_>) {
    if !window.is_beside {
        // No rests follow, so nothing is written, and what was chosen within its bound is a grid step.
        _ = finish_values(model, window, rung, areas, &mut Meter::new());
    }
}

/// Turns what a rung has said into grid steps, and says the rests of those beside the counts.
fn finish_values(
    model: &Model<'_>,
    window: Counted<'_>,
    rung: Rung,
    areas: &mut Areas<'_>,
    coder: &mut dyn Coder,
) -> Result<(), Stop> {
    if rung == Rung::Context {
        areas.values.copy_from_slice(areas.path);
    }
    if matches!(rung, Rung::Context | Rung::Predict) {
        to_values(model, areas.values);
    }
    match &model.counts {
        Some(counts) => code_rests(counts, coder, window.is_beside, window.given, areas.values),
        None => Ok(()),
    }
}

fn read(
    model: &Model<'_>,
    coder: &mut dyn Coder,
    areas: Areas<'_>,
    steps: &mut [i32],
) -> Result<Decoded, Stop> {
    let (mut n_samples, mut is_beside) = (model.samples(), false);
    steps[..model.values()].fill(0);
    if let Some(reference) = &model.reference
        && reference.code(coder, None)?.is_some()
    {
        return Err(Stop);
    }
    if !tells_alone(model) {
        coder.hide_len();
    }
    let mut head = model.head_place(coder.symbol(Site::Head, model.head, 0)?);
    if head == SPECIAL {
        (n_samples, is_beside) = shape::code(model, coder, (0, false), &mut steps[..model.values()])?;
        head = model.head_place(coder.symbol(Site::Head, model.head, 0)?);
        if is_beside {
            // Who knows what the rests take?
            coder.hide_len();
        }
    }
    let rung = *RUNGS.get(head).ok_or(Stop)?;
    let n_values = n_samples * model.channels();
    let steps = &mut steps[..n_values];
    match (rung, &model.context, &model.latent) {
        (Rung::Context, Some(context), _) => {
            context::code(model, context, coder, &[], steps, areas.scratch)?;
            to_values(model, steps);
        }
        (Rung::Predict, Some(context), _) => {
            let Some(predict) = &model.predict else { return Err(Stop) };
            predict::code(model, (predict, context), coder, steps, 0, areas.scratch, Memory::None)?;
            to_values(model, steps);
        }
        (Rung::Hold, ..) => hold::code(model, coder, steps, areas.scratch)?,
        (Rung::Latent, _, Some(latent)) if n_samples == model.samples() => {
            latent.code(model, coder, steps, areas.back, areas.scratch)?;
        }
        (Rung::Raw, ..) => raw::code(model, coder, steps, false)?,
        _ => return Err(Stop),
    }
    if let Some(counts) = &model.counts {
        code_rests(counts, coder, is_beside, &[], steps)?;
    }
    Ok(Decoded { n_samples, rung })
}

/// See [`crate::learn::encode_on`].
#[cfg(feature = "bundle")]
pub(crate) fn encode_on(
    model: &Model<'_>,
    window: Window<'_>,
    rung: Rung,
    workspace: &mut [i32],
    out: &mut [u8],
) -> Option<usize> {
    check(model, window, workspace.len(), out.len()).ok()?;
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut areas = Areas::split(model, workspace, window.steps.len());
    let mut encoder = Encoder::new(out);
    let written = prepare(model, window, rung, &mut areas)
        && write(model, window, rung, &mut areas, &mut encoder).is_ok();
    encoder.finish().ok().filter(|_| written)
}

/// Runs one rung's symbols of a window past `coder`, as learning does; false if the rung cannot say the window.
#[cfg(feature = "bundle")]
pub(crate) fn observe(
    model: &Model<'_>,
    window: Window<'_>,
    rung: Rung,
    workspace: &mut [i32],
    coder: &mut dyn Coder,
) -> bool {
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut areas = Areas::split(model, workspace, window.steps.len());
    let is_said =
        prepare(model, window, rung, &mut areas) && write(model, window, rung, &mut areas, coder).is_ok();
    if is_said {
        settle(model, window, rung, &mut areas);
    }
    is_said
}

/// The lattice values the context rung says for a window.
#[cfg(feature = "bundle")]
pub(crate) fn path<'w>(model: &Model<'_>, window: Window<'_>, workspace: &'w mut [i32]) -> Option<&'w [i32]> {
    let (workspace, spare) = Counted::split(model, workspace);
    let window = Counted::new(model, window, spare);
    let mut areas = Areas::split(model, workspace, window.steps.len());
    prepare(model, window, Rung::Context, &mut areas).then_some(areas.path)
}
