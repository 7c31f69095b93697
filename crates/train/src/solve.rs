//! Systems of linear equations: a few dozen unknowns, by elimination.

/// A pivot this much smaller than what stands below it is what rounding has left of a zero.
const NOTHING_BESIDE: f64 = 1e-14;
/// A pivot this small is a zero, whatever it stands beside.
const NOTHING: f64 = 1e-300;

/// Solves `a x = y` for several right sides at once.
///
/// `rows`: `[n × (n + right sides)]`, those of `a` with those of `y` behind them. Gives `x`: `[n × right sides]`; an unknown that
/// the equations do not determine is 0.
///
/// The systems are least squares, damped: with those the diagonal is a sound pivot (Golub & Van Loan, Matrix Computations,
/// 4.2), and rows are swapped only where it is nothing. So what is learned does not hang on which of two like numbers is larger.
pub(crate) fn solve(mut rows: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let n = rows.len();
    for at in 0..n {
        let below = (at..n).max_by(|&i, &j| rows[i][at].abs().total_cmp(&rows[j][at].abs())).unwrap_or(at);
        if rows[at][at].abs() < NOTHING_BESIDE * rows[below][at].abs() {
            rows.swap(at, below);
        }
        let (above, rest) = rows.split_at_mut(at + 1);
        let pivot = &above[at];
        if pivot[at].abs() < NOTHING {
            continue;
        }
        for row in rest {
            let factor = row[at] / pivot[at];
            row.iter_mut().zip(pivot).skip(at).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![Vec::new(); n];
    for (at, row) in rows.iter().enumerate().rev() {
        let solved = row[n..].iter().enumerate().map(|(side, y)| {
            let known: f64 = (at + 1..n).map(|col| row[col] * x[col][side]).sum();
            if row[at].abs() < NOTHING { 0.0 } else { (y - known) / row[at] }
        });
        x[at] = solved.collect();
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<const W: usize>(rows: &[[f64; W]], expected: &[&[f64]]) {
        let x = solve(rows.iter().map(|row| row.to_vec()).collect());
        assert_eq!(x.len(), expected.len());
        for (x, expected) in x.iter().zip(expected) {
            let off = x.iter().zip(*expected).map(|(x, e)| (x - e).abs()).fold(0.0, f64::max);
            assert!(x.len() == expected.len() && off < 1e-9, "{rows:?} gave {x:?}, not {expected:?}");
        }
    }

    #[test]
    fn systems_are_solved_for_each_right_side() {
        check(&[[4.0, 8.0, -2.0]], &[&[2.0, -0.5]]);
        check(&[[2.0, 1.0, 4.0, 3.0], [1.0, 3.0, 7.0, -1.0]], &[&[1.0, 2.0], &[2.0, -1.0]]);
        check::<1>(&[], &[]);
    }

    #[test]
    fn a_diagonal_of_nothing_is_no_pivot() {
        check(&[[0.0, 2.0, 6.0], [1.0, 1.0, 5.0]], &[&[2.0], &[3.0]]);
        check(&[[1e-20, 2.0, 6.0], [1.0, 1.0, 5.0]], &[&[2.0], &[3.0]]);
        // The second unknown stands in no equation.
        check(&[[2.0, 0.0, 6.0], [0.0, 0.0, 0.0]], &[&[3.0], &[0.0]]);
    }
}
