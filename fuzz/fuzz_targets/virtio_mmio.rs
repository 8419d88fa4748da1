//! Register accesses to a virtio device.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::mmio::run(input));
