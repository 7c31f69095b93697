//! A known-plaintext attack: some codes whose readings are known, and a guess at all others.
//!
//! The attacker knows the readings of a few codes, drawn at random, has heard all other codes, and knows how many samples
//! and channels a code stands for. Four simple guesses are tried on what is known (cross-validation), the best is used.

use crate::nn::Rng;
use crate::solve::solve;

/// Numbers of pairs that are tried.
const PAIRS: [usize; 5] = [2, 5, 10, 20, 50];
/// Draws of known pairs for each number.
const DRAWS: u64 = 20;
/// Most codes guessed in each draw.
const GUESSED_MAX: usize = 400;
/// Parts of the known pairs that are guessed from the others to choose a method.
const FOLDS: usize = 5;
/// Below this many numbers per code they are latents, and each may say much; bits of a code are more.
const FEW: usize = 16;
/// With fewer known pairs there is nothing to choose by.
const CHOOSE_FROM: usize = 4;

/// How an attacker goes from codes to readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The mean of the known readings, whatever the code.
    Mean,
    /// A line through the known pairs, by the code's place, and on beyond them.
    Line,
    /// The same, ending with the outermost known pairs.
    Between,
    /// An affine map of the code's numbers or bits, fitted to the known pairs.
    Affine,
    /// The readings of the nearest known code.
    Nearest,
}

const METHODS: [Method; 5] = [Method::Mean, Method::Line, Method::Between, Method::Affine, Method::Nearest];

/// What so many known pairs give away.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KnownPairs {
    /// Known pairs.
    pub pairs: usize,
    /// Each channel.
    pub channels: Vec<ChannelGuess>,
}

/// Errors of a guessed reading.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ChannelGuess {
    /// The channel.
    pub name: String,
    /// Mean error of a reading, in its unit.
    pub error_mean: f64,
    /// The same of who knows the pairs and hears nothing.
    pub error_deaf: f64,
    /// What the attacker used, most of the time.
    pub method: Method,
}

/// Codes that were heard, with what they stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Each code's place on a line.
    pub(super) places: Vec<f64>,
    /// Each code's numbers or bits.
    pub(super) features: Vec<Vec<f64>>,
    /// Its readings, `[samples × channels]`.
    pub(super) readings: Vec<Vec<f64>>,
}

impl Heard {
    pub(super) fn push(&mut self, place: f64, features: Vec<f64>, readings: Vec<f64>) {
        self.places.push(place);
        self.features.push(features);
        self.readings.push(readings);
    }

    /// Mean reading of channel `idx` in each code.
    pub(super) fn means(&self, idx: usize, n_channels: usize) -> Vec<f64> {
        let mean = |readings: &Vec<f64>| {
            let of = readings.iter().skip(idx).step_by(n_channels);
            of.clone().sum::<f64>() / of.count().max(1) as f64
        };
        self.readings.iter().map(mean).collect()
    }

    /// Errors of each number of known pairs there are enough codes for.
    pub(super) fn attack(&self, names: &[String], seed: u64) -> Vec<KnownPairs> {
        let scaled = self.scaled();
        let enough = |pairs: &usize| self.places.len() >= 2 * pairs;
        PAIRS.into_iter().filter(enough).map(|pairs| scaled.attack_with(pairs, names, seed)).collect()
    }

    /// Errors of the best affine map over everything heard.
    pub(super) fn affine_errors(&self) -> Vec<f64> {
        let scaled = self.scaled();
        let all: Vec<usize> = (0..scaled.places.len()).collect();
        let guess = Guess::new(Method::Affine, &scaled, &all);
        let error = |at: usize| {
            let told = guess.at(at);
            told.iter().zip(&scaled.readings[at]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        all.iter().map(|&at| error(at)).collect()
    }

    /// Features with mean 0 and deviation 1; those that stand still are left out.
    fn scaled(&self) -> Self {
        let n = self.features.len().max(1) as f64;
        let n_dims = self.features.first().map_or(0, Vec::len);
        let column = |d: usize| self.features.iter().map(move |x| x[d]);
        let moments: Vec<(usize, f64, f64)> = (0..n_dims)
            .map(|d| {
                let mean = column(d).sum::<f64>() / n;
                (d, mean, (column(d).map(|x| (x - mean) * (x - mean)).sum::<f64>() / n).sqrt())
            })
            .filter(|(_, _, deviation)| *deviation > 1e-12)
            .collect();
        let scale = |x: &Vec<f64>| moments.iter().map(|&(d, mean, dev)| (x[d] - mean) / dev).collect();
        Self { features: self.features.iter().map(scale).collect(), ..self.clone() }
    }

    fn attack_with(&self, n_pairs: usize, names: &[String], seed: u64) -> KnownPairs {
        let n_channels = names.len();
        let (mut errors, mut deaf) = (vec![0.0; n_channels], vec![0.0; n_channels]);
        let (mut n_values, mut used) = (0usize, vec![[0usize; METHODS.len()]; n_channels]);
        for draw in 0..DRAWS {
            let mut rng = Rng::new(seed.wrapping_mul(DRAWS).wrapping_add(draw));
            let mut order: Vec<usize> = (0..self.places.len()).collect();
            rng.shuffle(&mut order);
            let (known, others) = order.split_at(n_pairs);
            let others = &others[..others.len().min(GUESSED_MAX)];
            let chosen = self.choose(known, n_channels);
            for (m, &method) in METHODS.iter().enumerate() {
                let is_deaf = method == Method::Mean;
                if !is_deaf && !chosen.contains(&m) {
                    continue;
                }
                let found = self.errors(method, known, others, n_channels);
                for idx in (0..n_channels).filter(|&idx| chosen[idx] == m) {
                    errors[idx] += found[idx];
                    used[idx][m] += 1;
                }
                if is_deaf {
                    deaf.iter_mut().zip(&found).for_each(|(sum, x)| *sum += x);
                }
            }
            n_values += others.iter().map(|&at| self.readings[at].len() / n_channels).sum::<usize>();
        }
        let n = n_values.max(1) as f64;
        let channel = |(idx, name): (usize, &String)| ChannelGuess {
            name: name.clone(),
            error_mean: errors[idx] / n,
            error_deaf: deaf[idx] / n,
            method: METHODS[(0..METHODS.len()).max_by_key(|&m| used[idx][m]).unwrap_or(0)],
        };
        KnownPairs { pairs: n_pairs, channels: names.iter().enumerate().map(channel).collect() }
    }

    /// For each channel the method that guesses the known pairs best from each other.
    fn choose(&self, known: &[usize], n_channels: usize) -> Vec<usize> {
        // Latents follow readings smoothly, codes leap where another rung begins: no line leads beyond what is known.
        let is_latent = self.features.first().is_some_and(|x| x.len() < FEW);
        if known.len() < CHOOSE_FROM {
            let method = if is_latent { Method::Line } else { Method::Between };
            return vec![METHODS.iter().position(|&m| m == method).unwrap_or(0); n_channels];
        }
        let mut errors = vec![vec![0.0; METHODS.len()]; n_channels];
        for fold in 0..FOLDS.min(known.len()) {
            let part = |held: bool| {
                let of = known.iter().enumerate().filter(move |(i, _)| (i % FOLDS == fold) == held);
                of.map(|(_, &at)| at).collect::<Vec<usize>>()
            };
            let (rest, held) = (part(false), part(true));
            for (m, &method) in METHODS.iter().enumerate() {
                let found = self.errors(method, &rest, &held, n_channels);
                errors.iter_mut().zip(found).for_each(|(sums, x)| sums[m] += x);
            }
        }
        let usable = |m: &usize| is_latent || METHODS[*m] != Method::Line;
        let best =
            |sums: &Vec<f64>| (0..sums.len()).filter(usable).min_by(|&a, &b| sums[a].total_cmp(&sums[b]));
        errors.iter().map(|sums| best(sums).unwrap_or(0)).collect()
    }

    /// Sums of errors of each channel when `others` are guessed from `known`.
    fn errors(&self, method: Method, known: &[usize], others: &[usize], n_channels: usize) -> Vec<f64> {
        let guess = Guess::new(method, self, known);
        let mut sums = vec![0.0; n_channels];
        for &at in others {
            for (i, (told, truth)) in guess.at(at).iter().zip(&self.readings[at]).enumerate() {
                sums[i % n_channels] += (told - truth).abs();
            }
        }
        sums
    }
}

/// A guess made ready.
struct Guess<'h> {
    heard: &'h Heard,
    /// Known codes, for [`Method::Line`] by their place.
    known: Vec<usize>,
    method: Method,
    mean: Vec<f64>,
    /// Of [`Method::Affine`]: `[known × readings]`, what each known code adds.
    weights: Vec<Vec<f64>>,
    /// The same with more pairs than numbers: `[1 + numbers × readings]`.
    plane: Vec<Vec<f64>>,
}

impl<'h> Guess<'h> {
    fn new(method: Method, heard: &'h Heard, known: &[usize]) -> Self {
        let mut known = known.to_vec();
        let n_readings = heard.readings.first().map_or(0, Vec::len);
        let n = known.len().max(1) as f64;
        let mean: Vec<f64> =
            (0..n_readings).map(|i| known.iter().map(|&at| heard.readings[at][i]).sum::<f64>() / n).collect();
        let (mut weights, mut flat) = (Vec::new(), Vec::new());
        let n_dims = heard.features.first().map_or(0, Vec::len);
        match method {
            Method::Line | Method::Between => {
                known.sort_by(|&a, &b| heard.places[a].total_cmp(&heard.places[b]));
                known.dedup_by(|a, b| heard.places[*a] == heard.places[*b]);
            }
            Method::Affine if n_dims < FEW && known.len() > 2 * n_dims => flat = plane(heard, &known, &mean),
            Method::Affine => weights = affine(heard, &known, &mean),
            Method::Mean | Method::Nearest => {}
        }
        Self { heard, known, method, mean, weights, plane: flat }
    }

    /// The readings guessed for code `at`.
    fn at(&self, at: usize) -> Vec<f64> {
        let Heard { places, features, readings } = self.heard;
        match (self.method, &self.known[..]) {
            (Method::Line | Method::Between, known @ [_, _, ..]) => {
                let right = known.partition_point(|&k| places[k] < places[at]).clamp(1, known.len() - 1);
                let (a, b) = (known[right - 1], known[right]);
                let share = (places[at] - places[a]) / (places[b] - places[a]);
                let share = if self.method == Method::Line { share } else { share.clamp(0.0, 1.0) };
                readings[a].iter().zip(&readings[b]).map(|(a, b)| a + share * (b - a)).collect()
            }
            (Method::Affine, known) if !self.weights.is_empty() => {
                let mut told = self.mean.clone();
                for (&k, weights) in known.iter().zip(&self.weights) {
                    let alike = kernel(&features[at], &features[k]);
                    told.iter_mut().zip(weights).for_each(|(told, w)| *told += alike * w);
                }
                told
            }
            (Method::Affine, _) if !self.plane.is_empty() => {
                let mut told = self.mean.clone();
                for (x, row) in with_one(&features[at]).into_iter().zip(&self.plane) {
                    told.iter_mut().zip(row).for_each(|(told, w)| *told += x * w);
                }
                told
            }
            (Method::Nearest, known) => {
                let far = |k: usize| {
                    features[at].iter().zip(&features[k]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
                };
                let nearest = known.iter().copied().min_by(|&a, &b| far(a).total_cmp(&far(b)));
                nearest.map_or_else(|| self.mean.clone(), |k| readings[k].clone())
            }
            _ => self.mean.clone(),
        }
    }
}

/// Ridge regression in the space of known pairs: `(K + λ) w = y - mean`. λ is small where few numbers say much (two
/// latents) and large where many bits say little each.
fn affine(heard: &Heard, known: &[usize], mean: &[f64]) -> Vec<Vec<f64>> {
    let n_dims = heard.features.first().map_or(0, Vec::len);
    let lambda = if n_dims < FEW { 1e-9 } else { 0.3 * n_dims as f64 };
    let n = known.len();
    let row = |i: usize| {
        let features = |i: usize| heard.features[known[i]].as_slice();
        let left = (0..n).map(|j| kernel(features(i), features(j)) + if i == j { lambda } else { 0.0 });
        left.chain(heard.readings[known[i]].iter().zip(mean).map(|(y, m)| y - m)).collect()
    };
    solve((0..n).map(row).collect())
}

/// More pairs than numbers: the plane of least squares, `[1 + numbers × readings]`.
fn plane(heard: &Heard, known: &[usize], mean: &[f64]) -> Vec<Vec<f64>> {
    let xs: Vec<Vec<f64>> = known.iter().map(|&k| with_one(&heard.features[k])).collect();
    let dims = xs.first().map_or(0, Vec::len);
    let gram = |i: usize, j: usize| xs.iter().map(|x| x[i] * x[j]).sum::<f64>();
    let row = |d: usize| {
        let left = (0..dims).map(|j| gram(d, j) + if d == j { 1e-9 } else { 0.0 });
        let sum = |i: usize| {
            known.iter().zip(&xs).map(|(&k, x)| x[d] * (heard.readings[k][i] - mean[i])).sum::<f64>()
        };
        left.chain((0..mean.len()).map(sum)).collect()
    };
    solve((0..dims).map(row).collect())
}

fn with_one(features: &[f64]) -> Vec<f64> {
    std::iter::once(1.0).chain(features.iter().copied()).collect()
}

fn kernel(a: &[f64], b: &[f64]) -> f64 {
    1.0 + a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>()
}
