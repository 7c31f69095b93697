//! A seed-mode bundle in words.

use kinglet_codec::seed::{Activation, Half, Layer, SeedModel, Shape};
use serde_json::{Value, json};

use crate::failure::{Result, printable};
use crate::hex;
use crate::term::style::BOLD;
use crate::term::{Align, Out, Table};

pub(crate) fn show(out: &mut Out, model: &SeedModel) -> Result {
    let numbers = if model.is_int8() { "int8" } else { "float" };
    let channels: Vec<Value> = model
        .channels()
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "unit": c.unit, "range": [c.range.0, c.range.1],
                "decoded": [c.decoded.0, c.decoded.1],
            })
        })
        .collect();
    out.result(&json!({
        "kind": "seed_bundle", "name": model.name(), "identity": hex::emit(&model.identity()),
        "fingerprint": hex::emit(&model.fingerprint()), "numbers": numbers, "channels": channels,
        "samples": model.n_samples(), "latent": model.latent_len(), "encoder": model.encoder().map(layers),
        "decoder": layers(model.decoder()), "parameters": n_parameters(model), "report": model.report(),
    }))?;
    out.line(format_args!("{BOLD}A seed-mode bundle{BOLD:#}, \"{}\"", printable(model.name())))?;
    out.line("protection none: its latents hide readings from a casual look")?;
    out.line(format_args!("identity   {}", hex::emit(&model.identity())))?;
    out.line(format_args!(
        "windows    {} × {} channels become a latent of {}",
        samples(model.n_samples()),
        model.channels().len(),
        model.latent_len()
    ))?;
    let encoder = model.encoder().map_or("none: it only decodes".into(), |half| layers(half).join(", "));
    out.line(format_args!("encoder    {encoder}"))?;
    out.line(format_args!("decoder    {}", layers(model.decoder()).join(", ")))?;
    out.line(format_args!("numbers    {} weights and biases, {numbers}", n_parameters(model)))?;
    if let Some(error) = error_of(model.report()) {
        out.line(format_args!("error      {error}"))?;
    }
    let mut table = Table::new(&[
        ("channel", Align::Left),
        ("unit", Align::Left),
        ("from", Align::Right),
        ("to", Align::Right),
        ("decoded from", Align::Right),
        ("to", Align::Right),
    ]);
    for c in model.channels() {
        let ends = [c.range.0, c.range.1, c.decoded.0, c.decoded.1].map(|end| end.to_string());
        table.row([c.name.clone(), c.unit.clone()].into_iter().chain(ends));
    }
    Ok(out.table(&table)?)
}

fn samples(n: usize) -> String {
    if n == 1 { "1 sample".into() } else { format!("{n} samples") }
}

fn layers(half: &Half) -> Vec<String> {
    half.layers.iter().map(layer).collect()
}

fn layer(layer: &Layer) -> String {
    let activation = match layer.activation {
        Activation::Linear => "",
        Activation::Relu => " relu",
        Activation::Tanh => " tanh",
        Activation::Sigmoid => " sigmoid",
    };
    match layer.shape {
        Shape::Dense { n_in, n_out } => format!("{n_in}→{n_out}{activation}"),
        Shape::Conv1d { n_steps, channels_in, channels_out, kernel, stride } => {
            format!("conv {n_steps}·{channels_in}→{channels_out} kernel {kernel} stride {stride}{activation}")
        }
    }
}

fn n_parameters(model: &SeedModel) -> usize {
    let halves = model.encoder().into_iter().chain([model.decoder()]);
    halves.flat_map(|half| &half.layers).map(|l| l.shape.n_rows() * (l.shape.row_len() + 1)).sum()
}

/// What training measured, where the report has it.
fn error_of(report: &Value) -> Option<String> {
    let range = &report["range"];
    if let (Some(mean), Some(max)) = (range["mean"].as_f64(), range["max"].as_f64()) {
        return Some(format!(
            "{mean:.4} on average and {max:.4} at most over the sensor's range, measured in training"
        ));
    }
    let test = report["test"].as_array()?.iter().map(|test| {
        let (mean, max) = (test["mean"].as_f64()?, test["max"].as_f64()?);
        Some(format!("{} {mean:.4} on average, {max:.4} at most", printable(test["name"].as_str()?)))
    });
    Some(test.collect::<Option<Vec<_>>>()?.join("; ") + " on readings training had not seen")
}
