//! A float `.tflite` of dense layers.

use kinglet_codec::seed::{Activation, LAYERS_MAX, Layer, Numbers, Shape, WIDTH_MAX};

use super::ImportError;
use super::flat::{Items, Table};

const FLOAT32: u64 = 0;
const FULLY_CONNECTED: i64 = 9;
const LOGISTIC: i64 = 14;
const RELU: i64 = 19;
const TANH: i64 = 28;

/// The layers of a chain of FULLY_CONNECTED, with RELU fused or behind, TANH or LOGISTIC behind.
pub(super) fn layers(bytes: &[u8]) -> Result<Vec<Layer>, ImportError> {
    if bytes.get(4..8) != Some(b"TFL3") {
        return Err(bad("it does not say TFL3"));
    }
    let file = Table::root(bytes).and_then(File::new).ok_or_else(|| bad("its tables are damaged"))?;
    let operators = file.operators;
    if operators.n == 0 || operators.n > 2 * LAYERS_MAX {
        return Err(bad("it has no operators, or too many"));
    }
    let mut layers: Vec<Layer> = Vec::new();
    let mut at = file.input;
    for i in 0..operators.n {
        let damaged = || bad(&format!("operator {i} is damaged"));
        let op = operators.table(i).ok_or_else(damaged)?;
        let kind = file.kind(op).ok_or_else(damaged)?;
        let (inputs, outputs) = (op.items(1, 4).ok_or_else(damaged)?, op.items(2, 4).ok_or_else(damaged)?);
        if inputs.i32(0) != Some(at) || outputs.n != 1 {
            return Err(bad("its operators are no chain"));
        }
        at = outputs.i32(0).ok_or_else(damaged)?;
        match kind {
            FULLY_CONNECTED => layers.push(file.dense(op, inputs, layers.last())?),
            RELU | TANH | LOGISTIC => {
                let last = layers.last_mut().filter(|l| l.activation == Activation::Linear);
                last.ok_or_else(|| bad("an activation follows no layer"))?.activation = match kind {
                    RELU => Activation::Relu,
                    TANH => Activation::Tanh,
                    _ => Activation::Sigmoid,
                };
            }
            other => {
                return Err(ImportError::Layer {
                    layer: format!("operator {i}"),
                    kind: format!("number {other} of TensorFlow Lite"),
                });
            }
        }
    }
    if at != file.output {
        return Err(bad("its operators do not end in its output"));
    }
    Ok(layers)
}

struct File<'a> {
    codes: Items<'a>,
    buffers: Items<'a>,
    tensors: Items<'a>,
    operators: Items<'a>,
    input: i32,
    output: i32,
}

impl<'a> File<'a> {
    fn new(model: Table<'a>) -> Option<Self> {
        let subgraph = model.items(2, 4)?.table(0)?;
        Some(Self {
            codes: model.items(1, 4)?,
            buffers: model.items(4, 4)?,
            tensors: subgraph.items(0, 4)?,
            operators: subgraph.items(3, 4)?,
            input: subgraph.items(1, 4).filter(|i| i.n == 1)?.i32(0)?,
            output: subgraph.items(2, 4).filter(|o| o.n == 1)?.i32(0)?,
        })
    }

    /// The operator's number; old files have it in a byte of its own.
    fn kind(&self, op: Table<'a>) -> Option<i64> {
        let code = self.codes.table(op.number(0, 4, 0)? as usize)?;
        Some(code.number(3, 4, 0)?.max(code.number(0, 1, 0)?) as i64)
    }

    fn dense(&self, op: Table<'a>, inputs: Items<'a>, before: Option<&Layer>) -> Result<Layer, ImportError> {
        let activation = match op.table(4).and_then(|o| o.number(0, 1, 0)) {
            Some(0) | None => Activation::Linear,
            Some(1) => Activation::Relu,
            Some(_) => return Err(bad("a fused activation in it is not ReLU")),
        };
        let (shape, weights) = self.constant(inputs.i32(1))?;
        let [n_out, n_in] = shape[..] else { return Err(bad("a layer's weights are no matrix")) };
        if before.is_some_and(|b| b.shape.n_out() != n_in) {
            return Err(bad("its layers do not fit each other"));
        }
        let bias = match inputs.i32(2) {
            None | Some(-1) => vec![0.0; n_out],
            some => self.constant(some)?.1,
        };
        if bias.len() != n_out {
            return Err(bad("a layer's biases do not fit"));
        }
        Ok(Layer {
            shape: Shape::Dense { n_in, n_out },
            activation,
            numbers: Numbers::Float { weights, bias },
        })
    }

    /// A tensor with data: its shape and its numbers.
    fn constant(&self, idx: Option<i32>) -> Result<(Vec<usize>, Vec<f32>), ImportError> {
        let damaged = || bad("a tensor in it is damaged");
        let tensor = idx.and_then(|i| self.tensors.table(usize::try_from(i).ok()?)).ok_or_else(damaged)?;
        if tensor.number(1, 1, 0) != Some(FLOAT32) {
            return Err(bad("its weights are not float32: give the float file, not a quantised one"));
        }
        let dims = tensor.items(0, 4).filter(|d| d.n <= 2).ok_or_else(damaged)?;
        let dim =
            |i| dims.i32(i).and_then(|d| usize::try_from(d).ok()).filter(|d| (1..=WIDTH_MAX).contains(d));
        let shape = (0..dims.n).map(dim).collect::<Option<Vec<usize>>>().ok_or_else(damaged)?;
        let buffer =
            tensor.number(2, 4, 0).and_then(|b| self.buffers.table(b as usize)).ok_or_else(damaged)?;
        let data = buffer.items(0, 1).ok_or_else(damaged)?.bytes();
        if data.len() != 4 * shape.iter().product::<usize>() {
            return Err(damaged());
        }
        Ok((shape, data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()))
    }
}

fn bad(why: &str) -> ImportError {
    ImportError::Tflite(why.into())
}
