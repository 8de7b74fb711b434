//! Who may be a hub, and who may follow one: mutual TLS from files.

pub mod config;
