//! The C library's files, inside this program: an export needs no clone.

/// Name inside the library's folder, and content.
pub(crate) type File = (&'static str, &'static str);

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../../../arduino/", $name)))),*]
    };
}

/// Sources and headers.
pub(crate) const SOURCES: &[File] = files![
    "src/Kinglet.h",
    "src/kgl_after.c",
    "src/kgl_ask.c",
    "src/kgl_base.c",
    "src/kgl_base.h",
    "src/kgl_bytes.h",
    "src/kgl_ccm.c",
    "src/kgl_clock.c",
    "src/kgl_codec.h",
    "src/kgl_codec_inner.h",
    "src/kgl_context.c",
    "src/kgl_counts.c",
    "src/kgl_crypto.h",
    "src/kgl_expected.c",
    "src/kgl_features.c",
    "src/kgl_filling.c",
    "src/kgl_keys.c",
    "src/kgl_ladder.c",
    "src/kgl_ladder.h",
    "src/kgl_length.c",
    "src/kgl_link.c",
    "src/kgl_log.c",
    "src/kgl_lorawan.c",
    "src/kgl_mixture.c",
    "src/kgl_model.c",
    "src/kgl_net.c",
    "src/kgl_node.c",
    "src/kgl_node.h",
    "src/kgl_node_inner.h",
    "src/kgl_outbox.c",
    "src/kgl_parts.h",
    "src/kgl_predict.c",
    "src/kgl_predict.h",
    "src/kgl_range.c",
    "src/kgl_record.c",
    "src/kgl_recover.c",
    "src/kgl_rungs.c",
    "src/kgl_search.c",
    "src/kgl_sha256.c",
    "src/kgl_shortest.c",
    "src/kgl_tail.c",
    "src/kgl_wire.c",
    "src/kgl_wire.h",
];

/// What makes a folder a library of the Arduino IDE, with its sketch.
pub(crate) const ARDUINO: &[File] = files![
    "library.properties",
    "keywords.txt",
    "README.md",
    "examples/Encode/Encode.ino",
    "examples/Sealed/Sealed.ino",
    "examples/Sealed/flash_esp32.h",
    "examples/Sealed/http_transport.h",
    "examples/Sealed/mqtt_transport.h",
    "examples/Sealed/settings.h",
    "examples/Sealed/transport.h",
];

/// What makes it one of CMake and ESP-IDF.
pub(crate) const CMAKE: &[File] = files!["CMakeLists.txt", "README.md"];

/// The seed's sketch, whatever encoder lies beside it.
pub(crate) const SEED: &str = include_str!("../../../../../arduino/examples/Seed/Seed.ino");
/// Its encoder by TensorFlow Lite Micro.
pub(crate) const SEED_TFLM: &str = include_str!("../../../../../arduino/examples/SeedTflm/seed_encoder.h");

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not in the list would be missing from every export.
    #[test]
    fn no_file_is_forgotten() {
        let arduino = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../arduino");
        for (folder, listed) in [("src", SOURCES), ("examples/Encode", ARDUINO), ("examples/Sealed", ARDUINO)]
        {
            let mut there: Vec<String> = std::fs::read_dir(arduino.join(folder))
                .unwrap()
                .map(|e| format!("{folder}/{}", e.unwrap().file_name().to_str().unwrap()))
                .collect();
            there.sort();
            let listed: Vec<_> = listed.iter().map(|f| f.0).filter(|f| f.starts_with(folder)).collect();
            let mut listed: Vec<_> = listed.into_iter().map(String::from).collect();
            listed.sort();
            assert_eq!(there, listed);
        }
    }
}
