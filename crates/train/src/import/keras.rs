//! A Keras 3 file: a zip archive of a configuration and an HDF5 file of weights.

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use hdf5_pure::File;
use kinglet_codec::seed::{Activation, LAYERS_MAX, Layer, Numbers, Shape, WIDTH_MAX};
use serde_json::Value;

use super::{FILE_LEN_MAX, ImportError};

/// The layers of a chain of Dense layers, Functional or Sequential.
pub(super) fn layers(bytes: &[u8]) -> Result<Vec<Layer>, ImportError> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(format!("no zip archive: {e}")))?;
    let config: Value = serde_json::from_slice(&entry(&mut archive, "config.json")?)
        .map_err(|e| bad(format!("config.json: {e}")))?;
    let dense = chain(&config)?;
    let weights = entry(&mut archive, "model.weights.h5")?;
    // The reader is not ours: a slip in it must not take the program down.
    catch_unwind(AssertUnwindSafe(|| read_weights(weights, &dense)))
        .unwrap_or_else(|_| Err(bad("its HDF5 part is damaged".into())))
}

/// A Dense layer as the configuration says it.
struct Dense {
    units: usize,
    activation: Activation,
    use_bias: bool,
}

fn entry(archive: &mut zip::ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, ImportError> {
    let mut file = archive.by_name(name).map_err(|e| bad(format!("{name}: {e}")))?;
    let mut content = Vec::new();
    // The archive says how large the entry becomes; it is read no further than the limit whatever it says.
    let limit = FILE_LEN_MAX as u64 + 1;
    file.by_ref().take(limit).read_to_end(&mut content).map_err(|e| bad(format!("{name}: {e}")))?;
    if content.len() > FILE_LEN_MAX { Err(ImportError::TooLarge { file: "Keras file" }) } else { Ok(content) }
}

/// The Dense layers in order, each fed by the one before.
fn chain(config: &Value) -> Result<Vec<Dense>, ImportError> {
    let class = config["class_name"].as_str().unwrap_or_default();
    if class != "Functional" && class != "Sequential" {
        return Err(bad("it is neither a Functional nor a Sequential model".into()));
    }
    let layers = config["config"]["layers"].as_array().ok_or_else(|| bad("it has no layers".into()))?;
    let mut chain = Vec::new();
    let mut before: Option<&str> = None;
    for layer in layers {
        let kind = layer["class_name"].as_str().unwrap_or("?");
        let name = layer["config"]["name"].as_str().unwrap_or("?");
        let unknown = |kind: &str| ImportError::Layer { layer: short(name), kind: short(kind) };
        if class == "Functional" && !fed_by(layer, before) {
            return Err(unknown(&format!("{kind} that is not fed by the layer before it alone")));
        }
        before = Some(name);
        match kind {
            "InputLayer" if chain.is_empty() => {}
            "Dense" => {
                let c = &layer["config"];
                let act = c["activation"].as_str().or(c["activation"]["config"].as_str()).unwrap_or("?");
                let activation = match act {
                    "linear" => Activation::Linear,
                    "relu" => Activation::Relu,
                    "tanh" => Activation::Tanh,
                    "sigmoid" => Activation::Sigmoid,
                    other => return Err(unknown(&format!("Dense with {}", short(other)))),
                };
                let units = c["units"].as_u64().filter(|u| (1..=WIDTH_MAX as u64).contains(u));
                let units = units.ok_or_else(|| bad(format!("layer {} has no usable width", short(name))))?;
                let use_bias = c["use_bias"].as_bool().unwrap_or(true);
                chain.push(Dense { units: units as usize, activation, use_bias });
            }
            _ => return Err(unknown(kind)),
        }
        if chain.len() > LAYERS_MAX {
            return Err(bad(format!("it has more than {LAYERS_MAX} layers")));
        }
    }
    if chain.is_empty() { Err(bad("it has no Dense layer".into())) } else { Ok(chain) }
}

/// Whether a layer of a Functional model has exactly the layer `before` as its input.
fn fed_by(layer: &Value, before: Option<&str>) -> bool {
    let nodes = layer["inbound_nodes"].as_array().map_or(&[][..], Vec::as_slice);
    match before {
        None => nodes.is_empty(),
        Some(before) => {
            nodes.len() == 1 && {
                let source = &nodes[0]["args"][0]["config"]["keras_history"][0];
                source.as_str() == Some(before)
            }
        }
    }
}

fn read_weights(bytes: Vec<u8>, chain: &[Dense]) -> Result<Vec<Layer>, ImportError> {
    let file = File::from_bytes(bytes).map_err(|e| bad(format!("HDF5: {e}")))?;
    let mut layers = Vec::new();
    let mut n_before = None;
    for (i, dense) in chain.iter().enumerate() {
        // Keras names weights by class and order, not by the layer's name.
        let group = if i == 0 { "layers/dense".to_string() } else { format!("layers/dense_{i}") };
        let kernel = dataset(&file, &format!("{group}/vars/0"))?;
        let [n_in, n_out] = kernel.shape[..] else {
            return Err(bad(format!("{group} has no matrix of weights")));
        };
        if n_out != dense.units || n_before.is_some_and(|n| n != n_in) || !(1..=WIDTH_MAX).contains(&n_in) {
            return Err(bad(format!("{group} does not fit the layers around it")));
        }
        n_before = Some(n_out);
        let bias = if dense.use_bias {
            let bias = dataset(&file, &format!("{group}/vars/1"))?;
            if bias.shape != [n_out] {
                return Err(bad(format!("{group} has biases of another width")));
            }
            bias.values
        } else {
            vec![0.0; n_out]
        };
        // Keras multiplies from the left: its matrix lies the other way round.
        let weights = (0..n_out).flat_map(|o| (0..n_in).map(move |i| (i, o)));
        let weights = weights.map(|(i, o)| kernel.values[i * n_out + o]).collect();
        layers.push(Layer {
            shape: Shape::Dense { n_in, n_out },
            activation: dense.activation,
            numbers: Numbers::Float { weights, bias },
        });
    }
    Ok(layers)
}

struct Dataset {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn dataset(file: &File, path: &str) -> Result<Dataset, ImportError> {
    let set = file.dataset(path).map_err(|e| bad(format!("{path}: {e}")))?;
    let shape = set.shape().map_err(|e| bad(format!("{path}: {e}")))?;
    let most = WIDTH_MAX as u64;
    if shape.is_empty() || shape.len() > 2 || shape.iter().any(|n| !(1..=most).contains(n)) {
        return Err(bad(format!("{path} has an unusable shape")));
    }
    // Keras writes weights in one piece; chunks and filters are where expansion hides.
    if set.is_chunked() || !set.filters().is_empty() || set.element_size().ok() != Some(4) {
        return Err(bad(format!("{path} is compressed or no float32")));
    }
    let shape: Vec<usize> = shape.into_iter().map(|n| n as usize).collect();
    let values = set.read_f32().map_err(|e| bad(format!("{path}: {e}")))?;
    if values.len() != shape.iter().product::<usize>() {
        return Err(bad(format!("{path} is cut off")));
    }
    Ok(Dataset { shape, values })
}

fn bad(why: String) -> ImportError {
    ImportError::Keras(short(&why))
}

/// Text from outside, short enough for a terminal and without control characters.
pub(super) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}
