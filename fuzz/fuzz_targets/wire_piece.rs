#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_wire::fuzz::fuzz_piece(bytes));
