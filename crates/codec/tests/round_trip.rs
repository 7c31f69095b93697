//! Any window comes back within its bound, and hostile codes come back as errors.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use kinglet_codec::learn::Parts;
use kinglet_codec::{ABOVE, BELOW, MISSING, Model, Rung, STEP_MAX, Window, decode, encode, is_step};
use proptest::prelude::*;
use support::{
    Rng, count, window, with_budget, with_context, with_counts, with_expected, with_fixed, with_latent,
    with_predict,
};

fn model_bytes(n_samples: u16, bounds: &[u32], finer: u32) -> Vec<u8> {
    support::parts(n_samples, bounds, finer).emit()
}

/// Encodes and decodes; checks bounds, marks, lengths, and that the device knows what the server reads.
fn check(model: &Model<'_>, steps: &[i32], off_grid: bool) -> Rung {
    check_bound(model, steps, off_grid, true)
}

/// The same where values may lie beside what the sensor counts, which is dearer than raw.
fn check_bound(model: &Model<'_>, steps: &[i32], off_grid: bool, is_on_counts: bool) -> Rung {
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; model.code_len_max()];
    let encoded = encode(model, Window { steps, off_grid }, &mut workspace, &mut code).unwrap();
    let known = workspace[..steps.len()].to_vec();
    let mut read = vec![0; model.samples() * model.channels()];
    let decoded = decode(model, &code[..encoded.code_len], &mut workspace, &mut read).unwrap();
    assert_eq!((decoded.n_samples * model.channels(), decoded.rung), (steps.len(), encoded.rung));
    assert_eq!(&read[..steps.len()], known);
    for (at, (&x, &y)) in steps.iter().zip(&read).enumerate() {
        let bound = model.channel(at % model.channels()).grid.bound_steps as i32;
        let reserve = i32::from(off_grid && bound > 0);
        assert!(if is_step(x) { (x - y).abs() <= bound - reserve } else { x == y }, "{at}: {x} read as {y}");
    }
    let n_bits: usize =
        (0..steps.len()).map(|at| usize::from(model.channel(at % model.channels()).raw_bits)).sum();
    let plain = is_on_counts
        && steps.len() == read.len()
        && steps.iter().all(|x| (-400..=800).contains(x))
        && !off_grid;
    assert!(!plain || encoded.code_len <= n_bits.div_ceil(8) + 1, "longer than raw: {} B", encoded.code_len);
    encoded.rung
}

fn any_step() -> impl Strategy<Value = i32> {
    prop_oneof![
        20 => -400..800i32,
        20 => 200..210i32,
        2 => -STEP_MAX..=STEP_MAX,
        1 => Just(MISSING),
        1 => Just(ABOVE),
        1 => Just(BELOW),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_window_round_trips(
        bounds in prop::collection::vec(0u32..6, 1..4),
        finer in 1u32..4,
        seed in prop::collection::vec(any_step(), 1..24 * 3),
        off_grid: bool,
    ) {
        let n_samples = seed.len() / bounds.len();
        prop_assume!(n_samples > 0);
        let bytes = model_bytes(24 * 3, &bounds, finer);
        let model = Model::parse(&bytes).unwrap();
        check(&model, &seed[..n_samples * bounds.len()], off_grid);
    }

    #[test]
    fn full_windows_round_trip(bound in 0u32..4, finer in 1u32..4, steps in prop::collection::vec(190..230i32, 32)) {
        let bytes = model_bytes(16, &[bound, 0], finer);
        check(&Model::parse(&bytes).unwrap(), &steps, false);
    }

    #[test]
    fn the_autoencoder_keeps_the_bound_whatever_it_guesses(seed: u64, bounds in prop::collection::vec(0u32..9, 1..4)) {
        let mut rng = Rng(seed);
        let bytes = with_latent(with_context(support::parts(12, &bounds, 1), &mut rng), &mut rng).emit();
        let model = Model::parse(&bytes).unwrap();
        for _ in 0..8 {
            check(&model, &window(12, bounds.len(), &mut rng), false);
        }
    }

    #[test]
    fn the_network_keeps_the_bound_whatever_it_expects(seed: u64, bounds in prop::collection::vec(0u32..9, 1..5)) {
        let mut rng = Rng(seed);
        let bytes = with_predict(with_context(support::parts(20, &bounds, 1), &mut rng), &mut rng).emit();
        let model = Model::parse(&bytes).unwrap();
        for n_samples in [20, 20, 7, 1] {
            check(&model, &window(n_samples, bounds.len(), &mut rng), false);
        }
    }

    #[test]
    fn a_length_that_tells_keeps_the_bound(seed: u64, bounds in prop::collection::vec(0u32..9, 1..5), hostile in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut rng = Rng(seed);
        let parts = with_predict(with_context(support::parts(20, &bounds, 1), &mut rng), &mut rng);
        let bytes = with_budget(parts, &mut rng).emit();
        let model = Model::parse(&bytes).unwrap();
        for n_samples in [20, 20, 7, 1] {
            check(&model, &window(n_samples, bounds.len(), &mut rng), false);
        }
        let _ = decode(&model, &hostile, &mut vec![0; model.workspace_len()], &mut vec![0; 20 * bounds.len()]);
    }

    #[test]
    fn counts_keep_the_bound_on_and_beside_them(seed: u64, slack in 0u32..4, but in 0usize..4, off_grid: bool) {
        let mut rng = Rng(seed);
        let in_counts = with_predict(with_context(support::parts(20, &[0, slack, slack / 2], 2), &mut rng), &mut rng);
        let parts = with_counts(in_counts, &[0, slack, 4 * slack.div_ceil(2)]);
        let bytes = parts.emit();
        let model = Model::parse(&bytes).unwrap();
        for n_samples in [20, 20, 7, 1] {
            let mut steps = window(n_samples, 3, &mut rng);
            count(&mut steps, parts.counts.as_ref().unwrap(), but);
            check_bound(&model, &steps, off_grid, but == 0);
        }
    }

    #[test]
    fn the_fewest_bytes_keep_the_bound(seed: u64, bounds in prop::collection::vec(0u32..9, 1..4), finer in 1u32..5, head in 0u8..6) {
        let mut rng = Rng(seed);
        let parts = with_predict(with_context(support::parts(20, &bounds, finer), &mut rng), &mut rng);
        let bytes = with_expected(parts, head).emit();
        let model = Model::parse(&bytes).unwrap();
        for n_samples in [20, 20, 7, 1] {
            let steps = window(n_samples, bounds.len(), &mut rng);
            check(&model, &steps, false);
            check(&model, &steps, true);
        }
    }

    #[test]
    fn the_empty_code_says_what_lies_near_the_expected_window(seed: u64, head in 0u8..2) {
        let mut rng = Rng(seed);
        let bytes = with_expected(with_context(support::parts(20, &[2, 3], 2), &mut rng), head).emit();
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut code) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let mut steps = vec![0; 40];
        decode(&model, &[], &mut workspace, &mut steps).unwrap();
        steps.iter_mut().for_each(|x| *x += rng.between(-2, 2));
        let window = Window { steps: &steps, off_grid: false };
        prop_assert_eq!(encode(&model, window, &mut workspace, &mut code).unwrap().code_len, 0);
        check(&model, &steps, false);
    }

    #[test]
    fn a_fixed_size_is_kept_and_known(seed: u64) {
        let mut rng = Rng(seed);
        let bytes = with_fixed(support::parts(10, &[4], 1), &mut rng).emit();
        let model = Model::parse(&bytes).unwrap();
        let (mut workspace, mut code) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let steps: Vec<i32> = (0..10).map(|_| rng.between(-400, 800)).collect();
        let encoded = encode(&model, Window { steps: &steps, off_grid: false }, &mut workspace, &mut code).unwrap();
        prop_assert_eq!((encoded.code_len, encoded.rung), (2, Rung::Fixed));
        let (known, mut read) = (workspace[..10].to_vec(), vec![0; 10]);
        decode(&model, &code[..2], &mut workspace, &mut read).unwrap();
        prop_assert_eq!(read, known);
        // Shorter windows go down the ladder and stay apart from fixed ones.
        check(&model, &steps[..9], false);
        check(&model, &steps[..1], false);
    }

    #[test]
    fn hostile_codes_never_panic(code in prop::collection::vec(any::<u8>(), 0..80), bound in 0u32..4) {
        let bytes = model_bytes(16, &[bound, 2], 2);
        let model = Model::parse(&bytes).unwrap();
        let mut workspace = vec![0; model.workspace_len()];
        let mut steps = vec![0; 32];
        if let Ok(decoded) = decode(&model, &code, &mut workspace, &mut steps) {
            prop_assert!(decoded.n_samples <= 16);
        }
    }

    #[test]
    fn damaged_models_never_panic(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = model_bytes(8, &[1, 0], 1);
        let len = bytes.len();
        bytes[at.index(len)] = byte;
        let _ = Model::parse(&bytes).map(|model| check_any(&model));
        prop_assert!(Model::parse(&bytes[..cut.index(len)]).is_err());
    }
}

/// A changed model may be a model: then it must still code without panic.
fn check_any(model: &Model<'_>) {
    let steps = vec![3; model.samples() * model.channels()];
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; model.code_len_max()];
    let encoded = encode(model, Window { steps: &steps, off_grid: false }, &mut workspace, &mut code);
    if let Ok(encoded) = encoded {
        let mut read = vec![0; steps.len()];
        decode(model, &code[..encoded.code_len], &mut workspace, &mut read).unwrap();
    }
}

#[test]
fn each_rung_is_reached() {
    let bytes = model_bytes(16, &[2], 1);
    let model = Model::parse(&bytes).unwrap();
    assert_eq!(check(&model, &[205; 16], false), Rung::Hold);
    let ramp: Vec<i32> = (0..16).map(|t| 200 + 5 * t).collect();
    assert_eq!(check(&model, &ramp, false), Rung::Context);
    let noise: Vec<i32> = (0..16).map(|t| (t * 7919 + 13) % 1100 - 380).collect();
    assert_eq!(check(&model, &noise, false), Rung::Raw);
}

#[test]
fn the_latent_rung_is_reached() {
    let mut rng = Rng(5);
    let bytes = with_latent(with_context(support::parts(12, &[2, 1], 1), &mut rng), &mut rng).emit();
    let model = Model::parse(&bytes).unwrap();
    let rungs: Vec<Rung> = (0..50).map(|_| check(&model, &window(12, 2, &mut rng), false)).collect();
    assert!(rungs.contains(&Rung::Latent), "{rungs:?}");
}

#[test]
fn the_predict_rung_is_reached() {
    let mut rng = Rng(5);
    let bytes = with_predict(with_context(support::parts(20, &[2, 1], 1), &mut rng), &mut rng).emit();
    let model = Model::parse(&bytes).unwrap();
    let rungs: Vec<Rung> = (0..50).map(|_| check(&model, &window(20, 2, &mut rng), false)).collect();
    assert!(rungs.contains(&Rung::Predict), "{rungs:?}");
}

/// Zeros fill a code up to the length it was written for; more of them, or a zero behind another rung's, are no code.
#[test]
fn a_code_is_filled_up_by_no_more_than_an_encoder_would() {
    let mut rng = Rng(7);
    let parts = with_predict(with_context(support::parts(20, &[2, 1], 1), &mut rng), &mut rng);
    let bytes = with_budget(parts, &mut rng).emit();
    let model = Model::parse(&bytes).unwrap();
    let (mut workspace, mut code) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    let (mut n_predicted, mut n_filled, mut read) = (0, 0, [0; 40]);
    for _ in 0..200 {
        let steps = window(20, 2, &mut rng);
        let given = Window { steps: &steps, off_grid: false };
        let encoded = encode(&model, given, &mut workspace, &mut code).unwrap();
        n_predicted += usize::from(encoded.rung == Rung::Predict);
        n_filled += usize::from(code[..encoded.code_len].last() == Some(&0));
        code[encoded.code_len..encoded.code_len + 3].fill(0);
        assert!(decode(&model, &code[..encoded.code_len + 3], &mut workspace, &mut read).is_err());
    }
    assert!(n_predicted > 20 && n_filled > 0, "{n_predicted} predicted, {n_filled} filled");
}

#[test]
fn sections_that_contradict_a_length_that_tells_are_refused() {
    let mut rng = Rng(3);
    let parts = with_predict(with_context(support::parts(20, &[2, 1], 1), &mut rng), &mut rng);
    let parts = with_budget(parts, &mut rng);
    assert!(Model::parse(&parts.emit()).is_ok());
    assert!(Model::parse(&with_expected(parts.clone(), 1).emit()).is_err());
    assert!(Model::parse(&with_fixed(parts.clone(), &mut rng).emit()).is_err());
    assert!(Model::parse(&Parts { n_samples: 65, ..parts }.emit()).is_err());
}

#[test]
fn a_stuck_sensor_costs_a_byte_or_two() {
    let bytes = model_bytes(32, &[0, 0], 1);
    let model = Model::parse(&bytes).unwrap();
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; model.code_len_max()];
    let window = Window { steps: &[200; 64], off_grid: false };
    assert!(encode(&model, window, &mut workspace, &mut code).unwrap().code_len <= 3);
}
