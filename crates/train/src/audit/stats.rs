//! Correlations, ranks, the direction of most variance.

/// Pearson's correlation; 0 where one of both stands still.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len().min(y.len()).max(1) as f64;
    let mean = |v: &[f64]| v.iter().sum::<f64>() / n;
    let (mx, my) = (mean(x), mean(y));
    let sum = |of: &dyn Fn(f64, f64) -> f64| x.iter().zip(y).map(|(&x, &y)| of(x - mx, y - my)).sum::<f64>();
    let (xx, yy, xy) = (sum(&|x, _| x * x), sum(&|_, y| y * y), sum(&|x, y| x * y));
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

/// Spearman's: Pearson's of the ranks, equal values sharing theirs.
pub(super) fn rank_correlation(x: &[f64], y: &[f64]) -> f64 {
    pearson(&ranks(x), &ranks(y))
}

/// Ranks from 0, the mean rank where values are equal.
pub(super) fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut from = 0;
    while from < order.len() {
        let same = order[from..].iter().take_while(|&&i| x[i] == x[order[from]]).count();
        let rank = from as f64 + (same - 1) as f64 / 2.0;
        order[from..from + same].iter().for_each(|&i| ranks[i] = rank);
        from += same;
    }
    ranks
}

/// The chance that `score` is higher for one that `is_hit` than for one that is not: 0.5 is a guess. `None` without
/// both kinds.
pub(super) fn auc(score: &[f64], is_hit: &[bool]) -> Option<f64> {
    let n_hits = is_hit.iter().filter(|&&hit| hit).count();
    let n_others = is_hit.len() - n_hits;
    if n_hits == 0 || n_others == 0 {
        return None;
    }
    let sum: f64 = ranks(score).iter().zip(is_hit).filter(|(_, hit)| **hit).map(|(rank, _)| rank).sum();
    let least = (n_hits * (n_hits - 1)) as f64 / 2.0;
    Some((sum - least) / (n_hits * n_others) as f64)
}

/// Bits one of these values says, by how often each comes.
pub(super) fn entropy_bits(values: &[usize]) -> f64 {
    let mut counts = std::collections::BTreeMap::new();
    values.iter().for_each(|value| *counts.entry(value).or_insert(0usize) += 1);
    let n = values.len().max(1) as f64;
    // From the sum's -0.0 when there is one value, zero.
    counts.values().map(|&c| c as f64 / n).map(|p| -p * libm::log2(p)).sum::<f64>().max(0.0)
}

/// The direction in which `points` vary most, by power iteration; its sign is arbitrary.
pub(super) fn principal(points: &[Vec<f64>]) -> Vec<f64> {
    let n_dims = points.first().map_or(0, Vec::len);
    let n = points.len().max(1) as f64;
    let means: Vec<f64> = (0..n_dims).map(|d| points.iter().map(|p| p[d]).sum::<f64>() / n).collect();
    let mut axis: Vec<f64> = (0..n_dims).map(|d| 1.0 + d as f64 / 7.0).collect();
    for _ in 0..100 {
        let mut next = vec![0.0; n_dims];
        for point in points {
            let along: f64 = (0..n_dims).map(|d| (point[d] - means[d]) * axis[d]).sum();
            (0..n_dims).for_each(|d| next[d] += along * (point[d] - means[d]));
        }
        let length = next.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length <= 0.0 {
            return axis;
        }
        axis = next.into_iter().map(|x| x / length).collect();
    }
    axis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_of_what_is_known() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert!((pearson(&x, &[2.0, 4.0, 6.0, 8.0]) - 1.0).abs() < 1e-12);
        assert!((rank_correlation(&x, &[-1.0, -8.0, -27.0, -64.0]) + 1.0).abs() < 1e-12);
        assert_eq!(pearson(&x, &[5.0; 4]), 0.0);
        assert_eq!(ranks(&[3.0, 1.0, 3.0]), [1.5, 0.0, 1.5]);
    }

    #[test]
    fn a_guess_is_a_half() {
        assert_eq!(auc(&[1.0, 2.0, 3.0], &[false, false, true]), Some(1.0));
        assert_eq!(auc(&[7.0; 4], &[false, true, false, true]), Some(0.5));
        assert_eq!(auc(&[1.0], &[true]), None);
    }

    #[test]
    fn entropy_and_direction() {
        assert_eq!(entropy_bits(&[5, 5, 5]), 0.0);
        assert!((entropy_bits(&[1, 2, 3, 4]) - 2.0).abs() < 1e-12);
        let points: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), -2.0 * f64::from(i)]).collect();
        let axis = principal(&points);
        assert!((axis[1] / axis[0] + 2.0).abs() < 1e-9, "{axis:?}");
    }
}
