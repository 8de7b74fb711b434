//! How many files and sockets this process may have open.
//!
//! The soft limit is 1,024 where nobody has set one, for the sake of programs that use select(2); a program that does
//! not is meant to raise it to the hard one. Each query that is being forwarded has a socket, so a node would run out
//! of descriptors long before it reaches limits of its own.

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// What is asked for: more than all limits of a node come to, and no more, since some programs that a process starts
/// walk through all that they may have.
const WANTED: rlim_t = 65_536;

/// What a node can use under a flood: forwards of one `forward`, some with a second try, and the connections of a few
/// sockets.
const ENOUGH: rlim_t = 16_384;

/// The limit as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// As many as can be used.
    Enough,
    /// So many: what is forwarded and connected at one time is fewer than the limits say.
    Few(u64),
}

/// Raises the soft limit as far as the hard one allows.
///
/// # Errors
/// The system does not say or set it.
pub fn raise_limit() -> Result<Descriptors, Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = soft.max(hard.min(WANTED));
    if raised > soft {
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
    }
    Ok(if raised >= ENOUGH { Descriptors::Enough } else { Descriptors::Few(raised) })
}
