//! `source file PATH`.
