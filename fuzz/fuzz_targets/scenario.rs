//! Scenario files.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::scheduling::run_scenario(input));
