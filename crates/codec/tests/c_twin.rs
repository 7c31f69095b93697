//! The encoder in C writes the same bytes: random models and windows go to both, and to readings the same steps.
//!
//! `KINGLET_C_TWIN` names the program (`arduino/test/twin.c`); `cargo xtask c` builds it and runs these.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]
#![allow(clippy::print_stdout, reason = "how much was compared belongs into the log")]

mod support;

use std::fs;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

use kinglet_codec::learn::{
    BUDGET_VALUES_MAX, CountPart, ExpectedPart, Lags, Outline, Parts, RESIDUES_MAX, ReferencePart,
};
use kinglet_codec::{
    Decimal, Grid, MISSING, Model, Reference, Rung, Window, decode, encode, encode_after, is_step,
};
use support::{
    Rng, count, parts, window, with_budget, with_context, with_fixed, with_latent, with_networks,
    with_predict,
};

/// Windows that go out before their answers come back.
const BATCH: usize = 256;

/// What was compared.
#[derive(Default)]
struct Tally {
    /// Windows by their rung: hold, context, predict, latent, raw, fixed.
    rungs: [usize; 6],
    /// Windows of no byte.
    n_empty: usize,
}

struct Twin {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Twin {
    fn start() -> Self {
        let program = std::env::var_os("KINGLET_C_TWIN").expect("cargo xtask c names the program");
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = BufWriter::new(child.stdin.take().unwrap());
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    /// True if it takes these bytes for a model.
    fn model(&mut self, bytes: &[u8]) -> bool {
        self.to.write_all(b"M").unwrap();
        self.to.write_all(&(bytes.len() as u32).to_le_bytes()).unwrap();
        self.to.write_all(bytes).unwrap();
        self.to.flush().unwrap();
        self.byte() == 0
    }

    /// Bytes of the code that refers, both codes, and what is read; `None` if it makes none.
    fn encode_after(
        &mut self,
        tail: &[i32],
        distance: u8,
        window: Window<'_>,
    ) -> Option<(usize, Vec<u8>, Vec<i32>)> {
        let mut asked = b"A".to_vec();
        asked.extend((tail.len() as u16).to_le_bytes());
        tail.iter().for_each(|x| asked.extend(x.to_le_bytes()));
        asked.extend([distance, u8::from(window.off_grid)]);
        asked.extend((window.steps.len() as u16).to_le_bytes());
        window.steps.iter().for_each(|x| asked.extend(x.to_le_bytes()));
        self.to.write_all(&asked).unwrap();
        self.to.flush().unwrap();
        if self.byte() == 0 {
            return None;
        }
        let mut lens = [0; 4];
        self.from.read_exact(&mut lens).unwrap();
        let [code_len, alone_len] =
            [[lens[0], lens[1]], [lens[2], lens[3]]].map(u16::from_le_bytes).map(usize::from);
        let mut both = vec![0; code_len + alone_len];
        self.from.read_exact(&mut both).unwrap();
        let mut read = vec![0; 4 * window.steps.len()];
        self.from.read_exact(&mut read).unwrap();
        let read = read.chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
        Some((code_len, both, read))
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.from.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Sends windows and compares what comes back with what the encoder here makes.
    fn compare(&mut self, model: &Model<'_>, windows: &[(bool, Vec<i32>)], tally: &mut Tally) {
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; model.code_len_max()]);
        let mut expected = Vec::new();
        for (off_grid, steps) in windows {
            let given = Window { steps, off_grid: *off_grid };
            let encoded = encode(model, given, &mut workspace, &mut out).unwrap();
            let rung = match encoded.rung {
                Rung::Hold => 0,
                Rung::Context => 1,
                Rung::Predict => 2,
                Rung::Latent => 3,
                Rung::Raw => 4,
                _ => 5,
            };
            tally.rungs[usize::from(rung)] += 1;
            tally.n_empty += usize::from(encoded.code_len == 0);
            expected.extend([0, rung]);
            expected.extend((encoded.code_len as u16).to_le_bytes());
            expected.extend(&out[..encoded.code_len]);
            workspace[..steps.len()].iter().for_each(|x| expected.extend(x.to_le_bytes()));
        }
        let mut answers = vec![0; expected.len()];
        let (to, from) = (&mut self.to, &mut self.from);
        thread::scope(|scope| {
            scope.spawn(|| {
                for (off_grid, steps) in windows {
                    to.write_all(&[b'E', u8::from(*off_grid)]).unwrap();
                    to.write_all(&(steps.len() as u16).to_le_bytes()).unwrap();
                    steps.iter().for_each(|x| to.write_all(&x.to_le_bytes()).unwrap());
                }
                to.flush().unwrap();
            });
            from.read_exact(&mut answers).unwrap();
        });
        assert!(answers == expected, "some window of {windows:?} has another code in C");
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Models of every kind and many shapes.
fn model_parts(rng: &mut Rng) -> Parts {
    let n_channels = 1 + rng.below(4) as usize;
    let bounds: Vec<u32> = (0..n_channels).map(|_| [0, 0, 1, 2, 5, 40][rng.below(6) as usize]).collect();
    let mut base = parts(1 + rng.below(40) as u16, &bounds, 1 + rng.below(3) as u32);
    for (channel, &bound) in base.channels.iter_mut().zip(&bounds) {
        // A lattice finer than an eighth of the bound's span is none.
        let step = channel.lattice.step.max((2 * bound + 1).div_ceil(7));
        channel.lattice.step = step;
        channel.lattice.phase = rng.between(1 - step as i32, step as i32 - 1);
    }
    let base = if rng.below(8) == 0 { base } else { with_context(base, rng) };
    let has_context = base.context.is_some();
    let mut parts = match rng.below(6) {
        0 if has_context => with_predict(base, rng),
        1 | 2 if has_context => {
            let lags = Lags { own: 1 + rng.below(16) as u8, other: 1 + rng.below(4) as u8 };
            let n_hidden = [1 + rng.below(32) as usize, 1 + rng.below(32) as usize];
            with_networks(base, lags, n_hidden, rng)
        }
        3 => with_latent(base, rng),
        4 => with_fixed(base, rng),
        _ => base,
    };
    // Which rung wins shall change from model to model.
    for weight in &mut parts.head {
        *weight = [0.01, 1.0, 1.0, 30.0][rng.below(4) as usize];
    }
    if parts.fixed.is_none() && rng.below(2) == 0 {
        let channels = parts.channels.iter_mut();
        parts.counts = Some(channels.map(|channel| counted(&mut channel.grid, rng)).collect());
    }
    if parts.fixed.is_none() && rng.below(2) == 0 {
        // Those in the middle lie where windows do.
        let mut bin = |_| if rng.below(3) == 0 { rng.below(60) as u8 } else { 27 + rng.below(6) as u8 };
        let bins = (0..parts.channels.len()).map(&mut bin).collect();
        parts.expected = Some(ExpectedPart { head: rng.below(6) as u8, bins });
    }
    let n_values = usize::from(parts.n_samples) * parts.channels.len();
    if parts.expected.is_none() && n_values <= BUDGET_VALUES_MAX && rng.below(2) == 0 {
        parts = with_budget(parts, rng);
    }
    parts
}

/// Counts of a random rule; the grid's bound in counts becomes the least in grid steps that it may stand for.
fn counted(grid: &mut Grid, rng: &mut Rng) -> CountPart {
    let period = 1 + [1, 6, 25, 300, 65534][rng.below(5) as usize].min(rng.below(65535)) as u16;
    let most = [9, RESIDUES_MAX as u64][rng.below(2) as usize].min(u64::from(period));
    let wanted = 1 + rng.below(most);
    let mut residues: Vec<u16> = (0..wanted).map(|_| rng.below(u64::from(period)) as u16).collect();
    residues.sort_unstable();
    residues.dedup();
    let n = residues.len() as u32;
    let step =
        |count: u32| u64::from(count / n) * u64::from(period) + u64::from(residues[(count % n) as usize]);
    let bound = grid.bound_steps;
    grid.bound_steps = (0..n).map(|at| step(at + bound) - step(at)).max().unwrap() as u32;
    CountPart { bound, period, residues }
}

/// What the empty code says, as far as an encoder takes it; else nothing but gaps.
fn said(model: &Model<'_>) -> Vec<i32> {
    let mut steps = vec![MISSING; model.samples() * model.channels()];
    let decoded = decode(model, &[], &mut vec![0; model.workspace_len()], &mut steps);
    let is_sayable = decoded.is_ok() && steps.iter().all(|x| x.unsigned_abs() < 1 << 25);
    if is_sayable { steps } else { vec![MISSING; steps.len()] }
}

/// A random window, in places on the counts, in places what the empty code says or nearly so.
fn random_window(parts: &Parts, model: &Model<'_>, rng: &mut Rng) -> (bool, Vec<i32>) {
    let n_samples = match rng.below(3) {
        0 => 1 + rng.below(model.samples() as u64) as usize,
        _ => model.samples(),
    };
    let mut steps = window(n_samples, model.channels(), rng);
    if let Some(counts) = &parts.counts {
        count(&mut steps, counts, [0, 0, 1, 5][rng.below(4) as usize]);
    }
    if parts.expected.is_some() && rng.below(4) == 0 {
        let bounds: Vec<i32> =
            parts.channels.iter().map(|c| c.grid.bound_steps.min(1 << 20) as i32).collect();
        steps = said(model);
        let is_near = rng.below(2) == 0;
        for (at, x) in steps.iter_mut().enumerate().filter(|(_, x)| is_step(**x)) {
            let bound = bounds[at % bounds.len()];
            *x += rng.between(-bound, bound) + i32::from(is_near && rng.below(40) == 0);
        }
    }
    (rng.below(8) == 0, steps)
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |n| n.parse().unwrap())
}

#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn random_windows_have_the_same_codes() {
    let (mut rng, mut twin) = (Rng(1), Twin::start());
    let (mut n_windows, mut n_models, mut tally) = (0, 0, Tally::default());
    while n_windows < setting("KINGLET_TWIN_WINDOWS", 20_000) {
        let parts = model_parts(&mut rng);
        let bytes = parts.emit();
        let model = Model::parse(&bytes).unwrap();
        assert!(twin.model(&bytes), "a sound model is refused in C");
        let windows: Vec<_> = (0..BATCH).map(|_| random_window(&parts, &model, &mut rng)).collect();
        twin.compare(&model, &windows, &mut tally);
        n_windows += windows.len();
        n_models += 1;
    }
    let Tally { rungs, n_empty } = tally;
    assert!(rungs.iter().all(|&n| n > n_windows / 1000), "rungs taken: {rungs:?}");
    assert!(n_empty > n_windows / 100, "{n_empty} windows of no byte");
    println!(
        "{n_windows} windows, {n_models} models; hold, context, predict, latent, raw, fixed: {rungs:?}; empty: {n_empty}"
    );
}

#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn random_windows_after_a_tail_have_the_same_codes() {
    let (mut rng, mut twin) = (Rng(7), Twin::start());
    let (mut n_windows, mut n_made, mut rungs) = (0, 0, [0; 3]);
    while n_windows < setting("KINGLET_TWIN_WINDOWS", 20_000) / 4 {
        let part = ReferencePart { mark: [0.8, 0.2], head: [1.0, 1.0, 1.0, 0.2] };
        let parts = Parts { fixed: None, reference: Some(part), ..model_parts(&mut rng) };
        let bytes = parts.emit();
        let Ok(model) = Model::parse(&bytes) else { continue };
        assert!(twin.model(&bytes), "a sound model is refused in C");
        let (mut workspace, mut out) = (vec![0; model.workspace_len()], vec![0; 2 * model.code_len_max()]);
        let mut read = vec![0; model.samples() * model.channels()];
        let mut tail: Vec<i32> = Vec::new();
        for _ in 0..64 {
            let (off_grid, mut steps) = random_window(&parts, &model, &mut rng);
            if rng.below(4) > 0 {
                // It goes on where the tail ended, on most channels.
                let n_channels = model.channels();
                for (idx, x) in steps.iter_mut().enumerate().filter(|(_, x)| is_step(**x)) {
                    let last = tail
                        .iter()
                        .skip(idx % n_channels)
                        .step_by(n_channels)
                        .copied()
                        .rfind(|x| is_step(*x));
                    *x = last.filter(|x| x.abs() < 1 << 20).unwrap_or(*x)
                        + rng.between(-1, 1) * rng.between(0, 1);
                }
            }
            let distance = 1 + rng.below(4) as u8;
            let window = Window { steps: &steps, off_grid };
            let made =
                encode_after(&model, Reference { tail: &tail, distance }, window, &mut workspace, &mut out)
                    .unwrap();
            let theirs = twin.encode_after(&tail, distance, window);
            let ours = made.map(|made| {
                rungs[match made.rung {
                    Rung::Hold => 0,
                    Rung::Context => 1,
                    _ => 2,
                }] += 1;
                let both = out[..made.code_len + made.alone_len].to_vec();
                (made.code_len, both, workspace[..steps.len()].to_vec())
            });
            assert_eq!(theirs, ours, "window {n_windows}");
            n_made += usize::from(ours.is_some());
            n_windows += 1;
            let len = encode(&model, window, &mut workspace, &mut out).unwrap().code_len;
            let decoded = decode(&model, &out[..len], &mut workspace, &mut read).unwrap();
            tail = read[..decoded.n_samples * model.channels()].to_vec();
        }
    }
    assert!(
        n_made > n_windows / 4 && rungs.iter().all(|&n| n > n_windows / 100),
        "{n_made} of {n_windows}, {rungs:?}"
    );
    println!("{n_windows} windows after a tail, {n_made} refer; hold, context, predict: {rungs:?}");
}

/// Networks of the first kind are no longer made; a bundle that has them may still expect a window.
#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn old_networks_expect_windows_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/codec/v1_predict/model.bin");
    let old = fs::read(path).unwrap();
    let n_channels = Model::parse(&old).unwrap().channels();
    let (mut rng, mut twin) = (Rng(4), Twin::start());
    // Of long windows the first symbols soon say values that no grid has.
    for (head, n_samples) in (0..7u8).flat_map(|head| [(head, old[10]), (head, 2)]) {
        let mut bytes = old.clone();
        bytes.extend([&[10, n_channels as u8 + 1, 0, 0, 0, head][..], &vec![9; n_channels]].concat());
        let len = bytes.len() as u32;
        bytes[5..9].copy_from_slice(&len.to_le_bytes());
        bytes[10] = n_samples;
        let model = Model::parse(&bytes).ok();
        assert_eq!(twin.model(&bytes), model.is_some(), "head {head}");
        assert_eq!(model.is_some(), head < 6);
        let Some(model) = model else { continue };
        let random = (0..200).map(|n| (n % 8 == 0, window(model.samples(), n_channels, &mut rng)));
        let mut windows: Vec<_> = random.chain([(false, said(&model))]).collect();
        for _ in 0..100 {
            let mut near = said(&model);
            for (at, x) in near.iter_mut().enumerate().filter(|(_, x)| is_step(**x)) {
                let bound = model.channel(at % n_channels).grid.bound_steps as i32;
                *x += rng.between(-bound, bound);
            }
            windows.push((false, near));
        }
        let mut tally = Tally::default();
        twin.compare(&model, &windows, &mut tally);
        assert!(tally.n_empty > 0 || head > 2 || n_samples > 2, "head {head}");
    }
}

#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn damaged_models_are_refused_alike() {
    let (mut rng, mut twin) = (Rng(2), Twin::start());
    let (mut n_refused, mut n_taken) = (0, 0);
    for _ in 0..200 {
        let parts = model_parts(&mut rng);
        let sound = parts.emit();
        for _ in 0..40 {
            let mut bytes = sound.clone();
            for _ in 0..1 + rng.below(3) {
                let at = match rng.below(3) {
                    0 => rng.below(bytes.len() as u64),
                    // Where counts and what is expected stand.
                    1 => (bytes.len() - 1 - rng.below(bytes.len().min(80) as u64) as usize) as u64,
                    _ => rng.below(bytes.len().min(120) as u64),
                };
                bytes[at as usize] ^= 1 << rng.below(8);
            }
            if rng.below(4) == 0 {
                bytes.truncate(rng.below(bytes.len() as u64) as usize);
            }
            let model = Model::parse(&bytes).ok();
            assert_eq!(twin.model(&bytes), model.is_some(), "{bytes:?}");
            match model {
                // What is taken for a model can be encoded with, whatever its bytes say.
                Some(model) => {
                    let windows: Vec<_> = (0..4)
                        .map(|_| (false, window(model.samples(), model.channels(), &mut rng)))
                        .chain([(false, said(&model))])
                        .collect();
                    twin.compare(&model, &windows, &mut Tally::default());
                    n_taken += 1;
                }
                None => n_refused += 1,
            }
        }
    }
    assert!(n_refused > 1000 && n_taken > 1000, "{n_refused} refused, {n_taken} taken");
}

#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn limits_of_counts_and_of_what_is_expected_are_alike() {
    let (mut rng, mut twin) = (Rng(5), Twin::start());
    let mut n_kinds = [[0; 2]; 8];
    for _ in 0..2000 {
        let mut parts = model_parts(&mut rng);
        let kind = rng.below(n_kinds.len() as u64) as usize;
        let idx = rng.below(parts.channels.len() as u64) as usize;
        let (counts, expected) = (&mut parts.counts, &mut parts.expected);
        let count = counts.as_mut().map(|counts| &mut counts[idx]);
        match (kind, count, expected) {
            (0, Some(_), _) => {
                // One less than the counts may be apart, where that is any.
                let bound = &mut parts.channels[idx].grid.bound_steps;
                *bound = bound.saturating_sub(1);
            }
            (1, Some(count), _) => {
                count.period = count.residues[count.residues.len() - 1] + rng.below(2) as u16
            }
            (2, Some(count), _) => count.residues.push(count.residues[count.residues.len() - 1]),
            (3, Some(count), _) => {
                let n = 63 + rng.below(3) as u16;
                *count = CountPart { bound: 0, period: n, residues: (0..n).collect() };
            }
            (4, Some(count), _) => count.bound = (1 << 24) + rng.below(2) as u32,
            (5, _, Some(expected)) => expected.head = 5 + rng.below(2) as u8,
            (6, _, Some(expected)) => {
                let n_bins = parts.channels[idx].first.weights.len() - 2;
                expected.bins[idx] = n_bins as u8 - rng.below(2) as u8;
            }
            (7, _, Some(expected)) => expected.bins.truncate(idx + 1),
            _ => continue,
        }
        let bytes = parts.emit();
        let is_sound = Model::parse(&bytes).is_ok();
        assert_eq!(twin.model(&bytes), is_sound, "kind {kind}: {parts:?}");
        n_kinds[kind][usize::from(is_sound)] += 1;
    }
    assert!(n_kinds.iter().all(|n| n[0] > 0), "refused and taken: {n_kinds:?}");
}

#[test]
#[ignore = "wants the program in C: cargo xtask c"]
fn readings_have_the_same_steps() {
    let (mut rng, mut twin) = (Rng(3), Twin::start());
    for _ in 0..300 {
        let quantum = [1, 3, 25, 1 << 20, 1 << 34][rng.below(5) as usize];
        let grid = Grid {
            scale: rng.below(16) as u8,
            origin: rng.next() as i64 >> (2 + rng.below(60)),
            quantum,
            bound_steps: 1,
            rounds: rng.below(2) == 0,
        };
        let bytes = Parts::untrained(1, 1000, &[Outline::new("x", grid, (-4, 8))]).emit();
        assert!(twin.model(&bytes));
        for _ in 0..100 {
            let near = grid.value(rng.between(-500, 500)).map_or(0, Decimal::mantissa);
            let (mantissa, digits) = match rng.below(3) {
                0 => (near, grid.value(0).map_or(0, Decimal::scale)),
                1 => (near.saturating_add(rng.between(-9, 9).into()), rng.below(16) as u8),
                _ => (rng.next() as i64 >> rng.below(64), rng.below(19) as u8),
            };
            let expected = grid.quantise(Decimal::new(mantissa, digits));
            twin.to.write_all(&[b'Q', 0, 1]).unwrap();
            twin.to.write_all(&mantissa.to_le_bytes()).unwrap();
            twin.to.write_all(&[digits]).unwrap();
            twin.to.flush().unwrap();
            let mut answer = [0; 5];
            twin.from.read_exact(&mut answer).unwrap();
            let [a, b, c, d, exact] = answer;
            let step = i32::from_le_bytes([a, b, c, d]);
            assert_eq!((step, exact == 1), (expected.step, expected.exact), "{grid:?} {mantissa}e-{digits}");
        }
    }
}
