//! `src/feed/generated.rs` is what `src/feed/feed.proto` says: it is checked in, so that a build needs neither
//! protoc nor a build script, and made anew here. After a change of the schema:
//! `UPDATE=1 cargo test --test feed_codegen`.

use std::path::Path;

/// Heads the file; the rest is tonic-prost-build's.
const HEADER: &str = "// @generated from feed.proto by tests/feed_codegen.rs: do not edit by hand.\n\n";

#[test]
fn generated_code_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/feed");
    let schema = protox::compile(["feed.proto"], [&folder]).expect("feed.proto compiles");
    let out = tempfile::tempdir().expect("a temporary folder");
    tonic_prost_build::configure()
        .codec_path("crate::feed::codec::FeedCodec")
        // Shared with the message they came in, where that is `Bytes` itself; frames with everybody who gets them.
        .bytes(".outlast.feed.v1.EndpointSlice.addresses")
        .bytes(".outlast.feed.v1.CachedReply")
        .bytes(".outlast.feed.v1.FollowReply")
        .out_dir(out.path())
        .compile_fds(schema)
        .expect("code is generated");
    let made = std::fs::read_to_string(out.path().join("outlast.feed.v1.rs")).expect("one package, one file");
    let made = format!("{HEADER}{made}");

    let checked_in = folder.join("generated.rs");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&checked_in, &made).expect("generated.rs is written");
    }
    let found = std::fs::read_to_string(&checked_in).unwrap_or_default();
    assert!(found == made, "src/feed/generated.rs differs from feed.proto: run this test with UPDATE=1");
}
