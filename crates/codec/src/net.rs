//! Integer inference of a small autoencoder.
//!
//! Encoder and decoder are each a linear map plus one hidden ReLU layer beside it. Weights are int8 with one scale an
//! output (Jacob et al. 2018, arXiv 1712.05877), sums are `i32`, rescaled by `mul · 2^-shift` with one rounding, half up.

use crate::grid::is_step;
use crate::model::{Model, Reader};

/// Most latents.
pub const LATENTS_MAX: usize = 255;
/// Most units in a hidden layer.
pub const HIDDEN_MAX: usize = 64;
/// Largest normalised input. Keeps `1024 inputs × 128 × INPUT_MAX` in an `i32`.
const INPUT_MAX: i32 = 8191;
/// Largest hidden activation: one byte, for processors that multiply bytes side by side.
pub(crate) const HIDDEN_VALUE_MAX: i32 = 127;
/// Largest latent magnitude.
pub(crate) const LATENT_MAX: i32 = 2047;

/// `out = W · in + b`, rescaled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dense<'a> {
    n_in: usize,
    /// `[n_out × n_in]`, i8.
    weights: &'a [u8],
    /// Per output: bias i32 where the layer has one, mul u16, shift u8.
    outs: &'a [u8],
    is_biased: bool,
}

const BIAS_MAX: u32 = 1 << 29;
/// Largest magnitude of an output.
const OUTPUT_MAX: i32 = 1 << 27;
// Sums stay within an i32.
const _: () = assert!(crate::VALUES_MAX as i64 * 128 * INPUT_MAX as i64 + BIAS_MAX as i64 <= i32::MAX as i64);
const _: () = assert!(LATENTS_MAX as i64 * 128 * LATENT_MAX as i64 + BIAS_MAX as i64 <= i32::MAX as i64);

impl<'a> Dense<'a> {
    pub(crate) fn parse(reader: &mut Reader<'a>, n_in: usize, n_out: usize, is_biased: bool) -> Option<Self> {
        let this = Self::checked(reader, n_in, n_out, is_biased)?;
        this.check().map(|()| this)
    }

    fn check(&self) -> Option<()> {
        let mut outs = Reader(self.outs);
        while !outs.0.is_empty() {
            let bias = if self.is_biased { outs.i32()? } else { 0 };
            let (_, shift) = (outs.u16()?, outs.u8()?);
            if bias.unsigned_abs() > BIAS_MAX || !(1..=46).contains(&shift) {
                return None;
            }
        }
        Some(())
    }

    /// Reads a layer that [`Dense::parse`] has accepted before.
    pub(crate) fn checked(
        reader: &mut Reader<'a>,
        n_in: usize,
        n_out: usize,
        is_biased: bool,
    ) -> Option<Self> {
        let weights = reader.bytes(n_in * n_out)?;
        let outs = reader.bytes(out_len(is_biased) * n_out)?;
        Some(Self { n_in, weights, outs, is_biased })
    }

    /// Outputs there are.
    pub(crate) fn n_out(&self) -> usize {
        self.outs.len() / out_len(self.is_biased)
    }

    /// The outputs for `input`, to the front of `out`. On its own, so that its loops have the registers to themselves.
    #[inline(never)]
    pub(crate) fn run<T: Copy + Into<i32>>(&self, input: &[T], out: &mut [i32], how: Use) {
        let rows = self.weights.chunks_exact(self.n_in.max(1));
        let outs = self.outs.chunks_exact(out_len(self.is_biased));
        for ((row, bytes), out) in rows.zip(outs).zip(out) {
            let (bias, factor) = match bytes {
                [a, b, c, d, factor @ ..] if self.is_biased => (i32::from_le_bytes([*a, *b, *c, *d]), factor),
                _ => (0, bytes),
            };
            let sum = bias + dot(row, input);
            let y = match *factor {
                // It stays on its side of 0.
                _ if how == Use::Hidden && sum <= 0 => 0,
                [low, high, shift] => scaled(sum, u16::from_le_bytes([low, high]), shift),
                _ => 0,
            };
            *out = match how {
                Use::Output => y,
                Use::Hidden => y.min(HIDDEN_VALUE_MAX),
                Use::Add => *out + y,
            };
        }
    }
}

/// What becomes of a layer's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// They are taken as they are.
    Output,
    /// ReLU into a byte's range.
    Hidden,
    /// They are added to what is there.
    Add,
}

/// `sum · mul · 2^-shift`, rounded half up, limited to ±2^27. `shift`: `1..=46`.
fn scaled(sum: i32, mul: u16, shift: u8) -> i32 {
    match i16::try_from(sum) {
        Ok(sum) if cfg!(target_pointer_width = "32") => scaled_small(sum, mul, shift),
        _ => {
            let twice = (i64::from(sum) * i64::from(mul)) >> (shift - 1);
            ((twice + 1) >> 1).clamp(i64::from(-OUTPUT_MAX), i64::from(OUTPUT_MAX)) as i32
        }
    }
}

/// The same of what fits 32 bits, as most sums do; small processors multiply and shift those at once.
fn scaled_small(sum: i16, mul: u16, shift: u8) -> i32 {
    let twice = (i32::from(sum) * i32::from(mul)) >> (shift - 1).min(31);
    ((twice + 1) >> 1).clamp(-OUTPUT_MAX, OUTPUT_MAX)
}

/// Products at a time: as many as a large processor's vector registers hold side by side; a small one spends as much on the
/// loop as on a product.
const LANES: usize = if cfg!(target_pointer_width = "64") { 8 } else { 4 };

/// The sum of products. Inputs of 16 bits are what vector instructions multiply fastest.
#[inline]
fn dot<T: Copy + Into<i32>>(weights: &[u8], input: &[T]) -> i32 {
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let (inputs, inputs_rest) = input.as_chunks::<LANES>();
    let product = |(&weight, &x): (&u8, &T)| i32::from(weight as i8) * Into::<i32>::into(x);
    let mut sum = 0;
    for (weights, inputs) in chunks.iter().zip(inputs) {
        sum += weights.iter().zip(inputs).map(product).sum::<i32>();
    }
    sum + rest.iter().zip(inputs_rest).map(product).sum::<i32>()
}

fn out_len(is_biased: bool) -> usize {
    if is_biased { 7 } else { 3 }
}

/// A linear map with a hidden ReLU layer beside it: where its layers stand, which are read again when they run.
#[derive(Clone, Copy, Debug)]
struct Half<'a> {
    layers: &'a [u8],
    n_in: usize,
    n_hidden: usize,
    n_out: usize,
}

impl<'a> Half<'a> {
    /// Checks the layers, and goes on behind them.
    fn parse(reader: &mut Reader<'a>, n_in: usize, n_hidden: usize, n_out: usize) -> Option<Self> {
        let this = Self { layers: reader.0, n_in, n_hidden, n_out };
        for nth in 0..3 {
            this.layer(nth, reader)?.check()?;
        }
        Some(this)
    }

    /// Layer `nth` of linear, hidden and output, which begins where `reader` stands.
    fn layer(&self, nth: usize, reader: &mut Reader<'a>) -> Option<Dense<'a>> {
        let &Self { n_in, n_hidden, n_out, .. } = self;
        match nth {
            0 => Dense::checked(reader, n_in, n_out, true),
            1 => Dense::checked(reader, n_in, n_hidden, true),
            _ => Dense::checked(reader, n_hidden, if n_hidden > 0 { n_out } else { 0 }, false),
        }
    }

    /// `hidden`: `n_hidden` words of scratch.
    fn run(&self, input: &[i32], hidden: &mut [i32], out: &mut [i32]) {
        let hidden = &mut hidden[..self.n_hidden];
        let mut reader = Reader(self.layers);
        for nth in 0..3 {
            let Some(layer) = self.layer(nth, &mut reader) else { return };
            match nth {
                0 => layer.run(input, out, Use::Output),
                1 => layer.run(input, hidden, Use::Hidden),
                _ => layer.run(hidden, out, Use::Add),
            }
        }
    }
}

/// An autoencoder on whole windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net<'a> {
    pub(crate) n_latents: usize,
    /// Per channel: mean i32 (grid steps), Q16 factor to inputs i32, Q16 factor from outputs i32.
    norms: &'a [u8],
    encoder: Half<'a>,
    decoder: Half<'a>,
}

const NORM_LEN: usize = 12;

impl<'a> Net<'a> {
    pub(crate) fn parse(reader: &mut Reader<'a>, model: &Model<'_>) -> Option<Self> {
        let n_latents = usize::from(reader.u8()?);
        let (n_hidden_enc, n_hidden_dec) = (usize::from(reader.u8()?), usize::from(reader.u8()?));
        let ok = (1..=LATENTS_MAX).contains(&n_latents) && n_hidden_enc.max(n_hidden_dec) <= HIDDEN_MAX;
        if !ok {
            return None;
        }
        let norms = reader.bytes(NORM_LEN * model.channels())?;
        let mut means = Reader(norms);
        for _ in 0..model.channels() {
            let (mean, _, _) = (means.i32()?, means.i32()?, means.i32()?);
            if mean.unsigned_abs() > crate::STEP_MAX.unsigned_abs() {
                return None;
            }
        }
        Some(Self {
            n_latents,
            norms,
            encoder: Half::parse(reader, model.values(), n_hidden_enc, n_latents)?,
            decoder: Half::parse(reader, n_latents, n_hidden_dec, model.values())?,
        })
    }

    /// Words of scratch: latents, then the larger hidden layer.
    pub(crate) fn scratch_len(&self) -> usize {
        self.n_latents + self.encoder.n_hidden.max(self.decoder.n_hidden)
    }

    fn norm(&self, channel: usize) -> (i32, i64, i64) {
        let mut reader = Reader(&self.norms[channel * NORM_LEN..]);
        let mut next = || reader.i32().unwrap_or(0);
        (next(), i64::from(next()), i64::from(next()))
    }

    /// Latents of a full window, not yet limited. `steps`: sample-major; what is no step is filled with the
    /// channel's last value. `input`: a word per value.
    pub(crate) fn encode(&self, n_channels: usize, steps: &[i32], input: &mut [i32], scratch: &mut [i32]) {
        for channel in 0..n_channels {
            let (mean, to_input, _) = self.norm(channel);
            let mut last = mean;
            for at in (channel..steps.len()).step_by(n_channels) {
                last = if is_step(steps[at]) { steps[at] } else { last };
                let deviation = (i64::from(last - mean) * to_input + (1 << 15)) >> 16;
                input[at] = deviation.clamp(i64::from(-INPUT_MAX), i64::from(INPUT_MAX)) as i32;
            }
        }
        let (latents, hidden) = scratch.split_at_mut(self.n_latents);
        self.encoder.run(input, hidden, latents);
        for latent in latents {
            *latent = ((*latent + 8) >> 4).clamp(-LATENT_MAX, LATENT_MAX);
        }
    }

    /// Grid steps of a full window from the latents at the front of `scratch`.
    pub(crate) fn decode(&self, n_channels: usize, scratch: &mut [i32], steps: &mut [i32]) {
        let (latents, hidden) = scratch.split_at_mut(self.n_latents);
        self.decoder.run(latents, hidden, steps);
        for (at, step) in steps.iter_mut().enumerate() {
            let (mean, _, from_output) = self.norm(at % n_channels);
            let value = i64::from(mean) + ((i64::from(*step) * from_output + (1 << 15)) >> 16);
            *step = value.clamp(i64::from(-crate::STEP_MAX), i64::from(crate::STEP_MAX)) as i32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sums_scale_like_others() {
        for sum in [i16::MIN, -32767, -1000, -2, -1, 0, 1, 2, 3, 999, i16::MAX] {
            for mul in [0, 1, 3, 255, 256, 40000, u16::MAX] {
                for shift in 1..=46 {
                    let wide = (i64::from(sum) * i64::from(mul) + (1 << (shift - 1))) >> shift;
                    let limited = wide.clamp(-(1 << 27), 1 << 27) as i32;
                    let got = (scaled_small(sum, mul, shift), scaled(i32::from(sum), mul, shift));
                    assert_eq!(got, (limited, limited), "{sum} {mul} {shift}");
                }
            }
        }
    }
}
