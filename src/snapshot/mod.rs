//! The state of the zone on the node's own disk, so that a start needs no network.
//!
//! May depend on [`crate::zone`], [`crate::feed`] and [`crate::ops::age`]; the only module that writes files, and
//! of it only [`disk`]. Everything here blocks: it is called off the query path and off the data runtime.
//!
//! # Data format
//!
//! A folder holds generations, `gen-<20 digits>.snap`, the highest number being the newest. A file is complete
//! in itself; numbers are little endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic, [`format::MAGIC`] |
//! | 4 | format version, [`format::VERSION`] |
//! | 4 | length of the header |
//! | … | header: `SnapshotHeader` of `feed.proto` ([`header::Header`]) |
//! | … | one zstd frame: every object, each an `Object` of `feed.proto` behind its length (varint) |
//! | 8 | trailer: count of bytes before the trailer |
//! | 16 | trailer: XXH3-128 of everything before this checksum |
//!
//! Magic, version and trailer are the same in every format version, so that damage is told from a file of a
//! later release. Old versions stay readable; one file of each is pinned in `tests/data/snapshots`. A kind of
//! object that an older release cannot know needs a new format version.
//!
//! # Update
//!
//! [`folder::Folder::save`] writes a temporary file in the same folder, syncs it, renames it to the next
//! generation and syncs the folder; only then the oldest generations go. A file therefore never changes once
//! it has its name, and at every moment at least one complete generation is on the disk, whatever is cut off.
//! A file whose sync failed is never synced again: the kernel may have dropped the pages and would report
//! success. The next attempt starts with a new file.
//!
//! # Restore
//!
//! [`folder::Folder::load`] tries the newest generation first. A file is believed only after its checksum;
//! what fails is renamed aside (`….rejected-<reason>`) and the next older one is tried.
//!
//! # Limits
//!
//! Every size is bounded for writing and reading alike, by the constants of [`mod@format`]; three generations
//! ([`folder::KEEP_GENERATIONS`]) and three rejected files ([`folder::KEEP_REJECTED`]) are kept. Reading holds
//! the compressed file in memory and one object beyond what the caller builds; writing holds one object and the
//! compressor's window.
//!
//! # Known weaknesses
//!
//! * The checksum finds damage, not forgery: who can write the folder can change the zone. The folder has mode
//!   0700, its files 0600.
//! * A disk that claims a sync it did not do can lose every generation since it last told the truth.
//! * Two processes that share a folder keep it consistent, but either may prune what the other wrote; one
//!   owner at a time is the caller's matter.
//! * The clock floor follows a clock that was once wrong into the future until a snapshot is written with a
//!   right one.

pub mod atomic;
pub mod cache;
pub mod compare;
mod container;
pub mod decode;
pub mod disk;
pub mod encode;
pub mod export;
pub mod folder;
pub mod format;
pub mod frozen;
pub mod header;
pub mod load;
mod names;
pub mod pins;
pub mod reject;
pub mod save;
pub mod schedule;
pub mod show;
pub mod verify;
