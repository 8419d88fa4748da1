//! Experiment files.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::experiment::run(input));
