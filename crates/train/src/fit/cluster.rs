//! Which contexts share a table.
//!
//! Contexts are merged while that makes the counts more probable under a Dirichlet–multinomial model (a Bayesian
//! choice: parameters cost what the data cannot tell), and further while there are more tables than may be.

use libm::lgamma;

/// Counts of one table's symbols.
pub(crate) type Counts = Vec<f64>;

/// Strength of the prior, in symbols.
const PRIOR_WEIGHT: f64 = 8.0;
/// Contexts that start as tables of their own; the rest join the likeliest of these.
const SEEDS_MAX: usize = 160;

/// Groups of contexts, and the counts of each.
pub(crate) struct Clusters {
    /// The group of each context given.
    pub(crate) group_of: Vec<usize>,
    /// Summed counts.
    pub(crate) counts: Vec<Counts>,
}

/// Groups `contexts` (counts over the same symbols) into at most `n_max` groups.
pub(crate) fn cluster(contexts: &[Counts], n_max: usize) -> Clusters {
    let prior = prior(contexts);
    let total = |counts: &Counts| counts.iter().sum::<f64>();
    let mut order: Vec<usize> = (0..contexts.len()).collect();
    order.sort_by(|&a, &b| total(&contexts[b]).total_cmp(&total(&contexts[a])).then(a.cmp(&b)));
    let n_seeds = order.len().min(SEEDS_MAX);
    let mut groups: Vec<Group> =
        order[..n_seeds].iter().map(|&c| Group::new(vec![c], contexts[c].clone(), &prior)).collect();
    merge(&mut groups, n_max, &prior);
    for &context in &order[n_seeds..] {
        let fit = |group: &Group| code_len(&sum(&group.counts, &contexts[context]), &prior) - group.code_len;
        let best = (0..groups.len()).min_by(|&a, &b| fit(&groups[a]).total_cmp(&fit(&groups[b])));
        if let Some(best) = best {
            let counts = sum(&groups[best].counts, &contexts[context]);
            groups[best].members.push(context);
            groups[best] = Group::new(std::mem::take(&mut groups[best].members), counts, &prior);
        }
    }
    let mut group_of = vec![0; contexts.len()];
    for (idx, group) in groups.iter().enumerate() {
        group.members.iter().for_each(|&member| group_of[member] = idx);
    }
    let counts = groups.iter().map(|group| smoothed(&group.counts, &prior)).collect();
    Clusters { group_of, counts }
}

struct Group {
    members: Vec<usize>,
    counts: Counts,
    code_len: f64,
}

impl Group {
    fn new(members: Vec<usize>, counts: Counts, prior: &[f64]) -> Self {
        let code_len = code_len(&counts, prior);
        Self { members, counts, code_len }
    }
}

/// Merges the pair that saves most (or costs least) until none saves and there are at most `n_max`.
fn merge(groups: &mut Vec<Group>, n_max: usize, prior: &[f64]) {
    let gain = |a: &Group, b: &Group| a.code_len + b.code_len - code_len(&sum(&a.counts, &b.counts), prior);
    let mut gains: Vec<Vec<f64>> =
        (0..groups.len()).map(|b| (0..b).map(|a| gain(&groups[a], &groups[b])).collect()).collect();
    while groups.len() > 1 {
        let pairs = gains
            .iter()
            .enumerate()
            .flat_map(|(b, row)| row.iter().enumerate().map(move |(a, &g)| (g, a, b)));
        let Some((best, a, b)) = pairs.max_by(|x, y| x.0.total_cmp(&y.0)) else { break };
        if best <= 0.0 && groups.len() <= n_max {
            break;
        }
        let gone = groups.remove(b);
        let members = [std::mem::take(&mut groups[a].members), gone.members].concat();
        groups[a] = Group::new(members, sum(&groups[a].counts, &gone.counts), prior);
        gains.remove(b);
        gains.iter_mut().skip(b).for_each(|row| {
            row.remove(b);
        });
        for other in 0..groups.len() {
            if other != a {
                gains[a.max(other)][a.min(other)] = gain(&groups[a], &groups[other]);
            }
        }
    }
}

/// What all contexts have in common, a little spread out so that nothing is impossible.
fn prior(contexts: &[Counts]) -> Vec<f64> {
    let n_symbols = contexts.first().map_or(0, Vec::len);
    let mut prior = vec![0.0; n_symbols];
    for counts in contexts {
        prior.iter_mut().zip(counts).for_each(|(p, n)| *p += n);
    }
    for (sym, p) in prior.iter_mut().enumerate() {
        *p += 0.5 * libm::exp2(-(sym as f64) / 8.0) + 0.02;
    }
    let total: f64 = prior.iter().sum();
    prior.iter_mut().for_each(|p| *p /= total);
    prior
}

/// Bits of the counts when coded adaptively from the prior.
fn code_len(counts: &[f64], prior: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    let mut log = lgamma(PRIOR_WEIGHT) - lgamma(PRIOR_WEIGHT + total);
    for (&n, &p) in counts.iter().zip(prior).filter(|(n, _)| **n > 0.0) {
        log += lgamma(PRIOR_WEIGHT * p + n) - lgamma(PRIOR_WEIGHT * p);
    }
    -log / std::f64::consts::LN_2
}

fn sum(a: &[f64], b: &[f64]) -> Counts {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn smoothed(counts: &[f64], prior: &[f64]) -> Counts {
    counts.iter().zip(prior).map(|(n, p)| n + PRIOR_WEIGHT * p).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alike_contexts_share_and_unlike_ones_do_not() {
        let (still, moving) = (vec![90.0, 5.0, 5.0], vec![10.0, 45.0, 45.0]);
        let clusters = cluster(&[still.clone(), moving.clone(), still, moving], 8);
        assert_eq!(clusters.counts.len(), 2);
        assert_eq!(clusters.group_of[0], clusters.group_of[2]);
        assert_ne!(clusters.group_of[0], clusters.group_of[1]);
    }

    #[test]
    fn never_more_than_asked_for() {
        let contexts: Vec<Counts> =
            (0..20).map(|i| (0..5).map(|s| ((i * 7 + s * 13) % 50) as f64).collect()).collect();
        assert!(cluster(&contexts, 3).counts.len() <= 3);
    }
}
