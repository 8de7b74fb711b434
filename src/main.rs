//! The `outlast` command; everything lives in the library.
fn main() {}
