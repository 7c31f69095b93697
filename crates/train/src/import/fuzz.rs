//! The import doors as plain functions over bytes: they return for every input, and refuse in words.

use kinglet_codec::seed::{Half, SeedChannel, SeedModel, SeedParts};

use super::{ImportError, keras, scaler, tflite};

/// Reads bytes as a Keras file.
pub fn fuzz_keras(bytes: &[u8]) {
    check(keras::layers(bytes).map(|layers| {
        let n = layers.last().map_or(0, |l| l.shape.n_out());
        assert!(n > 0);
        assert_eq!(layers.windows(2).find(|l| l[0].shape.n_out() != l[1].shape.n_in()), None);
    }));
}

/// Reads bytes as a scaler.
pub fn fuzz_scaler(bytes: &[u8]) {
    check(
        scaler::read(bytes)
            .map(|scaler| assert!(!scaler.is_empty() && scaler.decoded(0).0 == scaler.decoded(0).0)),
    );
}

/// Reads bytes as a `.tflite` file.
pub fn fuzz_tflite(bytes: &[u8]) {
    check(tflite::layers(bytes).map(|layers| {
        let half = Half { layers, input: None };
        let n = half.layers.last().map_or(0, |l| l.shape.n_out());
        let _ = SeedModel::new(SeedParts {
            name: String::new(),
            channels: vec![SeedChannel::temperature(); n.min(16)],
            n_samples: 1,
            encoder: None,
            decoder: half,
            report: serde_json::Value::Null,
        });
    }));
}

fn check(read: Result<(), ImportError>) {
    if let Err(error) = read {
        assert!((20..1000).contains(&error.to_string().len()), "{error}");
    }
}
