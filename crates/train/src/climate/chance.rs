//! Random numbers from a seed, the same on every machine.

/// PCG-XSH-RR 64/32 (O'Neill 2014).
pub(super) struct Chance {
    state: u64,
    /// The second of two normal numbers that come together.
    spare: Option<f64>,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let mut chance =
            Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x2545_F491_4F6C_DD1D, spare: None };
        // Seeds that differ in one bit begin far apart.
        for _ in 0..4 {
            chance.word();
        }
        chance
    }

    fn word(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (((old >> 18) ^ old) >> 27) as u32;
        mixed.rotate_right((old >> 59) as u32)
    }

    /// Even over `0..1`, 32 bits.
    pub(super) fn even(&mut self) -> f64 {
        f64::from(self.word()) / 4_294_967_296.0
    }

    /// Even over `low..high`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.even()
    }

    /// Normal with mean 0 and deviation 1 (Marsaglia's polar method).
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let r = x * x + y * y;
            if r > 0.0 && r < 1.0 {
                let scale = (-2.0 * libm::log(r) / r).sqrt();
                self.spare = Some(y * scale);
                return x * scale;
            }
        }
    }

    /// True with the chance that something of `per_hour` events an hour happens within `dt_s`.
    pub(super) fn happens(&mut self, per_hour: f64, dt_s: f64) -> bool {
        self.even() < 1.0 - libm::exp(-per_hour * dt_s / 3600.0)
    }
}

/// A value that wanders around 0 and is drawn back: Ornstein–Uhlenbeck, exact for any step.
pub(super) struct Wander {
    pub(super) now: f64,
    deviation: f64,
    memory_s: f64,
}

impl Wander {
    pub(super) fn new(deviation: f64, memory_s: f64, chance: &mut Chance) -> Self {
        Self { now: deviation * chance.normal(), deviation, memory_s }
    }

    pub(super) fn run(&mut self, dt_s: f64, chance: &mut Chance) -> f64 {
        let keep = libm::exp(-dt_s / self.memory_s);
        self.now = keep * self.now + self.deviation * (1.0 - keep * keep).max(0.0).sqrt() * chance.normal();
        self.now
    }
}

/// `now` drawn towards `goal` with a time constant, exact for any step.
pub(super) fn approach(now: f64, goal: f64, dt_s: f64, memory_s: f64) -> f64 {
    goal + (now - goal) * libm::exp(-dt_s / memory_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_moments_they_should() {
        let mut chance = Chance::new(7);
        let n = 100_000;
        let draws: Vec<f64> = (0..n).map(|_| chance.normal()).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let even = (0..n).map(|_| chance.even()).sum::<f64>() / f64::from(n);
        assert!((even - 0.5).abs() < 0.01, "{even}");
    }

    #[test]
    fn a_wander_keeps_its_deviation_whatever_the_step() {
        let mut chance = Chance::new(3);
        for dt_s in [60.0, 3600.0] {
            let mut wander = Wander::new(2.0, 3600.0, &mut chance);
            let n = 200_000;
            let square: f64 = (0..n).map(|_| wander.run(dt_s, &mut chance)).map(|x| x * x).sum();
            assert!((square / f64::from(n) - 4.0).abs() < 0.5, "{dt_s} {}", square / f64::from(n));
        }
    }
}
