//! What systemd is told of this process (`sd_notify(3)`, `Type=notify` and `WatchdogSec=` of `systemd.service(5)`).
//!
//! Readiness is that of the sockets: a unit that others are ordered after must not wait for data that may come from them.
//! Who is not started by systemd has nobody to tell, and nothing happens.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Whom to tell, and how often.
#[derive(Debug, Default)]
pub struct Notify {
    /// The manager's socket.
    socket: Option<UnixDatagram>,
    /// How long it waits for a sign of life.
    watchdog: Option<Duration>,
}

/// What the environment has that cannot be meant.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// Neither a path nor an abstract name.
    #[error("NOTIFY_SOCKET {0:?} is neither an absolute path nor begins with '@'")]
    Address(OsString),
    /// Nobody is there.
    #[error("NOTIFY_SOCKET {path:?}: {error}")]
    Connect {
        /// The socket.
        path: OsString,
        /// What the system said.
        error: io::Error,
    },
    /// No number.
    #[error("WATCHDOG_USEC {0:?} is not a number of microseconds above zero")]
    Watchdog(OsString),
}

impl Notify {
    /// As the environment of this process says.
    ///
    /// # Errors
    /// A socket or a time that cannot be meant.
    pub fn from_environment() -> Result<Self, NotifyError> {
        Self::of(|name| std::env::var_os(name), std::process::id())
    }

    /// As `variable` says, in the process `pid`.
    fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Self, NotifyError> {
        let Some(at) = variable("NOTIFY_SOCKET").filter(|at| !at.is_empty()) else {
            return Ok(Self::default());
        };
        let socket = connect(&at)?;
        // It may be meant for a process that started this one.
        let ours = variable("WATCHDOG_PID").is_none_or(|of| of.to_str() == Some(pid.to_string().as_str()));
        let watchdog = variable("WATCHDOG_USEC").filter(|_| ours).map(micros).transpose()?;
        Ok(Self { socket: Some(socket), watchdog })
    }

    /// Tells everything from the moment on that the process answers: `status` is what people see of it, `alive` says
    /// whether it deserves to go on, and `ending` when it is about to end. Goes on until it is dropped.
    pub async fn follow(self, status: String, alive: impl Fn() -> bool, ending: CancellationToken) {
        self.ready(&status);
        let stopping = async {
            ending.cancelled().await;
            self.stopping();
        };
        tokio::join!(stopping, self.watch(alive));
    }

    fn ready(&self, status: &str) {
        let line: String = status.chars().filter(|c| !c.is_control()).collect();
        self.tell(&format!("READY=1\nSTATUS={line}"));
    }

    fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Gives signs of life twice as often as they are waited for, as long as `alive` says so; for good.
    async fn watch(&self, alive: impl Fn() -> bool) {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        let mut ticks = interval(watchdog / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if alive() {
                self.tell("WATCHDOG=1");
            }
        }
    }

    /// A manager that does not listen must not hold anything up, and has its own way to see that we are gone.
    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "systemd was not told");
        }
    }
}

/// A socket to the manager that does not wait.
fn connect(at: &OsStr) -> Result<UnixDatagram, NotifyError> {
    let address = match at.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(Path::new(at)),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => return Err(NotifyError::Address(at.to_owned())),
    };
    let open = |address: SocketAddr| {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    address.and_then(open).map_err(|error| NotifyError::Connect { path: at.to_owned(), error })
}

fn micros(text: OsString) -> Result<Duration, NotifyError> {
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.map(Duration::from_micros).ok_or(NotifyError::Watchdog(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Our own process, in these tests.
    const PID: u32 = 77;

    /// A process with these variables.
    fn notify(variables: &[(&str, &str)]) -> Result<Notify, NotifyError> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        Notify::of(|name| variables.get(name).map(OsString::from), PID)
    }

    /// A manager, and the value of `NOTIFY_SOCKET` that leads to it.
    fn manager() -> (tempfile::TempDir, UnixDatagram, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = path.to_str().unwrap().to_owned();
        (dir, socket, at)
    }

    /// What the manager was told next.
    fn told(manager: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
    }

    #[test]
    fn a_manager_is_told_of_the_beginning_and_the_end() {
        let (_dir, manager, at) = manager();
        let notify = notify(&[("NOTIFY_SOCKET", &at)]).unwrap();
        notify.ready("answering at 2 addresses\nMAINPID=1");
        notify.stopping();
        let status = "READY=1\nSTATUS=answering at 2 addressesMAINPID=1";
        assert_eq!(told(&manager).as_deref(), Some(status), "one line, whatever is in it");
        assert_eq!(told(&manager).as_deref(), Some("STOPPING=1"));
        assert_eq!(told(&manager), None);
        drop(manager);
        notify.stopping();
    }

    #[test]
    fn an_abstract_name_is_a_socket_too() {
        let name = format!("outlast-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        notify(&[("NOTIFY_SOCKET", &format!("@{name}"))]).unwrap().stopping();
        assert_eq!(told(&manager).as_deref(), Some("STOPPING=1"));
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_twice_as_often_as_they_are_waited_for() {
        let (_dir, manager, at) = manager();
        let variables =
            [("NOTIFY_SOCKET", at.as_str()), ("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "77")];
        let notify = notify(&variables).unwrap();
        let alive = AtomicBool::new(true);
        let watch = notify.watch(|| alive.load(Ordering::Relaxed));
        tokio::pin!(watch);
        let count = || std::iter::from_fn(|| told(&manager)).filter(|told| told == "WATCHDOG=1").count();
        let _ = tokio::time::timeout(Duration::from_secs(21), &mut watch).await;
        assert_eq!(count(), 5, "at once and every five seconds");
        alive.store(false, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(60), &mut watch).await;
        assert_eq!(count(), 0, "who is stuck is begun anew");
        alive.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(Duration::from_secs(6), &mut watch).await;
        assert!(count() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_until_the_end() {
        let (_dir, manager, at) = manager();
        let variables = [("NOTIFY_SOCKET", at.as_str()), ("WATCHDOG_USEC", "10000000")];
        let ending = CancellationToken::new();
        let life = notify(&variables).unwrap().follow("fine".to_owned(), || true, ending.clone());
        tokio::pin!(life);
        let _ = tokio::time::timeout(Duration::from_secs(6), &mut life).await;
        ending.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut life).await;
        let all: Vec<_> = std::iter::from_fn(|| told(&manager)).collect();
        assert_eq!(all, ["READY=1\nSTATUS=fine", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1", "WATCHDOG=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_for_nothing_is_told_nothing() {
        let (_dir, manager, at) = manager();
        let of_another = [("NOTIFY_SOCKET", at.as_str()), ("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "78")];
        for variables in [&[("NOTIFY_SOCKET", at.as_str())][..], &of_another] {
            let notify = notify(variables).unwrap();
            let watch = tokio::time::timeout(Duration::from_secs(60), notify.watch(|| true)).await;
            assert!(watch.is_err() && told(&manager).is_none(), "{variables:?}");
        }
        notify(&[("WATCHDOG_USEC", "1000")]).unwrap().ready("nobody to tell");
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        let (_dir, _manager, at) = manager();
        for (variables, want) in [
            (&[("NOTIFY_SOCKET", "run/notify")][..], "is neither an absolute path nor begins with '@'"),
            (
                &[("NOTIFY_SOCKET", "/nonexistent/notify")],
                "NOTIFY_SOCKET \"/nonexistent/notify\": No such file",
            ),
            (&[("NOTIFY_SOCKET", &at), ("WATCHDOG_USEC", "10s")], "WATCHDOG_USEC \"10s\" is not a number"),
            (&[("NOTIFY_SOCKET", &at), ("WATCHDOG_USEC", "0")], "above zero"),
        ] {
            let error = notify(variables).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
