//! Int8 arithmetic as TensorFlow Lite Micro does it: a doubling high multiply that rounds, then a shift that rounds.
//!
//! The two roundings are gemmlowp's (`SaturatingRoundingDoublingHighMul`, `RoundingDivideByPOT`; Jacob et al. 2018,
//! "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"). LiteRT on a PC
//! rounds once and may differ by one step.

use super::layer::Shape;

/// How int8 numbers stand for real ones: `real = scale · (q - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// One step; finite and above zero.
    pub scale: f32,
    /// The integer that stands for 0.
    pub zero: i8,
}

impl Affine {
    /// The nearest int8 number, halves away from zero, clipped at the ends.
    pub fn quantise(self, real: f32) -> i8 {
        let steps = libm::round(f64::from(real) / f64::from(self.scale)) + f64::from(self.zero);
        steps.clamp(-128.0, 127.0) as i8
    }

    /// What `q` stands for.
    pub fn dequantise(self, q: i8) -> f32 {
        (i32::from(q) - i32::from(self.zero)) as f32 * self.scale
    }
}

/// A factor as integers: `mantissa · 2^(shift - 31)`, mantissa in `[2³⁰, 2³¹)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Factor {
    mantissa: i32,
    shift: i32,
}

impl Factor {
    /// `input · weight / output` of three scales, as a layer's kernel takes it: the fully connected kernel multiplies
    /// the first two in single precision, the convolution in double.
    pub(super) fn of(shape: &Shape, input: f32, weight: f32, output: f32) -> Self {
        let product = match shape {
            Shape::Dense { .. } => f64::from(input * weight),
            Shape::Conv1d { .. } => f64::from(input) * f64::from(weight),
        };
        let real = product / f64::from(output);
        if real == 0.0 || !real.is_finite() {
            return Self { mantissa: 0, shift: 0 };
        }
        let (fraction, mut shift) = libm::frexp(real);
        let mut mantissa = libm::round(fraction * 2_147_483_648.0) as i64;
        if mantissa == 1 << 31 {
            mantissa /= 2;
            shift += 1;
        }
        if shift < -31 {
            return Self { mantissa: 0, shift: 0 };
        }
        Self { mantissa: mantissa as i32, shift }
    }

    /// Whether no sum can leave 32 bits before it is scaled down.
    pub(super) fn shrinks(self) -> bool {
        self.shift <= 0
    }
}

/// A sum in steps of `input · weight` as steps of the output, rounded twice.
pub(super) fn scale(sum: i32, by: Factor) -> i32 {
    requantise(sum, by.mantissa, by.shift)
}

/// `sum · mantissa · 2^(shift - 31)`, rounded as TensorFlow Lite Micro rounds; `shift` from -31 to 0.
pub fn requantise(sum: i32, mantissa: i32, shift: i32) -> i32 {
    let product = i64::from(sum) * i64::from(mantissa);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    // Only i32::MIN squared leaves 32 bits.
    let high = ((product + nudge) / (1 << 31)).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    let by = (-shift).clamp(0, 31) as u32;
    let mask = (1i64 << by) - 1;
    let rest = i64::from(high) & mask;
    let threshold = (mask >> 1) + i64::from(high < 0);
    (i64::from(high) >> by) as i32 + i32::from(rest > threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sum: i32, real: f64, expected: i32) {
        let (fraction, shift) = libm::frexp(real);
        let mantissa = (fraction * 2_147_483_648.0) as i32;
        assert_eq!(requantise(sum, mantissa, shift), expected, "{sum} · {real}");
    }

    #[test]
    fn rounds_twice_halves_away_from_zero_in_the_shift() {
        check(100, 0.5, 50);
        check(101, 0.5, 51);
        check(-101, 0.5, -50);
        check(3, 0.25, 1);
        check(-3, 0.25, -1);
        check(-2, 0.25, -1);
        check(2, 0.25, 1);
        // Twice: 2.499… becomes 2.5 in the first rounding and 3 in the second.
        check(0x4fff_ffff, 0.5 / (1 << 28) as f64, 3);
        check(i32::MIN, 0.999, -2_145_336_164);
    }

    #[test]
    fn quantises_to_the_nearest_and_clips() {
        let a = Affine { scale: 0.5, zero: -3 };
        for (real, q) in [(0.0, -3), (0.24, -3), (0.25, -2), (-0.25, -4), (1e9, 127), (-1e9, -128)] {
            assert_eq!(a.quantise(real), q, "{real}");
        }
        assert_eq!(a.dequantise(-1), 1.0);
        assert_eq!(a.quantise(f32::NAN), 0);
    }

    #[test]
    fn a_dense_layers_product_is_single_and_a_convolutions_double() {
        let (input, weight) = (1.0 / 255.0f32, 0.0123f32);
        let dense = Factor::of(&Shape::Dense { n_in: 1, n_out: 1 }, input, weight, 0.25);
        let conv = Shape::Conv1d { n_steps: 1, channels_in: 1, channels_out: 1, kernel: 1, stride: 1 };
        let conv = Factor::of(&conv, input, weight, 0.25);
        let real = |f: Factor| f64::from(f.mantissa) * libm::exp2(f64::from(f.shift - 31));
        assert_eq!(real(dense), f64::from(input * weight) * 4.0);
        let exact = f64::from(input) * f64::from(weight) * 4.0;
        assert!(real(conv) != real(dense) && (real(conv) / exact - 1.0).abs() < 1e-9);
    }
}
