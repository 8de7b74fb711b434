//! The heap of a process that serves: what it needs for a moment, a list or a flood say, does not stay its own.

use std::ffi::CStr;

/// How jemalloc is set, in its words.
///
/// * One arena: threads allocate next to nothing while they answer, and so they do not meet there; what is free in one
///   arena is of no use to another.
/// * What is free is given back to the kernel within a second, by a thread that has nothing else to do, so that it goes
///   also where nobody allocates any more.
pub const SETTINGS: &CStr = c"narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:true";
