//! The seed bundle file: an outline, the weights as tensors of their own, and a report (`spec/seed.md`).

mod outline;

use std::borrow::Cow;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};

use super::int8::Factor;
use super::{
    Activation, FILE_LEN_MAX, Half, LAYERS_MAX, Layer, Numbers, PARAMS_MAX, SeedError, SeedModel, SeedParts,
    Shape, WIDTH_MAX,
};

/// The tensor that marks a seed bundle.
pub(crate) const MARK: &str = "seed";

pub(super) fn parse(bytes: &[u8]) -> Result<SeedModel, SeedError> {
    if bytes.len() > FILE_LEN_MAX {
        return Err(SeedError::TooLarge(bytes.len()));
    }
    let container = |e: safetensors::SafeTensorError| SeedError::Container(e.to_string());
    let file = SafeTensors::deserialize(bytes).map_err(container)?;
    if file.tensor(MARK).is_err() && file.tensor("device").is_ok() {
        return Err(SeedError::WindowCodec);
    }
    let part = |name: &str, dtype: Dtype| {
        let tensor = file.tensor(name).map_err(container)?;
        match tensor.dtype() == dtype {
            true => Ok(tensor.data()),
            false => Err(SeedError::Container(format!("tensor `{name}` is not {dtype:?}"))),
        }
    };
    let mut parts = outline::parse(part(MARK, Dtype::U8)?)?;
    let outer: Outer = serde_json::from_slice(part("report", Dtype::U8)?)
        .map_err(|e| SeedError::Container(format!("its report is damaged: {e}")))?;
    (parts.name, parts.report) = (outer.name, outer.report);
    // The outline has passed its limits: what is allocated here fits into the file that was read.
    let mut n_tensors = 2;
    for (name, half) in halves_mut(&mut parts) {
        for (i, layer) in half.layers.iter_mut().enumerate() {
            n_tensors += 2;
            let read = |what: &str, dtype| {
                let name = tensor_name(name, i, what);
                let n = if what == "bias" { layer.shape.n_rows() } else { n_weights(&layer.shape) };
                let data = part(&name, dtype)?;
                let width = if dtype == Dtype::I8 { 1 } else { 4 };
                if data.len() != n * width {
                    return Err(SeedError::Container(format!("tensor `{name}` has another shape")));
                }
                Ok(data)
            };
            match &mut layer.numbers {
                Numbers::Float { weights, bias } => {
                    *weights = words(read("weight", Dtype::F32)?).map(f32::from_le_bytes).collect();
                    *bias = words(read("bias", Dtype::F32)?).map(f32::from_le_bytes).collect();
                }
                Numbers::Int8 { weights, bias, .. } => {
                    *weights = read("weight", Dtype::I8)?.iter().map(|&b| b as i8).collect();
                    *bias = words(read("bias", Dtype::I32)?).map(i32::from_le_bytes).collect();
                }
            }
        }
    }
    if file.len() != n_tensors {
        return Err(SeedError::Container("it has tensors that do not belong there".into()));
    }
    SeedModel::new(parts)
}

pub(super) fn emit(parts: &SeedParts) -> Vec<u8> {
    let outer = Outer { name: parts.name.clone(), report: parts.report.clone() };
    // Serialising maps with string keys into memory has no way to fail, nor have tensors of matching lengths.
    let report = serde_json::to_vec(&outer).unwrap_or_default();
    let outline = outline::emit(parts);
    let mut tensors: Vec<Tensor<'_>> = Vec::new();
    let bytes = |name: &str, b| (name.to_string(), Dtype::U8, std::vec![<[u8]>::len(b)], Cow::Borrowed(b));
    tensors.push(bytes(MARK, &outline));
    tensors.push(bytes("report", &report));
    for (name, half) in halves(parts) {
        for (i, layer) in half.layers.iter().enumerate() {
            let shape = match layer.shape {
                Shape::Dense { n_in, n_out } => std::vec![n_out, n_in],
                Shape::Conv1d { channels_in, channels_out, kernel, .. } => {
                    std::vec![channels_out, kernel, channels_in]
                }
            };
            let (w, b) = match layer.numbers {
                Numbers::Float { .. } => (Dtype::F32, Dtype::F32),
                Numbers::Int8 { .. } => (Dtype::I8, Dtype::I32),
            };
            let (weights, bias) = numbers(layer);
            tensors.push((tensor_name(name, i, "weight"), w, shape, weights.into()));
            tensors.push((tensor_name(name, i, "bias"), b, std::vec![layer.shape.n_rows()], bias.into()));
        }
    }
    let views = tensors.iter().filter_map(|(name, dtype, shape, data)| {
        Some((name.as_str(), TensorView::new(*dtype, shape.clone(), data).ok()?))
    });
    safetensors::serialize(views, None).unwrap_or_default()
}

pub(super) fn identity(parts: &SeedParts) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(outline::emit(parts));
    for (_, half) in halves(parts) {
        for layer in &half.layers {
            let (weights, bias) = numbers(layer);
            hash.update(weights);
            hash.update(bias);
        }
    }
    hash.finalize().into()
}

/// Everything that is relied upon later.
pub(super) fn check(parts: &SeedParts) -> Result<(), SeedError> {
    let bad = |why| Err(SeedError::Model(why));
    if !(1..=16).contains(&parts.channels.len()) || !(1..=256).contains(&parts.n_samples) {
        return bad("1 to 16 channels and 1 to 256 samples are possible");
    }
    for channel in &parts.channels {
        if channel.name.len() > 32 || channel.unit.len() > 16 {
            return bad("a channel's name has at most 32 bytes, its unit 16");
        }
        let ((lo, hi), (at_0, at_1)) = (channel.range, channel.decoded);
        if !(lo.is_finite()
            && hi.is_finite()
            && lo < hi
            && at_0.is_finite()
            && at_1.is_finite()
            && at_0 < at_1)
        {
            return bad("a channel's range has no extent");
        }
    }
    let n_values = parts.channels.len() * parts.n_samples;
    let latent_len = parts.decoder.layers.first().map_or(0, |l| l.shape.n_in());
    check_half(&parts.decoder, latent_len, n_values)?;
    if let Some(encoder) = &parts.encoder {
        check_half(encoder, n_values, latent_len)?;
        if encoder.input.is_some() != parts.decoder.input.is_some() {
            return bad("one half is float, the other int8");
        }
    }
    Ok(())
}

fn check_half(half: &Half, n_in: usize, n_out: usize) -> Result<(), SeedError> {
    let bad = |why| Err(SeedError::Model(why));
    if !(1..=LAYERS_MAX).contains(&half.layers.len()) {
        return bad("1 to 16 layers are possible");
    }
    let (mut width, mut read) = (n_in, half.input);
    for layer in &half.layers {
        outline::check_shape(&layer.shape)?;
        if layer.shape.n_in() != width {
            return bad("a layer does not fit the one before");
        }
        width = layer.shape.n_out();
        let (n_weights, n_rows) = (n_weights(&layer.shape), layer.shape.n_rows());
        match (&layer.numbers, read) {
            (Numbers::Float { weights, bias }, None) => {
                if weights.len() != n_weights || bias.len() != n_rows {
                    return bad("a layer has too few or too many weights");
                }
                if !weights.iter().chain(bias).all(|w| w.is_finite()) {
                    return bad("a weight is not finite");
                }
            }
            (Numbers::Int8 { weights, bias, weight_scale, output }, Some(input)) => {
                if weights.len() != n_weights || bias.len() != n_rows {
                    return bad("a layer has too few or too many weights");
                }
                if weights.contains(&-128) || bias.iter().any(|b| b.unsigned_abs() > 1 << 30) {
                    return bad("a weight or bias is too large");
                }
                if !matches!(layer.activation, Activation::Linear | Activation::Relu) {
                    return bad("int8 layers are linear or ReLU");
                }
                let usable = |s: f32| s.is_normal() && s > 0.0;
                let scales = [input.scale, *weight_scale, output.scale];
                if !scales.into_iter().all(usable)
                    || !Factor::of(&layer.shape, input.scale, *weight_scale, output.scale).shrinks()
                {
                    return bad("a layer's scales do not fit integers");
                }
                read = Some(*output);
            }
            _ => return bad("float and int8 layers are mixed"),
        }
    }
    if width == n_out { Ok(()) } else { bad("the two halves do not fit each other") }
}

/// Name, type, shape, data.
type Tensor<'a> = (String, Dtype, Vec<usize>, Cow<'a, [u8]>);

fn halves(parts: &SeedParts) -> impl Iterator<Item = (&'static str, &Half)> {
    let encoder = parts.encoder.as_ref().map(|h| ("encoder", h));
    encoder.into_iter().chain([("decoder", &parts.decoder)])
}

fn halves_mut(parts: &mut SeedParts) -> impl Iterator<Item = (&'static str, &mut Half)> {
    let encoder = parts.encoder.as_mut().map(|h| ("encoder", h));
    encoder.into_iter().chain([("decoder", &mut parts.decoder)])
}

fn tensor_name(half: &str, layer: usize, what: &str) -> String {
    format!("{half}.{layer}.{what}")
}

fn n_weights(shape: &Shape) -> usize {
    shape.n_rows() * shape.row_len()
}

/// Weights and biases as little-endian bytes.
fn numbers(layer: &Layer) -> (Vec<u8>, Vec<u8>) {
    match &layer.numbers {
        Numbers::Float { weights, bias } => {
            let bytes = |v: &[f32]| v.iter().flat_map(|w| w.to_le_bytes()).collect();
            (bytes(weights), bytes(bias))
        }
        Numbers::Int8 { weights, bias, .. } => {
            (weights.iter().map(|&w| w as u8).collect(), bias.iter().flat_map(|b| b.to_le_bytes()).collect())
        }
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]])
}

const _: () = assert!(WIDTH_MAX * 255 * 127 < 1 << 30);
const _: () = assert!(PARAMS_MAX * 4 < FILE_LEN_MAX);

#[derive(serde::Serialize, serde::Deserialize)]
struct Outer {
    name: String,
    report: serde_json::Value,
}
