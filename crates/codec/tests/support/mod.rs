//! Models and windows for tests, all from fixed seeds.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use kinglet_codec::learn::{
    BUDGET_INPUTS, BudgetPart, ContextPart, CountPart, DensePart, ExpectedPart, Lags, LatentPart, Lattice,
    NetPart, OUTPUTS, Outline, Parts, PredictNet, PredictPart, RAW_CONTEXTS, RESIDUAL_CONTEXTS, Scaling,
};
use kinglet_codec::{ABOVE, BELOW, Grid, MISSING, STEP_MAX};

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as u64) as i32
    }
}

pub fn grid(bound_steps: u32) -> Grid {
    Grid { scale: 1, origin: 0, quantum: 1, bound_steps, rounds: false }
}

/// Untrained parts of `bounds.len()` channels on lattices of a `finer`-th of the bound's span.
pub fn parts(n_samples: u16, bounds: &[u32], finer: u32) -> Parts {
    let outlines: Vec<_> = bounds.iter().map(|&bound| Outline::new("x", grid(bound), (-400, 800))).collect();
    let mut parts = Parts::untrained(n_samples, 1000, &outlines);
    for (channel, &bound) in parts.channels.iter_mut().zip(bounds) {
        channel.lattice = Lattice { step: ((2 * bound + 1) / finer).max(1), phase: 0 };
    }
    parts
}

/// Parts with a context map and tables of random shape, so that every context matters.
pub fn with_context(mut parts: Parts, rng: &mut Rng) -> Parts {
    let n_tables = 9;
    let map = (0..RAW_CONTEXTS * parts.channels.len()).map(|_| rng.below(n_tables) as u8).collect();
    let table = |rng: &mut Rng| (0..41).map(|s| (1 + rng.below(99)) as f64 / f64::from(1 + s * s)).collect();
    let tables = (0..n_tables).map(|_| table(rng)).collect();
    parts.context = Some(ContextPart { n_classes: 20, map, tables });
    parts
}

/// Networks of random weights: their distributions are wild and must be coded all the same.
pub fn with_predict(parts: Parts, rng: &mut Rng) -> Parts {
    with_networks(parts, Lags { own: 11, other: 2 }, [6, 5], rng)
}

/// The same of any size.
pub fn with_networks(mut parts: Parts, lags: Lags, n_hidden: [usize; 2], rng: &mut Rng) -> Parts {
    let n_channels = parts.channels.len();
    let dense = |n_in: usize, n_out: usize, shift: u8, rng: &mut Rng| DensePart {
        weights: (0..n_in * n_out).map(|_| rng.between(-127, 127) as i8).collect(),
        outs: (0..n_out).map(|_| (rng.between(-900, 900), rng.between(1, 65535) as u16, shift)).collect(),
    };
    let channel = |rng: &mut Rng| {
        let net = PredictNet {
            linear: [(); 3]
                .map(|()| (0..lags.n_linear(n_channels)).map(|_| rng.between(-2000, 2000) as i16).collect()),
            layers: [
                dense(lags.n_features(n_channels), n_hidden[0], 23, rng),
                dense(n_hidden[0], n_hidden[1], 21, rng),
                dense(n_hidden[1], OUTPUTS, 20, rng),
            ],
        };
        (
            Scaling {
                mean_move: rng.between(64, 4000) as u32,
                mean: 100,
                deviation: rng.between(1, 400) as u32,
            },
            net,
        )
    };
    let channels = (0..n_channels).map(|_| channel(rng)).collect();
    parts.predict = Some(PredictPart { lags, channels, budget: None });
    parts.head = [0.001, 0.001, 50.0, 0.001, 1.0, 1.0];
    parts
}

/// Moves what the networks say by the length of the code, at random.
pub fn with_budget(mut parts: Parts, rng: &mut Rng) -> Parts {
    if let Some(predict) = &mut parts.predict {
        let layer = |rng: &mut Rng| DensePart {
            weights: (0..BUDGET_INPUTS * OUTPUTS).map(|_| rng.between(-127, 127) as i8).collect(),
            outs: (0..OUTPUTS).map(|_| (0, rng.between(1, 65535) as u16, 23)).collect(),
        };
        let layers = predict.channels.iter().map(|_| layer(rng)).collect();
        predict.budget = Some(BudgetPart { usual_bits: rng.between(-20, 90) as i8, layers });
    }
    parts
}

/// An autoencoder of random weights: it predicts nothing, and so exercises everything.
pub fn net(parts: &Parts, n_latents: u8, n_hidden: [u8; 2], rng: &mut Rng) -> NetPart {
    let n = usize::from(parts.n_samples) * parts.channels.len();
    let (l, [he, hd]) = (usize::from(n_latents), n_hidden.map(usize::from));
    let dense = |n_in: usize, n_out: usize, shift: u8, rng: &mut Rng| DensePart {
        weights: (0..n_in * n_out).map(|_| rng.between(-127, 127) as i8).collect(),
        outs: (0..n_out).map(|_| (rng.between(-5000, 5000), rng.between(1, 65535) as u16, shift)).collect(),
    };
    let mut layer = |n_in, n_out, shift| dense(n_in, n_out, shift, rng);
    let layers = [
        layer(n, l, 26),
        layer(n, he, 26),
        layer(he, l, 20),
        layer(l, n, 18),
        layer(l, hd, 22),
        layer(hd, n, 20),
    ];
    let norms = parts.channels.iter().map(|c| [c.first.mean, 256 * 65536 / 50, 50 * 65536 / 256]).collect();
    NetPart { n_latents, n_hidden, norms, layers }
}

pub fn with_latent(mut parts: Parts, rng: &mut Rng) -> Parts {
    let net = net(&parts, 3, [6, 5], rng);
    let table = |n: usize| (0..n).map(|s| 1.0 / f64::from(1 + s as u32)).collect::<Vec<f64>>();
    parts.latent = Some(LatentPart {
        net,
        latents: (10, vec![table(21); 3]),
        flag: [1.0, 3.0],
        residuals: (16, vec![table(33); RESIDUAL_CONTEXTS]),
    });
    // Dear rungs elsewhere make this one win on full windows.
    parts.head = [0.001, 0.001, 0.001, 50.0, 1.0, 1.0];
    parts
}

pub fn with_fixed(mut parts: Parts, rng: &mut Rng) -> Parts {
    parts.fixed = Some((net(&parts, 4, [7, 3], rng), vec![8, 3, 4, 1]));
    parts
}

/// Sensors that count coarser than the grid, by rules of different kinds, from parts for bounds in counts; the bounds in
/// grid steps become `bounds`.
pub fn with_counts(mut parts: Parts, bounds: &[u32]) -> Parts {
    let rules: [(u16, &[u16]); 3] = [(25, &[0, 6, 13, 19]), (1, &[0]), (7, &[1, 2, 6])];
    let counts = bounds.iter().zip(rules.iter().cycle()).zip(&mut parts.channels);
    let counts = counts.map(|((&bound_steps, (period, residues)), channel)| {
        let bound = std::mem::replace(&mut channel.grid.bound_steps, bound_steps);
        CountPart { bound, period: *period, residues: residues.to_vec() }
    });
    parts.counts = Some(counts.collect());
    parts
}

/// An expected window in the middle of all first values, on the rung that is `head`-th of the heads.
pub fn with_expected(mut parts: Parts, head: u8) -> Parts {
    let bins = (0..parts.channels.len()).map(|idx| 30 + 3 * idx as u8).collect();
    parts.expected = Some(ExpectedPart { head, bins });
    parts
}

/// Moves a window's values down to the counts; every `but`-th stays where it is, 0 for none.
pub fn count(steps: &mut [i32], counts: &[CountPart], but: usize) {
    for (at, x) in steps.iter_mut().enumerate().filter(|(_, x)| kinglet_codec::is_step(**x)) {
        let CountPart { period, residues, .. } = &counts[at % counts.len()];
        let on = |x: &i32| residues.contains(&(x.rem_euclid(i32::from(*period)) as u16));
        if but == 0 || at % but != but - 1 {
            *x = (0..i32::from(*period)).map(|down| *x - down).find(on).unwrap();
        }
    }
}

/// A window as a sensor could give it: calm, moving, jumping, stuck, with outages and values beyond the grid.
pub fn window(n_samples: usize, n_channels: usize, rng: &mut Rng) -> Vec<i32> {
    let kind = rng.below(6);
    let mut last: Vec<i32> = (0..n_channels).map(|_| rng.between(-300, 700)).collect();
    let mut steps = Vec::new();
    for _ in 0..n_samples {
        for x in &mut last {
            *x += match kind {
                0 => 0,
                1 => rng.between(-1, 1),
                2 => rng.between(-9, 9),
                3 => rng.between(-200, 200),
                _ => rng.between(-2, 2),
            };
            let special = if kind < 4 { 99 } else { rng.below(12) };
            steps.push(match special {
                0 | 1 => MISSING,
                2 if kind == 5 => ABOVE,
                3 if kind == 5 => BELOW,
                4 if kind == 5 => rng.between(-STEP_MAX, STEP_MAX),
                _ => *x,
            });
        }
    }
    steps
}
