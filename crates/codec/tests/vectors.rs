//! The bytes of `vectors/codec` are the format: this encoder writes them, this decoder reads them.
//!
//! A new folder is written by `KINGLET_WRITE_VECTORS=1 cargo test -p kinglet-codec --features bundle --test vectors`;
//! one that exists is never written again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use kinglet_codec::learn::{Lags, Parts};
use kinglet_codec::{Model, Window, decode, encode};
use support::{
    Rng, count, parts, window, with_budget, with_context, with_counts, with_expected, with_fixed,
    with_latent, with_networks, with_predict,
};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/codec").join(name)
}

/// Checks one folder, or writes it when it does not exist and that is asked for.
fn check(name: &str, make: impl FnOnce(&mut Rng) -> Parts) {
    let folder = folder(name);
    if !folder.exists() && std::env::var_os("KINGLET_WRITE_VECTORS").is_some() {
        write(&folder, make);
    }
    let read = |file: &str| fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
    let model_bytes = read("model.bin");
    let model = Model::parse(&model_bytes).unwrap();
    let (mut workspace, mut code) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    let mut read_steps = vec![0; model.samples() * model.channels()];
    let (mut cases, mut n_cases) = (&read("cases.bin")[..], 0);
    while !cases.is_empty() {
        let case = Case::parse(&mut cases);
        let given = Window { steps: &case.steps, off_grid: case.off_grid };
        let encoded = encode(&model, given, &mut workspace, &mut code).unwrap();
        assert_eq!(&code[..encoded.code_len], case.code, "{name}: code of case {n_cases}");
        let decoded = decode(&model, &case.code, &mut workspace, &mut read_steps).unwrap();
        let n_values = decoded.n_samples * model.channels();
        assert_eq!(&read_steps[..n_values], case.read, "{name}: values of case {n_cases}");
        n_cases += 1;
    }
    let (mut refusals, mut n_refusals) = (&read("refusals.bin")[..], 0);
    while !refusals.is_empty() {
        let code = take_code(&mut refusals);
        let answer = decode(&model, code, &mut workspace, &mut read_steps);
        assert!(answer.is_err(), "{name}: refusal {n_refusals} was read");
        n_refusals += 1;
    }
    assert!(n_cases >= 60 && n_refusals >= 10, "{name}: {n_cases} cases, {n_refusals} refusals");
}

struct Case {
    off_grid: bool,
    steps: Vec<i32>,
    read: Vec<i32>,
    code: Vec<u8>,
}

impl Case {
    fn parse(bytes: &mut &[u8]) -> Self {
        let (off_grid, n_values) = (take(bytes, 1)[0] == 1, take_u16(bytes));
        let mut steps = || {
            take(bytes, 4 * n_values).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        Self { off_grid, steps: steps(), read: steps(), code: take_code(bytes).to_vec() }
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.off_grid));
        out.extend((self.steps.len() as u16).to_le_bytes());
        self.steps.iter().chain(&self.read).for_each(|x| out.extend(x.to_le_bytes()));
        emit_code(&self.code, out);
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(n);
    *bytes = tail;
    head
}

fn take_u16(bytes: &mut &[u8]) -> usize {
    usize::from(u16::from_le_bytes(take(bytes, 2).try_into().unwrap()))
}

fn take_code<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = take_u16(bytes);
    take(bytes, len)
}

fn emit_code(code: &[u8], out: &mut Vec<u8>) {
    out.extend((code.len() as u16).to_le_bytes());
    out.extend(code);
}

fn write(folder: &Path, make: impl FnOnce(&mut Rng) -> Parts) {
    let mut rng = Rng(0x6b69_6e67_6c65_7431);
    let parts = make(&mut rng);
    let model_bytes = parts.emit();
    let model = Model::parse(&model_bytes).unwrap();
    let (mut workspace, mut code) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
    let (mut cases, mut refusals) = (Vec::new(), Vec::new());
    let mut read = vec![0; model.samples() * model.channels()];
    for n in 0..72 {
        let n_samples =
            if n % 3 == 0 { 1 + rng.below(model.samples() as u64) as usize } else { model.samples() };
        let mut steps = window(n_samples, model.channels(), &mut rng);
        if let Some(counts) = &parts.counts {
            count(&mut steps, counts, [0, 0, 1, 5][n % 4]);
        }
        if parts.expected.is_some() && n % 12 < 2 {
            // What the empty code says, then nearly that.
            steps = read.clone();
            decode(&model, &[], &mut workspace, &mut steps).unwrap();
            steps[0] += if n % 12 == 1 { 1 } else { 0 };
        }
        let off_grid = n % 9 == 8;
        let encoded = encode(&model, Window { steps: &steps, off_grid }, &mut workspace, &mut code).unwrap();
        let known = workspace[..steps.len()].to_vec();
        let code = &code[..encoded.code_len];
        Case { off_grid, steps, read: known, code: code.to_vec() }.emit(&mut cases);
        // Bytes nobody needs, and whatever else of the same length turns out to be no code.
        for damaged in [[code, &[1, 2, 3]].concat(), [&[0xff; 9], code].concat(), [code, &[0, 0, 0]].concat()]
        {
            if decode(&model, &damaged, &mut workspace, &mut read).is_err() {
                emit_code(&damaged, &mut refusals);
            }
        }
    }
    fs::create_dir_all(folder).unwrap();
    for (file, bytes) in [("model.bin", model_bytes), ("cases.bin", cases), ("refusals.bin", refusals)] {
        fs::write(folder.join(file), bytes).unwrap();
    }
}

#[test]
fn v1_lossless() {
    check("v1_lossless", |rng| with_context(parts(16, &[0, 0], 1), rng));
}

#[test]
fn v1_slack() {
    check("v1_slack", |rng| with_context(parts(24, &[3, 5, 0], 2), rng));
}

#[test]
fn v1_latent() {
    check("v1_latent", |rng| {
        let parts = with_context(parts(12, &[2, 1], 1), rng);
        with_latent(parts, rng)
    });
}

#[test]
fn v1_predict() {
    // Bundles no longer get networks of this kind; those that have them keep working.
    check("v1_predict", |_| unreachable!("written by an earlier version, never again"));
}

#[test]
fn v1_gated() {
    check("v1_gated", |rng| {
        let parts = with_context(parts(20, &[0, 4, 1], 2), rng);
        with_predict(parts, rng)
    });
}

#[test]
fn v1_gated_deep() {
    // Of the size that trainers make; the tables are dear, so that the networks win.
    check("v1_gated_deep", |rng| {
        let mut parts = with_context(parts(32, &[0, 1], 1), rng);
        for tables in parts.context.iter_mut().flat_map(|c| &mut c.tables) {
            tables.fill(1.0);
        }
        with_networks(parts, Lags { own: 16, other: 2 }, [24, 24], rng)
    });
}

#[test]
fn v1_budget() {
    check("v1_budget", |rng| {
        let mut parts = with_context(parts(24, &[0, 3], 1), rng);
        for tables in parts.context.iter_mut().flat_map(|c| &mut c.tables) {
            tables.fill(1.0);
        }
        let parts = with_networks(parts, Lags { own: 9, other: 2 }, [16, 16], rng);
        with_counts(with_budget(parts, rng), &[5, 4])
    });
}

#[test]
fn v1_counts() {
    check("v1_counts", |rng| {
        let parts = with_context(parts(20, &[0, 3, 1], 2), rng);
        with_counts(with_predict(parts, rng), &[5, 3, 4])
    });
}

#[test]
fn v1_expected() {
    check("v1_expected", |rng| with_expected(with_context(parts(24, &[3, 5, 0], 3), rng), 1));
}

#[test]
fn v1_expected_counts() {
    check("v1_expected_counts", |rng| {
        let parts = with_context(parts(20, &[2, 3, 1], 2), rng);
        let parts = with_latent(with_counts(with_predict(parts, rng), &[14, 3, 4]), rng);
        with_expected(parts, 0)
    });
}

#[test]
fn v1_fixed() {
    check("v1_fixed", |rng| {
        let parts = with_context(parts(10, &[4], 1), rng);
        with_fixed(parts, rng)
    });
}

#[test]
fn v1_one_sample() {
    check("v1_one_sample", |rng| with_context(parts(1, &[0, 1, 2], 1), rng));
}
