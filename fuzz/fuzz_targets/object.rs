//! See `src/testkit/fuzz/object.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outlast::testkit::fuzz::run("object", input));
