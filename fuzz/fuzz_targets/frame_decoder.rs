#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| airlay::fuzzing::frame_decoder(bytes));
