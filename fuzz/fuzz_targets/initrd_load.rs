//! Initrds, beside kernels of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::initrd::run(input));
