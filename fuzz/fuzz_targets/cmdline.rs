//! Command lines of `muster`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::command_line::run(input));
