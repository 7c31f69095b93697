//! Values forward, gradients backward, for one batch at a time.

use super::graph::{Conv1d, Layer, Net, NodeId, Op};
use super::isa::{Arith, Isa, Kernel};
use super::kernels::{Activate, ActivateGrad, Affine, AffineT, LANES, Lanes, Outer, Start, SumLanes};
use super::loss::{Loss, LossView};
use super::quant;
use super::rng::Rng;

/// The values and gradients of every node for up to `n_panels · LANES` samples; reused from batch to batch.
#[derive(Clone, Debug)]
pub struct Pass {
    pub(super) isa: Isa,
    /// Per node `[n_panels × width]`.
    pub(super) values: Vec<Vec<Lanes>>,
    pub(super) grads: Vec<Vec<Lanes>>,
    /// Target lanes `[n_panels × width of output 0]`; unused when the input is the target.
    target: Vec<Lanes>,
    input_is_target: bool,
    n_live: usize,
    training: bool,
    /// The parameters as layers see them: rounded, when the net says so.
    effective: Vec<f32>,
}

impl Pass {
    /// Room for batches of up to `n_samples`.
    pub fn new(net: &Net, n_samples: usize, isa: Isa) -> Self {
        let n_panels = n_samples.div_ceil(LANES).max(1);
        let room = |width: usize| vec![Lanes::ZERO; width * n_panels];
        Self {
            isa,
            values: net.nodes.iter().map(|n| room(n.width)).collect(),
            grads: net.nodes.iter().map(|n| room(n.width)).collect(),
            target: Vec::new(),
            input_is_target: true,
            n_live: 0,
            training: false,
            effective: Vec::new(),
        }
    }

    /// Lays the samples `chosen` of `inputs` `[n × n_in]` across lanes; with `targets` `[n × width of output 0]`.
    ///
    /// Panics when a sample does not exist or the batch is larger than the room.
    pub fn load(&mut self, net: &Net, inputs: &[f32], targets: Option<&[f32]>, chosen: &[u32]) {
        self.n_live = chosen.len();
        scatter(&mut self.values[0], inputs, net.n_in(), chosen);
        self.input_is_target = targets.is_none();
        if let Some(targets) = targets {
            let width = net.n_out(0);
            self.target.resize(self.values[net.outputs[0]].len(), Lanes::ZERO);
            scatter(&mut self.target, targets, width, chosen);
        }
    }

    /// The parameters rounded as the net asks; to be called when they changed.
    pub fn take_params(&mut self, net: &Net) {
        self.effective.clear();
        self.effective.extend_from_slice(&net.params);
        for layer in net.nodes.iter().filter_map(|n| n.op.layer()) {
            if let Some((bits, per)) = layer.rounded {
                quant::round_weights(&mut self.effective[layer.w.clone()], layer.n_in, bits, per);
            }
        }
    }

    /// Computes every node's values. `noise` marks training: quantisers that train with noise draw it from there.
    pub fn forward(&mut self, net: &Net, mut noise: Option<&mut Rng>) {
        self.training = noise.is_some();
        for p in 0..self.n_panels() {
            for (i, node) in net.nodes.iter().enumerate() {
                let (before, rest) = self.values.split_at_mut(i);
                let y = &mut rest[0][p * node.width..][..node.width];
                let panel = |src: usize| {
                    let width = net.nodes[src].width;
                    &before[src][p * width..][..width]
                };
                match &node.op {
                    Op::Input => {}
                    Op::Dense { src, layer } => {
                        let (w, start) = (&self.effective[layer.w.clone()], start(layer, &self.effective));
                        let n_in = layer.n_in;
                        self.isa.run(DenseForward(
                            Affine { w, stride: n_in, x: panel(*src), y, start },
                            layer.act,
                        ));
                    }
                    Op::Conv { src, layer, conv } => {
                        let x = panel(*src);
                        for (t, taps) in conv_steps(conv, x.len()) {
                            let w = &self.effective[layer.w.clone()][taps.weight..];
                            let (x, y) =
                                (&x[taps.source..][..taps.len], &mut y[t * layer.n_out..][..layer.n_out]);
                            let (stride, start) = (layer.n_in, start(layer, &self.effective));
                            self.isa.run(DenseForward(Affine { w, stride, x, y, start }, layer.act));
                        }
                    }
                    Op::Slice { from } => {
                        let width = net.nodes[0].width;
                        y.copy_from_slice(&before[0][p * width + from..][..node.width]);
                    }
                    Op::Add { a, b } => self.isa.run(Sum { a: panel(*a), b: panel(*b), y }),
                    Op::Quantise { src, on: false, .. } => y.copy_from_slice(panel(*src)),
                    Op::Quantise { src, scale, range, noise: noisy, .. } => {
                        let x = panel(*src);
                        match noise.as_deref_mut().filter(|_| *noisy) {
                            Some(rng) => quant::add_noise(x, y, range, rng),
                            None => self.isa.run(quant::Round { x, y, scale: *scale, range }),
                        }
                    }
                }
            }
        }
    }

    /// Computes the loss of the batch (mean over its samples) and the gradients of its outputs.
    pub fn loss(&mut self, net: &Net, loss: &mut dyn Loss) -> f64 {
        let mut total = 0.0;
        for p in 0..self.n_panels() {
            let n_live = (self.n_live - p * LANES).min(LANES);
            let width = net.n_out(0);
            let target = if self.input_is_target { &self.values[0] } else { &self.target };
            // A net may be trained on latents alone, its targets unused: then they need not fit.
            let target = target.get(p * width..(p + 1) * width).unwrap_or(&[]);
            let mut view = LossView {
                net,
                values: &self.values,
                grads: &mut self.grads,
                target,
                panel: p,
                n_live,
                scale: 1.0 / self.n_live as f32,
                training: self.training,
                isa: self.isa,
            };
            let each = loss.panel(&mut view);
            total += each.0[..n_live].iter().map(|&l| f64::from(l)).sum::<f64>();
            if n_live < LANES {
                for &out in &net.outputs {
                    let width = net.nodes[out].width;
                    for g in &mut self.grads[out][p * width..][..width] {
                        g.0[n_live..].fill(0.0);
                    }
                }
            }
        }
        total / self.n_live as f64
    }

    /// Computes the gradients of all nodes and parameters from those of the outputs; overwrites `dparams`.
    pub fn backward(&mut self, net: &Net, dparams: &mut [f32]) {
        dparams.fill(0.0);
        for p in 0..self.n_panels() {
            for i in (1..net.nodes.len()).rev() {
                self.backward_node(net, i, p);
            }
        }
        let n_panels = self.n_panels();
        for (i, node) in net.nodes.iter().enumerate() {
            let dy = &self.grads[i][..];
            match &node.op {
                Op::Dense { src, layer } => {
                    let (x, x_step) = (&self.values[*src][..], net.nodes[*src].width);
                    let dw = &mut dparams[layer.w.clone()];
                    let (n_in, n_out, dy_step) = (layer.n_in, layer.n_out, node.width);
                    self.isa.run(Outer { dw, stride: n_in, x, x_step, n_in, dy, dy_step, n_out, n_panels });
                }
                Op::Conv { src, layer, conv } => {
                    let (x, x_step) = (&self.values[*src][..], net.nodes[*src].width);
                    let (n_out, dy_step) = (layer.n_out, node.width);
                    for (t, taps) in conv_steps(conv, x_step) {
                        let dw = &mut dparams[layer.w.clone()][taps.weight..];
                        let (x, dy) = (&x[taps.source..], &dy[t * n_out..]);
                        let (stride, n_in) = (layer.n_in, taps.len);
                        self.isa.run(Outer { dw, stride, x, x_step, n_in, dy, dy_step, n_out, n_panels });
                    }
                }
                _ => continue,
            }
            if let Some(b) = node.op.layer().and_then(|l| l.b.clone()) {
                for dy in dy[..n_panels * node.width].chunks_exact(b.len()) {
                    self.isa.run(SumLanes { db: &mut dparams[b.clone()], dy });
                }
            }
        }
    }

    /// The values of output `j`, sample-major `[n × n_out(j)]`, appended to `out`.
    pub fn read_output(&self, net: &Net, j: usize, out: &mut Vec<f32>) {
        self.read(net, NodeId(net.outputs[j]), out);
    }

    /// The values of any node, sample-major, appended to `out`.
    pub fn read(&self, net: &Net, node: NodeId, out: &mut Vec<f32>) {
        let (width, values) = (net.nodes[node.0].width, &self.values[node.0]);
        for s in 0..self.n_live {
            out.extend(values[s / LANES * width..][..width].iter().map(|v| v.0[s % LANES]));
        }
    }

    fn n_panels(&self) -> usize {
        self.n_live.div_ceil(LANES)
    }

    /// One node's gradients to its sources, for one panel.
    fn backward_node(&mut self, net: &Net, i: usize, p: usize) {
        let node = &net.nodes[i];
        let (before, rest) = self.grads.split_at_mut(i);
        let dy = &mut rest[0][p * node.width..][..node.width];
        let y = &self.values[i][p * node.width..][..node.width];
        let panel = |src: usize| p * net.nodes[src].width..(p + 1) * net.nodes[src].width;
        let begin = |j: usize| if node.first[j] { Start::Zero } else { Start::Keep };
        match &node.op {
            Op::Input | Op::Slice { .. } => {}
            Op::Dense { src, layer } => {
                self.isa.run(ActivateGrad { act: layer.act, y, dy });
                if *src > 0 {
                    let (w, dx) = (&self.effective[layer.w.clone()], &mut before[*src][panel(*src)]);
                    self.isa.run(AffineT { w, stride: layer.n_in, dy, dx, start: begin(0) });
                }
            }
            Op::Conv { src, layer, conv } => {
                self.isa.run(ActivateGrad { act: layer.act, y, dy });
                if *src > 0 {
                    let dx = &mut before[*src][panel(*src)];
                    if node.first[0] {
                        dx.fill(Lanes::ZERO);
                    }
                    for (t, taps) in conv_steps(conv, dx.len()) {
                        let w = &self.effective[layer.w.clone()][taps.weight..];
                        let (dy, dx) =
                            (&dy[t * layer.n_out..][..layer.n_out], &mut dx[taps.source..][..taps.len]);
                        self.isa.run(AffineT { w, stride: layer.n_in, dy, dx, start: Start::Keep });
                    }
                }
            }
            Op::Add { a, b } => {
                for (j, src) in [*a, *b].into_iter().enumerate().filter(|&(_, src)| src > 0) {
                    self.isa.run(Flow { dy, dx: &mut before[src][panel(src)], first: node.first[j] });
                }
            }
            Op::Quantise { src, on: false, .. } if *src > 0 => {
                self.isa.run(Flow { dy, dx: &mut before[*src][panel(*src)], first: node.first[0] });
            }
            Op::Quantise { src, scale, range, .. } if *src > 0 => {
                let (x, dx) = (&self.values[*src][panel(*src)], &mut before[*src][panel(*src)]);
                self.isa.run(quant::StraightThrough {
                    x,
                    dy,
                    dx,
                    scale: *scale,
                    range,
                    first: node.first[0],
                });
            }
            Op::Quantise { .. } => {}
        }
    }
}

/// A layer's biases out of the parameters.
fn start<'a>(layer: &Layer, params: &'a [f32]) -> Start<'a> {
    layer.b.as_ref().map_or(Start::Zero, |b| Start::Bias(&params[b.clone()]))
}

/// Where one output step of a convolution reads: `len` features from `source`, weight columns from `weight`.
struct Taps {
    source: usize,
    weight: usize,
    len: usize,
}

/// The output steps of a convolution over `width` features, what lies in the padding cut off.
fn conv_steps(conv: &Conv1d, width: usize) -> impl Iterator<Item = (usize, Taps)> {
    let (conv, n_steps) = (*conv, width / conv.channels_in);
    (0..conv.n_steps_out(n_steps)).map(move |t| {
        let from = t * conv.stride;
        let cut = conv.padding.saturating_sub(from);
        let first = (from + cut).saturating_sub(conv.padding);
        let last = (from + conv.kernel).saturating_sub(conv.padding).min(n_steps);
        let taps = Taps {
            source: first.min(last) * conv.channels_in,
            weight: cut * conv.channels_in,
            len: last.saturating_sub(first) * conv.channels_in,
        };
        (t, taps)
    })
}

/// Sample-major numbers into lanes; lanes of the last panel without a sample become zero.
fn scatter(to: &mut [Lanes], from: &[f32], width: usize, chosen: &[u32]) {
    for (panel, chosen) in to.chunks_exact_mut(width).zip(chosen.chunks(LANES)) {
        for (l, &s) in chosen.iter().enumerate() {
            for (to, &v) in panel.iter_mut().zip(&from[s as usize * width..][..width]) {
                to.0[l] = v;
            }
        }
        if chosen.len() < LANES {
            panel.iter_mut().for_each(|to| to.0[chosen.len()..].fill(0.0));
        }
    }
}

struct DenseForward<'a>(Affine<'a>, super::kernels::Activation);

impl Kernel for DenseForward<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let Self(Affine { w, stride, x, y, start }, act) = self;
        Affine { w, stride, x, y: &mut *y, start }.run::<A>();
        Activate { act, y }.run::<A>();
    }
}

struct Sum<'a> {
    a: &'a [Lanes],
    b: &'a [Lanes],
    y: &'a mut [Lanes],
}

impl Kernel for Sum<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        for ((a, b), y) in self.a.iter().zip(self.b).zip(self.y) {
            y.0 = std::array::from_fn(|l| a.0[l] + b.0[l]);
        }
    }
}

struct Flow<'a> {
    dy: &'a [Lanes],
    dx: &'a mut [Lanes],
    first: bool,
}

impl Kernel for Flow<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        if self.first {
            self.dx.copy_from_slice(self.dy);
        } else {
            for (dy, dx) in self.dy.iter().zip(self.dx) {
                dx.0 = std::array::from_fn(|l| dx.0[l] + dy.0[l]);
            }
        }
    }
}
