//! The inner loops: products of small matrices, the activations and the optimiser's step.
//!
//! Samples lie across [`Lanes`]: one panel holds [`LANES`] samples, one `Lanes` per feature, so that every product
//! runs along full vectors whatever the layer's width. Weights are `[n_out × n_in]`, rows one after the other.

#![allow(clippy::needless_range_loop, reason = "counted loops over arrays are what the compiler unrolls")]

use super::isa::{Arith, Kernel, Level};
use super::math;

/// Samples per panel.
pub const LANES: usize = 32;

/// Half a panel: the lanes a register tile spans on narrow machines.
const HALF: usize = LANES / 2;

/// One feature of [`LANES`] samples.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All lanes zero.
    pub const ZERO: Self = Self([0.0; LANES]);
}

/// What a layer does to its sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Linear,
    /// `max(0, x)`.
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
}

/// What a product finds in its target before it adds.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    /// A bias per row.
    Bias(&'a [f32]),
    /// Nothing: the target is overwritten.
    Zero,
    /// The target's own values.
    Keep,
}

/// `y = W x + start`: `w` is `[n_out × n_in]` with `stride ≥ n_in` between rows, `x` `[n_in]`, `y` `[n_out]`.
pub(crate) struct Affine<'a> {
    pub w: &'a [f32],
    pub stride: usize,
    pub x: &'a [Lanes],
    pub y: &'a mut [Lanes],
    pub start: Start<'a>,
}

/// `dx = Wᵀ dy + start`: the gradient of [`Affine`] with respect to its input.
pub(crate) struct AffineT<'a> {
    pub w: &'a [f32],
    pub stride: usize,
    pub dy: &'a [Lanes],
    pub dx: &'a mut [Lanes],
    pub start: Start<'a>,
}

/// `dw[o][i] += Σ dy[o] · x[i]` over all lanes of all panels: the gradient of [`Affine`]'s weights.
///
/// Panel `p` of `x` begins at `x[p · x_step]`, that of `dy` at `dy[p · dy_step]`.
pub(crate) struct Outer<'a> {
    pub dw: &'a mut [f32],
    pub stride: usize,
    pub x: &'a [Lanes],
    pub x_step: usize,
    pub n_in: usize,
    pub dy: &'a [Lanes],
    pub dy_step: usize,
    pub n_out: usize,
    pub n_panels: usize,
}

/// `db[o] += Σ dy[o]` over all lanes.
pub(crate) struct SumLanes<'a> {
    pub db: &'a mut [f32],
    pub dy: &'a [Lanes],
}

/// Applies an activation in place.
pub(crate) struct Activate<'a> {
    pub act: Activation,
    pub y: &'a mut [Lanes],
}

/// Turns the gradient of an activation's output into that of its input, from the output `y`.
pub(crate) struct ActivateGrad<'a> {
    pub act: Activation,
    pub y: &'a [Lanes],
    pub dy: &'a mut [Lanes],
}

/// One AdamW step (Kingma & Ba 2015; Loshchilov & Hutter 2019), with Keras' place for epsilon.
///
/// `rate` includes the bias correction `√(1-β₂ᵗ)/(1-β₁ᵗ)`; weights shrink by `decay`, a learning rate times a decay,
/// times their own entry of `decays`.
pub(crate) struct AdamStep<'a> {
    pub w: &'a mut [f32],
    pub dw: &'a [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    pub decays: &'a [f32],
    pub decay: f32,
    pub rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
}

/// The register tiles of each instruction set, largest first: rows, registers per row, first registers.
macro_rules! for_level {
    ($tiles:ident) => {
        match A::LEVEL {
            Level::Avx512 => {
                $tiles!(8, 2, 0);
                $tiles!(4, 2, 0);
                $tiles!(2, 2, 0);
                $tiles!(1, 2, 0);
            }
            Level::Avx2 => {
                $tiles!(4, 2, 0, 2);
                $tiles!(2, 4, 0);
                $tiles!(1, 4, 0);
            }
            Level::Portable => {
                $tiles!(2, 4, 0, 4);
                $tiles!(1, 8, 0);
            }
        }
    };
}

impl Kernel for Affine<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let n_in = self.x.len();
        assert!(self.stride >= n_in && self.w.len() >= (self.y.len().max(1) - 1) * self.stride + n_in);
        let rows = |r: usize| &self.w[r * self.stride..][..n_in];
        let mut r = 0;
        let n = self.y.len();
        macro_rules! tiles {
            ($m:literal, $n:literal, $($at:literal),+) => {
                while n - r >= $m {
                    let w: [&[f32]; $m] = std::array::from_fn(|j| rows(r + j));
                    let y: &mut [Lanes; $m] = (&mut self.y[r..r + $m]).try_into().expect("length");
                    $(tile::<A, $m, $n, $at>(self.x, y, begin::<$m>(self.start, r), |k| w.map(|row| row[k]));)+
                    r += $m;
                }
            };
        }
        for_level!(tiles);
    }
}

impl Kernel for AffineT<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let (n_in, n_out) = (self.dx.len(), self.dy.len());
        assert!(self.stride >= n_in && self.w.len() >= (n_out.max(1) - 1) * self.stride + n_in);
        let mut r = 0;
        macro_rules! tiles {
            ($m:literal, $n:literal, $($at:literal),+) => {
                while n_in - r >= $m {
                    let dx: &mut [Lanes; $m] = (&mut self.dx[r..r + $m]).try_into().expect("length");
                    let w = &self.w[r..];
                    $(tile::<A, $m, $n, $at>(self.dy, dx, begin::<$m>(self.start, r), |k| {
                        w[k * self.stride..][..$m].try_into().expect("length")
                    });)+
                    r += $m;
                }
            };
        }
        for_level!(tiles);
    }
}

/// What the accumulators of a tile's `M` rows begin with; `None` keeps the target's values.
#[inline(always)]
fn begin<const M: usize>(start: Start<'_>, r: usize) -> Option<[f32; M]> {
    match start {
        Start::Bias(b) => Some(b[r..r + M].try_into().expect("length")),
        Start::Zero => Some([0.0; M]),
        Start::Keep => None,
    }
}

/// `y[r] = begin[r] + Σₖ a(k)[r] · x[k]` for `M` rows and the `N` registers of lanes from `AT` on.
#[inline(always)]
fn tile<A: Arith, const M: usize, const N: usize, const AT: usize>(
    x: &[Lanes],
    y: &mut [Lanes; M],
    begin: Option<[f32; M]>,
    a: impl Fn(usize) -> [f32; M],
) {
    let mut acc = [[A::splat(0.0); N]; M];
    for r in 0..M {
        for c in 0..N {
            acc[r][c] = match begin {
                Some(b) => A::splat(b[r]),
                None => A::load(&y[r], AT + c),
            };
        }
    }
    for (k, x) in x.iter().enumerate() {
        let a = a(k);
        let mut row = [acc[0][0]; N];
        for c in 0..N {
            row[c] = A::load(x, AT + c);
        }
        for r in 0..M {
            let a = A::splat(a[r]);
            for c in 0..N {
                acc[r][c] = A::fma_v(a, row[c], acc[r][c]);
            }
        }
    }
    for r in 0..M {
        for c in 0..N {
            A::store(acc[r][c], &mut y[r], AT + c);
        }
    }
}

impl Kernel for Outer<'_> {
    #[inline(always)]
    fn run<A: Arith>(mut self) {
        assert!(self.n_panels > 0 && self.stride >= self.n_in);
        assert!(self.dw.len() >= (self.n_out.max(1) - 1) * self.stride + self.n_in);
        assert!(self.x.len() >= (self.n_panels - 1) * self.x_step + self.n_in);
        assert!(self.dy.len() >= (self.n_panels - 1) * self.dy_step + self.n_out);
        match A::LEVEL {
            Level::Avx512 => self.rows::<A, 4, 4, 1>(),
            Level::Avx2 => self.rows::<A, 3, 2, 2>(),
            Level::Portable => self.rows::<A, 2, 1, 4>(),
        }
    }
}

impl Outer<'_> {
    /// `M × N` weights at a time, each with half a panel of partial sums in `H` registers.
    #[inline(always)]
    fn rows<A: Arith, const M: usize, const N: usize, const H: usize>(&mut self) {
        let mut o = 0;
        while o + M <= self.n_out {
            self.columns::<A, M, N, H>(o);
            o += M;
        }
        while o < self.n_out {
            self.columns::<A, 1, 4, H>(o);
            o += 1;
        }
    }

    #[inline(always)]
    fn columns<A: Arith, const M: usize, const N: usize, const H: usize>(&mut self, o: usize) {
        let mut i = 0;
        while i + N <= self.n_in {
            self.dots::<A, M, N, H>(o, i);
            i += N;
        }
        while i < self.n_in {
            self.dots::<A, M, 1, H>(o, i);
            i += 1;
        }
    }

    #[inline(always)]
    fn dots<A: Arith, const M: usize, const N: usize, const H: usize>(&mut self, o: usize, i: usize) {
        let mut acc = [[[A::splat(0.0); H]; N]; M];
        for p in 0..self.n_panels {
            let dy: &[Lanes; M] = self.dy[p * self.dy_step + o..][..M].try_into().expect("length");
            let x: &[Lanes; N] = self.x[p * self.x_step + i..][..N].try_into().expect("length");
            for half in [0, H] {
                for h in 0..H {
                    for c in 0..N {
                        let x = A::load(&x[c], half + h);
                        for r in 0..M {
                            acc[r][c][h] = A::fma_v(A::load(&dy[r], half + h), x, acc[r][c][h]);
                        }
                    }
                }
            }
        }
        for r in 0..M {
            for c in 0..N {
                self.dw[(o + r) * self.stride + i + c] += A::sum(acc[r][c]);
            }
        }
    }
}

impl Kernel for SumLanes<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        for (db, dy) in self.db.iter_mut().zip(self.dy) {
            *db += sum(std::array::from_fn(|l| dy.0[l] + dy.0[HALF + l]));
        }
    }
}

/// Sums by halving, the same tree on every machine.
#[inline(always)]
fn sum(v: [f32; HALF]) -> f32 {
    let v: [f32; 8] = std::array::from_fn(|l| v[l] + v[8 + l]);
    let v: [f32; 4] = std::array::from_fn(|l| v[l] + v[4 + l]);
    (v[0] + v[2]) + (v[1] + v[3])
}

impl Kernel for Activate<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        #[inline(always)]
        fn each(y: &mut [Lanes], f: impl Fn(f32) -> f32) {
            for y in y.iter_mut().flat_map(|y| &mut y.0) {
                *y = f(*y);
            }
        }
        match self.act {
            Activation::Linear => {}
            Activation::Relu => each(self.y, |x| if x > 0.0 { x } else { 0.0 }),
            Activation::Tanh => each(self.y, math::tanh::<A>),
            Activation::Sigmoid => each(self.y, math::sigmoid::<A>),
        }
    }
}

impl Kernel for ActivateGrad<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        #[inline(always)]
        fn each(y: &[Lanes], dy: &mut [Lanes], f: impl Fn(f32, f32) -> f32) {
            for (y, dy) in y.iter().zip(dy) {
                for l in 0..LANES {
                    dy.0[l] = f(y.0[l], dy.0[l]);
                }
            }
        }
        match self.act {
            Activation::Linear => {}
            Activation::Relu => each(self.y, self.dy, |y, g| if y > 0.0 { g } else { 0.0 }),
            Activation::Tanh => each(self.y, self.dy, |y, g| g * A::fma(-y, y, 1.0)),
            Activation::Sigmoid => each(self.y, self.dy, |y, g| g * A::fma(-y, y, y)),
        }
    }
}

impl Kernel for AdamStep<'_> {
    #[inline(always)]
    fn run<A: Arith>(self) {
        let n = self.w.len();
        let (dw, m, v, decays) = (&self.dw[..n], &mut self.m[..n], &mut self.v[..n], &self.decays[..n]);
        let (keep1, keep2) = (1.0 - self.beta1, 1.0 - self.beta2);
        for i in 0..n {
            let g = dw[i];
            m[i] = A::fma(keep1, g - m[i], m[i]);
            v[i] = A::fma(keep2, A::fma(g, g, -v[i]), v[i]);
            let kept = A::fma(self.w[i], -self.decay * decays[i], self.w[i]);
            self.w[i] = kept - self.rate * m[i] / (v[i].sqrt() + self.epsilon);
        }
    }
}
