//! Requests to the node manager's API.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::node::run_api(input));
