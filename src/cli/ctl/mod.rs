//! `outlast ctl`: asks a process that runs, over its control socket.
//!
//! * here: arguments, and which process is meant.
//! * `print`: what people see of each reply; `pins`: of what is pinned.
//! * `screen`: the status on one screen; `top`: what is going on; `advice`: what to do next; `words`: ages, numbers and lines.

pub(super) mod advice;
mod pins;
mod print;
pub(super) mod screen;
pub(super) mod top;
pub(super) mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::corefile::parse_duration;
use crate::ops::control::{self, AskError, Command as Order, HUB_SOCKET, NODE_SOCKET, RefusalKind};
use crate::ops::top::WINDOW;

/// Arguments of `outlast ctl`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  outlast ctl status                    what this process knows, how old it is, and what to do next
  outlast ctl status --json             the same for scripts
  outlast ctl ready && echo yes         exit status 0 or 1
  outlast ctl alive                     the same, for what restarts a process that is stuck
  outlast ctl lookup web.shop.svc.cluster.local AAAA
  outlast ctl accept                    what the guard holds back is meant: at a hub for all its nodes
  outlast ctl freeze --for 2h           go on serving what is served now, whatever comes
  outlast ctl generations               the snapshots on the disk
  outlast ctl rollback 41               serve one of them, frozen
  outlast ctl thaw                      serve what was received again
  outlast ctl pin web.shop.svc.cluster.local A 10.0.0.7 --for 2h
  outlast ctl unpin web.shop.svc.cluster.local
  outlast ctl top                       who asks for what, how much of it, and who answers
  kubectl exec -n kube-system outlast-x7k2p -- /outlast ctl status

It needs neither the API server nor a network, only the process. It has to be run as root, or as the user that the
process runs as. Exit status: 0 for success, 1 if the process is not ready or alive, does not answer or cannot do it, 2 for
wrong usage.")]
pub(super) struct Args {
    /// The socket [default: /run/outlast/node.sock or /run/outlast/hub.sock, whichever answers]
    #[arg(long, global = true, env = "OUTLAST_CONTROL", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the reply as JSON
    #[arg(long, global = true)]
    json: bool,
    /// What is asked.
    #[command(subcommand)]
    command: Command,
}

/// What is asked.
#[derive(clap::Subcommand)]
enum Command {
    /// One screen: what it knows, how old, from whom, what is held back, and what to do next
    Status,
    /// Whether it is ready; exit status 1 if it is not
    Ready,
    /// Whether whoever answers gives signs of life, ready or not; exit status 1 if somebody does not
    Alive,
    /// How it answers a question; exit status 1 for a failure such as SERVFAIL
    Lookup {
        /// The name
        name: String,
        /// The type of record
        #[arg(default_value = "A", value_name = "TYPE")]
        kind: String,
    },
    /// Believe what the guard holds back, and follow a cluster that was refused
    Accept(Which),
    /// Go on serving what is served now, whatever comes
    Freeze {
        /// For how long [default: 1h]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
        /// Which data.
        #[command(flatten)]
        which: Which,
    },
    /// Serve what was received again, after freeze or rollback
    Thaw(Which),
    /// List the snapshots on the disk
    Generations(Which),
    /// Serve a snapshot, frozen
    Rollback {
        /// Its number, as `generations` lists it
        generation: u64,
        /// For how long [default: 1h]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
        /// Which data.
        #[command(flatten)]
        which: Which,
    },
    /// Answer a name with a value, whatever the cluster and the Corefile say; again with another value adds that
    Pin {
        /// The name
        name: String,
        /// A, AAAA, CNAME, TXT, SRV or PTR
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The value as a zone file has it; words are joined
        #[arg(required = true)]
        value: Vec<String>,
        /// For how long [default: 1h]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// Answer a name as the cluster says again
    Unpin {
        /// The name
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// The type of record [default: all of the name]
        #[arg(value_name = "TYPE")]
        kind: Option<String>,
        /// Everything that is pinned
        #[arg(long)]
        all: bool,
    },
    /// List what is pinned
    Pins,
    /// Questions a second, the busiest names and clients, answers by source, and how old the data is
    Top {
        /// For how long to look, 1s to 10s
        #[arg(long = "for", value_name = "DURATION", value_parser = look, default_value = "5s")]
        for_: Duration,
    },
}

/// Which of several stores is meant.
#[derive(clap::Args)]
struct Which {
    /// Only the data of this zone [default: all]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

impl Command {
    fn order(&self) -> Order {
        let seconds = |duration: &Option<Duration>| duration.as_ref().map(Duration::as_secs);
        let zone = |which: &Which| which.zone.clone();
        match self {
            Self::Status => Order::Status,
            Self::Ready => Order::Ready,
            Self::Alive => Order::Alive,
            Self::Lookup { name, kind } => Order::Lookup { name: name.clone(), kind: kind.clone() },
            Self::Accept(which) => Order::Accept { zone: zone(which) },
            Self::Freeze { for_, which } => Order::Freeze { for_s: seconds(for_), zone: zone(which) },
            Self::Thaw(which) => Order::Thaw { zone: zone(which) },
            Self::Generations(which) => Order::Generations { zone: zone(which) },
            Self::Rollback { generation, for_, which } => {
                Order::Rollback { generation: *generation, for_s: seconds(for_), zone: zone(which) }
            }
            Self::Pin { name, kind, value, for_ } => Order::Pin {
                name: name.clone(),
                kind: kind.clone(),
                value: value.join(" "),
                for_s: seconds(for_),
            },
            Self::Unpin { name, kind, all: _ } => Order::Unpin { name: name.clone(), kind: kind.clone() },
            Self::Pins => Order::Pins,
            Self::Top { .. } => Order::Top,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        least if least < Duration::from_secs(1) => Err("write 1s or more".to_owned()),
        duration => Ok(duration),
    }
}

/// How long to look. What is shown is of the last seconds, whatever is said.
fn look(text: &str) -> Result<Duration, String> {
    let longest = 2 * WINDOW;
    match duration(text)? {
        longer if longer > longest => Err(format!("write {} s or less", longest.as_secs())),
        duration => Ok(duration),
    }
}

/// Asks, and prints the reply.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = match choose(args.socket.as_deref(), [NODE_SOCKET, HUB_SOCKET].map(Path::new)) {
        Choice::One(path) => path,
        Choice::Nobody(why) => {
            eprintln!("outlast: {why}");
            return Ok(ExitCode::FAILURE);
        }
        Choice::Wrong(why) => return Ok(super::wrong(&why)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(ask(&path, &args.command)) {
        Ok(reply) => answered(args, reply),
        Err(AskError::Refused(refusal)) if refusal.kind == RefusalKind::Wrong => Ok(super::wrong(&refusal)),
        Err(error) => {
            eprintln!("outlast: {}: {error}{}", path.display(), hint(&error));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Asks, and where it takes time to see something, twice.
async fn ask(path: &Path, command: &Command) -> Result<Value, AskError> {
    let order = command.order();
    if let Command::Top { for_ } = command {
        // Who looks has it counted from then on.
        control::ask(path, &order).await?;
        tokio::time::sleep(*for_).await;
    }
    control::ask(path, &order).await
}

/// Prints a reply, and gives the exit status for it.
fn answered(args: &Args, reply: Value) -> anyhow::Result<ExitCode> {
    if args.json {
        // As it came: what a newer process says that this program does not know is there, too.
        super::say(format_args!("{reply:#}"));
    }
    let (text, fine) = match &args.command {
        Command::Status => print::status(&read(reply)?),
        Command::Ready => print::ready(&read(reply)?),
        Command::Alive => print::alive(&read(reply)?),
        Command::Lookup { .. } => print::lookup(&read(reply)?),
        Command::Generations(_) => print::generations(&read::<Vec<_>>(reply)?),
        Command::Accept(_) | Command::Freeze { .. } | Command::Thaw(_) | Command::Rollback { .. } => {
            print::outcomes(&read::<Vec<_>>(reply)?)
        }
        Command::Pin { .. } => pins::pinned(&read(reply)?),
        Command::Unpin { .. } => pins::unpinned(&read(reply)?),
        Command::Pins => pins::list(&read::<Vec<_>>(reply)?),
        Command::Top { .. } => top::screen(&read(reply)?),
    };
    if !args.json {
        super::say(text.trim_end());
    }
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read<T: DeserializeOwned>(reply: Value) -> anyhow::Result<T> {
    serde_json::from_value(reply).map_err(|error| {
        anyhow::anyhow!("the reply is another release's: {error}; --json prints it as it is")
    })
}

/// What may help against an error.
const fn hint(error: &AskError) -> &'static str {
    match error {
        AskError::Nobody => ": is it running, and with --control?",
        AskError::Silent => ": answers may go on all the same; its log may say why",
        _ => "",
    }
}

/// Which socket is meant.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// This one.
    One(PathBuf),
    /// None answers, and what was tried.
    Nobody(String),
    /// It cannot be told.
    Wrong(String),
}

/// The socket that was named, or the one of `usual` that answers.
fn choose(named: Option<&Path>, usual: [&Path; 2]) -> Choice {
    if let Some(path) = named {
        if path == Path::new("off") {
            return Choice::Wrong(
                "OUTLAST_CONTROL is off: there is no socket, or --socket names it".to_owned(),
            );
        }
        return Choice::One(path.to_owned());
    }
    // One that may not be asked is there: its error says more than we could.
    let there = usual.iter().filter(|path| !matches!(control::is_answered(path), Ok(false)));
    let (node, hub) = (usual[0].display(), usual[1].display());
    match there.collect::<Vec<_>>()[..] {
        [] => Choice::Nobody(format!(
            "nobody answers at {node} or {hub}: is a node or a hub running here? (--socket names another place)"
        )),
        [one] => Choice::One(one.to_path_buf()),
        _ => Choice::Wrong(format!("a node and a hub run here: choose --socket {node} or --socket {hub}")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_socket_that_answers_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let (node, hub) = (dir.path().join("node.sock"), dir.path().join("hub.sock"));
        let chosen = |named: Option<&str>| choose(named.map(Path::new), [&node, &hub]);
        let Choice::Nobody(why) = chosen(None) else { panic!("nobody is there") };
        assert!(why.contains("nobody answers at") && why.contains("hub.sock"), "{why}");
        // Abandoned.
        drop(UnixListener::bind(&hub).unwrap());
        assert!(matches!(chosen(None), Choice::Nobody(_)));
        let _node = UnixListener::bind(&node).unwrap();
        assert_eq!(chosen(None), Choice::One(node.clone()));
        std::fs::remove_file(&hub).unwrap();
        let _hub = UnixListener::bind(&hub).unwrap();
        let Choice::Wrong(why) = chosen(None) else { panic!("there are two") };
        assert!(why.contains("choose --socket"), "{why}");
        assert_eq!(chosen(Some("/x")), Choice::One("/x".into()));
        assert!(matches!(chosen(Some("off")), Choice::Wrong(_)));
    }
}
