//! CPU seconds of the trainer on two workloads.
//!
//! `cargo bench -p kinglet-train --bench trainer [-- seed|win|quant]`; `benches/keras/compare.sh` runs the same in Keras
//! on the same machine and prints the ratio.
#![allow(clippy::print_stdout, reason = "a bench prints")]
#![allow(missing_docs, reason = "a program")]

use std::hint::black_box;
use std::ops::ControlFlow;

use kinglet_train::nn::{
    Activation, FitConfig, FitReport, Isa, Mse, Net, NetBuilder, Rng, Samples, WeightScale, fit,
};

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    if wanted("seed") {
        for isa in Isa::available() {
            report("seed", isa, || seed(isa));
        }
    }
    if wanted("win") {
        for isa in Isa::available() {
            report("win", isa, || win(isa, None));
        }
    }
    if wanted("quant") {
        report("win, int8 weights", Isa::detect(), || win(Isa::detect(), Some((8, WeightScale::PerOutput))));
    }
}

/// 5,000 readings, dense 1-32-16-2-16-32-1, batch 32, 200 epochs: 25,000 steps, judged after each epoch.
fn seed(isa: Isa) -> FitReport {
    let mut rng = Rng::new(1);
    let noise = |rng: &mut Rng| (0..12).map(|_| rng.uniform()).sum::<f32>() - 6.0;
    let data: Vec<f32> = (0..5000)
        .map(|i| {
            let t = i as f32 * 100.0 / 4999.0;
            ((25.0 * (1.0 + (0.1 * t).sin()) + 0.5 * noise(&mut rng)) / 50.0).clamp(0.0, 1.0)
        })
        .collect();
    let (mut b, x) = NetBuilder::new(1);
    let h = b.dense(x, 32, Activation::Relu);
    let h = b.dense(h, 16, Activation::Relu);
    let z = b.dense(h, 2, Activation::Linear);
    let h = b.dense(z, 16, Activation::Relu);
    let h = b.dense(h, 32, Activation::Relu);
    let y = b.dense(h, 1, Activation::Sigmoid);
    let (train, held) = data.split_at(4000);
    let config = FitConfig { n_epochs: 200, batch_len: 32, isa, ..FitConfig::default() };
    run(b.build(&[y], 1), train, Some(held), &config)
}

/// 50,000 windows of 128 numbers, dense 128-64-32-8-32-64-128, batch 128, 20 epochs.
fn win(isa: Isa, quant: Option<(u8, WeightScale)>) -> FitReport {
    let mut rng = Rng::new(2);
    let mut data = Vec::with_capacity(50_000 * 128);
    for _ in 0..50_000 {
        let (a, b, c, d) = (rng.uniform(), rng.uniform(), rng.uniform(), rng.uniform());
        data.extend((0..128).map(|t| {
            let t = t as f32 / 128.0;
            (6.3 * (a + (1.0 + 3.0 * b) * t)).sin() * c + d * t + 0.02 * (rng.uniform() - 0.5)
        }));
    }
    let (mut b, x) = NetBuilder::new(128);
    let mut h = x;
    for width in [64, 32] {
        h = b.dense(h, width, Activation::Relu);
    }
    h = b.dense(h, 8, Activation::Linear);
    for width in [32, 64] {
        h = b.dense(h, width, Activation::Relu);
    }
    let y = b.dense(h, 128, Activation::Linear);
    let mut net = b.build(&[y], 1);
    net.set_weight_bits(quant);
    let config = FitConfig { n_epochs: 20, batch_len: 128, isa, ..FitConfig::default() };
    run(net, &data, None, &config)
}

fn run(mut net: Net, train: &[f32], held: Option<&[f32]>, config: &FitConfig) -> FitReport {
    let samples = |inputs| Samples { inputs, targets: None };
    let before = cpu_seconds();
    let report =
        fit(
            &mut net,
            samples(train),
            held.map(samples),
            &mut Mse,
            config,
            &mut |_| ControlFlow::Continue(()),
        );
    let took = cpu_seconds() - before;
    black_box(net.params());
    println!("    fit alone: {took:.3} CPU-s");
    report.expect("the workload trains")
}

fn report(name: &str, isa: Isa, work: impl FnOnce() -> FitReport) {
    println!("{name} on {}:", isa.name());
    let report = work();
    let loss = report.train_loss.last().copied().unwrap_or(f64::NAN);
    println!("    {} steps, last training loss {loss:.3e}", report.n_steps);
}

/// CPU time of this thread where the system tells it (Linux), else time by the clock.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = stat.and_then(|s| s.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()));
    nanos.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().map_or(0.0, |d| d.as_secs_f64()),
        |nanos| nanos * 1e-9,
    )
}
