//! The codec's doors as plain functions over bytes, for fuzzers: none may panic, and what is read must be sayable.

use std::vec;
use std::vec::Vec;

use crate::bundle::Bundle;
use crate::learn::{CountPart, ExpectedPart, Outline, Parts, ReferencePart};
use crate::{Grid, Model, Window, decode, encode, is_step, resolve};

/// Reads a model, and codes with it if it is one.
pub fn fuzz_model(data: &[u8]) {
    let Ok(model) = Model::parse(data) else { return };
    let _ = (0..model.channels()).map(|idx| model.channel(idx).name.len()).sum::<usize>();
    let steps = vec![1; model.samples() * model.channels()];
    round_trip(&model, Window { steps: &steps, off_grid: false });
    fuzz_decode_with(&model, &data[..data.len().min(64)]);
}

/// Reads a code with a model of each kind.
pub fn fuzz_decode(data: &[u8]) {
    let kinds = [&[0u32][..], &[0, 3], &[1, 2, 5]].map(parts).into_iter().chain([counted(&[0, 9])]);
    for parts in kinds {
        let bytes = parts.emit();
        if let Ok(model) = Model::parse(&bytes) {
            fuzz_decode_with(&model, data);
        }
    }
}

/// Reads a code that refers, after a tail of the same bytes; what is read must be sayable alone.
pub fn fuzz_resolve(data: &[u8]) {
    let (tail, code) = data.split_at(data.len() / 2);
    let tail: Vec<i32> = tail.chunks_exact(2).map(|b| i32::from(i16::from_le_bytes([b[0], b[1]]))).collect();
    for mut parts in [parts(&[0]), parts(&[1, 2]), counted(&[0, 9])] {
        parts.reference = Some(ReferencePart { mark: [0.8, 0.2], head: [1.0, 1.0, 0.001, 0.1] });
        let bytes = parts.emit();
        let Ok(model) = Model::parse(&bytes) else { continue };
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let mut steps = vec![0; model.samples() * model.channels()];
        let Ok(len) = resolve(&model, &tail, code, &mut workspace, &mut steps, &mut out) else { continue };
        let said = steps.clone();
        let decoded = decode(&model, &out[..len], &mut workspace, &mut steps);
        let n = decoded.map_or(0, |d| d.n_samples * model.channels());
        assert!(n > 0 && steps[..n] == said[..n]);
    }
}

/// Takes bytes for a window: what is encoded must be decoded within the bound.
pub fn fuzz_round_trip(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let bounds = [u32::from(first & 7), u32::from(first >> 4)];
    let bytes = if first & 128 == 0 { parts(&bounds) } else { counted(&bounds) }.emit();
    let Ok(model) = Model::parse(&bytes) else { return };
    // Two bytes a value: small steps are as likely as marks and far ones.
    let steps: Vec<i32> = data
        .chunks_exact(2)
        .take(model.samples() * 2)
        .map(|b| match i32::from(i16::from_le_bytes([b[0], b[1]])) {
            i @ -30000..=30000 => i % 900,
            i @ 30001.. => [crate::MISSING, crate::ABOVE, crate::BELOW][i as usize % 3],
            i => i * 2000,
        })
        .collect();
    let n_values = steps.len() / 2 * 2;
    if n_values > 0 {
        round_trip(&model, Window { steps: &steps[..n_values], off_grid: first & 8 != 0 });
    }
}

/// Reads a bundle file.
pub fn fuzz_bundle(data: &[u8]) {
    if let Ok(bundle) = Bundle::parse(data) {
        let again = Bundle::parse(&bundle.emit());
        assert_eq!(again.map(|b| b.identity()).ok(), Some(bundle.identity()));
    }
}

fn parts(bounds: &[u32]) -> Parts {
    let grid = |&bound_steps: &u32| Grid { scale: 1, origin: 0, quantum: 1, bound_steps, rounds: false };
    let outlines: Vec<Outline> = bounds.iter().map(|b| Outline::new("x", grid(b), (-400, 800))).collect();
    Parts::untrained(32, 1000, &outlines)
}

/// The same for sensors that count coarser than their grid, with a window that is expected; bounds are in grid steps.
fn counted(bounds: &[u32]) -> Parts {
    let in_counts: Vec<u32> = bounds.iter().map(|b| b / 7).collect();
    let mut parts = parts(&in_counts);
    let counts = bounds.iter().zip(&mut parts.channels).map(|(&bound_steps, channel)| {
        let bound = core::mem::replace(&mut channel.grid.bound_steps, bound_steps);
        CountPart { bound, period: 25, residues: vec![0, 6, 13, 19] }
    });
    parts.counts = Some(counts.collect());
    parts.expected = Some(ExpectedPart { head: 1, bins: vec![31; bounds.len()] });
    parts
}

fn fuzz_decode_with(model: &Model<'_>, code: &[u8]) {
    let mut workspace = vec![0; model.workspace_len()];
    let mut steps = vec![0; model.samples() * model.channels()];
    if let Ok(decoded) = decode(model, code, &mut workspace, &mut steps) {
        assert!((1..=model.samples()).contains(&decoded.n_samples));
    }
}

fn round_trip(model: &Model<'_>, window: Window<'_>) {
    let mut workspace = vec![0; model.workspace_len()];
    let mut code = vec![0; model.code_len_max()];
    let Ok(encoded) = encode(model, window, &mut workspace, &mut code) else { return };
    let mut read = vec![0; model.samples() * model.channels()];
    let decoded = decode(model, &code[..encoded.code_len], &mut workspace, &mut read);
    assert_eq!(decoded.map(|d| d.n_samples * model.channels()), Ok(window.steps.len()));
    let bounded = model.fixed_code_len().is_none();
    for (at, (&x, &y)) in window.steps.iter().zip(&read).enumerate() {
        let bound = model.channel(at % model.channels()).grid.bound_steps as i32;
        assert!(x == y || bounded && is_step(x) && (x - y).abs() <= bound || !bounded && is_step(y));
    }
}
