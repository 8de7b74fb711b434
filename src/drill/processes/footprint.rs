//! What a process has of its machine, as the kernel tells it.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// What a process has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Footprint {
    /// Bytes of resident memory, those of files included.
    pub rss: u64,
    /// Those of them that are of no file.
    pub private: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
    /// Tasks of its runtimes that have not ended.
    pub tasks: u64,
    /// Bytes of its folder of snapshots.
    pub snapshots: u64,
}

impl Footprint {
    /// Of the process of this id; tasks and snapshots are left at 0.
    ///
    /// # Errors
    /// There is no such process, or the kernel does not tell.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading its status")?;
        let figure = |name: &str| figure(&status, name).with_context(|| format!("no {name} in its status"));
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).context("listing its descriptors")?;
        Ok(Self {
            rss: figure("VmRSS:")? * KB,
            private: figure("RssAnon:")? * KB,
            descriptors: descriptors.count() as u64,
            threads: figure("Threads:")?,
            ..Self::default()
        })
    }

    /// The least of both in everything: what comes and goes is in one of two looks and not in the other.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self {
            rss: self.rss.min(other.rss),
            private: self.private.min(other.private),
            descriptors: self.descriptors.min(other.descriptors),
            threads: self.threads.min(other.threads),
            tasks: self.tasks.min(other.tasks),
            snapshots: self.snapshots.min(other.snapshots),
        }
    }
}

/// What the kernel calls a kB, proc(5).
const KB: u64 = 1024;

/// The number behind a name in a process's status.
fn figure(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Bytes of the files in a folder; 0 if there is none. A file that goes meanwhile does not count.
pub fn bytes_in(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(|file| file.is_file()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn this_process_has_what_it_takes() {
        let before = Footprint::of(std::process::id()).unwrap();
        assert!(before.private >= 64 << 10 && before.rss > before.private, "{before:?}");
        assert!(before.threads >= 1 && before.descriptors >= 3, "{before:?}");
        let (memory, files) = (vec![1_u8; 64 << 20], (0..50).map(|_| File::open("/dev/null").unwrap()));
        let files: Vec<_> = files.collect();
        let now = Footprint::of(std::process::id()).unwrap();
        assert!(now.private >= before.private + (32 << 20), "{before:?} {now:?}");
        assert!(now.descriptors >= before.descriptors + 25, "{before:?} {now:?}");
        drop((memory, files));
        assert!(Footprint::of(u32::MAX).is_err());
    }

    #[test]
    fn files_of_a_folder_are_added_up() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(bytes_in(folder.path()), 0);
        std::fs::write(folder.path().join("a"), [0; 10]).unwrap();
        std::fs::write(folder.path().join("b"), [0; 5]).unwrap();
        std::fs::create_dir(folder.path().join("c")).unwrap();
        assert_eq!(bytes_in(folder.path()), 15);
        assert_eq!(bytes_in(&folder.path().join("nothing")), 0);
    }

    #[test]
    fn the_least_of_two_looks_is_taken_in_everything() {
        let of = |rss, tasks| Footprint { rss, private: 1, descriptors: 9, threads: 2, tasks, snapshots: 7 };
        assert_eq!(of(10, 3).least(of(5, 4)), of(5, 3));
    }
}
