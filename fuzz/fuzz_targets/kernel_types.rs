//! Guest memory in which a kernel's types are looked for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| muster_tests::fuzz::kernel_types::run(input));
