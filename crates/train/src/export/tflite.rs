//! The `.tflite` file: a FlatBuffer of TensorFlow Lite's schema, version 3, its tables pushed slot by slot.

use std::collections::BTreeMap;

use flatbuffers::{FlatBufferBuilder, Push, PushAlignment, TableUnfinishedWIPOffset, VOffsetT, WIPOffset};
use kinglet_codec::seed::{Activation, Affine, Half, Layer, Numbers, Shape};

use super::ExportError;

/// One half of a model as a `.tflite` file's bytes; `name` is `encoder` or `decoder`.
///
/// Input and output are `[1, n]`, or `[1, 1, steps, channels]` before a convolution.
pub fn tflite(half: &Half, name: &'static str, description: &str) -> Result<Vec<u8>, ExportError> {
    let mut graph = Graph::default();
    let refuse = |layer, why| ExportError::Layer { layer, half: name, why };
    let Some(first) = half.layers.first() else { return Err(refuse(0, "there is none")) };
    let input_shape = match first.shape {
        Shape::Dense { n_in, .. } => vec![1, n_in],
        Shape::Conv1d { n_steps, channels_in, .. } => vec![1, 1, n_steps, channels_in],
    };
    let kind = if half.input.is_some() { INT8 } else { FLOAT32 };
    let mut at = graph.tensor("input", input_shape, kind, Vec::new(), half.input.map(Scale::from));
    let mut read = half.input;
    for (i, layer) in half.layers.iter().enumerate() {
        if matches!(layer.shape, Shape::Conv1d { .. })
            && i > 0
            && matches!(half.layers[i - 1].shape, Shape::Dense { .. })
        {
            return Err(refuse(
                i,
                "a convolution behind a dense layer needs a RESHAPE: put convolutions first",
            ));
        }
        at = graph.layer(i, layer, at, read);
        if let Numbers::Int8 { output, .. } = layer.numbers {
            read = Some(output);
        }
        if let Some(op) = match layer.activation {
            Activation::Sigmoid => Some(LOGISTIC),
            Activation::Tanh => Some(TANH),
            Activation::Linear | Activation::Relu => None,
        } {
            if kind == INT8 {
                return Err(refuse(
                    i,
                    "sigmoid and tanh have no int8 here: train with linear and ReLU layers",
                ));
            }
            let shape = graph.tensors[at].shape.clone();
            let out = graph.tensor(&format!("activation_{i}"), shape, kind, Vec::new(), None);
            graph.operators.push(Operator {
                op,
                version: 1,
                inputs: vec![at],
                output: out,
                options: Options::None,
            });
            at = out;
        }
    }
    Ok(graph.emit(name, description, at))
}

const FLOAT32: i8 = 0;
const INT32: i8 = 2;
const INT8: i8 = 9;

const CONV_2D: i32 = 3;
const FULLY_CONNECTED: i32 = 9;
const LOGISTIC: i32 = 14;
const TANH: i32 = 28;

struct Scale {
    scale: f32,
    zero: i64,
}

impl From<Affine> for Scale {
    fn from(affine: Affine) -> Self {
        Self { scale: affine.scale, zero: i64::from(affine.zero) }
    }
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    kind: i8,
    data: Vec<u8>,
    scale: Option<Scale>,
}

enum Options {
    None,
    Dense { relu: bool },
    Conv { relu: bool, stride: usize },
}

struct Operator {
    op: i32,
    version: i32,
    inputs: Vec<usize>,
    output: usize,
    options: Options,
}

#[derive(Default)]
struct Graph {
    tensors: Vec<Tensor>,
    operators: Vec<Operator>,
}

impl Graph {
    fn tensor(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        kind: i8,
        data: Vec<u8>,
        scale: Option<Scale>,
    ) -> usize {
        self.tensors.push(Tensor { name: name.into(), shape, kind, data, scale });
        self.tensors.len() - 1
    }

    /// Weights, biases and output of one layer; the output's index.
    fn layer(&mut self, i: usize, layer: &Layer, input: usize, read: Option<Affine>) -> usize {
        let (shape, out_shape, op) = match layer.shape {
            Shape::Dense { n_in, n_out } => (vec![n_out, n_in], vec![1, n_out], FULLY_CONNECTED),
            Shape::Conv1d { channels_in, channels_out, kernel, .. } => (
                vec![channels_out, 1, kernel, channels_in],
                vec![1, 1, layer.shape.n_steps_out(), channels_out],
                CONV_2D,
            ),
        };
        let n_rows = vec![layer.shape.n_rows()];
        let (w, b, out) = (format!("weights_{i}"), format!("bias_{i}"), format!("layer_{i}"));
        let (weights, bias, output, int8) = match &layer.numbers {
            Numbers::Float { weights, bias } => {
                let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect();
                let weights = self.tensor(&w, shape, FLOAT32, bytes(weights), None);
                let bias = self.tensor(&b, n_rows, FLOAT32, bytes(bias), None);
                (weights, bias, self.tensor(&out, out_shape, FLOAT32, Vec::new(), None), false)
            }
            Numbers::Int8 { weights, bias, weight_scale, output } => {
                let data = weights.iter().map(|&v| v as u8).collect();
                let scale = Scale { scale: *weight_scale, zero: 0 };
                let weights = self.tensor(&w, shape, INT8, data, Some(scale));
                let data = bias.iter().flat_map(|v| v.to_le_bytes()).collect();
                let scale = Scale { scale: read.map_or(1.0, |r| r.scale) * weight_scale, zero: 0 };
                let bias = self.tensor(&b, n_rows, INT32, data, Some(scale));
                (weights, bias, self.tensor(&out, out_shape, INT8, Vec::new(), Some((*output).into())), true)
            }
        };
        let relu = layer.activation == Activation::Relu;
        // The versions in which the operators learned int8.
        let (options, version) = match layer.shape {
            Shape::Dense { .. } => (Options::Dense { relu }, if int8 { 4 } else { 1 }),
            Shape::Conv1d { stride, .. } => (Options::Conv { relu, stride }, if int8 { 3 } else { 1 }),
        };
        self.operators.push(Operator { op, version, inputs: vec![input, weights, bias], output, options });
        output
    }

    fn emit(&self, name: &str, description: &str, last: usize) -> Vec<u8> {
        let mut b = FlatBufferBuilder::new();
        let mut kinds: BTreeMap<(i32, i32), usize> = BTreeMap::new();
        for o in &self.operators {
            let n = kinds.len();
            kinds.entry((o.op, o.version)).or_insert(n);
        }
        // Buffer 0 is empty by convention; tensors without data point to it.
        let mut buffers = vec![table(&mut b, |_, _| {})];
        let mut tensors = Vec::new();
        for t in &self.tensors {
            let buffer = if t.data.is_empty() { 0 } else { buffers.len() };
            if buffer > 0 {
                let data = aligned(&mut b, &t.data);
                buffers.push(table(&mut b, |b, _| b.push_slot_always(slot(0), data)));
            }
            tensors.push(tensor(&mut b, t, buffer));
        }
        let operators: Vec<_> =
            self.operators.iter().map(|o| operator(&mut b, o, kinds[&(o.op, o.version)])).collect();
        let mut codes: Vec<_> = kinds.into_iter().map(|(k, n)| (n, k)).collect();
        codes.sort_unstable();
        let codes: Vec<_> = codes
            .into_iter()
            .map(|(_, (op, version))| {
                table(&mut b, |b, _| {
                    b.push_slot_always(slot(0), op as i8);
                    b.push_slot_always(slot(2), version);
                    b.push_slot_always(slot(3), op);
                })
            })
            .collect();
        let (tensors, operators) = (b.create_vector(&tensors), b.create_vector(&operators));
        let (inputs, outputs) = (b.create_vector(&[0i32]), b.create_vector(&[last as i32]));
        let name = b.create_string(name);
        let subgraph = table(&mut b, |b, _| {
            b.push_slot_always(slot(0), tensors);
            b.push_slot_always(slot(1), inputs);
            b.push_slot_always(slot(2), outputs);
            b.push_slot_always(slot(3), operators);
            b.push_slot_always(slot(4), name);
        });
        let (codes, subgraphs) = (b.create_vector(&codes), b.create_vector(&[subgraph]));
        let (buffers, description) = (b.create_vector(&buffers), b.create_string(description));
        let model = table(&mut b, |b, _| {
            b.push_slot_always(slot(0), 3u32);
            b.push_slot_always(slot(1), codes);
            b.push_slot_always(slot(2), subgraphs);
            b.push_slot_always(slot(3), description);
            b.push_slot_always(slot(4), buffers);
        });
        b.finish(model, Some("TFL3"));
        b.finished_data().to_vec()
    }
}

type Table = WIPOffset<flatbuffers::TableFinishedWIPOffset>;

fn tensor(b: &mut FlatBufferBuilder<'_>, t: &Tensor, buffer: usize) -> Table {
    let shape: Vec<i32> = t.shape.iter().map(|&n| n as i32).collect();
    let (shape, name) = (b.create_vector(&shape), b.create_string(&t.name));
    let scale = t.scale.as_ref().map(|s| {
        let (scale, zero) = (b.create_vector(&[s.scale]), b.create_vector(&[s.zero]));
        table(b, |b, _| {
            b.push_slot_always(slot(2), scale);
            b.push_slot_always(slot(3), zero);
        })
    });
    table(b, |b, _| {
        b.push_slot_always(slot(0), shape);
        b.push_slot_always(slot(1), t.kind);
        b.push_slot_always(slot(2), buffer as u32);
        b.push_slot_always(slot(3), name);
        if let Some(scale) = scale {
            b.push_slot_always(slot(4), scale);
        }
    })
}

fn operator(b: &mut FlatBufferBuilder<'_>, o: &Operator, code: usize) -> Table {
    let inputs: Vec<i32> = o.inputs.iter().map(|&i| i as i32).collect();
    let (inputs, outputs) = (b.create_vector(&inputs), b.create_vector(&[o.output as i32]));
    let options = match o.options {
        Options::None => None,
        Options::Dense { relu } => Some((8u8, table(b, |b, _| b.push_slot_always(slot(0), i8::from(relu))))),
        Options::Conv { relu, stride } => Some((
            1,
            table(b, |b, _| {
                b.push_slot_always(slot(0), 1i8); // VALID: no padding
                b.push_slot_always(slot(1), stride as i32);
                b.push_slot_always(slot(2), 1i32);
                b.push_slot_always(slot(3), i8::from(relu));
            }),
        )),
    };
    table(b, |b, _| {
        b.push_slot_always(slot(0), code as u32);
        b.push_slot_always(slot(1), inputs);
        b.push_slot_always(slot(2), outputs);
        if let Some((kind, options)) = options {
            b.push_slot_always(slot(3), kind);
            b.push_slot_always(slot(4), options);
        }
    })
}

/// Where field number `n` stands in a vtable.
const fn slot(n: u16) -> VOffsetT {
    4 + 2 * n
}

fn table<'b>(
    b: &mut FlatBufferBuilder<'b>,
    fill: impl FnOnce(&mut FlatBufferBuilder<'b>, WIPOffset<TableUnfinishedWIPOffset>),
) -> Table {
    let start = b.start_table();
    fill(b, start);
    b.end_table(start)
}

/// A byte vector whose bytes begin at a multiple of 16, as kernels want weights to.
fn aligned<'b>(b: &mut FlatBufferBuilder<'b>, data: &[u8]) -> WIPOffset<flatbuffers::Vector<'b, u8>> {
    let blocks = data.chunks(16).map(|chunk| {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        Block(block)
    });
    let blocks: Vec<Block> = blocks.collect();
    b.start_vector::<Block>(blocks.len());
    for block in blocks.into_iter().rev() {
        b.push(block);
    }
    // What the last block has too much lies behind the vector's end.
    b.end_vector::<u8>(data.len())
}

struct Block([u8; 16]);

impl Push for Block {
    type Output = [u8; 16];

    // The trait declares the method unsafe for those who copy by pointer; this copies a slice and checks its length.
    #[allow(unsafe_code, reason = "the signature is the trait's, the body is safe")]
    unsafe fn push(&self, dst: &mut [u8], _: usize) {
        dst[..16].copy_from_slice(&self.0);
    }

    fn alignment() -> PushAlignment {
        PushAlignment::new(16)
    }
}
