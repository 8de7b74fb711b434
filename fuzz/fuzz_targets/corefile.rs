//! See `src/testkit/fuzz/corefile.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outlast::testkit::fuzz::run("corefile", input));
