//! One half of an autoencoder, encoder or decoder: as nodes while it trains, as integers when it ships.

use super::super::{Activation, Conv1d, Isa, Net, NetBuilder, NnError, NodeId, QuantisedLayer, WeightScale};

/// The hidden path beside the linear skip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// None: a linear code.
    None,
    /// One dense layer of so many units, ReLU.
    Dense(usize),
    /// A convolution along steps, ReLU; in the encoder only, the decoder takes a dense layer as wide as its output.
    Conv(Conv1d),
}

/// The integers a device computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integers {
    /// Bits of a window's normalised numbers, sign included, at most 16.
    pub input_bits: u8,
    /// Bits of the weights of the linear skip.
    pub skip_weight_bits: u8,
    /// Bits of the weights around the hidden layer.
    pub weight_bits: u8,
}

impl Default for Integers {
    fn default() -> Self {
        Self { input_bits: 12, skip_weight_bits: 8, weight_bits: 8 }
    }
}

/// Encoder or decoder in integers.
///
/// With `x` as integers `X = clamp(round(x · 2^input_exponent))`:
/// `y = skip(X / 2^input_exponent) + back(H / 2^exponent)`, where
/// `H = clamp(round(relu(front(X / 2^input_exponent)) · 2^exponent), 0, 127)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Half {
    /// Inputs are read as integers times `2^-input_exponent`; 0 for a decoder, whose inputs are codes.
    pub input_exponent: i8,
    /// `[n_in]`, the least and greatest integer of each input.
    pub input_range: Vec<(i32, i32)>,
    /// `[n_out × n_in]`, with the bias of the whole half.
    pub skip: QuantisedLayer,
    /// The hidden path, if there is one.
    pub front: Option<Front>,
}

/// The hidden path of a [`Half`].
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Into the hidden layer, ReLU behind it.
    pub layer: QuantisedLayer,
    /// How `layer` moves along steps, if it does.
    pub conv: Option<Conv1d>,
    /// Hidden activations are integers `0..=127` times `2^-exponent`.
    pub exponent: i8,
    /// Out of the hidden layer; its bias is zero.
    pub back: QuantisedLayer,
}

/// The greatest hidden activation, as an integer.
pub(super) const HIDDEN_MAX: i32 = 127;

impl Half {
    /// Inputs.
    pub fn n_in(&self) -> usize {
        self.skip.n_in
    }

    /// Outputs.
    pub fn n_out(&self) -> usize {
        self.skip.n_out
    }

    /// Bytes of weights, biases (4 each) and scales (4 each).
    pub fn static_bytes(&self) -> usize {
        let layer = |l: &QuantisedLayer| (l.weights.len() * usize::from(l.bits)).div_ceil(8) + 8 * l.n_out;
        layer(&self.skip) + self.front.as_ref().map_or(0, |f| layer(&f.layer) + layer(&f.back))
    }

    /// What this half makes of `x` `[n_in]`, products in integers: `[n_out]`.
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        let scale = super::super::graph::power_of_two(self.input_exponent);
        let ints: Vec<i32> = x
            .iter()
            .zip(&self.input_range)
            .map(|(x, &(lo, hi))| (x * scale).round_ties_even().clamp(lo as f32, hi as f32) as i32)
            .collect();
        let mut y = vec![0.0; self.n_out()];
        product(&self.skip, &ints, 0, self.input_exponent, &mut y);
        if let Some(front) = &self.front {
            let hidden = front.apply(&ints, self.input_exponent);
            product(&front.back, &hidden, 0, front.exponent, &mut y);
        }
        y
    }
}

impl Half {
    /// The codes an encoder makes of `window` `[n_in]`: its outputs rounded, within the range `decoder` takes.
    pub(super) fn codes_for(&self, decoder: &Self, window: &[f32]) -> Vec<i32> {
        let z = self.apply(window);
        let each = z.iter().zip(&decoder.input_range);
        each.map(|(z, &(lo, hi))| z.round_ties_even().clamp(lo as f32, hi as f32) as i32).collect()
    }

    /// What a decoder makes of `codes` `[n_in]`.
    pub(super) fn apply_codes(&self, codes: &[i32]) -> Vec<f32> {
        self.apply(&codes.iter().map(|&c| c as f32).collect::<Vec<_>>())
    }
}

impl Front {
    fn apply(&self, x: &[i32], input_exponent: i8) -> Vec<i32> {
        let mut sums = Vec::new();
        match &self.conv {
            None => {
                sums = vec![0.0; self.layer.n_out];
                product(&self.layer, x, 0, input_exponent, &mut sums);
            }
            Some(conv) => {
                for t in 0..conv.n_steps_out(x.len() / conv.channels_in) {
                    let at = (t * conv.stride) as isize - conv.padding as isize;
                    let mut y = vec![0.0; self.layer.n_out];
                    product(&self.layer, x, at * conv.channels_in as isize, input_exponent, &mut y);
                    sums.extend(y);
                }
            }
        }
        let scale = super::super::graph::power_of_two(self.exponent);
        sums.iter().map(|s| (s.max(0.0) * scale).round_ties_even().min(HIDDEN_MAX as f32) as i32).collect()
    }
}

/// Adds `layer` of the integers `x[at..]` (zeros outside) times `2^-exponent` to `y` `[n_out]`.
fn product(layer: &QuantisedLayer, x: &[i32], at: isize, exponent: i8, y: &mut [f32]) {
    let unit = super::super::graph::power_of_two(-exponent);
    for (o, y) in y.iter_mut().enumerate() {
        let row = &layer.weights[o * layer.n_in..][..layer.n_in];
        let sum: i64 = row
            .iter()
            .enumerate()
            .filter_map(|(i, &w)| {
                Some(i64::from(w) * i64::from(*x.get(usize::try_from(at + i as isize).ok()?)?))
            })
            .sum();
        *y += sum as f32 * (layer.scale[o] * unit) + layer.bias[o];
    }
}

/// A half inside a net in training.
#[derive(Clone, Debug)]
pub(super) struct HalfNodes {
    input_exponent: i8,
    input_range: Vec<(i32, i32)>,
    pub(super) skip: NodeId,
    pub(super) front: Option<FrontNodes>,
    pub(super) out: NodeId,
}

#[derive(Clone, Debug)]
pub(super) struct FrontNodes {
    layer: NodeId,
    conv: Option<Conv1d>,
    rounded: NodeId,
    pub(super) back: NodeId,
    exponent: i8,
}

impl HalfNodes {
    /// Adds the half over `input`, which holds integers times `2^-input_exponent` within `input_range`.
    pub(super) fn add(
        b: &mut NetBuilder,
        input: NodeId,
        input_exponent: i8,
        input_range: Vec<(i32, i32)>,
        n_out: usize,
        hidden: Hidden,
    ) -> Self {
        let skip = b.dense(input, n_out, Activation::Linear);
        let (layer, conv) = match hidden {
            Hidden::None => return Self { input_exponent, input_range, skip, front: None, out: skip },
            Hidden::Dense(width) => (b.dense(input, width, Activation::Relu), None),
            Hidden::Conv(conv) => (b.conv1d(input, conv, Activation::Relu), Some(conv)),
        };
        let rounded = b.fixed_point(layer, 0, 0, HIDDEN_MAX);
        let back = b.linear(rounded, n_out);
        let out = b.add(skip, back);
        let front = Some(FrontNodes { layer, conv, rounded, back, exponent: 0 });
        Self { input_exponent, input_range, skip, front, out }
    }

    /// Floating weights and activations, for the first phase.
    pub(super) fn float(&self, net: &mut Net) {
        net.set_layer_bits(self.skip, None);
        if let Some(front) = &self.front {
            net.set_quantising(front.rounded, false);
            net.set_layer_bits(front.layer, None);
            net.set_layer_bits(front.back, None);
        }
    }

    /// Integer weights and activations; the activations' exponent from what `windows` (the net's inputs) make of them.
    pub(super) fn quantise(
        &mut self,
        net: &mut Net,
        ints: Integers,
        windows: &[f32],
        isa: Isa,
    ) -> Result<(), NnError> {
        let per = WeightScale::PerOutput;
        net.set_layer_bits(self.skip, Some((ints.skip_weight_bits, per)));
        if let Some(front) = &mut self.front {
            net.set_layer_bits(front.layer, Some((ints.weight_bits, per)));
            net.set_layer_bits(front.back, Some((ints.weight_bits, per)));
            let mut seen = net.apply_node(windows, front.layer, isa)?;
            front.exponent = exponent_for(&mut seen, 0.9995, HIDDEN_MAX);
            net.set_exponent(front.rounded, front.exponent);
            net.set_quantising(front.rounded, true);
        }
        Ok(())
    }

    /// The integers as they stand; `None` while the net is floating.
    pub(super) fn half(&self, net: &Net) -> Option<Half> {
        let front = match &self.front {
            None => None,
            Some(f) => Some(Front {
                layer: net.quantised(f.layer)?,
                conv: f.conv,
                exponent: f.exponent,
                back: net.quantised(f.back)?,
            }),
        };
        Some(Half {
            input_exponent: self.input_exponent,
            input_range: self.input_range.clone(),
            skip: net.quantised(self.skip)?,
            front,
        })
    }
}

/// The largest exponent at which all but the outermost part of the magnitudes `seen` fit `0..=max`.
pub(super) fn exponent_for(seen: &mut [f32], part: f64, max: i32) -> i8 {
    seen.iter_mut().for_each(|x| *x = x.abs());
    seen.sort_unstable_by(f32::total_cmp);
    let at = ((seen.len() as f64 * part) as usize).min(seen.len().saturating_sub(1));
    let peak = seen.get(at).copied().unwrap_or(0.0);
    (-20..=14).rev().find(|&e| peak * super::super::graph::power_of_two(e) <= max as f32).unwrap_or(-20)
}
