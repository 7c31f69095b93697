#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_codec::fuzz::fuzz_resolve(bytes));
