//! What training makes small.

use super::graph::Net;
use super::isa::Isa;
use super::kernels::{LANES, Lanes};

/// A loss over one panel of samples.
///
/// A closure `FnMut(&mut LossView) -> Lanes` is a loss too.
pub trait Loss {
    /// Returns each sample's loss in its lane and writes `scale · d loss / d output` into **every** output's
    /// gradient. Lanes from `n_live` on hold no sample; what is written there is ignored.
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes;
}

impl<F: FnMut(&mut LossView<'_>) -> Lanes> Loss for F {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        self(view)
    }
}

/// The outputs of one panel, their targets, and room for their gradients.
pub struct LossView<'a> {
    pub(super) net: &'a Net,
    pub(super) values: &'a [Vec<Lanes>],
    pub(super) grads: &'a mut [Vec<Lanes>],
    pub(super) target: &'a [Lanes],
    pub(super) panel: usize,
    pub(super) n_live: usize,
    pub(super) scale: f32,
    pub(super) training: bool,
    pub(super) isa: Isa,
}

/// One output of a panel.
pub struct Head<'a> {
    /// `[width]`.
    pub value: &'a [Lanes],
    /// Room for the gradient, `[width]`; holds what an earlier step left.
    pub grad: &'a mut [Lanes],
    /// Targets of output 0, `[width of output 0]`.
    pub target: &'a [Lanes],
    /// What gradients are multiplied with: one over the batch's samples.
    pub scale: f32,
}

impl LossView<'_> {
    /// Output `j`, in the order given to [`super::NetBuilder::build`].
    pub fn head(&mut self, j: usize) -> Head<'_> {
        let node = self.net.outputs[j];
        let width = self.net.nodes[node].width;
        let range = self.panel * width..(self.panel + 1) * width;
        Head {
            value: &self.values[node][range.clone()],
            grad: &mut self.grads[node][range],
            target: self.target,
            scale: self.scale,
        }
    }

    /// Whether this is a training step, and not a look at how good the net is.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Samples in this panel: lanes `0..n_live`.
    pub fn n_live(&self) -> usize {
        self.n_live
    }
}

/// Mean of squared differences over output 0's features.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mse;

/// Mean of absolute differences over output 0's features.
#[derive(Clone, Copy, Debug, Default)]
pub struct L1;

/// Squared below `delta`, absolute above (Huber 1964), mean over output 0's features.
#[derive(Clone, Copy, Debug)]
pub struct Huber {
    /// Where the square ends.
    pub delta: f32,
}

impl Loss for Mse {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        mean(view, |d| (d * d, 2.0 * d))
    }
}

impl Loss for L1 {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        mean(view, |d| {
            (
                d.abs(),
                if d > 0.0 {
                    1.0
                } else if d < 0.0 {
                    -1.0
                } else {
                    0.0
                },
            )
        })
    }
}

impl Loss for Huber {
    fn panel(&mut self, view: &mut LossView<'_>) -> Lanes {
        let delta = self.delta;
        mean(view, |d| {
            let inside = if d > delta {
                delta
            } else if d < -delta {
                -delta
            } else {
                d
            };
            (inside * (d - 0.5 * inside), inside)
        })
    }
}

/// The mean over features of a loss of the difference; `f` gives loss and slope.
#[inline(always)]
fn mean(view: &mut LossView<'_>, f: impl Fn(f32) -> (f32, f32)) -> Lanes {
    let head = view.head(0);
    let share = 1.0 / head.value.len() as f32;
    let scale = head.scale * share;
    let mut total = Lanes::ZERO;
    for ((y, t), g) in head.value.iter().zip(head.target).zip(head.grad) {
        for l in 0..LANES {
            let (loss, slope) = f(y.0[l] - t.0[l]);
            total.0[l] += loss;
            g.0[l] = slope * scale;
        }
    }
    total.0.iter_mut().for_each(|t| *t *= share);
    total
}
