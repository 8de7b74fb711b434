//! See `src/testkit/fuzz/feed.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| outlast::testkit::fuzz::run("feed", input));
