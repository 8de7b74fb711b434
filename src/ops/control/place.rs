//! The socket's file: taking a path, and leaving it.
//!
//! Between two processes that start at once, the folder's lock decides: who holds it may look whether a socket is
//! answered, remove one that is not, and put up its own. The file has mode 0600 before anybody can connect: a socket
//! takes connections only once it listens, and it listens last.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// For its owner only.
const MODE: u32 = 0o600;

/// Mode of a folder that has to be made: others may see that there is a socket.
const FOLDER_MODE: u32 = 0o755;

/// Connections that the kernel keeps for us; who comes when it is full is told so at once.
const BACKLOG: i32 = 16;

/// What became of taking a path.
pub(super) enum Taken {
    /// We listen there.
    Ours(UnixListener, Place),
    /// Another process does, or is about to.
    InUse,
}

/// A path that is ours as long as the file there is the one that we made.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The path.
    path: PathBuf,
    /// Device and inode of the file; no other one gets them as long as the socket is open.
    file: (u64, u64),
}

/// A path that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// The system says no.
    #[error("{doing} {path}: {error}", path = .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What happened.
        error: io::Error,
    },
    /// Something else is there, which is not ours to remove.
    #[error("{path} is there and is no socket", path = .0.display())]
    NoSocket(PathBuf),
}

/// Listens at `path`. Its folder is made if it is missing; that of the folder has to be there.
pub(super) fn take(path: &Path) -> Result<Taken, PlaceError> {
    let at = |doing| move |error| PlaceError::Io { doing, path: path.to_owned(), error };
    let folder = folder(path);
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(PlaceError::Io { doing: "making folder", path: folder.to_owned(), error });
        }
        _ => {}
    }
    // Held until the end of this function.
    let lock = File::open(folder).map_err(at("opening the folder of"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Taken::InUse),
        Err(TryLockError::Error(error)) => return Err(at("locking the folder of")(error)),
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at("looking at")(error)),
        Ok(there) if !there.file_type().is_socket() => return Err(PlaceError::NoSocket(path.to_owned())),
        // Invariant: the socket of a process that answers is never taken away.
        Ok(_) if is_listened_to(path).map_err(at("connecting to"))? => return Ok(Taken::InUse),
        Ok(_) => fs::remove_file(path).map_err(at("removing the abandoned socket"))?,
    }
    let listener = listen(path).map_err(at("listening at"))?;
    let file = identity(path).map_err(at("looking at"))?;
    Ok(Taken::Ours(listener, Place { path: path.to_owned(), file }))
}

/// The socket, with its mode before its first connection.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let ready = fs::set_permissions(path, Permissions::from_mode(MODE))
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|()| socket.set_nonblocking(true));
    if let Err(error) = ready {
        // Nobody has been able to connect yet; what is left of it would only be in the way.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(UnixListener::from(std::os::fd::OwnedFd::from(socket)))
}

/// Whether a process listens at the socket, be it hung.
pub(super) fn is_listened_to(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full backlog is no reason to wait.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        },
    }
}

impl Place {
    /// Whether clients that come by the path still come to us.
    pub(super) fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Removes the socket's file.
    pub(super) fn leave(&self) {
        // Who takes the path meanwhile holds the lock; a folder that is gone has nothing to remove in it.
        let lock = File::open(folder(&self.path));
        let _locked = lock.as_ref().map(File::try_lock);
        // Invariant: a process removes none but its own.
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()))
}

/// The folder of a path; of a bare name, where we are.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(path: &Path) -> (UnixListener, Place) {
        match take(path).unwrap() {
            Taken::Ours(listener, place) => (listener, place),
            Taken::InUse => panic!("{} is in use", path.display()),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_path_is_taken_with_its_folder_and_left_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run").join("node.sock");
        let (listener, place) = ours(&path);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o755));
        assert!(place.is_ours() && is_listened_to(&path).unwrap());
        drop(listener);
        place.leave();
        assert!(!path.exists());
        place.leave();
    }

    #[test]
    fn a_socket_that_answers_stays_and_an_abandoned_one_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let (first, _) = ours(&path);
        assert!(matches!(take(&path).unwrap(), Taken::InUse));
        // As a process does that is killed.
        drop(first);
        assert!(!is_listened_to(&path).unwrap());
        ours(&path);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_another_s_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let (_first, left) = ours(&path);
        fs::remove_file(&path).unwrap();
        assert!(!left.is_ours());
        let (_second, place) = ours(&path);
        assert!(!left.is_ours() && place.is_ours());
        left.leave();
        assert!(place.is_ours());
    }

    #[test]
    fn who_starts_at_the_same_time_waits() {
        let dir = tempfile::tempdir().unwrap();
        let lock = File::open(dir.path()).unwrap();
        lock.lock().unwrap();
        let path = dir.path().join("node.sock");
        assert!(matches!(take(&path).unwrap(), Taken::InUse));
        drop(lock);
        ours(&path);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "important").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = take(path).err().unwrap().to_string();
            assert_eq!(error, format!("{} is there and is no socket", path.display()));
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "important");
    }

    #[test]
    fn errors_say_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a").join("b").join("node.sock");
        let error = take(&deep).err().unwrap().to_string();
        assert!(error.starts_with("making folder ") && error.contains("/a/b: "), "{error}");
        let long = dir.path().join("x".repeat(108));
        let error = take(&long).err().unwrap().to_string();
        assert!(error.starts_with("listening at "), "{error}");
    }
}
