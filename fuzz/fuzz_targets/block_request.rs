//! Block requests: whole rings of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::block::run(input));
