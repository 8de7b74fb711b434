//! Scripts: one command a line, `#` begins a comment, indentation is for people.
//!
//! ```text
//! option LINE             a line of the next node's `kubernetes` block
//! fallback ZONE-LINE      a fallback server with this record, and the option that names it
//! fallback silent|answers
//! start | stop | crash    a node on the disk of the one before; SIGTERM; SIGKILL
//! at DURATION             time passes until so long after the beginning
//!
//! object OBJECT           the cluster has this (see objects.rs)
//! source state [without KIND]   the source sends the whole cluster
//! source upsert OBJECT    the cluster has this, and the source says so
//! source delete KIND NAME
//! source fresh            it proves that nothing changed
//! source proves every DURATION | source is silent
//! source lost WHY... | source ends
//!
//! ask NAME TYPE [without opt]
//! expect ...              of the reply to the last question (see expect.rs)
//! state STATE             of the data, as metrics have it
//! metric SERIES RANGE
//! ready yes|no
//! log COUNT TEXT...       so many lines of the log have this text
//! upstream saw COUNT      so many questions left the node
//! fallback saw COUNT
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use outlast::corefile::parse_duration;
use outlast::source::Update;
use outlast::testkit::client::Answer;
use outlast::testkit::upstream::{Behaviour, FakeUpstream};
use outlast::zone::change::Change;

use super::SCENARIOS;
use super::expect::{Expect, range};
use super::objects::{key, kind, object};
use super::world::World;

/// Plays a script of [`SCENARIOS`].
pub(super) async fn play(name: &str) {
    let path = format!("{SCENARIOS}/{name}.txt");
    let script = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut stage = Stage { world: World::new(), reply: None };
    let mut expectations = 0;
    for (number, line) in script.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let played = AssertUnwindSafe(stage.play(&words)).catch_unwind().await;
        if played.is_err() {
            panic!("{path}:{}: {line}\n{}", number + 1, stage.world.log.text());
        }
        expectations += usize::from(words[0] == "expect");
    }
    assert!(expectations > 0, "{path} expects nothing");
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
            ["object", words @ ..] => world.objects.push(object(words)),
            ["source", words @ ..] => source(world, words).await,
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
            ["metric", series, value] => {
                let (got, want) = (world.metric(series), range(value));
                assert!(want.contains(&got), "{series} is {got}");
            }
            ["ready", ready] => assert_eq!(world.is_ready(), *ready == "yes"),
            ["log", count, text @ ..] => {
                let (log, text) = (world.log.text(), text.join(" "));
                let lines = log.lines().filter(|line| line.contains(&text)).count();
                assert_eq!(lines, count.parse::<usize>().unwrap(), "lines with {text:?}");
            }
            ["upstream", "saw", count] => {
                assert_eq!(world.upstream.load(Ordering::Relaxed), count.parse::<usize>().unwrap());
            }
            _ => panic!("no such command"),
        }
    }
}

async fn source(world: &mut World, words: &[&str]) {
    match words {
        ["state"] => world.tell_state(None).await,
        ["state", "without", name] => world.tell_state(Some(kind(name))).await,
        ["upsert", words @ ..] => {
            let object = object(words);
            world.objects.retain(|o| o.key() != object.key());
            world.objects.push(object.clone());
            world.tell(Update::Changes(vec![Change::Upsert(object)])).await;
        }
        ["delete", kind, name] => {
            let key = key(kind, name);
            world.objects.retain(|o| o.key() != key);
            world.tell(Update::Changes(vec![Change::Delete(key)])).await;
        }
        ["fresh"] => world.tell(Update::Fresh).await,
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
