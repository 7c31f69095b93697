//! Every yardstick keeps its promise on signals of many kinds: what it writes can be read, within the bound.

use super::*;

/// A repeatable number in `0..n`.
fn draw(state: &mut u64, n: u64) -> i32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) % n) as i32
}

/// `n` samples of three channels: slow, noisy, stepping; far from zero, and with spikes if so wanted.
fn rows(n: usize, seed: u64, has_spikes: bool) -> Rows {
    let mut state = seed;
    let (mut slow, mut level) = (4000, 100);
    let mut steps = Vec::new();
    for t in 0..n {
        slow += draw(&mut state, 3) - 1;
        level = if draw(&mut state, 40) == 0 { draw(&mut state, 500) } else { level };
        let spike = if has_spikes && draw(&mut state, 60) == 0 { 1 << draw(&mut state, 25) } else { 0 };
        let wave = (libm::sin(t as f64 / 9.0) * 80.0) as i32;
        steps.extend([slow + spike, -70_000 + wave + draw(&mut state, 12), level - spike]);
    }
    Rows { n_channels: 3, steps, breaks: Vec::new() }
}

fn check(bounds: [i32; 3], n_samples: usize, has_spikes: bool) {
    let (train, test) = (rows(3000, 1, false), rows(900, 2, has_spikes));
    let task = Task { train: &train, test: &test, bounds: &bounds, n_samples };
    for &yardstick in Yardstick::ALL {
        // The bound and the way back are checked inside.
        let figure = measure(yardstick, &task).unwrap_or_else(|e| panic!("{bounds:?} {n_samples}: {e}"));
        assert_eq!(figure.code_lens.len(), 900 / n_samples);
        assert!(figure.mean() > 0.0 && figure.p95() > 0);
    }
}

#[test]
fn codes_are_read_back_within_the_bound() {
    check([0, 0, 0], 32, false);
    check([2, 9, 0], 32, false);
    check([40, 3, 7], 16, false);
}

#[test]
fn readings_nobody_has_seen_are_coded_too() {
    check([0, 0, 0], 32, true);
    check([5, 1, 60], 20, true);
}

#[test]
fn trained_tables_pay() {
    let (train, test) = (rows(3000, 1, false), rows(900, 2, false));
    let task = Task { train: &train, test: &test, bounds: &[0, 0, 0], n_samples: 32 };
    let mean = |yardstick| measure(yardstick, &task).unwrap().mean();
    assert!(mean(Yardstick::LastCtx) < 0.8 * mean(Yardstick::Sprintz));
    assert!(mean(Yardstick::PmcAc) < 0.8 * mean(Yardstick::Pmc));
}
