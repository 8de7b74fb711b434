//! See `src/testkit/fuzz/snapshot.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outlast::testkit::fuzz::run("snapshot", input));
