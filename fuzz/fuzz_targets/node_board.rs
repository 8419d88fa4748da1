//! Boards of VMs, as the node manager uses them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::node::run_board(input));
