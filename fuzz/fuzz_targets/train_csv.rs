#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_train::recording::fuzz::fuzz_csv(bytes));
