//! Which instructions the kernels may use, decided once at run time.
//!
//! Every kernel is safe Rust, marked `#[inline(always)]` and generic over [`Arith`], which stands for a register and
//! a few operations on it. [`Isa::run`] calls it from a function compiled for the detected instruction set, so that
//! one source becomes SSE2, AVX2 or AVX-512 code. This file holds the trainer's only `unsafe`.
//!
//! Lanes never mix except in fixed trees and no kernel's order of operations depends on the vector width, so all
//! instruction sets with a fused multiply-add (AVX2, AVX-512, AArch64) give the same bits; plain SSE2 gives others.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::fmt;

use super::kernels::Lanes;

/// An instruction set this machine has: only detection can make one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Level);

impl Isa {
    /// The fastest set this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                return Self(Level::Avx512);
            }
            if avx2 {
                return Self(Level::Avx2);
            }
        }
        Self::portable()
    }

    /// What the compiler's baseline has; always there.
    pub fn portable() -> Self {
        Self(Level::Portable)
    }

    /// Every set this machine has, slowest first.
    pub fn available() -> Vec<Self> {
        let best = Self::detect().0;
        [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= best).map(Self).collect()
    }

    /// The name for reports. Same name, same seed: same bits.
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            Level::Avx2 => "avx2+fma",
            Level::Avx512 => "avx512f",
        }
    }

    /// Runs `kernel` compiled for this set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            Level::Portable => kernel.run::<Portable>(),
            // SAFETY: `Level::Avx2` is made by `detect` and `available` only, after AVX2 and FMA were detected.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: `Level::Avx512` is made only after AVX-512F, AVX2 and FMA were detected.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => kernel.run::<Portable>(),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How wide the registers are; chooses tile sizes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    /// The compiler's baseline.
    Portable,
    /// 16 registers of 8 lanes.
    Avx2,
    /// 32 registers of 16 lanes.
    Avx512,
}

/// Arithmetic as the instruction set at hand does it: single numbers, and whole registers.
pub(crate) trait Arith {
    /// Chooses tile sizes.
    const LEVEL: Level;
    /// A register.
    type V: Copy;

    /// `a · b + c`.
    fn fma(a: f32, b: f32, c: f32) -> f32;

    /// The register numbered `part` of a row of lanes.
    fn load(from: &Lanes, part: usize) -> Self::V;

    /// Writes the register numbered `part` of a row of lanes.
    fn store(v: Self::V, to: &mut Lanes, part: usize);

    /// `x` in all lanes.
    fn splat(x: f32) -> Self::V;

    /// `a · b + c` in each lane.
    fn fma_v(a: Self::V, b: Self::V, c: Self::V) -> Self::V;

    /// The sum of the 16 lanes of `N` registers: halved to 8, to 4, to 2, to 1, always lane `i` with lane `i + half`.
    fn sum<const N: usize>(v: [Self::V; N]) -> f32;
}

/// A piece of work that [`Isa::run`] compiles for each instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// Does the work.
    fn run<A: Arith>(self);
}

struct Portable;

impl Arith for Portable {
    const LEVEL: Level = Level::Portable;
    type V = [f32; 4];

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        // Without the instruction `mul_add` is a library call, a hundred times slower.
        if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, c) } else { a * b + c }
    }

    #[inline(always)]
    fn load(from: &Lanes, part: usize) -> [f32; 4] {
        from.0.as_chunks().0[part]
    }

    #[inline(always)]
    fn store(v: [f32; 4], to: &mut Lanes, part: usize) {
        to.0.as_chunks_mut().0[part] = v;
    }

    #[inline(always)]
    fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    fn fma_v(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        [
            Self::fma(a[0], b[0], c[0]),
            Self::fma(a[1], b[1], c[1]),
            Self::fma(a[2], b[2], c[2]),
            Self::fma(a[3], b[3], c[3]),
        ]
    }

    #[inline(always)]
    fn sum<const N: usize>(v: [[f32; 4]; N]) -> f32 {
        let v: [f32; 4] = std::array::from_fn(|l| (v[0][l] + v[2][l]) + (v[1][l] + v[3][l]));
        (v[0] + v[2]) + (v[1] + v[3])
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx2;

// `Avx2` is private and only `run_avx2` names it, which `Isa::run` calls after AVX2 and FMA were detected: that is
// what "was detected" rests on below. `Avx512` likewise.
#[cfg(target_arch = "x86_64")]
impl Arith for Avx2 {
    const LEVEL: Level = Level::Avx2;
    type V = __m256;

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn load(from: &Lanes, part: usize) -> __m256 {
        let lanes: &[f32; 8] = &from.0.as_chunks().0[part];
        // SAFETY: AVX2 was detected; `lanes` holds the eight numbers that are read.
        unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
    }

    #[inline(always)]
    fn store(v: __m256, to: &mut Lanes, part: usize) {
        let lanes: &mut [f32; 8] = &mut to.0.as_chunks_mut().0[part];
        // SAFETY: AVX2 was detected; `lanes` has room for the eight numbers that are written.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn splat(x: f32) -> __m256 {
        // SAFETY: AVX2 was detected.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn fma_v(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: FMA was detected.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sum<const N: usize>(v: [__m256; N]) -> f32 {
        // SAFETY: AVX2 was detected.
        unsafe { sum_8(_mm256_add_ps(v[0], v[1])) }
    }
}

#[cfg(target_arch = "x86_64")]
struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Arith for Avx512 {
    const LEVEL: Level = Level::Avx512;
    type V = __m512;

    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn load(from: &Lanes, part: usize) -> __m512 {
        let lanes: &[f32; 16] = &from.0.as_chunks().0[part];
        // SAFETY: AVX-512F was detected; `lanes` holds the sixteen numbers that are read.
        unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
    }

    #[inline(always)]
    fn store(v: __m512, to: &mut Lanes, part: usize) {
        let lanes: &mut [f32; 16] = &mut to.0.as_chunks_mut().0[part];
        // SAFETY: AVX-512F was detected; `lanes` has room for the sixteen numbers that are written.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn splat(x: f32) -> __m512 {
        // SAFETY: AVX-512F was detected.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn fma_v(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: AVX-512F was detected.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn sum<const N: usize>(v: [__m512; N]) -> f32 {
        // SAFETY: AVX-512F and AVX2 were detected.
        unsafe {
            let low = _mm512_castps512_ps256(v[0]);
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v[0])));
            sum_8(_mm256_add_ps(low, high))
        }
    }
}

/// The sum of eight lanes, by halves.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn sum_8(v: __m256) -> f32 {
    let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
    _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) {
    kernel.run::<Avx2>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K) {
    kernel.run::<Avx512>();
}
