//! What VMs say when they join.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::node::run_hello(input));
