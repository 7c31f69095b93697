//! The bundle: one file with a model, its report and its identity (`spec/bundle.md`).
//!
//! A safetensors file with the u8 tensors `device` (exactly the bytes a microcontroller keeps) and `report`
//! (JSON: name, training report), and `update` once it is signed. The metadata map stays empty, because its order is not stable.

use std::string::{String, ToString};
use std::vec::Vec;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::{Model, ModelError};

/// Largest bundle file that is read.
pub const BUNDLE_LEN_MAX: usize = 8 << 20;

/// A checked bundle, owning its bytes.
#[derive(Clone)]
pub struct Bundle {
    device: Vec<u8>,
    name: String,
    report: serde_json::Value,
    signature: Option<Vec<u8>>,
}

/// Why a file is not a bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// More than [`BUNDLE_LEN_MAX`] bytes.
    #[error("the file has {0} bytes, a bundle at most {BUNDLE_LEN_MAX}: this is not a Kinglet bundle")]
    TooLarge(usize),
    /// A bundle of the seed's own mode.
    #[error(
        "this is a seed-mode bundle, it has no window codec inside: use it with the seed mode's options, or make a bundle with `kinglet train` without `--preset seed`"
    )]
    SeedMode,
    /// Not a safetensors file, or without the tensors a bundle has.
    #[error("this is not a Kinglet bundle ({0})")]
    Container(String),
    /// The model inside is refused.
    #[error("the bundle is damaged or of an unknown kind ({0:?}): make it again with `kinglet train`")]
    Model(ModelError),
    /// The report inside is not JSON.
    #[error("the bundle's report is damaged: {0}")]
    Report(#[from] serde_json::Error),
}

impl Bundle {
    /// Puts a bundle together from the bytes of a model and its report.
    pub fn new(name: &str, device: Vec<u8>, report: serde_json::Value) -> Result<Self, BundleError> {
        Model::parse(&device).map_err(BundleError::Model)?;
        Ok(Self { device, name: name.to_string(), report, signature: None })
    }

    /// Reads a bundle file's bytes; every part is checked.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > BUNDLE_LEN_MAX {
            return Err(BundleError::TooLarge(bytes.len()));
        }
        let file = SafeTensors::deserialize(bytes).map_err(|e| BundleError::Container(e.to_string()))?;
        if file.tensor("device").is_err() && file.tensor("seed").is_ok() {
            return Err(BundleError::SeedMode);
        }
        let part = |name: &str| match file.tensor(name) {
            Ok(tensor) if tensor.dtype() == Dtype::U8 => Ok(tensor.data().to_vec()),
            Ok(_) => Err(BundleError::Container(std::format!("tensor `{name}` is not u8"))),
            Err(e) => Err(BundleError::Container(e.to_string())),
        };
        let outer: Outer = serde_json::from_slice(&part("report")?)?;
        let signature = if file.tensor("update").is_ok() { Some(part("update")?) } else { None };
        Ok(Self { signature, ..Self::new(&outer.name, part("device")?, outer.report)? })
    }

    /// The bundle as file bytes: the same bundle gives the same bytes.
    pub fn emit(&self) -> Vec<u8> {
        let outer = Outer { name: self.name.clone(), report: self.report.clone() };
        // Serialising two maps with string keys into memory has no way to fail.
        let report = serde_json::to_vec(&outer).unwrap_or_default();
        let view = |bytes| TensorView::new(Dtype::U8, std::vec![<[u8]>::len(bytes)], bytes);
        let signature = self.signature.as_deref().map(|bytes| ("update", view(bytes)));
        let tensors = [("device", view(&self.device)), ("report", view(&report))];
        let tensors = tensors.into_iter().chain(signature).filter_map(|(name, t)| Some((name, t.ok()?)));
        safetensors::serialize(tensors, None).unwrap_or_default()
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        // `new` has parsed the same bytes.
        #[allow(clippy::expect_used)]
        Model::parse(&self.device).expect("checked when the bundle was made")
    }

    /// The bytes a device keeps.
    pub fn device(&self) -> &[u8] {
        &self.device
    }

    /// The name people gave it; not part of the identity.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The training report; not part of the identity.
    pub fn report(&self) -> &serde_json::Value {
        &self.report
    }

    /// Who signed it, as the wire has it: serial, length, identity, signature. Opaque here; not part of the identity.
    pub fn signature(&self) -> Option<&[u8]> {
        self.signature.as_deref()
    }

    /// The same bundle with this signature.
    #[must_use]
    pub fn with_signature(self, signature: Vec<u8>) -> Self {
        Self { signature: Some(signature), ..self }
    }

    /// SHA-256 of [`Bundle::device`].
    pub fn identity(&self) -> [u8; 32] {
        self.model().identity()
    }

    /// The first 16 bytes of the identity: what frames are bound to.
    pub fn fingerprint(&self) -> [u8; 16] {
        self.model().fingerprint()
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Outer {
    name: String,
    report: serde_json::Value,
}
