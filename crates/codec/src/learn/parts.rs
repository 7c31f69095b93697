//! A model from its parts: what is learned, and how it is written into what a device keeps.

use std::string::String;
use std::vec::Vec;

use super::{COMPONENTS, Lags, Lattice, Scaling, emit_table};
use crate::Grid;
use crate::model::{
    HEAD_SYMBOLS, MAGIC, ROUNDS, SECTION_BUDGETED, SECTION_CHANNELS, SECTION_CONTEXT, SECTION_COUNTS,
    SECTION_EXPECTED, SECTION_FIXED, SECTION_GATED, SECTION_HEAD, SECTION_LATENT, SECTION_LATTICE,
    SECTION_REFERENCE, VERSION,
};

/// A channel, as it is written into a model.
#[derive(Clone, Debug)]
pub struct ChannelPart {
    /// At most 32 bytes.
    pub name: String,
    /// At most 16 bytes.
    pub unit: String,
    /// Its grid and bound.
    pub grid: Grid,
    /// Step of the lowest value the raw rung says without naming a range.
    pub raw_base: i32,
    /// Bits of a raw value.
    pub raw_bits: u8,
    /// The lattice it is coded on.
    pub lattice: Lattice,
    /// How its first value is coded.
    pub first: FirstPart,
}

/// How a first value is coded.
#[derive(Clone, Debug)]
pub struct FirstPart {
    /// Mean in grid steps.
    pub mean: i32,
    /// Q8 weights on the earlier channels' deviations, one each.
    pub coefs: Vec<i16>,
    /// Lattice distance of the first bin from the prediction.
    pub bin_first: i32,
    /// log2 of a bin's width in lattice units.
    pub bin_shift: u8,
    /// Weights of the bins, then of "below", then of "above".
    pub weights: Vec<f64>,
}

/// The context rung's trained part.
#[derive(Clone, Debug)]
pub struct ContextPart {
    /// Magnitude classes of the alphabet.
    pub n_classes: u8,
    /// Table of each raw context, `RAW_CONTEXTS` a channel.
    pub map: Vec<u8>,
    /// Symbol weights of each table, `2 · n_classes + 1`.
    pub tables: Vec<Vec<f64>>,
}

/// A dense layer, quantised.
#[derive(Clone, Debug, Default)]
pub struct DensePart {
    /// `[n_out × n_in]`.
    pub weights: Vec<i8>,
    /// Bias, factor and right shift of each output; the bias of an output layer is not kept.
    pub outs: Vec<(i32, u16, u8)>,
}

/// An autoencoder, quantised: `[linear, hidden, output]` of the encoder, then of the decoder.
#[derive(Clone, Debug)]
pub struct NetPart {
    /// Latents.
    pub n_latents: u8,
    /// Hidden units of encoder and decoder.
    pub n_hidden: [u8; 2],
    /// Per channel: mean in steps, Q16 factor to inputs, Q16 factor from outputs.
    pub norms: Vec<[i32; 3]>,
    /// The six layers.
    pub layers: [DensePart; 6],
}

/// The predict rung's trained part.
#[derive(Clone, Debug)]
pub struct PredictPart {
    /// How far back the networks look.
    pub lags: Lags,
    /// What is usual for each channel, and its network; all of one shape.
    pub channels: Vec<(Scaling, PredictNet)>,
    /// How the code's length moves what the networks say, if it does.
    pub budget: Option<BudgetPart>,
}

/// How the length of a code moves what networks say.
#[derive(Clone, Debug)]
pub struct BudgetPart {
    /// Binary logarithm of the bits usual for a value, Q4.
    pub usual_bits: i8,
    /// Of each channel: [`BUDGET_INPUTS`](super::BUDGET_INPUTS) → [`OUTPUTS`](super::OUTPUTS), without biases.
    pub layers: Vec<DensePart>,
}

/// One channel's network on the predict rung.
#[derive(Clone, Debug)]
pub struct PredictNet {
    /// Q12, [`Lags::n_linear`] of them for each component.
    pub linear: [Vec<i16>; COMPONENTS],
    /// Two hidden layers and the outputs, [`OUTPUTS`](super::OUTPUTS) of them.
    pub layers: [DensePart; 3],
}

/// The latent rung's trained part.
#[derive(Clone, Debug)]
pub struct LatentPart {
    /// The autoencoder.
    pub net: NetPart,
    /// Magnitude classes of latents, and symbol weights of each.
    pub latents: (u8, Vec<Vec<f64>>),
    /// Weights of "no residual" and "residuals follow".
    pub flag: [f64; 2],
    /// Magnitude classes of residuals, and symbol weights of each context.
    pub residuals: (u8, Vec<Vec<f64>>),
}

/// What a channel's sensor counts: grid step `period · (n div K) + residues[n mod K]` is count n, K being their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountPart {
    /// The bound in counts.
    pub bound: u32,
    /// Grid steps after which the residues repeat.
    pub period: u16,
    /// Ascending, below the period, at most [`RESIDUES_MAX`](super::RESIDUES_MAX).
    pub residues: Vec<u16>,
}

/// The window that the empty code says; with it the encoder looks for the fewest whole bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPart {
    /// Its rung, by its place in [`Parts::head`].
    pub head: u8,
    /// Of each channel the bin of its first value.
    pub bins: Vec<u8>,
}

/// How codes begin where windows may be coded after earlier ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReferencePart {
    /// Weights of "refers" and "stands alone".
    pub mark: [f64; 2],
    /// Weights of hold, context, predict, special, in codes that refer.
    pub head: [f64; 4],
}

/// All a model is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Samples in a full window.
    pub n_samples: u16,
    /// Sampling period.
    pub period_ms: u32,
    /// Longest wait of a sample for its window.
    pub max_delay_ms: u32,
    /// The channels.
    pub channels: Vec<ChannelPart>,
    /// Weights of hold, context, predict, latent, raw, special.
    pub head: [f64; HEAD_SYMBOLS],
    /// The context rung.
    pub context: Option<ContextPart>,
    /// The latent rung.
    pub latent: Option<LatentPart>,
    /// The predict rung.
    pub predict: Option<PredictPart>,
    /// The fixed-size autoencoder and the bits of each latent.
    pub fixed: Option<(NetPart, Vec<u8>)>,
    /// What the channels' sensors count; all but grids and this is then in counts in place of grid steps.
    pub counts: Option<Vec<CountPart>>,
    /// What window is expected.
    pub expected: Option<ExpectedPart>,
    /// How codes that refer to an earlier window begin; without it none does.
    pub reference: Option<ReferencePart>,
}

impl Parts {
    /// The model as bytes; [`crate::Model::parse`] says whether they are one.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.push(VERSION);
        let len_at = out.len();
        out.extend([0; 4]);
        out.push(self.channels.len() as u8);
        out.extend(self.n_samples.to_le_bytes());
        out.extend(self.period_ms.to_le_bytes());
        out.extend(self.max_delay_ms.to_le_bytes());
        section(&mut out, SECTION_CHANNELS, |out| self.emit_channels(out));
        let mut head = self.head;
        head.rotate_left(self.expected.as_ref().map_or(0, |e| usize::from(e.head)));
        section(&mut out, SECTION_HEAD, |out| emit_table(&head, out));
        section(&mut out, SECTION_LATTICE, |out| self.emit_lattice(out));
        if let Some(context) = &self.context {
            section(&mut out, SECTION_CONTEXT, |out| {
                out.extend([context.n_classes, context.tables.len() as u8]);
                out.extend(&context.map);
                context.tables.iter().for_each(|weights| emit_table(weights, out));
            });
        }
        if let Some(latent) = &self.latent {
            section(&mut out, SECTION_LATENT, |out| {
                latent.net.emit(out);
                emit_tables(&latent.latents, out);
                emit_table(&latent.flag, out);
                emit_tables(&latent.residuals, out);
            });
        }
        if let Some((net, n_bits)) = &self.fixed {
            section(&mut out, SECTION_FIXED, |out| {
                net.emit(out);
                out.extend(n_bits);
            });
        }
        if let Some(predict) = self.predict.as_ref().filter(|p| p.budget.is_none()) {
            section(&mut out, SECTION_GATED, |out| emit_predict(predict, out));
        }
        if let Some(counts) = &self.counts {
            section(&mut out, SECTION_COUNTS, |out| {
                counts.iter().for_each(|count| out.extend(count.bound.to_le_bytes()));
                for CountPart { period, residues, .. } in counts {
                    out.extend(period.to_le_bytes());
                    out.push(residues.len() as u8);
                    residues.iter().for_each(|residue| out.extend(residue.to_le_bytes()));
                }
            });
        }
        if let Some(ExpectedPart { head, bins }) = &self.expected {
            section(&mut out, SECTION_EXPECTED, |out| {
                out.push(*head);
                out.extend(bins);
            });
        }
        if let Some(part) = &self.reference {
            section(&mut out, SECTION_REFERENCE, |out| emit_reference(part, out));
        }
        if let Some(predict) = self.predict.as_ref().filter(|p| p.budget.is_some()) {
            section(&mut out, SECTION_BUDGETED, |out| emit_predict(predict, out));
        }
        let len = out.len() as u32;
        out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        out
    }

    fn emit_channels(&self, out: &mut Vec<u8>) {
        for channel in &self.channels {
            let Grid { scale, origin, quantum, bound_steps, rounds } = channel.grid;
            out.push(if rounds { scale | ROUNDS } else { scale });
            out.extend(origin.to_le_bytes());
            out.extend(quantum.to_le_bytes());
            out.extend(bound_steps.to_le_bytes());
            out.extend(channel.raw_base.to_le_bytes());
            out.push(channel.raw_bits);
        }
        for channel in &self.channels {
            for text in [&channel.name, &channel.unit] {
                out.push(text.len() as u8);
                out.extend(text.as_bytes());
            }
        }
    }

    fn emit_lattice(&self, out: &mut Vec<u8>) {
        for channel in &self.channels {
            out.extend(channel.lattice.step.to_le_bytes());
            out.extend(channel.lattice.phase.to_le_bytes());
        }
        for (idx, channel) in self.channels.iter().enumerate() {
            let FirstPart { mean, coefs, bin_first, bin_shift, weights } = &channel.first;
            let mut weights = weights.clone();
            if let Some(&bin) = self.expected.as_ref().and_then(|e| e.bins.get(idx)) {
                let n_bins = weights.len() - 2;
                weights[..n_bins].rotate_left(usize::from(bin));
            }
            out.extend(mean.to_le_bytes());
            coefs.iter().for_each(|coef| out.extend(coef.to_le_bytes()));
            out.extend(bin_first.to_le_bytes());
            out.extend([*bin_shift, (weights.len() - 2) as u8]);
            emit_table(&weights, out);
        }
    }
}

/// The same model, its windows coded after earlier ones too.
pub fn with_reference(device: &[u8], part: &ReferencePart) -> Vec<u8> {
    // Only the section of budgeted networks stands behind this one.
    let mut at = SECTIONS_AT;
    while let Some((&tag, len)) = device.get(at..).and_then(<[u8]>::split_first)
        && tag != SECTION_BUDGETED
    {
        let len = len.first_chunk().map_or(u32::MAX, |len| u32::from_le_bytes(*len));
        at = at.saturating_add(5).saturating_add(len as usize);
    }
    let (before, behind) = device.split_at(at.min(device.len()));
    let mut out = before.to_vec();
    section(&mut out, SECTION_REFERENCE, |out| emit_reference(part, out));
    out.extend(behind);
    let (len, len_at) = (out.len() as u32, MAGIC.len() + 1);
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
    out
}

/// Bytes of a model before its sections.
const SECTIONS_AT: usize = 20;

fn emit_reference(part: &ReferencePart, out: &mut Vec<u8>) {
    emit_table(&part.mark, out);
    emit_table(&part.head, out);
}

fn emit_predict(PredictPart { lags, channels, budget }: &PredictPart, out: &mut Vec<u8>) {
    out.extend(budget.iter().map(|budget| budget.usual_bits as u8));
    let n_hidden = |layer: usize| channels.first().map_or(0, |(_, net)| net.layers[layer].outs.len() as u8);
    out.extend([lags.own, lags.other, n_hidden(0), n_hidden(1)]);
    for (Scaling { mean_move, mean, deviation }, _) in channels {
        out.extend(mean_move.to_le_bytes());
        out.extend(mean.to_le_bytes());
        out.extend(deviation.to_le_bytes());
    }
    for (idx, (_, net)) in channels.iter().enumerate() {
        net.linear.iter().flatten().for_each(|w| out.extend(w.to_le_bytes()));
        net.layers.iter().for_each(|layer| layer.emit(out, true));
        if let Some(layer) = budget.as_ref().and_then(|budget| budget.layers.get(idx)) {
            layer.emit(out, false);
        }
    }
}

impl DensePart {
    fn emit(&self, out: &mut Vec<u8>, is_biased: bool) {
        out.extend(self.weights.iter().map(|&w| w as u8));
        for &(bias, mul, shift) in &self.outs {
            if is_biased {
                out.extend(bias.to_le_bytes());
            }
            out.extend(mul.to_le_bytes());
            out.push(shift);
        }
    }
}

impl NetPart {
    fn emit(&self, out: &mut Vec<u8>) {
        out.extend([self.n_latents, self.n_hidden[0], self.n_hidden[1]]);
        self.norms.iter().flatten().for_each(|n| out.extend(n.to_le_bytes()));
        for (idx, layer) in self.layers.iter().enumerate() {
            layer.emit(out, idx % 3 != 2);
        }
    }
}

fn emit_tables((n_classes, tables): &(u8, Vec<Vec<f64>>), out: &mut Vec<u8>) {
    out.push(*n_classes);
    tables.iter().for_each(|weights| emit_table(weights, out));
}

fn section(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let len_at = out.len();
    out.extend([0; 4]);
    body(out);
    let len = (out.len() - len_at - 4) as u32;
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
}
