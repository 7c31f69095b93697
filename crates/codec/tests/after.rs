//! Windows coded after an earlier one: the same bound, and one code that stands alone, the same on both ends.
//!
//! Golden data: `vectors/reference`, written by `KINGLET_WRITE_VECTORS=1 cargo test -p kinglet-codec --features bundle
//! --test after` and never again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::path::Path;

use kinglet_codec::learn::{Parts, ReferencePart, with_reference as with_reference_added};
use kinglet_codec::{
    DISTANCE_MAX, DecodeError, Model, Reference, Referring, Rung, STEP_MAX, TAIL_SAMPLES_MAX, Window, decode,
    decode_after, distance_of, encode, encode_after, is_step, resolve,
};
use proptest::prelude::*;
use support::{Rng, count, window, with_budget, with_context, with_counts, with_expected, with_predict};

fn with_reference(parts: Parts) -> Parts {
    Parts { reference: Some(ReferencePart { mark: [0.8, 0.2], head: [1.0, 1.0, 1.0, 0.1] }), ..parts }
}

/// What was made of a window.
struct Made {
    code: Vec<u8>,
    alone: Vec<u8>,
    read: Vec<i32>,
    rung: Rung,
}

/// Memory for coding with one model.
struct Bench<'a> {
    model: Model<'a>,
    workspace: Vec<i32>,
    out: Vec<u8>,
    read: Vec<i32>,
}

impl<'a> Bench<'a> {
    fn new(model: Model<'a>) -> Self {
        Self {
            model,
            workspace: vec![0; model.workspace_len()],
            out: vec![0; 2 * model.code_len_max()],
            read: vec![0; model.samples() * model.channels()],
        }
    }

    /// The code that refers, the one that stands alone, and what both say; all that is promised of them is checked.
    fn check(&mut self, tail: &[i32], distance: u8, window: Window<'_>) -> Option<Made> {
        let Self { model, workspace, out, read } = self;
        let n = window.steps.len();
        let Referring { code_len, alone_len, rung } =
            encode_after(model, Reference { tail, distance }, window, workspace, out).unwrap()?;
        let known = workspace[..n].to_vec();
        let (code, alone) = (out[..code_len].to_vec(), out[code_len..code_len + alone_len].to_vec());
        assert!(code.len() < alone.len());
        assert_eq!(distance_of(model, &code), Some(distance));
        assert_eq!(distance_of(model, &alone), None);
        for (at, (&x, &y)) in window.steps.iter().zip(&known).enumerate() {
            let bound = model.channel(at % model.channels()).grid.bound_steps as i32;
            let reserve = i32::from(window.off_grid && bound > 0);
            assert!(
                if is_step(x) { (x - y).abs() <= bound - reserve } else { x == y },
                "{at}: {x} read as {y}"
            );
        }
        let n_samples = n / model.channels();
        let decoded = decode_after(model, tail, &code, workspace, read).unwrap();
        assert_eq!((decoded.n_samples, decoded.rung, &read[..n]), (n_samples, rung, &known[..]));
        let decoded = decode(model, &alone, workspace, read).unwrap();
        assert_eq!((decoded.n_samples, decoded.rung, &read[..n]), (n_samples, rung, &known[..]));
        let resolved = resolve(model, tail, &code, workspace, read, out).unwrap();
        assert_eq!((&out[..resolved], &read[..n]), (&alone[..], &known[..]));
        assert_eq!(decode(model, &code, workspace, read), Err(DecodeError::Reference));
        assert_eq!(decode_after(model, tail, &alone, workspace, read), Err(DecodeError::Reference));
        Some(Made { code, alone, read: known, rung })
    }
}

/// What follows on `tail`, as a sensor would go on.
fn follow(tail: &[i32], n_samples: usize, n_channels: usize, rng: &mut Rng) -> Vec<i32> {
    let mut steps = window(n_samples, n_channels, rng);
    for idx in 0..n_channels {
        let last =
            tail.iter().skip(idx).step_by(n_channels).copied().rfind(|x| is_step(*x) && x.abs() < 1 << 20);
        let first = steps.iter().skip(idx).step_by(n_channels).copied().find(|x| is_step(*x));
        let Some((last, first)) = last.zip(first) else { continue };
        for x in steps.iter_mut().skip(idx).step_by(n_channels).filter(|x| is_step(**x)) {
            *x = (*x - first + last).clamp(100 - STEP_MAX, STEP_MAX - 100);
        }
    }
    steps
}

fn kind(which: u64, bounds: &[u32], finer: u32, rng: &mut Rng) -> Parts {
    let parts = with_context(support::parts(20, bounds, finer), rng);
    with_reference(match which {
        0 => parts,
        1 => with_predict(parts, rng),
        2 => with_expected(parts, 1),
        3 => counted(with_predict(parts, rng), bounds),
        4 => with_budget(with_predict(parts, rng), rng),
        _ => {
            let networks = with_predict(parts, rng);
            counted(with_budget(networks, rng), bounds)
        }
    })
}

fn counted(parts: Parts, bounds: &[u32]) -> Parts {
    let in_grid = [5, 3, 4].map(|per| per + 9 * bounds.iter().max().unwrap());
    with_counts(parts, &in_grid[..bounds.len()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_window_round_trips_after_any_tail(
        seed: u64, which in 0u64..6, bounds in prop::collection::vec(0u32..5, 1..4), finer in 1u32..4, off_grid: bool,
    ) {
        let mut rng = Rng(seed);
        let parts = kind(which, &bounds, finer, &mut rng);
        let bytes = parts.emit();
        let Ok(model) = Model::parse(&bytes) else { return Ok(()) };
        let mut bench = Bench::new(model);
        for (n_tail, n_samples) in [(20, 20), (16, 20), (3, 7), (1, 1), (0, 20)] {
            let mut tail = window(n_tail, bounds.len(), &mut rng);
            let mut steps = follow(&tail, n_samples, bounds.len(), &mut rng);
            if let Some(counts) = &parts.counts {
                let but = rng.below(4) as usize;
                count(&mut tail, counts, but);
                count(&mut steps, counts, but);
            }
            let distance = 1 + rng.below(DISTANCE_MAX.into()) as u8;
            let made = bench.check(&tail, distance, Window { steps: &steps, off_grid });
            prop_assert!(n_tail > 0 || made.is_none());
        }
    }

    #[test]
    fn hostile_codes_and_tails_never_panic(
        seed: u64, which in 0u64..6, code in prop::collection::vec(any::<u8>(), 0..60), tail in prop::collection::vec(any::<i32>(), 0..70),
    ) {
        let bytes = kind(which, &[0, 2], 2, &mut Rng(seed)).emit();
        let Ok(model) = Model::parse(&bytes) else { return Ok(()) };
        let Bench { model, mut workspace, mut out, mut read } = Bench::new(model);
        let _ = distance_of(&model, &code);
        let resolved = resolve(&model, &tail, &code, &mut workspace, &mut read, &mut out);
        if let Ok(len) = resolved {
            let said = read.clone();
            let alone = decode(&model, &out[..len], &mut workspace, &mut read).unwrap();
            prop_assert_eq!(&read[..2 * alone.n_samples], &said[..2 * alone.n_samples]);
        }
        let steps = vec![7; 40];
        let window = Window { steps: &steps, off_grid: false };
        let _ = encode_after(&model, Reference { tail: &tail, distance: 9 }, window, &mut workspace, &mut out);
        let _ = encode_after(&model, Reference { tail: &tail, distance: 1 }, window, &mut workspace, &mut out);
    }
}

#[test]
fn a_sensor_that_stands_still_costs_nothing() {
    let bytes = with_reference(support::parts(32, &[2, 2], 2)).emit();
    let mut bench = Bench::new(Model::parse(&bytes).unwrap());
    let tail = [205, 310].repeat(16);
    let Made { code, .. } =
        bench.check(&tail, 1, Window { steps: &[204, 311].repeat(32), off_grid: false }).unwrap();
    assert!(code.is_empty(), "the empty code says that all stays as it was");
    // Farther back, and longer than any tail is looked at.
    let long = [[900, -300].repeat(9), tail].concat();
    assert!(
        bench.check(&long, 3, Window { steps: &[204, 311].repeat(32), off_grid: false }).unwrap().code.len()
            <= 2
    );
}

#[test]
fn every_rung_is_reached() {
    for which in [1, 4] {
        every_rung_is_reached_with(which);
    }
}

fn every_rung_is_reached_with(which: u64) {
    let mut rng = Rng(3);
    let bytes = kind(which, &[1, 2], 2, &mut rng).emit();
    let mut bench = Bench::new(Model::parse(&bytes).unwrap());
    let mut seen = Vec::new();
    for _ in 0..200 {
        let tail = window(20, 2, &mut rng);
        let steps = follow(&tail, 20, 2, &mut rng);
        seen.extend(bench.check(&tail, 1, Window { steps: &steps, off_grid: false }).map(|made| made.rung));
    }
    for rung in [Rung::Hold, Rung::Context, Rung::Predict] {
        assert!(seen.contains(&rung), "{rung:?} is never used");
    }
}

#[test]
fn references_are_added_to_a_model_of_any_kind() {
    for which in 0..6 {
        let parts = kind(which, &[1, 2], 2, &mut Rng(which));
        let bare = Parts { reference: None, ..parts.clone() };
        assert_eq!(with_reference_added(&bare.emit(), &parts.reference.unwrap()), parts.emit());
    }
}

#[test]
fn without_references_nothing_refers() {
    let bytes = support::parts(20, &[2], 1).emit();
    let Bench { model, mut workspace, mut out, mut read } = Bench::new(Model::parse(&bytes).unwrap());
    let reference = Reference { tail: &[7; 16], distance: 1 };
    let window = Window { steps: &[7; 20], off_grid: false };
    assert_eq!(encode_after(&model, reference, window, &mut workspace, &mut out), Ok(None));
    assert_eq!(decode_after(&model, &[7; 16], &[], &mut workspace, &mut read), Err(DecodeError::Reference));
    assert_eq!(distance_of(&model, &[]), None);
    // With them the code of a window alone is another; a bundle without keeps its bytes.
    let len = encode(&model, window, &mut workspace, &mut out).unwrap().code_len;
    assert!(decode(&model, &out[..len], &mut workspace, &mut read).is_ok());
}

#[test]
fn references_need_tables_and_a_bound() {
    let mut rng = Rng(1);
    let fixed = support::with_fixed(support::parts(10, &[4], 1), &mut rng);
    assert!(Model::parse(&with_reference(fixed).emit()).is_err());
    let bare = Parts { context: None, ..support::parts(10, &[4], 1) };
    assert!(Model::parse(&with_reference(bare).emit()).is_err());
}

/// Checks one folder of `vectors/reference`, or writes it when it does not exist and that is asked for.
fn golden(name: &str, make: impl FnOnce(&mut Rng) -> Parts) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/reference").join(name);
    if !folder.exists() && std::env::var_os("KINGLET_WRITE_VECTORS").is_some() {
        write(&folder, make);
    }
    let file = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
    let model_bytes = file("model.bin");
    let mut bench = Bench::new(Model::parse(&model_bytes).unwrap());
    let (mut bytes, mut n_cases) = (&file("cases.bin")[..], 0);
    while !bytes.is_empty() {
        let flags = take(&mut bytes, 2);
        let (off_grid, distance) = (flags[0] == 1, flags[1]);
        let [tail, steps, read] = [(); 3].map(|()| take_steps(&mut bytes));
        let [code, alone] = [(); 2].map(|()| take_code(&mut bytes));
        let made = bench.check(&tail, distance, Window { steps: &steps, off_grid }).unwrap();
        assert_eq!((made.code, made.alone, made.read), (code, alone, read), "{name}: case {n_cases}");
        n_cases += 1;
    }
    assert!(n_cases >= 30, "{name}: {n_cases} cases");
}

fn write(folder: &Path, make: impl FnOnce(&mut Rng) -> Parts) {
    let mut rng = Rng(0x6b69_6e67_6c65_7432);
    let parts = make(&mut rng);
    let model_bytes = parts.emit();
    let mut bench = Bench::new(Model::parse(&model_bytes).unwrap());
    let n_channels = parts.channels.len();
    let mut cases = Vec::new();
    for n in 0..120 {
        let samples = usize::from(parts.n_samples);
        let n_samples = if n % 3 == 0 { 1 + rng.below(samples as u64) as usize } else { samples };
        let n_tail = if n % 5 == 0 { 1 + rng.below(20) as usize } else { TAIL_SAMPLES_MAX };
        let mut tail = window(n_tail, n_channels, &mut rng);
        let mut steps = follow(&tail, n_samples, n_channels, &mut rng);
        if let Some(counts) = &parts.counts {
            count(&mut tail, counts, 0);
            count(&mut steps, counts, [0, 0, 1, 5][n % 4]);
        }
        let (off_grid, distance) = (n % 9 == 8, 1 + rng.below(DISTANCE_MAX.into()) as u8);
        let Some(Made { code, alone, read, .. }) =
            bench.check(&tail, distance, Window { steps: &steps, off_grid })
        else {
            continue;
        };
        cases.extend([u8::from(off_grid), distance]);
        for steps in [&tail, &steps, &read] {
            cases.extend((steps.len() as u16).to_le_bytes());
            steps.iter().for_each(|x| cases.extend(x.to_le_bytes()));
        }
        for code in [&code, &alone] {
            cases.extend((code.len() as u16).to_le_bytes());
            cases.extend(code);
        }
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.bin"), model_bytes).unwrap();
    fs::write(folder.join("cases.bin"), cases).unwrap();
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn take_code(bytes: &mut &[u8]) -> Vec<u8> {
    let len = usize::from(u16::from_le_bytes(take(bytes, 2).try_into().unwrap()));
    take(bytes, len).to_vec()
}

fn take_steps(bytes: &mut &[u8]) -> Vec<i32> {
    let n = usize::from(u16::from_le_bytes(take(bytes, 2).try_into().unwrap()));
    take(bytes, 4 * n).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn v1_slack() {
    golden("v1_slack", |rng| kind(0, &[3, 5, 0], 2, rng));
}

#[test]
fn v1_gated() {
    golden("v1_gated", |rng| kind(1, &[0, 4, 1], 2, rng));
}

#[test]
fn v1_budget() {
    golden("v1_budget", |rng| kind(4, &[0, 3, 1], 2, rng));
}

#[test]
fn v1_budget_counts() {
    golden("v1_budget_counts", |rng| kind(5, &[1, 0], 1, rng));
}

#[test]
fn v1_expected() {
    golden("v1_expected", |rng| kind(2, &[3, 2], 3, rng));
}

#[test]
fn v1_counts() {
    golden("v1_counts", |rng| kind(3, &[1, 0], 1, rng));
}
