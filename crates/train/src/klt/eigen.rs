//! Eigenvalues and vectors of symmetric matrices: Householder reduction to three diagonals, then QL with implicit
//! shifts (Wilkinson & Reinsch 1971). f64, additions in a fixed order, no library function but the square root.

/// QL steps per eigenvalue before giving up on more precision; real matrices need two or three.
const STEPS_MAX: usize = 60;

/// Eigenvalues of `a` `[n × n]`, falling, and their vectors as rows `[n × n]`.
pub(super) fn symmetric(a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut q, mut diagonal, mut beside) = tridiagonal(a, n);
    ql(&mut diagonal, &mut beside, &mut q, n);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]).then(i.cmp(&j)));
    let values = order.iter().map(|&i| diagonal[i]).collect();
    let vectors = order.iter().flat_map(|&i| q[i * n..][..n].iter().copied()).collect();
    (values, vectors)
}

/// `a = Qᵀ T Q` with `T` three diagonals: rows of `Q`, the diagonal, and what lies beside it (`[i]` between `i` and
/// `i + 1`).
fn tridiagonal(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut q: Vec<f64> = (0..n * n).map(|i| f64::from(i % n == i / n)).collect();
    let mut beside = vec![0.0; n];
    let (mut v, mut p) = (vec![0.0; n], vec![0.0; n]);
    for k in 0..n.saturating_sub(1) {
        // Reflect row k so that all beyond its neighbour vanishes: v = x ± |x| e.
        let x = &a[k * n + k + 1..(k + 1) * n];
        let rest = x[1..].iter().map(|x| x * x).sum::<f64>();
        let length = (x[0] * x[0] + rest).sqrt();
        if rest == 0.0 {
            beside[k] = x[0];
            continue;
        }
        let alpha = if x[0] > 0.0 { -length } else { length };
        beside[k] = alpha;
        let v = &mut v[k + 1..];
        v.copy_from_slice(x);
        v[0] -= alpha;
        let scale = 2.0 / (v[0] * v[0] + rest);
        // The block below k becomes H A H with H = 1 - scale v vᵀ, both sides at once.
        let p = &mut p[k + 1..];
        for (i, p) in p.iter_mut().enumerate() {
            *p = scale * dot(&a[(k + 1 + i) * n + k + 1..][..v.len()], v);
        }
        let half = 0.5 * scale * dot(p, v);
        p.iter_mut().zip(&*v).for_each(|(p, v)| *p -= half * v);
        for i in 0..v.len() {
            let row = &mut a[(k + 1 + i) * n + k + 1..][..v.len()];
            let (vi, pi) = (v[i], p[i]);
            row.iter_mut().zip(&*v).zip(&*p).for_each(|((a, vj), pj)| *a -= vi * pj + pi * vj);
        }
        // Q becomes H Q: rows below k, each column at once.
        p.fill(0.0);
        let mut mixed = vec![0.0; n];
        for (i, vi) in v.iter().enumerate() {
            mixed.iter_mut().zip(&q[(k + 1 + i) * n..][..n]).for_each(|(m, q)| *m += vi * q);
        }
        for (i, vi) in v.iter().enumerate() {
            let s = scale * vi;
            q[(k + 1 + i) * n..][..n].iter_mut().zip(&mixed).for_each(|(q, m)| *q -= s * m);
        }
    }
    let diagonal = (0..n).map(|i| a[i * n + i]).collect();
    (q, diagonal, beside)
}

/// Turns the three diagonals into one by plane rotations, applied to the rows of `q` as well.
fn ql(d: &mut [f64], e: &mut [f64], q: &mut [f64], n: usize) {
    for l in 0..n {
        for _ in 0..STEPS_MAX {
            // The first negligible entry beside the diagonal ends the block that still has to be worked on.
            let small = |m: usize| e[m].abs() <= f64::EPSILON * (d[m].abs() + d[m + 1].abs());
            let m = (l..n - 1).find(|&m| small(m)).unwrap_or(n - 1);
            if m == l {
                break;
            }
            // Wilkinson's shift: the eigenvalue of the leading 2 × 2 that is nearer to d[l].
            let g = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let r = (g * g + 1.0).sqrt();
            let mut g = d[m] - d[l] + e[l] / (g + if g < 0.0 { -r } else { r });
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut broke = false;
            for i in (l..m).rev() {
                let (f, b) = (s * e[i], c * e[i]);
                let r = (f * f + g * g).sqrt();
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= p;
                    e[m] = 0.0;
                    broke = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                let g2 = d[i + 1] - p;
                let r2 = (d[i] - g2) * s + 2.0 * c * b;
                p = s * r2;
                d[i + 1] = g2 + p;
                g = c * r2 - b;
                let (low, high) = q.split_at_mut((i + 1) * n);
                for (a, b) in low[i * n..].iter_mut().zip(&mut high[..n]) {
                    let f = *b;
                    *b = s * *a + c * f;
                    *a = c * *a - s * f;
                }
            }
            if !broke {
                d[l] -= p;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
