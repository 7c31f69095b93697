//! Exponential, logarithm and their relatives, the same bits wherever [`Arith::fma`] is the same.
//!
//! The platform's own functions differ between C libraries, and a different last bit after some thousand training
//! steps is a different model. These are branch-free, so the compiler runs them along vectors. Polynomials:
//! truncated series after range reduction (Cody & Waite 1980), about two units in the last place.

use super::isa::Arith;

/// `exp(x)`; saturates at `exp(±87)`, a NaN stays one.
#[inline(always)]
pub(crate) fn exp<A: Arith>(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to the nearest integer without a library call.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > 87.0 { 87.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = A::fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = A::fma(n, -LN2_LOW, A::fma(n, -LN2_HIGH, x));
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = A::fma(p, r, c);
    }
    // The integer sits in the low bits of `shifted`; moved into the exponent it is a power of two.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    p * power
}

/// `ln(x)` for finite `x > 0`; other inputs give some finite number.
#[inline(always)]
pub(crate) fn ln<A: Arith>(x: f32) -> f32 {
    let bits = x.to_bits();
    // Mantissa in [√½, √2), exponent to match.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    // ln m = 2 artanh s with s = (m-1)/(m+1), |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let mut p = 1.0 / 9.0;
    for c in [1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
        p = A::fma(p, s2, c);
    }
    let t = 2.0 * s;
    let ln_m = A::fma(t * s2, p, t);
    A::fma(exponent, std::f32::consts::LN_2, ln_m)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid<A: Arith>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<A>(-x))
}

/// Hyperbolic tangent; odd to the bit.
#[inline(always)]
pub(crate) fn tanh<A: Arith>(x: f32) -> f32 {
    // Near zero the quotient cancels; the series (to x⁷) does not.
    let a = x.abs();
    let e = exp::<A>(-2.0 * a);
    let far = (1.0 - e) / (1.0 + e);
    let a2 = a * a;
    let mut p = -17.0 / 315.0;
    for c in [2.0 / 15.0, -1.0 / 3.0, 1.0] {
        p = A::fma(p, a2, c);
    }
    let t = if a < 0.1 { a * p } else { far };
    t.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::super::isa::{Isa, Kernel};
    use super::*;

    type Scalar = fn(f64) -> f64;

    struct Each<'a>(u8, &'a [f32], &'a mut [f32]);

    impl Kernel for Each<'_> {
        #[inline(always)]
        fn run<A: Arith>(self) {
            for (x, y) in self.1.iter().zip(self.2) {
                *y = match self.0 {
                    0 => exp::<A>(*x),
                    1 => ln::<A>(*x),
                    2 => sigmoid::<A>(*x),
                    _ => tanh::<A>(*x),
                };
            }
        }
    }

    fn check(which: u8, truth: Scalar, from: f32, to: f32, relative: f64) {
        let x: Vec<f32> = (0..=20_000).map(|i| from + (to - from) * i as f32 / 20_000.0).collect();
        let mut y = vec![0.0; x.len()];
        for isa in Isa::available() {
            isa.run(Each(which, &x, &mut y));
            for (x, y) in x.iter().zip(&y) {
                let t = truth(f64::from(*x));
                let off = (f64::from(*y) - t).abs();
                assert!(off <= relative * t.abs() + 1e-38, "{which} on {isa:?} at {x}: {y} for {t}");
            }
        }
    }

    #[test]
    fn follow_the_true_functions() {
        check(0, f64::exp, -86.0, 86.0, 4e-7);
        check(1, f64::ln, 1e-6, 0.9, 4e-7);
        check(1, f64::ln, 1.1, 1e6, 4e-7);
        check(2, |x| 1.0 / (1.0 + (-x).exp()), -20.0, 20.0, 4e-7);
        check(3, f64::tanh, -9.0, 9.0, 1e-6);
        check(3, f64::tanh, -0.3, 0.3, 1e-6);
    }

    #[test]
    fn saturate_and_keep_signs() {
        let x = [1e9, -1e9, 0.0, -0.0, f32::NAN];
        let mut y = [0.0; 5];
        Isa::detect().run(Each(3, &x, &mut y));
        assert_eq!(y[..4], [1.0, -1.0, 0.0, 0.0]);
        assert!(y[3].is_sign_negative() && y[4].is_nan());
        Isa::detect().run(Each(0, &x, &mut y));
        assert!(y[0].is_finite() && y[1] >= 0.0 && y[2] == 1.0 && y[4].is_nan());
    }
}
