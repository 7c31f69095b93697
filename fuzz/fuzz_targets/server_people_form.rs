#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kinglet_server::fuzz::people_form(bytes));
