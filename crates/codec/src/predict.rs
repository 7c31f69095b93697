//! The predict rung: a small network says how likely each next value is, and the range coder says which it was.
//!
//! For each value the network sees how the channels moved in this window, and gives a mixture of three logistic
//! distributions around a linear prediction (PixelCNN++, Salimans et al. 2017, arXiv 1701.05517; all in integers
//! here). What it says is mixed with the context tables' view of the same value.

mod budget;
mod features;
mod gated;
mod mixture;
mod said;

use crate::alphabet;
use crate::context::{self, Context, History, load, neighbour_of};
use crate::grid::is_step;
use crate::model::{Model, Reader};
use crate::net::{Dense, Use};
use crate::parts;
use crate::range::{Coder, Site, Stop, code_unbounded};
use gated::Gated;

pub use budget::{BUDGET_INPUTS, BUDGET_VALUES_MAX};
pub(crate) use budget::{Budget, PADDING_MAX};
pub(crate) use features::{Features, Measure};
pub use features::{Lags, OTHER_LAGS_MAX, OWN_LAGS_MAX, Scaling};
pub use mixture::COMPONENTS;
pub(crate) use mixture::{Mixture, N_SYMBOLS, REACH};
pub(crate) use said::{Memory, Said};

/// Outputs of a mixed network: offset, log scale and logit of three components.
const OUTPUTS_MIXED: usize = 9;
/// Outputs of a gated network: also the logit of the context table.
pub const OUTPUTS: usize = 10;
/// Most hidden units in a layer.
pub const PREDICT_HIDDEN_MAX: usize = 32;
/// How far back mixed networks look.
const LAGS_MIXED: Lags = Lags { own: 8, other: 3 };

/// The trained part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Predict<'a> {
    shape: Shape,
    /// Of each channel: [`Scaling`].
    scalings: &'a [u8],
    /// Of each channel: its record, all of one length.
    records: &'a [u8],
    record_len: usize,
    _part: parts::Predict,
}

/// Of what size and kind the networks are.
#[derive(Clone, Copy, Debug)]
struct Shape {
    n_channels: usize,
    lags: Lags,
    n_hidden: [usize; 2],
    /// The table is one more component; else it is mixed in with a weight of its own.
    gated: bool,
    /// Logarithm of the bits usual for a value, Q4, if the length of the code moves the networks' outputs.
    usual_bits: Option<i8>,
}

/// One channel's network.
struct Record<'a> {
    /// i16 Q12, one per linear input; as often as the network has linear predictions.
    linear: &'a [u8],
    /// Share of the table in the mix, in 64ths; 0 if the network says it.
    table_weight: u32,
    layers: [Dense<'a>; 3],
    /// From what the code's length tells to the outputs.
    by_budget: Option<Dense<'a>>,
}

impl<'a> Predict<'a> {
    /// Reads a section of mixed networks, the first kind there was.
    pub(crate) fn parse_mixed(section: &'a [u8], n_channels: usize) -> Option<Self> {
        Self::parse(Reader(section), n_channels, LAGS_MIXED, (false, None))
    }

    /// Reads a section of gated networks.
    pub(crate) fn parse_gated(section: &'a [u8], n_channels: usize) -> Option<Self> {
        let mut reader = Reader(section);
        let lags = Lags { own: reader.u8()?, other: reader.u8()? };
        lags.check()?;
        Self::parse(reader, n_channels, lags, (true, None))
    }

    /// Reads a section of gated networks whose outputs are moved by the code's length.
    pub(crate) fn parse_budgeted(section: &'a [u8], n_channels: usize) -> Option<Self> {
        let mut reader = Reader(section);
        let usual_bits = reader.u8()? as i8;
        let lags = Lags { own: reader.u8()?, other: reader.u8()? };
        lags.check()?;
        Self::parse(reader, n_channels, lags, (true, Some(usual_bits)))
    }

    fn parse(
        mut reader: Reader<'a>,
        n_channels: usize,
        lags: Lags,
        (gated, usual_bits): (bool, Option<i8>),
    ) -> Option<Self> {
        let part = parts::predict()?;
        let n_hidden = [usize::from(reader.u8()?), usize::from(reader.u8()?)];
        let scalings = reader.bytes(n_channels * Scaling::LEN)?;
        if !n_hidden.iter().all(|n| (1..=PREDICT_HIDDEN_MAX).contains(n)) {
            return None;
        }
        let shape = Shape { n_channels, lags, n_hidden, gated, usual_bits };
        let records = reader.0;
        for idx in 0..n_channels {
            Scaling::read(&scalings[idx * Scaling::LEN..]).check()?;
            let record = Record::read(&mut reader, shape, Dense::parse)?;
            if record.table_weight > 64 {
                return None;
            }
        }
        let record_len = records.len() / n_channels;
        let this = Self { shape, scalings, records, record_len, _part: part };
        reader.0.is_empty().then_some(this)
    }

    fn record(&self, idx: usize) -> Option<Record<'a>> {
        Record::read(&mut Reader(&self.records[idx * self.record_len..]), self.shape, Dense::checked)
    }

    fn measure(&self, idx: usize) -> Measure {
        let scaling = Scaling::read(&self.scalings[idx * Scaling::LEN..]);
        if self.shape.gated { Measure::multiplying(scaling) } else { Measure::dividing(scaling) }
    }

    /// True if it codes the path that the context rung chose; else it takes the nearest values.
    pub(crate) fn follows_path(&self) -> bool {
        self.shape.gated
    }

    /// True if the code's length moves what the networks say.
    pub(crate) fn has_budget(&self) -> bool {
        self.shape.usual_bits.is_some()
    }
}

impl<'a> Record<'a> {
    /// `layer` reads a layer, checked or as one that was.
    fn read(
        reader: &mut Reader<'a>,
        shape: Shape,
        layer: impl Fn(&mut Reader<'a>, usize, usize, bool) -> Option<Dense<'a>>,
    ) -> Option<Self> {
        let Shape { n_channels, lags, n_hidden, gated, usual_bits } = shape;
        let n_outputs = if gated { OUTPUTS } else { OUTPUTS_MIXED };
        Some(Self {
            linear: reader.bytes(2 * lags.n_linear(n_channels) * if gated { COMPONENTS } else { 1 })?,
            table_weight: if gated { 0 } else { u32::from(reader.u8()?) },
            layers: [
                layer(reader, lags.n_features(n_channels), n_hidden[0], true)?,
                layer(reader, n_hidden[0], n_hidden[1], true)?,
                layer(reader, n_hidden[1], n_outputs, true)?,
            ],
            by_budget: match usual_bits {
                Some(_) => Some(layer(reader, BUDGET_INPUTS, OUTPUTS, false)?),
                None => None,
            },
        })
    }

    /// What the network says of the next difference. On its own, so that its loops have the registers to themselves.
    #[inline(never)]
    fn say(&self, features: &Features, gated: bool, said: &mut Said) {
        let inputs = features.linear();
        let weights = self.linear.as_chunks().0;
        // As many rows of weights as there are linear predictions, one or three.
        for (sum, weights) in said.linear.iter_mut().zip(weights.chunks_exact(inputs.len().max(1))) {
            let products = weights.iter().zip(inputs);
            let product = |(&weight, &x): (&_, &i32)| i64::from(i16::from_le_bytes(weight)) * i64::from(x);
            *sum = products.map(product).sum::<i64>() >> 8;
        }
        if !gated {
            said.linear = [said.linear[0]; COMPONENTS];
        }
        let mut units = [0; PREDICT_HIDDEN_MAX];
        let [first, second, last] = &self.layers;
        first.run(features.values(), &mut units, Use::Hidden);
        let hidden = bytes_of(&units);
        second.run(&hidden[..first.n_out()], &mut units, Use::Hidden);
        let hidden = bytes_of(&units);
        last.run(&hidden[..second.n_out()], &mut said.outputs, Use::Output);
    }

    /// What a network said, moved by what the code's length tells.
    fn move_by(&self, inputs: &[i16; BUDGET_INPUTS], said: &mut Said) {
        if let Some(by_budget) = &self.by_budget {
            by_budget.run(inputs, &mut said.outputs, Use::Add);
        }
    }
}

/// Activations as vector instructions multiply them fastest.
fn bytes_of(units: &[i32; PREDICT_HIDDEN_MAX]) -> [i16; PREDICT_HIDDEN_MAX] {
    units.map(|unit| unit as i16)
}

/// Codes the lattice values `rs` (sample-major; what is no step stands for itself and is skipped); the first `n_past` of
/// them are those of an earlier window, which both ends know.
///
/// `histories`: `History::WORDS` words a channel, contents ignored.
pub(crate) fn code(
    model: &Model<'_>,
    (predict, context): (&Predict<'_>, &Context<'_>),
    coder: &mut dyn Coder,
    rs: &mut [i32],
    n_past: usize,
    histories: &mut [i32],
    mut memory: Memory<'_>,
) -> Result<(), Stop> {
    let n_channels = model.channels();
    context::begin(n_channels, &rs[..n_past], histories);
    let gated = predict.shape.gated;
    let mut features = Features::new(n_channels, predict.shape.lags, model.samples());
    let mut measures = [Measure::default(); crate::CHANNELS_MAX];
    for (idx, measure) in measures.iter_mut().enumerate().take(n_channels) {
        *measure = predict.measure(idx);
    }
    let mut said = Said::default();
    let n_values = rs.len() - n_past;
    let budget = predict.shape.usual_bits.zip(coder.code_len());
    let budget = budget.map(|(usual, len)| Budget::new(len, n_values, n_channels, usual));
    for at in n_past..rs.len() {
        if !is_step(rs[at]) {
            continue;
        }
        let idx = at % n_channels;
        let mut history = load(histories, idx);
        if history.is_empty() {
            rs[at] = context::code_first(model, coder, idx, histories, rs[at])?;
        } else {
            let record = predict.record(idx).ok_or(Stop)?;
            match &memory {
                Memory::Read(words) => said.load(&words[(at - n_past) * Said::WORDS..]),
                _ => {
                    features.look(&measures, rs, at, &history);
                    record.say(&features, gated, &mut said);
                }
            }
            if predict.has_budget() {
                if !matches!(memory, Memory::Read(_)) {
                    said.limit();
                }
                if let Memory::Write(words) = &mut memory {
                    said.store(&mut words[(at - n_past) * Said::WORDS..]);
                }
                if let Some(budget) = &budget {
                    record.move_by(&budget.inputs(coder.spent(), rs.len() - at), &mut said);
                }
            }
            let mixture = said.mixture(measures[idx].mean_move, gated);
            let beside = neighbour_of(idx, n_channels).map_or(0, |n| load(histories, n).moved());
            let table = context.table(history.raw_context(idx, beside));
            let (site, d) = (Site::Predicted(idx), rs[at].wrapping_sub(history.r));
            let d = if gated {
                Gated::new(&mixture, table).code(coder, site, d)?
            } else {
                let mut freqs = [0u32; N_SYMBOLS];
                mixture.freqs(&mut freqs);
                mix(&mut freqs, table, mixture.centre(), record.table_weight);
                code_difference(coder, site, &freqs, mixture.centre(), d)?
            };
            rs[at] = history.r.wrapping_add(d);
        }
        model.lattice(idx).value(rs[at]).ok_or(Stop)?;
        history.push(rs[at]);
        history.store(&mut histories[idx * History::WORDS..]);
    }
    Ok(())
}

/// Mixes the table's frequencies of the same differences into the network's.
fn mix(freqs: &mut [u32; N_SYMBOLS], table: crate::freq::Table<'_>, centre: i32, weight: u32) {
    let mut rest = table.total();
    for (sym, freq) in freqs.iter_mut().enumerate().take(N_SYMBOLS - 1).skip(1) {
        let d = centre - REACH - 1 + sym as i32;
        let share = alphabet::freq_of_value(table, d);
        rest = rest.saturating_sub(share);
        *freq = ((weight * share + (64 - weight) * *freq) >> 6) + 1;
    }
    for end in [0, N_SYMBOLS - 1] {
        freqs[end] = ((weight * (rest / 2) + (64 - weight) * freqs[end]) >> 6) + 1;
    }
}

/// Codes a difference: one of the values around the centre, or how far beyond them.
fn code_difference(
    coder: &mut dyn Coder,
    site: Site,
    freqs: &[u32; N_SYMBOLS],
    centre: i32,
    d: i32,
) -> Result<i32, Stop> {
    let (low, high) = (centre - REACH, centre + REACH);
    let sym = if d < low {
        0
    } else if d > high {
        N_SYMBOLS - 1
    } else {
        (d - low) as usize + 1
    };
    let sym = coder.weighted(site, freqs, sym)?;
    let beyond = |distance: i32| distance as u32 & alphabet::MAGNITUDE_MAX;
    match sym {
        0 => Ok(low - 1 - code_unbounded(coder, beyond(low.wrapping_sub(1).wrapping_sub(d)))? as i32),
        _ if sym == N_SYMBOLS - 1 => {
            Ok(high + 1 + code_unbounded(coder, beyond(d.wrapping_sub(high).wrapping_sub(1)))? as i32)
        }
        _ => Ok(low + sym as i32 - 1),
    }
}
