//! `source file`: what becomes of objects as kubectl prints them, in every format, and how a file is followed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]

#[path = "source_file/conversion.rs"]
mod conversion;
#[path = "source_file/follow.rs"]
mod follow;
#[path = "source_file/formats.rs"]
mod formats;
