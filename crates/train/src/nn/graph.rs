//! What a network is: nodes in order of evaluation over one flat list of parameters.

use std::ops::Range;

use super::kernels::Activation;
use super::quant::WeightScale;
use super::rng::Rng;

/// A node of one network; made by [`NetBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) usize);

/// A convolution along steps. Data is step-major: feature `t · channels + c`, as windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1d {
    /// Channels of the source; its width must be a multiple.
    pub channels_in: usize,
    /// Channels made.
    pub channels_out: usize,
    /// Steps each output looks at, at least 1.
    pub kernel: usize,
    /// Steps from one output to the next, at least 1.
    pub stride: usize,
    /// Steps of zeros imagined before and after the source, less than `kernel`.
    pub padding: usize,
}

impl Conv1d {
    /// Output steps for `n_steps` input steps.
    pub fn n_steps_out(&self, n_steps: usize) -> usize {
        (n_steps + 2 * self.padding).checked_sub(self.kernel).map_or(0, |room| room / self.stride + 1)
    }
}

/// Weights `[n_out × n_in]` and biases of one layer inside the parameters.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) n_in: usize,
    pub(super) n_out: usize,
    pub(super) w: Range<usize>,
    pub(super) b: Option<Range<usize>>,
    pub(super) act: Activation,
    pub(super) rounded: Option<(u8, WeightScale)>,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    Input,
    Dense {
        src: usize,
        layer: Layer,
    },
    Conv {
        src: usize,
        layer: Layer,
        conv: Conv1d,
    },
    Add {
        a: usize,
        b: usize,
    },
    /// Features of the input from `from` on.
    Slice {
        from: usize,
    },
    Quantise {
        src: usize,
        scale: f32,
        range: Vec<(f32, f32)>,
        noise: bool,
        on: bool,
    },
}

impl Op {
    fn sources(&self) -> [Option<usize>; 2] {
        match *self {
            Op::Input | Op::Slice { .. } => [None, None],
            Op::Dense { src, .. } | Op::Conv { src, .. } | Op::Quantise { src, .. } => [Some(src), None],
            Op::Add { a, b } => [Some(a), Some(b)],
        }
    }

    pub(super) fn layer(&self) -> Option<&Layer> {
        match self {
            Op::Dense { layer, .. } | Op::Conv { layer, .. } => Some(layer),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) op: Op,
    pub(super) width: usize,
    /// Per source: going backward, this node is the first to write that source's gradient.
    pub(super) first: [bool; 2],
}

/// A network and its parameters.
#[derive(Clone, Debug)]
pub struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) outputs: Vec<usize>,
    pub(super) params: Vec<f32>,
    /// 1 for weights, 0 for biases.
    pub(super) decays: Vec<f32>,
}

/// Makes a [`Net`] node by node; its methods panic on widths that do not fit, which is a programmer's error.
#[derive(Clone, Debug)]
pub struct NetBuilder {
    nodes: Vec<Node>,
    n_params: usize,
}

impl NetBuilder {
    /// Begins with an input of `width` features.
    pub fn new(width: usize) -> (Self, NodeId) {
        assert!(width > 0, "a network needs at least one input feature");
        let input = Node { op: Op::Input, width, first: [false; 2] };
        (Self { nodes: vec![input], n_params: 0 }, NodeId(0))
    }

    /// `act(W x + b)`, `[width]`.
    pub fn dense(&mut self, src: NodeId, width: usize, act: Activation) -> NodeId {
        let layer = self.layer(self.width(src), width, act, true);
        self.push(Op::Dense { src: src.0, layer }, width)
    }

    /// `W x`, `[width]`: a layer without bias, for the second of two paths that are added.
    pub fn linear(&mut self, src: NodeId, width: usize) -> NodeId {
        let layer = self.layer(self.width(src), width, Activation::Linear, false);
        self.push(Op::Dense { src: src.0, layer }, width)
    }

    /// A convolution along steps, then `act`; `[n_steps_out × channels_out]`, step-major.
    pub fn conv1d(&mut self, src: NodeId, conv: Conv1d, act: Activation) -> NodeId {
        let width = self.width(src);
        assert!(conv.channels_in > 0 && conv.channels_out > 0 && width.is_multiple_of(conv.channels_in));
        assert!(conv.stride > 0 && conv.padding < conv.kernel);
        let n_out = conv.n_steps_out(width / conv.channels_in);
        assert!(n_out > 0, "a kernel of {} steps is longer than its source", conv.kernel);
        let layer = self.layer(conv.kernel * conv.channels_in, conv.channels_out, act, true);
        self.push(Op::Conv { src: src.0, layer, conv }, n_out * conv.channels_out)
    }

    /// The sum of two paths of the same width.
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        assert_eq!(self.width(a), self.width(b), "only paths of one width can be added");
        self.push(Op::Add { a: a.0, b: b.0 }, self.width(a))
    }

    /// The input's features `range` alone, `[range.len()]`.
    pub fn slice(&mut self, range: Range<usize>) -> NodeId {
        assert!(range.start < range.end && range.end <= self.nodes[0].width, "a slice lies in the input");
        self.push(Op::Slice { from: range.start }, range.len())
    }

    /// Integers as activations: `clamp(round(x · 2^exponent), lo, hi) / 2^exponent`, its gradient straight through.
    pub fn fixed_point(&mut self, src: NodeId, exponent: i8, lo: i32, hi: i32) -> NodeId {
        let range = vec![(lo as f32, hi as f32); self.width(src)];
        self.push(
            Op::Quantise { src: src.0, scale: power_of_two(exponent), range, noise: false, on: true },
            self.width(src),
        )
    }

    /// Codes: `clamp(round(x), lo, hi)` per feature. With `noise`, training adds uniform ±½ in place of rounding
    /// (Ballé et al. 2018); evaluation always rounds.
    pub fn codes(&mut self, src: NodeId, range: &[(i32, i32)], noise: bool) -> NodeId {
        assert_eq!(range.len(), self.width(src), "one range per feature");
        let range = range.iter().map(|&(lo, hi)| (lo as f32, hi as f32)).collect();
        self.push(Op::Quantise { src: src.0, scale: 1.0, range, noise, on: true }, self.width(src))
    }

    /// Ends with the nodes the loss looks at. Weights uniform in `±√(6/(n_in+n_out))` (Glorot & Bengio 2010),
    /// biases zero.
    pub fn build(mut self, outputs: &[NodeId], seed: u64) -> Net {
        assert!(!outputs.is_empty(), "a network needs an output");
        let mut written = vec![false; self.nodes.len()];
        outputs.iter().for_each(|o| written[o.0] = true);
        for node in self.nodes.iter_mut().rev() {
            for (first, src) in node.first.iter_mut().zip(node.op.sources()) {
                if let Some(src) = src {
                    *first = !std::mem::replace(&mut written[src], true);
                }
            }
        }
        let mut rng = Rng::new(seed);
        let mut params = vec![0.0; self.n_params];
        let mut decays = vec![0.0; self.n_params];
        for layer in self.nodes.iter().filter_map(|n| n.op.layer()) {
            let limit = (6.0 / (layer.n_in + layer.n_out) as f32).sqrt();
            params[layer.w.clone()].iter_mut().for_each(|w| *w = (2.0 * rng.uniform() - 1.0) * limit);
            decays[layer.w.clone()].fill(1.0);
        }
        let outputs = outputs.iter().map(|o| o.0).collect();
        Net { nodes: self.nodes, outputs, params, decays }
    }

    /// Features of `node`.
    pub fn width(&self, node: NodeId) -> usize {
        self.nodes[node.0].width
    }

    fn layer(&mut self, n_in: usize, n_out: usize, act: Activation, bias: bool) -> Layer {
        assert!(n_out > 0, "a layer needs at least one output");
        let w = self.n_params..self.n_params + n_in * n_out;
        let b = bias.then(|| w.end..w.end + n_out);
        self.n_params = b.as_ref().map_or(w.end, |b| b.end);
        Layer { n_in, n_out, w, b, act, rounded: None }
    }

    fn push(&mut self, op: Op, width: usize) -> NodeId {
        self.nodes.push(Node { op, width, first: [false; 2] });
        NodeId(self.nodes.len() - 1)
    }
}

impl Net {
    /// All parameters, layer by layer in order of building: weights `[n_out × n_in]`, then biases.
    pub fn params(&self) -> &[f32] {
        &self.params
    }

    /// All parameters, to be changed.
    pub fn params_mut(&mut self) -> &mut [f32] {
        &mut self.params
    }

    /// Features of the input.
    pub fn n_in(&self) -> usize {
        self.nodes[0].width
    }

    /// Features of output `j`.
    pub fn n_out(&self, j: usize) -> usize {
        self.nodes[self.outputs[j]].width
    }

    /// Weights `[n_out × n_in]` of a dense or convolution node; empty for others.
    pub fn weights(&self, node: NodeId) -> &[f32] {
        self.layer(node).map_or(&[], |l| &self.params[l.w.clone()])
    }

    /// Weights, to be changed.
    pub fn weights_mut(&mut self, node: NodeId) -> &mut [f32] {
        let range = self.layer(node).map_or(0..0, |l| l.w.clone());
        &mut self.params[range]
    }

    /// Biases `[n_out]`; empty where there are none.
    pub fn biases(&self, node: NodeId) -> &[f32] {
        self.layer(node).and_then(|l| l.b.clone()).map_or(&[], |b| &self.params[b])
    }

    /// Biases, to be changed.
    pub fn biases_mut(&mut self, node: NodeId) -> &mut [f32] {
        let range = self.layer(node).and_then(|l| l.b.clone()).unwrap_or(0..0);
        &mut self.params[range]
    }

    /// From now on all layers compute with weights rounded to so many bits, gradients straight through; `None`
    /// computes with the weights themselves.
    pub fn set_weight_bits(&mut self, bits: Option<(u8, WeightScale)>) {
        (0..self.nodes.len()).for_each(|i| self.set_layer_bits(NodeId(i), bits));
    }

    /// [`Self::set_weight_bits`] for one layer.
    pub fn set_layer_bits(&mut self, node: NodeId, bits: Option<(u8, WeightScale)>) {
        assert!(bits.is_none_or(|(bits, _)| (2..=16).contains(&bits)), "weights have 2 to 16 bits");
        if let Op::Dense { layer, .. } | Op::Conv { layer, .. } = &mut self.nodes[node.0].op {
            layer.rounded = bits;
        }
    }

    /// Changes the exponent of a [`NetBuilder::fixed_point`] node.
    pub fn set_exponent(&mut self, node: NodeId, exponent: i8) {
        if let Op::Quantise { scale, .. } = &mut self.nodes[node.0].op {
            *scale = power_of_two(exponent);
        }
    }

    /// Whether a quantiser works at all; off, it hands its source on.
    pub fn set_quantising(&mut self, node: NodeId, yes: bool) {
        if let Op::Quantise { on, .. } = &mut self.nodes[node.0].op {
            *on = yes;
        }
    }

    /// Whether a [`NetBuilder::codes`] node adds noise while training, or rounds.
    pub fn set_noise(&mut self, node: NodeId, on: bool) {
        if let Op::Quantise { noise, .. } = &mut self.nodes[node.0].op {
            *noise = on;
        }
    }

    pub(super) fn layer(&self, node: NodeId) -> Option<&Layer> {
        self.nodes[node.0].op.layer()
    }
}

/// `2^exponent`, exact for every `i8` above -127.
pub(super) fn power_of_two(exponent: i8) -> f32 {
    f32::from_bits(((127 + i32::from(exponent)).max(1) as u32) << 23)
}
