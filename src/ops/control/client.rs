//! The client's side.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::command::Command;
use super::place;
use super::serve::DEADLINE;
use super::wire::{self, Garbled, Line, MAX_REPLY, Refusal};

/// How long a client waits: a little longer than a process that is well takes to say that it was too slow.
const PATIENCE: Duration = Duration::from_secs(DEADLINE.as_secs() + 3);

/// Why a process has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no process.
    #[error("nobody answers there")]
    Nobody,
    /// The socket is somebody else's.
    #[error("not allowed: ask as root, or as the user that the process runs as")]
    Denied,
    /// The process has taken the request and says nothing: it is hung or stopped.
    #[error("no reply within {} s: the process hangs or is stopped", PATIENCE.as_secs())]
    Silent,
    /// The process ended or closed the connection.
    #[error("the connection was closed without a reply")]
    Closed,
    /// What came back is no reply.
    #[error("what came back is not a reply: another release, or another program")]
    Garbled,
    /// It says why not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The system says no.
    #[error("{0}")]
    Io(io::Error),
}

/// Has the process that listens at `path` carry out a command.
///
/// # Errors
/// See [`AskError`]; an order may have been carried out in spite of one.
pub async fn ask(path: &Path, command: &Command) -> Result<Value, AskError> {
    timeout(PATIENCE, exchange(path, command)).await.unwrap_or(Err(AskError::Silent))
}

/// Whether a process listens at `path`.
///
/// # Errors
/// Who asks may not.
pub fn is_answered(path: &Path) -> Result<bool, AskError> {
    place::is_listened_to(path).map_err(unreachable)
}

async fn exchange(path: &Path, command: &Command) -> Result<Value, AskError> {
    let mut stream = UnixStream::connect(path).await.map_err(unreachable)?;
    // Who turns us away may have closed already, and what it said is still there to read.
    let sent = stream.write_all(&wire::request(command)).await;
    match wire::read_line(&mut stream, MAX_REPLY).await {
        Ok(Line::Whole(line)) => Ok(wire::result(&line).map_err(|Garbled| AskError::Garbled)??),
        Ok(Line::TooLong) => Err(AskError::Garbled),
        Ok(Line::Cut) => Err(sent.err().map_or(AskError::Closed, AskError::Io)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(AskError::Closed),
        Err(error) => Err(AskError::Io(error)),
    }
}

fn unreachable(error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Nobody,
        io::ErrorKind::PermissionDenied => AskError::Denied,
        // The kernel's backlog is full: nobody takes connections.
        io::ErrorKind::WouldBlock => AskError::Silent,
        _ => AskError::Io(error),
    }
}
