use super::*;
use crate::nn::Rng;

fn walks(n_windows: usize, n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let mut out = Vec::new();
    for _ in 0..n_windows {
        let mut x = 4.0 * (rng.uniform() - 0.5);
        for _ in 0..n {
            x += 0.3 * (rng.uniform() - 0.5);
            out.push(x);
        }
    }
    out
}

#[test]
fn basis_is_orthonormal_and_diagonal() {
    for n in [1, 2, 3, 32, 65] {
        let windows = walks(400, n, n as u64);
        let b = Basis::learn(&windows, n).unwrap();
        assert!(b.variances.windows(2).all(|v| v[0] >= v[1]));
        for i in 0..n {
            for j in 0..=i {
                let dot: f64 =
                    b.vector(i).iter().zip(b.vector(j)).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                assert!((dot - f64::from(i == j)).abs() < 1e-6, "{n}: {i} {j} {dot}");
                let mixed: f64 =
                    windows.chunks(n).map(|w| b.coefficient(w, i) * b.coefficient(w, j)).sum::<f64>() / 400.0;
                let expected = if i == j { b.variances[i] } else { 0.0 };
                assert!((mixed - expected).abs() < 1e-5 * b.variances[0], "{n}: {i} {j} {mixed} {expected}");
            }
            let peak = b.vector(i).iter().fold(0.0f32, |p, &x| if x.abs() > p.abs() { x } else { p });
            assert!(peak > 0.0);
        }
    }
}

#[test]
fn eigenvalues_of_known_matrices() {
    let check = |a: &[f64], n: usize, expected: &[f64]| {
        let (values, vectors) = eigen::symmetric(a.to_vec(), n);
        for (v, e) in values.iter().zip(expected) {
            assert!((v - e).abs() < 1e-12, "{values:?} {expected:?}");
        }
        assert_eq!(vectors.len(), n * n);
    };
    check(&[3.0], 1, &[3.0]);
    check(&[2.0, 1.0, 1.0, 2.0], 2, &[3.0, 1.0]);
    check(&[0.0; 9], 3, &[0.0; 3]);
    check(&[1.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, -2.0], 3, &[5.0, 1.0, -2.0]);
    // Ones everywhere: n, then zeros.
    check(&[1.0; 16], 4, &[4.0, 0.0, 0.0, 0.0]);
    // The second difference of 4 points: 2 - 2 cos(k π / 5).
    let root5 = 5f64.sqrt();
    let fourth = [2.0, -1.0, 0.0, 0.0, -1.0, 2.0, -1.0, 0.0, 0.0, -1.0, 2.0, -1.0, 0.0, 0.0, -1.0, 2.0];
    check(&fourth, 4, &[(5.0 + root5) / 2.0, (3.0 + root5) / 2.0, (5.0 - root5) / 2.0, (3.0 - root5) / 2.0]);
}

#[test]
fn every_window_takes_exactly_its_bytes_and_more_bytes_err_less() {
    let (windows, fresh) = (walks(600, 32, 1), walks(200, 32, 2));
    let mut last = f64::INFINITY;
    for n_bytes in [1, 2, 4, 8, 16] {
        let klt = FixedKlt::learn(&windows, 32, n_bytes, 12).unwrap();
        assert_eq!(klt.quantisers.iter().map(|q| usize::from(q.bits)).sum::<usize>(), 8 * n_bytes);
        for w in fresh.chunks(32) {
            let bytes = klt.encode(w);
            assert_eq!(bytes.len(), n_bytes);
            assert_eq!(klt.decode(&bytes).unwrap(), klt.window(&klt.codes(w)));
            assert_eq!(klt.decode(&bytes[1..]), None);
            assert_eq!(klt.decode(&[&bytes[..], &[0]].concat()), None);
        }
        let rms = klt.rms(&fresh);
        assert!(rms < 0.9 * last, "{n_bytes}: {rms} after {last}");
        last = rms;
    }
    assert!(last < 0.03, "{last}");
}

#[test]
fn bits_go_where_they_pay_most() {
    // Against every other way to spend 8 bits on three directions with the same quantisers.
    let mut rng = Rng::new(4);
    let spread = [3.0, 1.0, 0.2];
    let c: Vec<Vec<f64>> =
        spread.iter().map(|s| (0..500).map(|_| s * (f64::from(rng.uniform()) - 0.5)).collect()).collect();
    let error = |q: &[Quantiser]| -> f64 {
        c.iter().zip(q).flat_map(|(c, q)| c.iter().map(|x| (x - q.dequantise(q.quantise(*x))).powi(2))).sum()
    };
    let best = allocate::share_out(&c, 8, 8);
    assert_eq!(best.iter().map(|q| q.bits).sum::<u8>(), 8);
    assert!(best[0].bits > best[1].bits && best[1].bits > best[2].bits);
    let alone = |d: usize, bits: u8| allocate::share_out(&c[d..=d], usize::from(bits), 8)[0];
    for a in 0..=8u8 {
        for b in 0..=8 - a {
            let other = [alone(0, a), alone(1, b), alone(2, 8 - a - b)];
            assert!(error(&best) <= error(&other) + 1e-9);
        }
    }
}

#[test]
fn codes_outside_the_range_take_the_outermost_step() {
    let q = Quantiser { bits: 2, step: 1.0 };
    let codes: Vec<i32> = [-9.0, -1.5, -0.1, 0.0, 1.2, 1e30].iter().map(|&x| q.quantise(x)).collect();
    assert_eq!(codes, [-2, -2, -1, 0, 1, 1]);
    assert_eq!(unpack(&pack(&[-2, 1, -1], [2, 2, 1]), [2, 2, 1]), Some(vec![-2, 1, -1]));
    assert_eq!(pack(&[-2, 1, -1], [2, 2, 1]), [0b0011_0000]);
}

#[test]
fn refuses_what_it_cannot_learn_from() {
    let learn = |windows: &[f32], n, bytes| FixedKlt::learn(windows, n, bytes, 12).map(|_| ());
    assert_eq!(learn(&[], 4, 1), Err(KltError::Shape { len: 0, n: 4 }));
    assert_eq!(learn(&[0.0; 6], 4, 1), Err(KltError::Shape { len: 6, n: 4 }));
    assert_eq!(learn(&[0.0, f32::NAN], 2, 1), Err(KltError::NotFinite));
    assert_eq!(learn(&[0.0; 4], 4, 7), Err(KltError::Bytes { n_bytes: 7, max: 6 }));
    assert_eq!(learn(&[0.0; 4], 4, 0), Err(KltError::Bytes { n_bytes: 0, max: 6 }));
    // A constant signal is fine: its mean says all.
    let klt = FixedKlt::learn(&[7.0; 40], 4, 1, 12).unwrap();
    assert!(klt.rms(&[7.0; 8]) < 1e-6);
}

#[test]
fn codes_that_reach_farther_say_what_was_never_seen() {
    let (n, train) = (8, walks(800, 8, 4));
    let far: Vec<f32> = walks(200, n, 5).into_iter().map(|x| 2.0 * x).collect();
    let near = walks(200, n, 6);
    let [plain, wide] = [1.0, 2.0].map(|reach| FixedKlt::reaching(&train, n, 3, 10, reach).unwrap());
    assert_eq!(plain, FixedKlt::learn(&train, n, 3, 10).unwrap());
    assert!(wide.rms(&far) < 0.8 * plain.rms(&far), "{} {}", wide.rms(&far), plain.rms(&far));
    assert!(wide.rms(&near) < 1.3 * plain.rms(&near), "{} {}", wide.rms(&near), plain.rms(&near));
}
