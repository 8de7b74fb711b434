//! `iptables` and `ip6tables` as programs: they know how the rules of this machine are kept, by the old tables or by
//! those that nftables has for them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the program waits for others that change rules, in seconds: as long as with node-cache.
const WAIT: &str = "5";

/// How long it may take altogether: it is ended then.
const LIMIT: Duration = Duration::from_secs(10);

/// How long one that is ended may take for it: the kernel may have to finish something first.
const ENDING: Duration = Duration::from_secs(1);

/// How much of what it complains of is read, in bytes.
const COMPLAINT: u64 = 4096;

/// How much of a list is read, in bytes: some ten thousand rules.
const LIST: u64 = 1 << 20;

/// Where programs are if the environment says nothing.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The exit status that says that there is no such rule.
const NO: i32 = 1;

/// What is wrong with one of them.
#[derive(Debug, Error)]
pub enum IptablesError {
    /// It is not there.
    #[error("there is no program {0}: install it, or choose other rules with --rules")]
    Missing(&'static str),
    /// It did not get its turn.
    #[error("{0} waited {WAIT} s for others that change rules (the xtables lock)")]
    Locked(String),
    /// It could not be started.
    #[error("starting {0}: {1}")]
    Start(String, #[source] io::Error),
    /// It did not end.
    #[error("{program} has not ended after {} s", LIMIT.as_secs())]
    Late {
        /// It, with its words.
        program: String,
    },
    /// It was ended: what it was to do is not wanted any more.
    #[error("{0} was ended")]
    Interrupted(String),
    /// Anything else.
    #[error("{0}: {1}")]
    Failed(String, String),
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// Done, or: yes.
    Done,
    /// There is no such rule.
    No,
}

/// Where a program is, by these folders with colons between.
pub(super) fn find(name: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    let path = path.unwrap_or(OsStr::new(PATH));
    let runs = |file: &PathBuf| {
        std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).map(|folder| folder.join(name)).find(runs)
}

/// Runs it with these words, until `stop` if there is one. However it ends, it does nothing any more from then on.
///
/// # Errors
/// What it complains of, unless that is that there is no such rule.
pub(super) async fn run(
    program: &Path,
    words: &[&str],
    stop: Option<&CancellationToken>,
) -> Result<Ran, IptablesError> {
    Ok(execute(program, words, Stdio::null(), stop).await?.0)
}

/// What it prints with these words; nothing where there is no such table or chain.
///
/// # Errors
/// What it complains of.
pub(super) async fn print(
    program: &Path,
    words: &[&str],
    stop: &CancellationToken,
) -> Result<String, IptablesError> {
    Ok(execute(program, words, Stdio::piped(), Some(stop)).await?.1)
}

/// Runs it; what it came to, and what it printed to `stdout`.
async fn execute(
    program: &Path,
    words: &[&str],
    stdout: Stdio,
    stop: Option<&CancellationToken>,
) -> Result<(Ran, String), IptablesError> {
    let name = || format!("{} {}", program.display(), words.join(" "));
    let mut command = Command::new(program);
    command.args(["-w", WAIT]).args(words).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    // What it complains of is looked at.
    command.env("LC_ALL", "C");
    if stop.is_some_and(CancellationToken::is_cancelled) {
        return Err(IptablesError::Interrupted(name()));
    }
    let mut child = command.spawn().map_err(|error| IptablesError::Start(name(), error))?;
    let stopped = async {
        match stop {
            Some(stop) => stop.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let failed = tokio::select! {
        ended = timeout(LIMIT, ended(&mut child)) => match ended {
            Ok(Ok(Ended { status, printed, .. })) if status.success() => return Ok((Ran::Done, printed)),
            Ok(Ok(Ended { status, said, .. })) => {
                return judge(status.code(), &said, name).map(|ran| (ran, String::new()));
            }
            Ok(Err(error)) => return Err(IptablesError::Start(name(), error)),
            Err(_) => IptablesError::Late { program: name() },
        },
        () = stopped => IptablesError::Interrupted(name()),
    };
    // Whoever comes next must not have it do something behind its back: one that is killed in the middle of a call to the
    // kernel still finishes that.
    if !matches!(timeout(ENDING, child.kill()).await, Ok(Ok(()))) {
        tracing::warn!(program = name(), "a program of iptables was killed, and is there still");
    }
    Err(failed)
}

/// How one ended.
struct Ended {
    /// The status.
    status: ExitStatus,
    /// What it printed, where that is read.
    printed: String,
    /// What it complained of.
    said: String,
}

/// Waits for its end.
async fn ended(child: &mut Child) -> io::Result<Ended> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (printed, said) = tokio::try_join!(read(stdout, LIST), read(stderr, COMPLAINT))?;
    Ok(Ended { status: child.wait().await?, printed, said: said.trim().to_owned() })
}

/// All that comes from there, up to so many bytes.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<String> {
    let mut all = Vec::new();
    if let Some(from) = from {
        from.take(limit).read_to_end(&mut all).await?;
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// What a program that did not succeed means.
fn judge(code: Option<i32>, said: &str, name: impl Fn() -> String) -> Result<Ran, IptablesError> {
    if said.contains("xtables lock") {
        return Err(IptablesError::Locked(name()));
    }
    // A table that is not there has no rule; some say so by another status.
    if code == Some(NO) || said.contains("Table does not exist") {
        return Ok(Ran::No);
    }
    let status = code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit status {code}"));
    let said = if said.is_empty() { status } else { format!("{said} ({status})") };
    Err(IptablesError::Failed(name(), said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_understood() {
        let lock =
            "Another app is currently holding the xtables lock; still 2s 0us time ahead to have a chance";
        let cases = [
            (
                "no rule",
                Some(1),
                "iptables: Bad rule (does a matching rule exist in that chain?).",
                Ok(Ran::No),
            ),
            ("no table", Some(3), "can't initialize iptables table `raw': Table does not exist", Ok(Ran::No)),
            ("locked", Some(4), lock, Err("waited 5 s for others that change rules")),
            ("locked, by the status of no rule", Some(1), lock, Err("(the xtables lock)")),
            (
                "not allowed",
                Some(4),
                "Permission denied (you must be root)",
                Err("must be root) (exit status 4)"),
            ),
            ("killed", None, "", Err("x: ended by a signal")),
        ];
        for (name, code, said, want) in cases {
            match (judge(code, said, || "x".to_owned()), want) {
                (Ok(ran), Ok(want)) => assert_eq!(ran, want, "{name}"),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{name}: {error}"),
                (got, want) => panic!("{name}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn programs_are_found_where_they_may_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
        for (at, mode) in [(&first, 0o644), (&second, 0o755)] {
            std::fs::create_dir(at).unwrap();
            std::fs::write(at.join("iptables"), "").unwrap();
            std::fs::set_permissions(at.join("iptables"), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        assert_eq!(find("iptables", Some(&path)), Some(second.join("iptables")));
        assert_eq!(find("ip6tables", Some(&path)), None);
        assert_eq!(find("iptables", Some(first.as_os_str())), None);
    }
}
