//! The encoder as a C array, for sketches.

use std::fmt::Write;

use kinglet_codec::seed::SeedModel;

use super::hex;

/// `encoder_model_data.h`: `tflite` as a constant, 16-byte aligned array for C and C++.
///
/// The array is called `g_encoder_model_data`, and `exported_models_tflite_encoder_model_tflite` for sketches that use
/// the name `xxd` gave it; lengths have `_len` behind. The fingerprint says which bundle decodes.
pub fn encoder_header(model: &SeedModel, tflite: &[u8]) -> String {
    let fingerprint = hex(&model.fingerprint());
    let mut out = format!(
        "// The encoder of bundle {fingerprint} for TensorFlow Lite Micro.\n\
         // Written by `kinglet export`: export again instead of editing. Only this bundle decodes what it makes.\n\
         #ifndef KINGLET_ENCODER_MODEL_DATA_H\n#define KINGLET_ENCODER_MODEL_DATA_H\n\n\
         #if defined(__cplusplus)\n#define KINGLET_ALIGN_16 alignas(16)\n#else\n\
         #define KINGLET_ALIGN_16 _Alignas(16)\n#endif\n\n"
    );
    for (i, channel) in model.channels().iter().enumerate() {
        let (lo, hi) = channel.range;
        let name: String = channel.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
        let _ = writeln!(
            out,
            "// Channel {i} ({name}): the encoder reads (value - KINGLET_LO_{i}) / (KINGLET_HI_{i} - KINGLET_LO_{i}).\n\
             #define KINGLET_LO_{i} ({lo:?}f)\n#define KINGLET_HI_{i} ({hi:?}f)"
        );
    }
    let n_channels = model.channels().len();
    let ranges: Vec<String> =
        (0..n_channels).map(|i| format!("{{KINGLET_LO_{i}, KINGLET_HI_{i}}}")).collect();
    let _ = write!(
        out,
        "\n#define KINGLET_CHANNELS {n_channels}\n// Of each channel, as an initialiser.\n\
         #define KINGLET_RANGES {{{}}}\n#define KINGLET_INPUT_LEN {}\n\
         #define KINGLET_FINGERPRINT \"{fingerprint}\"\n#define KINGLET_LATENT_LEN {}\n\n\
         static const unsigned int g_encoder_model_data_len = {};\n\
         KINGLET_ALIGN_16 static const unsigned char g_encoder_model_data[{}] = {{",
        ranges.join(", "),
        model.input_len(),
        model.latent_len(),
        tflite.len(),
        tflite.len()
    );
    for (i, byte) in tflite.iter().enumerate() {
        out.push_str(if i % 12 == 0 { "\n  " } else { " " });
        let _ = write!(out, "0x{byte:02x},");
    }
    out.push_str(
        "\n};\n\n#define exported_models_tflite_encoder_model_tflite g_encoder_model_data\n\
         #define exported_models_tflite_encoder_model_tflite_len g_encoder_model_data_len\n\n#endif\n",
    );
    out
}
