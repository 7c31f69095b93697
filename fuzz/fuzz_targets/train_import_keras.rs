#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_train::import::fuzz::fuzz_keras(bytes));
