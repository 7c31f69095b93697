#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_codec::seed::fuzz_seed(bytes));
