//! An API server for scripts: the stand-in, in memory, so that time can stand still.
//!
//! ```text
//! apiserver serves [without streaming lists | over an old etcd | without progress]
//!                                 the node that is started next follows it
//! apiserver upsert OBJECT | apiserver delete KIND NAME | apiserver writes elsewhere
//! apiserver saves | restores | restores bumped | is another cluster
//! apiserver compacts | forgets its history | renews its tokens | revokes its tokens | forbids KIND | allows all
//! apiserver REQUESTS hang | drip | are cut after BYTES | get STATUS [SECONDS] | are empty | are garbage
//!           REQUESTS: requests | lists | watches | small, with `of KIND` and `once` before the fault
//! apiserver refuses | closes | hangs | opens            connections
//! apiserver goes down | comes back                      refuses, and cuts those that are there
//! apiserver cuts connections | silences watches | skips N events
//! apiserver lags DURATION | freezes | is well
//! apiserver counts anew
//! apiserver saw RANGE lists|consistent|cached|streaming|watches|small of KIND    requests since then
//! apiserver was dialled RANGE                           connections that were asked for since then
//! exactly                         the node has what the API server has, and nothing else
//! ```
//!
//! `lists` are all that begin a whole one: consistent ones, cached ones (not older than a version), streaming ones,
//! which are also `watches`, as are those that verify. Of namespaces, `small` includes asking which cluster it is.
//!
//! Whatever a script does: while time passes, each object that the node has is as it was at the API server at some
//! moment not older than the age that the node tells (see oracle.rs).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outlast::corefile::parse_duration;
use outlast::drill::standin::access::{Rights, USER};
use outlast::drill::standin::bulk::full;
use outlast::drill::standin::etcd::Backup;
use outlast::drill::standin::faults::{Fault, Network, Refusal, Rule};
use outlast::drill::standin::requests::{Asked, ListKind, Verb};
use outlast::drill::standin::{Config, Standin, StreamingLists};
use outlast::source::Wanted;
use outlast::source::apiserver::Dial;
use outlast::store::Store;
use outlast::zone::object::{Object, ObjectRef};

use super::expect::range;
use super::objects::{key, kind, object};
use super::oracle::{self, Oracle};

/// What a drip lets through: a watch's event takes minutes.
const DRIP: Fault = Fault::Drip { bytes: 1, every: Duration::from_secs(1) };

/// A stand-in, and what scripts do with it.
pub(super) struct ApiServer {
    /// The server.
    standin: Standin,
    /// What `restores` brings back.
    backup: Option<Backup>,
    /// Connections that were asked for.
    dialled: Arc<AtomicUsize>,
    /// What was true when, for the node that runs.
    oracle: Oracle,
}

impl ApiServer {
    /// Serves `objects`; `how` is what a script says after `serves`.
    pub(super) fn serve(how: &[&str], objects: &[Object]) -> Self {
        let mut config = Config::default();
        match how {
            [] => {}
            ["without", "streaming", "lists"] => config.streaming_lists = StreamingLists::Off,
            ["over", "an", "old", "etcd"] => config.streaming_lists = StreamingLists::OldEtcd,
            // Streaming lists need the progress that such an etcd does not tell of.
            ["without", "progress"] => {
                (config.progress, config.streaming_lists) = (false, StreamingLists::OldEtcd);
            }
            _ => panic!("no such server"),
        }
        let standin = Standin::in_memory(config).unwrap();
        let server =
            Self { standin, backup: None, dialled: Arc::default(), oracle: Oracle::new(Wanted::default()) };
        objects.iter().for_each(|object| server.put(object));
        server
    }

    /// Makes connections to it, and counts them.
    pub(super) fn dial(&self) -> Dial {
        let (dial, dialled) = (self.standin.dial(), self.dialled.clone());
        Arc::new(move || {
            dialled.fetch_add(1, Ordering::Relaxed);
            dial()
        })
    }

    /// Writes a kubeconfig into `dir`.
    pub(super) fn write_kubeconfig(&self, dir: &Path) {
        std::fs::write(dir.join("kubeconfig"), self.standin.kubeconfig()).unwrap();
    }

    fn put(&self, object: &Object) {
        let full = full(ObjectRef::from(object));
        self.standin.etcd().put_raw(full.kind, std::str::from_utf8(&full.text).unwrap()).unwrap();
    }

    /// Does what a script says after `apiserver`; `dir` has the node's kubeconfig.
    pub(super) fn play(&mut self, words: &[&str], dir: &Path) {
        let (etcd, faults) = (self.standin.etcd(), self.standin.faults());
        match words {
            ["upsert", words @ ..] => self.put(&object(words)),
            ["delete", kind, name] => {
                let key = key(kind, name);
                etcd.delete(key.kind, &key.namespace, &key.name).expect("it was there");
            }
            ["writes", "elsewhere"] => drop(etcd.touch()),
            ["saves"] => self.backup = Some(etcd.save()),
            ["restores"] => etcd.restore(self.backup.as_ref().expect("it was saved")),
            ["restores", "bumped"] => etcd.restore_bumped(self.backup.as_ref().expect("it was saved"), 1000),
            ["is", "another", "cluster"] => etcd.set_cluster_uid("00000000-0000-4000-8000-000000000001"),
            ["compacts"] => etcd.compact(),
            ["forgets", "its", "history"] => etcd.forget_history(),
            ["renews", "its", "tokens"] => {
                self.standin.access().renew_token(USER).unwrap();
                self.write_kubeconfig(dir);
            }
            ["revokes", "its", "tokens"] => assert!(self.standin.access().revoke(USER)),
            ["forbids", name] => {
                let rights = Rights::READ_ALL.deny(Verb::List, kind(name)).deny(Verb::Watch, kind(name));
                self.standin.access().set_user(USER, rights);
            }
            ["allows", "all"] => drop(self.standin.access().set_user(USER, Rights::READ_ALL)),
            ["refuses"] => faults.set_network(Network::Refuse),
            ["closes"] => faults.set_network(Network::Close),
            ["hangs"] => faults.set_network(Network::HangAtTls),
            ["opens"] | ["comes", "back"] => faults.set_network(Network::Open),
            ["goes", "down"] => {
                faults.set_network(Network::Refuse);
                faults.cut_connections();
            }
            ["cuts", "connections"] => faults.cut_connections(),
            ["silences", "watches"] => faults.silence_watches(),
            ["skips", events, "events"] => faults.skip_events(events.parse().unwrap()),
            ["lags", by] => faults.lag(parse_duration(by).unwrap()),
            ["freezes"] => faults.freeze(),
            ["is", "well"] => faults.clear(),
            ["saw", count, what, "of", name] => {
                let (kind, what) = (kind(name), request(what));
                let saw = self.standin.requests().count(|r| r.kind == Some(kind) && what(r));
                assert!(range(count).contains(&(saw as f64)), "it saw {saw}");
            }
            ["was", "dialled", count] => {
                let dialled = self.dialled.load(Ordering::Relaxed);
                assert!(range(count).contains(&(dialled as f64)), "it was dialled {dialled} times");
            }
            ["counts", "anew"] => {
                self.standin.requests().reset();
                self.dialled.store(0, Ordering::Relaxed);
            }
            [requests, words @ ..] => drop(faults.add(rule(requests, words))),
            [] => panic!("what?"),
        }
    }

    /// Asserts that a node's store has the server's objects and nothing else.
    pub(super) fn is_exact(&self, store: &Store, wanted: Wanted) {
        oracle::exactly(self.standin.etcd(), &store.current().table, wanted);
    }

    /// Asserts that a node's data is no older than it says.
    pub(super) fn is_honest(&mut self, store: &Store, wanted: Wanted) {
        if self.oracle.wanted() != wanted {
            self.oracle = Oracle::new(wanted);
        }
        self.oracle.read(self.standin.etcd());
        let current = store.current();
        let kinds = wanted.kinds().intersection(current.table.complete());
        self.oracle.check(&current.table, &current.held, kinds, store.age());
    }
}

/// Which requests are meant.
fn request(what: &str) -> fn(&Asked) -> bool {
    match what {
        "lists" => |r| r.list.is_some_and(|list| !matches!(list, ListKind::Small | ListKind::Continue)),
        "consistent" => |r| r.list == Some(ListKind::Consistent),
        "cached" => |r| r.list == Some(ListKind::Cached),
        "streaming" => |r| r.list == Some(ListKind::Streaming),
        "watches" => |r| r.verb == Verb::Watch,
        "small" => |r| r.list == Some(ListKind::Small),
        _ => panic!("no such requests: {what}"),
    }
}

/// A rule: which requests, and what becomes of them.
fn rule(requests: &str, words: &[&str]) -> Rule {
    let (of, words) = match words {
        ["of", name, rest @ ..] => (Some(kind(name)), rest),
        _ => (None, words),
    };
    let (once, words) = match words {
        ["once", rest @ ..] => (true, rest),
        _ => (false, words),
    };
    let fault = match words {
        ["hang"] => Fault::Hang,
        ["drip"] => DRIP,
        ["are", "cut", "after", bytes] => Fault::Cut { after: bytes.parse().unwrap() },
        ["are", "empty"] => Fault::Empty,
        ["are", "garbage"] => Fault::Garbage,
        ["get", "401"] => Fault::Answer(Refusal::Unauthorized),
        ["get", "403"] => Fault::Answer(Refusal::Forbidden),
        ["get", "410"] => Fault::Answer(Refusal::Gone),
        ["get", "429", seconds] => Fault::Answer(Refusal::TooManyRequests(seconds.parse().unwrap())),
        ["get", "500"] => Fault::Answer(Refusal::Internal),
        ["get", "503"] => Fault::Answer(Refusal::Unavailable),
        ["get", "504"] => Fault::Answer(Refusal::Timeout),
        _ => panic!("no such fault: {}", words.join(" ")),
    };
    let rule = Rule::new(fault);
    let rule = match requests {
        "requests" => rule,
        "lists" => rule.on(Verb::List),
        "watches" => rule.on(Verb::Watch),
        "small" => rule.on_lists(ListKind::Small),
        _ => panic!("requests, lists, watches or small"),
    };
    let rule = of.map_or(rule.clone(), |kind| rule.of(kind));
    if once { rule.times(1) } else { rule }
}
