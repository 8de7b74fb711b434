//! Scripts: one command a line, `#` begins a comment, indentation is for people.
//!
//! ```text
//! option LINE             a line of the next node's `kubernetes` block
//! fallback ZONE-LINE      a fallback server with this record, and the option that names it
//! fallback silent|answers
//! start | stop | crash    a node on the disk of the one before; SIGTERM; SIGKILL
//! at DURATION             time passes until so long after the beginning
//! after DURATION          so much time passes
//! always NAME TYPE RCODE [DATA...] [or RCODE [DATA...]]...   from now on, all the time; `whatever` ends that
//! repeat COUNT | done     what is between them, so many times
//!
//! object OBJECT           the cluster has this (see objects.rs)
//! source state [without KIND]   the source lists the whole cluster, and proves it
//! source upsert OBJECT    the cluster has this, and the source says so and proves it
//! source delete KIND NAME
//! source unproved [trigger SERVICE DURATION] upsert|delete ...   the same without the proof; what set it off so long ago
//! source fresh [DURATION] it proves that nothing changed (until so long ago)
//! source part KIND,... OBJECT | source end KIND,... | source failed KIND,...   a list, step by step
//! source lists KIND UNREADABLE-KIND NAME   a part whose entry cannot be read
//! source reached|told KIND VERSION
//! source lineage UID EPOCH
//! source proves every DURATION | source is silent
//! source lost WHY... | source ends
//!
//! apiserver ... | exactly   a node that follows an API server instead (see apiserver.rs)
//! command relist KIND,... held|audit|lost | command epoch EPOCH   what its source is asked for
//! accept                    an operator accepts what is held back or refused
//!
//! ask NAME TYPE [without opt]
//! expect ...              of the reply to the last question (see expect.rs)
//! state STATE             of the data, as metrics have it
//! resume UID EPOCH VERSION...   from where the node told its source to go on at its start, by kind
//! metric SERIES RANGE
//! ready yes|no
//! log RANGE TEXT...       so many lines of the log have this text
//! upstream saw COUNT      so many questions left the node
//! fallback saw COUNT
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use outlast::corefile::parse_duration;
use outlast::feed::position::Position;
use outlast::source::command::{Command, Why};
use outlast::source::{Event, Listed, Resume, Trigger, Update};
use outlast::testkit::client::Answer;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use outlast::zone::change::Change;

use super::SCENARIOS;
use super::expect::{Expect, range};
use super::objects::{key, kind, kinds, object};
use super::vigil::Vigil;
use super::ways::{Transcript, Way, compare};
use super::world::World;

/// Plays a script of [`SCENARIOS`] by both ways that queries take; what it expects holds by both, and both say the same.
pub(super) fn play(name: &str) {
    // A clock, a disk and a log of its own for each.
    let [general, lane] = Way::BOTH.map(|way| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(play_by(way, name))
    });
    compare(&general, &lane).unwrap_or_else(|differs| panic!("{name}: {differs}"));
}

/// Plays a script, and returns everything that was said.
async fn play_by(way: Way, name: &str) -> Transcript {
    let path = format!("{SCENARIOS}/{name}.txt");
    let script = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut stage = Stage { world: World::new(way), reply: None };
    let (mut expectations, mut next) = (0, 0);
    // The first line of what is repeated, and how often it still is.
    let mut repeated = None;
    let lines: Vec<&str> = script.lines().collect();
    while let Some(line) = lines.get(next) {
        let line = line.trim();
        let number = next;
        next += 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        match (&*words, repeated) {
            ([], _) => continue,
            ([word, ..], _) if word.starts_with('#') => continue,
            (["repeat", count], None) => {
                repeated = Some((next, count.parse::<u32>().unwrap()));
                continue;
            }
            (["done"], Some((first, left))) => {
                repeated = (left > 1).then_some((first, left - 1));
                next = repeated.map_or(next, |(first, _)| first);
                continue;
            }
            _ => {}
        }
        let played = AssertUnwindSafe(stage.play(&words)).catch_unwind().await;
        if played.is_err() {
            panic!("{path}:{}: {line} ({way:?})\n{}", number + 1, stage.world.log.text());
        }
        expectations += usize::from(words[0] == "expect");
    }
    assert!(expectations > 0, "{path} expects nothing");
    stage.world.transcript
}

/// The world, and the reply to the last question.
struct Stage {
    world: World,
    reply: Option<(Answer, Duration)>,
}

impl Stage {
    async fn play(&mut self, words: &[&str]) {
        let world = &mut self.world;
        match words {
            ["option", line @ ..] => world.options.push(line.join(" ")),
            ["start"] => world.start(),
            ["stop"] => world.stop().await,
            ["crash"] => world.crash().await,
            ["at", at] => world.advance_to(parse_duration(at).unwrap()).await,
            ["after", time] => world.advance_by(parse_duration(time).unwrap()).await,
            ["always", words @ ..] => {
                let vigil = Vigil::parse(words);
                world.vigils.retain(|other| other.name != vigil.name);
                world.vigils.push(vigil);
            }
            ["whatever"] => world.vigils.clear(),
            ["object", words @ ..] => world.objects.push(object(words)),
            ["source", words @ ..] => source(world, words).await,
            ["apiserver", "serves", how @ ..] => world.serve(how),
            ["apiserver", words @ ..] => world.apiserver(words).await,
            ["exactly"] => world.is_exact(),
            ["command", words @ ..] => world.command(command(words)).await,
            ["accept"] => world.accept().await,
            ["fallback", words @ ..] => fallback(world, words).await,
            ["ask", name, kind, opt @ ..] => {
                let opt = match opt {
                    [] => true,
                    ["without", "opt"] => false,
                    _ => panic!("ask NAME TYPE [without opt]"),
                };
                self.reply = Some(world.ask(name, kind.parse().unwrap(), opt).await);
            }
            ["expect", words @ ..] => {
                let (answer, took) = self.reply.as_ref().expect("something was asked");
                Expect::parse(words).check(answer, *took);
            }
            ["state", state] => {
                for name in ["live", "stale", "expired", "empty"] {
                    let value = world.metric(&format!("outlast_data_state{{state=\"{name}\"}}"));
                    assert_eq!(value == 1.0, name == *state, "outlast_data_state of {name} is {value}");
                }
            }
            ["resume", uid, epoch, versions @ ..] => {
                let versions: Vec<_> = versions.iter().map(|v| v.parse().unwrap()).collect();
                let position =
                    Position { epoch: epoch.parse().unwrap(), versions: versions.try_into().unwrap() };
                let cluster_uid = if *uid == "-" { String::new() } else { (*uid).to_owned() };
                let Resume { cluster_uid: uid, position: at, .. } = world.resume();
                assert_eq!((uid, at), (cluster_uid, position));
            }
            ["metric", series, value] => {
                let (got, want) = (world.metric(series), range(value));
                assert!(want.contains(&got), "{series} is {got}");
            }
            ["ready", ready] => assert_eq!(world.is_ready(), *ready == "yes"),
            ["log", count, text @ ..] => {
                let (log, text) = (world.log.text(), text.join(" "));
                let lines = log.lines().filter(|line| line.contains(&text)).count();
                assert!(range(count).contains(&(lines as f64)), "{lines} lines with {text:?}");
            }
            ["upstream", "saw", count] => {
                assert_eq!(world.upstream.load(Ordering::Relaxed), count.parse::<usize>().unwrap());
            }
            _ => panic!("no such command"),
        }
    }
}

/// What a source is asked for.
fn command(words: &[&str]) -> Command {
    match words {
        ["relist", listed, why] => {
            let all = [Why::Held, Why::Audit, Why::Lost];
            let why = all.into_iter().find(|w| w.as_str() == *why).expect("held, audit or lost");
            Command::Relist { kinds: kinds(listed), why }
        }
        ["epoch", epoch] => Command::BeginEpoch(epoch.parse().unwrap()),
        _ => panic!("no such command"),
    }
}

async fn source(world: &mut World, words: &[&str]) {
    match words {
        ["state"] => world.tell_state(None).await,
        ["state", "without", name] => world.tell_state(Some(kind(name))).await,
        ["unproved", "trigger", service, ago, words @ ..] => {
            let ago = u64::try_from(parse_duration(ago).unwrap().as_millis()).unwrap();
            let trigger = Trigger { service: (*service).into(), at_ms: world.unix_ms() - ago };
            change(world, words, Some(trigger)).await;
        }
        ["unproved", words @ ..] => change(world, words, None).await,
        ["upsert" | "delete", ..] => {
            change(world, words, None).await;
            world.prove(Duration::ZERO).await;
        }
        ["fresh"] => world.prove(Duration::ZERO).await,
        ["fresh", ago] => world.prove(parse_duration(ago).unwrap()).await,
        ["part", listed, words @ ..] => world.tell_part(kinds(listed), object(words)).await,
        ["lists", listed, what, name] => {
            let entries = vec![Listed::Unreadable(key(what, name))];
            world.tell(Update::ListPart { kinds: kinds(listed), entries }).await;
        }
        ["end", listed] => world.tell(Update::ListEnd { kinds: kinds(listed) }).await,
        ["failed", listed] => world.tell(Update::ListFailed { kinds: kinds(listed) }).await,
        ["reached", name, version] => {
            let version = version.parse().unwrap();
            world.tell(Update::Reached { kind: kind(name), version }).await;
        }
        ["told", name, version] => {
            let version = version.parse().unwrap();
            world.tell(Update::Told { kind: kind(name), version, digest: None }).await;
        }
        ["lineage", uid, epoch] => {
            let epoch = epoch.parse().unwrap();
            world.tell(Update::Lineage { cluster_uid: (*uid).to_owned(), epoch }).await;
        }
        ["proves", "every", interval] => world.prove_every(parse_duration(interval).unwrap()),
        ["is", "silent"] => world.silence(),
        ["lost", why @ ..] => {
            world.silence();
            world.tell(Update::Lost { why: why.join(" ") }).await;
        }
        ["ends"] => world.end_source().await,
        _ => panic!("no such thing to say"),
    }
}

/// A single object changes, and the source says so.
async fn change(world: &mut World, words: &[&str], trigger: Option<Trigger>) {
    let change = match words {
        ["upsert", words @ ..] => {
            let object = object(words);
            world.objects.retain(|o| o.key() != object.key());
            world.objects.push(object.clone());
            Change::Upsert(object)
        }
        ["delete", kind, name] => {
            let key = key(kind, name);
            world.objects.retain(|o| o.key() != key);
            Change::Delete(key)
        }
        _ => panic!("no change: {}", words.join(" ")),
    };
    world.tell(Update::Changes(vec![Event { change, trigger, held: None }])).await;
}

async fn fallback(world: &mut World, words: &[&str]) {
    let server = |world: &World| world.fallback.as_ref().expect("there is a fallback").total();
    match words {
        ["silent"] => set_silent(world, true),
        ["answers"] => set_silent(world, false),
        ["saw", count] => assert_eq!(server(world), count.parse::<usize>().unwrap()),
        record => {
            let fallback = FakeUpstream::start(&record.join(" ")).await;
            world.options.push(format!("fallback {}", fallback.addr()));
            world.fallback = Some(fallback);
        }
    }
}

fn set_silent(world: &mut World, silent: bool) {
    world.fallback_is_silent = silent;
    let behaviour = if silent { Behaviour::Silent } else { Behaviour::Answer };
    world.fallback.as_ref().expect("there is a fallback").set_all(behaviour);
}
