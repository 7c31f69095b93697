//! What a network of the predict rung learns from.

use kinglet_codec::learn::{
    ContextPart, Lags, Lattice, OUTPUTS, Parts, PathAfter, RAW_CONTEXTS, Scaling, Spent, examples, path,
    path_after, spent, symbol_of, symbol_raw_bits,
};
use kinglet_codec::{Model, TAIL_SAMPLES_MAX, Window, is_step};

use super::context::{lattice_shifts, shift};
use super::net::pow2;
use super::rows::Rows;
use crate::solve::solve;

/// Most examples a network is trained on.
const EXAMPLES_MAX: usize = 400_000;
/// The same for recordings of more rows than this: their rows take memory themselves, and a million of them shall
/// be learned from in 300 MB.
const EXAMPLES_OF_MANY_ROWS: usize = 200_000;
/// Fractional bits of features.
pub(crate) const FEATURE_Q: i32 = 4;

/// Lattice values of windows, as the context rung says them; where codes may refer, of most windows as they are said after
/// the one before.
pub(crate) struct Paths {
    windows: Vec<PathAfter>,
    n_samples: usize,
    n_phases: usize,
}

/// Of so many windows one is said alone, where codes may refer.
const ALONE: usize = 3;

impl Paths {
    /// Of windows that begin at `n_phases` places of `rows`, fewer where rows are many.
    pub(crate) fn find(parts: &Parts, rows: &Rows, n_phases: usize) -> Self {
        let (bytes, n_samples) = (parts.emit(), usize::from(parts.n_samples));
        let n_most = if rows.len() > EXAMPLES_OF_MANY_ROWS { EXAMPLES_OF_MANY_ROWS } else { EXAMPLES_MAX };
        let n_phases = n_phases.min(n_most / rows.len().max(1)).max(1);
        let mut found = Self { windows: Vec::new(), n_samples, n_phases };
        let Ok(model) = Model::parse(&bytes) else { return found };
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let (mut n_found, mut shifted, mut tail) = (0, Vec::new(), Vec::new());
        for phase in 0..n_phases {
            // Where the lattice lies is chance: the same rows moved against it are new examples.
            let shifts = lattice_shifts(parts, phase, n_phases);
            for (nth, (steps, follows)) in rows.runs_from(n_samples, phase * n_samples / n_phases).enumerate()
            {
                if n_found >= n_most {
                    return found;
                }
                shift(steps, &shifts, &mut shifted);
                let window = Window { steps: &shifted, off_grid: false };
                let refers = model.has_references() && follows && nth % ALONE > 0;
                let after =
                    refers.then(|| path_after(&model, &tail, window, &mut workspace, &mut out)).flatten();
                let alone = || {
                    let whole = path(&model, window, &mut workspace)?.to_vec();
                    let spent = if model.has_predict() {
                        spent(&model, window, &mut workspace, &mut out)
                    } else {
                        None
                    };
                    Some(PathAfter { whole, n_past: 0, spent })
                };
                tail.clear();
                if let Some(path) = after.or_else(alone) {
                    let from = path.whole.len().saturating_sub(TAIL_SAMPLES_MAX * rows.n_channels);
                    tail.extend(path.whole[from..].iter().enumerate().map(|(at, &r)| {
                        let Lattice { step, phase } = parts.channels[at % rows.n_channels].lattice;
                        if is_step(r) { step as i32 * r + phase } else { r }
                    }));
                    found.windows.push(path);
                    n_found += steps.len() / rows.n_channels;
                }
            }
        }
        found
    }

    /// Binary logarithm of the bits usual for a value, Q4, if networks spend any.
    pub(crate) fn usual_bits(&self) -> Option<i8> {
        let all = self.windows.iter().filter_map(|path| path.spent.as_ref()).map(Spent::totals);
        let (bits, values) = all.fold((0, 0), |(a, b), (bits, values)| (a + bits, b + values));
        (values > 0).then(|| (16.0 * libm::log2(bits.max(1) as f64 / values as f64)).round() as i8)
    }

    /// What is usual for each channel.
    pub(crate) fn scalings(&self, n_channels: usize) -> Vec<Scaling> {
        (0..n_channels).map(|idx| self.scaling(idx, n_channels)).collect()
    }

    fn scaling(&self, idx: usize, n_channels: usize) -> Scaling {
        let (mut n, mut n_moves, mut sum, mut squares, mut moves) = (0.0f64, 0.0f64, 0.0, 0.0, 0.0);
        for path in &self.windows {
            let own = &path.whole[path.n_past..];
            let mut last = None;
            for r in own.iter().skip(idx).step_by(n_channels).filter(|r| is_step(**r)).map(|&r| f64::from(r))
            {
                (n, sum, squares) = (n + 1.0, sum + r, squares + r * r);
                if let Some(last) = last.replace(r) {
                    moves += (r - last).abs();
                    n_moves += 1.0;
                }
            }
        }
        let mean = sum / n.max(1.0);
        let deviation = (squares / n.max(1.0) - mean * mean).max(0.0).sqrt();
        Scaling {
            // A sensor that hardly ever moves moves by whole steps when it does.
            mean_move: ((moves / n_moves.max(1.0)).max(0.125) * 256.0).min(16_777_216.0) as u32,
            mean: mean.round() as i32,
            deviation: deviation.round().clamp(1.0, 67_108_864.0) as u32,
        }
    }
}

/// What one channel's network learns from.
#[derive(Default)]
pub(crate) struct Examples {
    /// `[n × n_features]`, as the device computes them.
    features: Vec<i8>,
    /// `[n × n_linear]`, lattice units.
    linear: Vec<i32>,
    /// `[n × BUDGET_INPUTS]`, or nothing.
    budgets: Vec<i8>,
    /// `[n]`, lattice units.
    moves: Vec<i32>,
    /// `[n]`, what the context tables give each move.
    beside: Vec<f32>,
    /// Rows behind the examples: each may have been seen from several places.
    pub(crate) n_rows: usize,
}

impl Examples {
    /// Of channel `idx`. `counted`: the tables were counted on the same rows.
    pub(crate) fn collect(
        paths: &Paths,
        lags: Lags,
        scalings: &[Scaling],
        tables: &ContextPart,
        idx: usize,
        counted: bool,
        usual_bits: Option<i8>,
    ) -> Self {
        let mut all = Self::default();
        for PathAfter { whole, n_past, spent } in &paths.windows {
            let spent = usual_bits.map(|usual| (usual, spent.as_ref()));
            // A window the networks cannot say has nothing to teach about codes of theirs.
            if spent.is_some_and(|(_, spent)| spent.is_none()) {
                continue;
            }
            examples((lags, paths.n_samples), scalings, (whole, *n_past), idx, &mut |e| {
                all.features.extend(e.features.iter().map(|&f| f as i8));
                all.linear.extend(e.linear);
                if let Some((usual, Some(spent))) = spent {
                    let inputs = spent.inputs(e.nth, e.at, usual, scalings.len());
                    all.budgets.extend(inputs.map(|x| x as i8));
                }
                all.moves.push(e.d);
                all.beside.push(table_probability(tables, e.raw_context, e.d, counted));
            });
        }
        all.n_rows = all.moves.len() / paths.n_phases;
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.moves.len()
    }

    pub(crate) fn has_budgets(&self) -> bool {
        !self.budgets.is_empty()
    }

    /// The move by the linear inputs: least squares in which far outliers weigh little (iteratively reweighted
    /// with Cauchy weights, Holland & Welsch 1977), so that a few spikes do not decide about the calm.
    pub(crate) fn regress(&self, n_linear: usize) -> Vec<f64> {
        let mut weights = vec![1.0f64; self.moves.len()];
        let mut best = self.solve_weighted(n_linear, &weights);
        for _ in 0..N_REWEIGHTED {
            let off = |(x, &d): (&[i32], &i32)| {
                let predicted: f64 = x.iter().zip(&best).map(|(&x, w)| f64::from(x) * w).sum();
                f64::from(d) - predicted
            };
            let offs: Vec<f64> = self.linear.chunks_exact(n_linear).zip(&self.moves).map(off).collect();
            let spread = offs.iter().map(|e| e.abs()).sum::<f64>() / offs.len().max(1) as f64;
            let usual = spread.max(0.25);
            weights.iter_mut().zip(&offs).for_each(|(w, e)| *w = 1.0 / (1.0 + (e / usual).powi(2)));
            best = self.solve_weighted(n_linear, &weights);
        }
        best
    }

    fn solve_weighted(&self, n_linear: usize, weights: &[f64]) -> Vec<f64> {
        let mut normal = vec![vec![0.0f64; n_linear + 1]; n_linear];
        for ((x, &d), weight) in self.linear.chunks_exact(n_linear).zip(&self.moves).zip(weights) {
            for a in (0..n_linear).filter(|&a| x[a] != 0) {
                let weighted = weight * f64::from(x[a]);
                for b in a..n_linear {
                    normal[a][b] += weighted * f64::from(x[b]);
                }
                normal[a][n_linear] += weighted * f64::from(d);
            }
        }
        for a in 0..n_linear {
            let (above, rest) = normal.split_at_mut(a);
            rest[0].iter_mut().zip(above.iter()).for_each(|(x, row)| *x = row[a]);
            rest[0][a] = rest[0][a] * 1.001 + 1.0;
        }
        solve(normal).concat()
    }

    /// Network inputs, features, then budgets, then linear inputs in usual moves, and targets for the loss: the move in usual
    /// moves, and what the tables give it.
    pub(crate) fn tensors(&self, usual: f64) -> (Vec<f32>, Vec<f32>) {
        let scale = pow2(-FEATURE_Q) as f32;
        let (n, usual) = (self.len().max(1), usual as f32);
        let (n_features, n_linear) = (self.features.len() / n, self.linear.len() / n);
        let mut inputs = Vec::with_capacity(self.features.len() + self.budgets.len() + self.linear.len());
        let n_budget = self.budgets.len() / n;
        let mut targets = Vec::with_capacity(self.moves.len() * OUTPUTS);
        for (at, (features, linear)) in
            self.features.chunks_exact(n_features).zip(self.linear.chunks_exact(n_linear)).enumerate()
        {
            let budget = &self.budgets[at * n_budget..][..n_budget];
            inputs.extend(features.iter().chain(budget).map(|&f| f32::from(f) * scale));
            inputs.extend(linear.iter().map(|&x| x as f32 / usual * LINEAR_SCALE));
        }
        for (&d, &beside) in self.moves.iter().zip(&self.beside) {
            targets.extend([d as f32 / usual, beside]);
            targets.extend([0.0; OUTPUTS - 2]);
        }
        (inputs, targets)
    }
}

/// Linear inputs are made small, so that their weights, begun where least squares ends, move slowly in training.
pub(crate) const LINEAR_SCALE: f32 = 1.0 / 16.0;
/// Rounds of reweighting.
const N_REWEIGHTED: usize = 4;

/// What a table gives the value `d` alone; `counted`: without the share that `d` itself has put there.
fn table_probability(tables: &ContextPart, raw_context: usize, d: i32, counted: bool) -> f32 {
    debug_assert!(raw_context < tables.map.len() && tables.map.len().is_multiple_of(RAW_CONTEXTS));
    let weights = &tables.tables[usize::from(tables.map[raw_context])];
    let n_classes = usize::from(tables.n_classes);
    let sym = symbol_of(d, n_classes);
    let sum: f64 = weights.iter().sum();
    let own = if counted { 1.0 } else { 0.0 };
    let p = (weights[sym] - own).max(0.02) / (sum - own).max(1.0);
    (p * pow2(-(symbol_raw_bits(d, n_classes) as i32))) as f32
}
