//! Frequency tables, counted and backed off: a context that was seldom seen leans on those like it.

use kinglet_codec::learn::{emit_table, freq_of};

use super::walk::{CLASSES_MAX, Tally, Walk};

/// Weight of a parent's distribution beside a table's own counts (a Dirichlet prior).
const PARENT_WEIGHT: f64 = 6.0;

/// What a table is.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// The table it leans on, later in the list; `None` for a root.
    pub(super) parent: Option<usize>,
    pub(super) alphabet: Alphabet,
}

#[derive(Clone, Debug)]
pub(super) enum Alphabet {
    /// Magnitude classes with sign.
    Signed,
    /// So many symbols.
    Plain(usize),
    /// Weights that were learned elsewhere.
    Given(Vec<f64>),
}

impl Spec {
    pub(super) fn signed(parent: Option<usize>) -> Self {
        Self { parent, alphabet: Alphabet::Signed }
    }

    pub(super) fn plain(n: usize, parent: Option<usize>) -> Self {
        Self { parent, alphabet: Alphabet::Plain(n) }
    }
}

/// Learned tables, a byte a symbol as on a device.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    freqs: Vec<Vec<u32>>,
    n_classes: Vec<usize>,
    static_len: usize,
}

impl Tables {
    /// Counts what `walk` says of `windows` and makes tables of it. `n_passes`: how often each row is among them.
    pub(super) fn learn<'w>(
        walk: &impl Walk,
        windows: impl Iterator<Item = &'w [i32]>,
        n_passes: usize,
    ) -> Self {
        let specs = walk.specs();
        let mut tally = Tally { counts: vec![Vec::new(); specs.len()] };
        let mut steps = Vec::new();
        for window in windows {
            steps.clear();
            steps.extend_from_slice(window);
            // A tally never stops.
            let _ = walk.walk(&mut tally, &mut steps);
        }
        Self::from_counts(&specs, tally.counts, 1.0 / n_passes.max(1) as f64)
    }

    fn from_counts(specs: &[Spec], mut counts: Vec<Vec<f64>>, scale: f64) -> Self {
        let n = specs.len();
        let seen: Vec<bool> = counts.iter().map(|c| !c.is_empty()).collect();
        counts.iter_mut().flatten().for_each(|c| *c *= scale);
        let mut is_leaf = vec![true; n];
        for at in 0..n {
            if let Some(parent) = specs[at].parent {
                is_leaf[parent] = false;
                let own = counts[at].clone();
                add(&mut counts[parent], &own);
            }
        }
        let mut weights: Vec<Vec<f64>> = vec![Vec::new(); n];
        let mut n_classes = vec![0; n];
        for at in (0..n).rev() {
            let parent = specs[at].parent;
            n_classes[at] = parent.map_or_else(|| classes(&counts[at]), |p| n_classes[p]);
            let n_symbols = match &specs[at].alphabet {
                Alphabet::Signed => 2 * n_classes[at] - 1,
                Alphabet::Plain(n) => *n,
                Alphabet::Given(given) => given.len(),
            };
            let mut own = counts[at].clone();
            own.resize(n_symbols, 0.0);
            weights[at] = match (&specs[at].alphabet, parent) {
                (Alphabet::Given(given), _) => given.clone(),
                (Alphabet::Signed, None) => smoothed(&own),
                (_, None) => own.iter().map(|w| w + 0.2).collect(),
                (_, Some(parent)) => {
                    let sum: f64 = weights[parent].iter().sum();
                    own.iter().zip(&weights[parent]).map(|(w, p)| w + PARENT_WEIGHT * p / sum).collect()
                }
            };
        }
        // A context nobody has seen needs no table: a byte says whose it shares.
        let table_len = |at: usize| if seen[at] { weights[at].len() + 2 } else { 1 };
        let is_kept = |at: &usize| is_leaf[*at] || seen[*at];
        let static_len = (0..n)
            .filter(is_kept)
            .map(|at| match specs[at].alphabet {
                Alphabet::Given(_) => weights[at].len() + 2,
                _ => table_len(at),
            })
            .sum();
        Self { freqs: weights.iter().map(|w| quantised(w)).collect(), n_classes, static_len }
    }

    pub(super) fn freqs(&self, table: usize) -> &[u32] {
        &self.freqs[table]
    }

    pub(super) fn n_classes(&self, table: usize) -> usize {
        self.n_classes[table]
    }

    /// Bits of `sym`.
    pub(super) fn cost(&self, table: usize, sym: usize) -> f64 {
        let freqs = &self.freqs[table];
        let total: u32 = freqs.iter().sum();
        f64::from(total).log2() - f64::from(freqs[sym]).log2()
    }

    /// Bytes a device keeps.
    pub(super) fn static_len(&self) -> usize {
        self.static_len
    }
}

fn add(to: &mut Vec<f64>, from: &[f64]) {
    if to.len() < from.len() {
        to.resize(from.len(), 0.0);
    }
    to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
}

/// Classes for what was seen, one more beside it, and the open end.
fn classes(counts: &[f64]) -> usize {
    (counts.len().div_ceil(2) + 2).clamp(3, CLASSES_MAX)
}

/// Counts that lean a little on their neighbours of the same sign, and none without weight.
fn smoothed(counts: &[f64]) -> Vec<f64> {
    let n = counts.len();
    let near = |at: usize| {
        if at == 0 {
            return 0.0;
        }
        let below = if at > 2 { counts[at - 2] } else { 0.0 };
        below + if at + 2 < n { counts[at + 2] } else { 0.0 }
    };
    (0..n).map(|at| counts[at] + 0.02 * near(at) + 0.05).collect()
}

/// Frequencies as a device's byte a symbol says them.
fn quantised(weights: &[f64]) -> Vec<u32> {
    if weights.is_empty() {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    emit_table(weights, &mut bytes);
    bytes[2..].iter().map(|&c| freq_of(c)).collect()
}
