//! How a codec is learned from a recording, quantised, judged and exported.
