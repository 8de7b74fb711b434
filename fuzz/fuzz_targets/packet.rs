//! See `src/testkit/fuzz/packet.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outlast::testkit::fuzz::run("packet", input));
