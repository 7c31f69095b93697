#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_node::fuzz::fuzz_update(bytes));
