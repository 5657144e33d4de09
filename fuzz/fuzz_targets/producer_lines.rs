#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airlay::api::fuzzing::producer_lines(bytes));
