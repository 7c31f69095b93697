//! The outline: what a model connects, in a few bytes, without its weights.

use std::string::String;
use std::vec::Vec;

use super::super::{
    Activation, Affine, Half, LAYERS_MAX, Layer, Numbers, PARAMS_MAX, SeedChannel, SeedError, SeedParts,
    Shape, WIDTH_MAX,
};

const MAGIC: &[u8; 4] = b"KNGS";
const VERSION: u8 = 1;

pub(super) fn emit(parts: &SeedParts) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let int8 = parts.decoder.input.is_some();
    out.extend([VERSION, u8::from(int8) | u8::from(parts.encoder.is_some()) << 1]);
    out.push(parts.channels.len() as u8);
    out.extend((parts.n_samples as u16).to_le_bytes());
    for channel in &parts.channels {
        for v in [channel.range.0, channel.range.1, channel.decoded.0, channel.decoded.1] {
            out.extend(v.to_le_bytes());
        }
        for text in [&channel.name, &channel.unit] {
            out.push(text.len() as u8);
            out.extend(text.as_bytes());
        }
    }
    for half in parts.encoder.iter().chain([&parts.decoder]) {
        out.push(half.layers.len() as u8);
        if let Some(input) = half.input {
            affine(&mut out, input);
        }
        half.layers.iter().for_each(|l| layer(&mut out, l));
    }
    out
}

fn layer(out: &mut Vec<u8>, layer: &Layer) {
    let (kind, numbers) = match layer.shape {
        Shape::Dense { n_in, n_out } => (0, [n_in, n_out, 0, 0, 0]),
        Shape::Conv1d { n_steps, channels_in, channels_out, kernel, stride } => {
            (1, [n_steps, channels_in, channels_out, kernel, stride])
        }
    };
    out.extend([kind, layer.activation as u8]);
    let n = if kind == 0 { 2 } else { 5 };
    numbers[..n].iter().for_each(|&v| out.extend((v as u16).to_le_bytes()));
    if let Numbers::Int8 { weight_scale, output, .. } = &layer.numbers {
        out.extend(weight_scale.to_le_bytes());
        affine(out, *output);
    }
}

fn affine(out: &mut Vec<u8>, affine: Affine) {
    out.extend(affine.scale.to_le_bytes());
    out.push(affine.zero as u8);
}

/// Reads an outline; weights are left empty. Widths and sums are within limits when it returns.
pub(super) fn parse(bytes: &[u8]) -> Result<SeedParts, SeedError> {
    let mut r = Reader(bytes);
    if r.take(4)? != MAGIC {
        return Err(SeedError::Model("its outline does not begin with KNGS"));
    }
    if r.u8()? != VERSION {
        return Err(SeedError::Model("its version is not 1"));
    }
    let flags = r.u8()?;
    if flags > 3 {
        return Err(SeedError::Model("its flags are unknown"));
    }
    let (int8, has_encoder) = (flags & 1 != 0, flags & 2 != 0);
    let n_channels = r.u8()?;
    let n_samples = r.u16()?;
    let mut channels = Vec::new();
    for _ in 0..n_channels {
        let range = (r.f32()?, r.f32()?);
        let decoded = (r.f32()?, r.f32()?);
        channels.push(SeedChannel { name: r.text()?, unit: r.text()?, range, decoded });
    }
    let mut n_params = 0;
    let mut half = || -> Result<Half, SeedError> {
        let n_layers = usize::from(r.u8()?);
        if n_layers > LAYERS_MAX {
            return Err(SeedError::Model("it has too many layers"));
        }
        let input = if int8 { Some(r.affine()?) } else { None };
        let layers = (0..n_layers).map(|_| r.layer(int8)).collect::<Result<Vec<_>, _>>()?;
        n_params += layers.iter().map(|l| l.shape.n_rows() * (l.shape.row_len() + 1)).sum::<usize>();
        if n_params > PARAMS_MAX {
            return Err(SeedError::Model("it has too many weights"));
        }
        Ok(Half { layers, input })
    };
    let encoder = if has_encoder { Some(half()?) } else { None };
    let decoder = half()?;
    if !r.0.is_empty() {
        return Err(SeedError::Model("its outline goes on after its end"));
    }
    Ok(SeedParts {
        name: String::new(),
        channels,
        n_samples,
        encoder,
        decoder,
        report: serde_json::Value::Null,
    })
}

/// Widths within limits: nothing computed from the shape overflows or divides by zero afterwards.
pub(super) fn check_shape(shape: &Shape) -> Result<(), SeedError> {
    let fine = match *shape {
        Shape::Dense { n_in, n_out } => [n_in, n_out].iter().all(|n| (1..=WIDTH_MAX).contains(n)),
        Shape::Conv1d { n_steps, channels_in, channels_out, kernel, stride } => {
            [n_steps, channels_in, channels_out, kernel, stride].iter().all(|n| (1..=WIDTH_MAX).contains(n))
                && kernel <= n_steps
                && shape.n_in() <= WIDTH_MAX
                && shape.n_out() <= WIDTH_MAX
        }
    };
    if fine { Ok(()) } else { Err(SeedError::Model("a layer is wider than 1024 or has no width")) }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], SeedError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(SeedError::Model("its outline is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, SeedError> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<usize, SeedError> {
        let b = self.take(2)?;
        Ok(usize::from(u16::from_le_bytes([b[0], b[1]])))
    }

    fn f32(&mut self) -> Result<f32, SeedError> {
        let b = self.take(4)?;
        Ok(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn text(&mut self) -> Result<String, SeedError> {
        let n = usize::from(self.u8()?);
        let text = core::str::from_utf8(self.take(n)?);
        text.map(String::from).map_err(|_| SeedError::Model("a name in it is not UTF-8"))
    }

    fn affine(&mut self) -> Result<Affine, SeedError> {
        Ok(Affine { scale: self.f32()?, zero: self.u8()? as i8 })
    }

    fn layer(&mut self, int8: bool) -> Result<Layer, SeedError> {
        let kind = self.u8()?;
        let activation = match self.u8()? {
            0 => Activation::Linear,
            1 => Activation::Relu,
            2 => Activation::Tanh,
            3 => Activation::Sigmoid,
            _ => return Err(SeedError::Model("an activation in it is unknown")),
        };
        let shape = match kind {
            0 => Shape::Dense { n_in: self.u16()?, n_out: self.u16()? },
            1 => Shape::Conv1d {
                n_steps: self.u16()?,
                channels_in: self.u16()?,
                channels_out: self.u16()?,
                kernel: self.u16()?,
                stride: self.u16()?,
            },
            _ => return Err(SeedError::Model("a layer in it is of an unknown kind")),
        };
        check_shape(&shape)?;
        let numbers = if int8 {
            let weight_scale = self.f32()?;
            let output = self.affine()?;
            Numbers::Int8 { weights: Vec::new(), bias: Vec::new(), weight_scale, output }
        } else {
            Numbers::Float { weights: Vec::new(), bias: Vec::new() }
        };
        Ok(Layer { shape, activation, numbers })
    }
}
