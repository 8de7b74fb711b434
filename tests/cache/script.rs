//! Scripts: one command a line, `#` begins a comment, indentation is for people.
//!
//! ```text
//! corefile LINE              a line of the server block; `corefile anew` forgets those before
//! start | stop               a node; what it keeps ends with it
//! reload                     the running node takes over the Corefile as it is now
//! save | load                what a node keeps leaves it; and comes back, so much older
//! at DURATION                time passes until so long after the beginning
//! after DURATION             so much time passes
//!
//! upstream has NAME TTL TYPE DATA...    `upstream lacks NAME`
//! upstream soa NAME TTL MINIMUM | upstream no soa     what its negative answers say
//! upstream answers | is MODE            (see upstream.rs)
//! upstream takes DURATION               for whatever it does
//! upstream is known to fail | is not known to fail    what the plugins ahead of it can know
//! seen COUNT [NAME]          so many questions have reached it since the last `seen`
//! asked FLAGS                of the last question that reached it: rd, ad, cd, do, in this order
//!
//! object OBJECT              the cluster has this (see states/objects.rs)
//! cluster state              its source lists it
//!
//! ask [COUNT times] NAME TYPE [do] [cd] [ad] [no-rd] [no-opt] [subnet] [tcp] [ch] [no-wait] -> EXPECTATION (see expect.rs)
//! ask NAME TYPE -> leaves after DURATION
//! metric SERIES RANGE        `SERIES` as in a scrape, without labels that all series here share
//! log RANGE TEXT...          so many lines of the log have this text
//! ```

use std::fs;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use futures_util::FutureExt;
use outlast::corefile::parse_duration;

use super::expect::{Expect, range};
use super::objects::object;
use super::ways::{Transcript, Way};
use super::world::{Ask, World};

/// Plays a script, and returns everything that was said; an error says which line failed and how.
pub(super) async fn play(path: &Path, way: Way) -> Result<Transcript, String> {
    let script = fs::read_to_string(path).unwrap();
    let mut world = World::new(way);
    let mut expectations = 0;
    for (number, line) in script.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        expectations += usize::from(line.contains("->"));
        let played = AssertUnwindSafe(command(&mut world, &words)).catch_unwind().await;
        if let Err(panic) = played {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let (path, line, log) = (path.display(), line.trim(), world.log.text());
            let text = text.unwrap_or_default();
            return Err(format!("{path}:{}: {line} ({way:?})\n    {text}\n{log}", number + 1));
        }
    }
    if expectations == 0 {
        return Err(format!("{} expects nothing", path.display()));
    }
    Ok(world.transcript)
}

async fn command(world: &mut World, words: &[&str]) {
    match words {
        ["corefile", "anew"] => world.corefile.clear(),
        ["corefile", line @ ..] => world.corefile.push(line.join(" ")),
        ["start"] => world.start().await,
        ["stop"] => world.stop(),
        ["reload"] => world.reload().await,
        ["save"] => world.save(),
        ["load"] => world.load(),
        ["at", at] => world.advance_to(parse_duration(at).unwrap()).await,
        ["after", time] => world.advance_by(parse_duration(time).unwrap()).await,
        ["upstream", words @ ..] => world.upstream.command(words),
        ["seen", count] => assert_eq!(world.upstream.take_seen(None), count.parse::<usize>().unwrap()),
        ["seen", count, name] => {
            assert_eq!(world.upstream.take_seen(Some(name)), count.parse::<usize>().unwrap());
        }
        ["asked", flags @ ..] => assert_eq!(world.upstream.last_flags(), flags.join(" ")),
        ["object", words @ ..] => {
            let object = object(words);
            world.objects.retain(|other| other.key() != object.key());
            world.objects.push(object);
        }
        ["cluster", "state"] => world.tell_state().await,
        ["ask", words @ ..] => {
            let arrow = words.iter().position(|word| *word == "->").expect("ask QUESTION -> EXPECTATION");
            let (question, expected) = (&words[..arrow], &words[arrow + 1..]);
            let (times, question) = match question {
                [count, "times", rest @ ..] => (count.parse().unwrap(), rest),
                _ => (1, question),
            };
            let ask = Ask::parse(question);
            if let ["leaves", "after", patience] = expected {
                world.ask_and_leave(&ask, parse_duration(patience).unwrap()).await;
                return;
            }
            let expect = Expect::parse(expected);
            for (answer, took) in world.ask(&ask, times).await {
                expect.check(&ask, &answer, took);
            }
        }
        ["metric", series, value] => {
            let (got, want) = (world.metric(series), range(value));
            assert!(want.contains(&got), "{series} is {got}");
        }
        ["log", count, text @ ..] => {
            let (log, text) = (world.log.text(), text.join(" "));
            let lines = log.lines().filter(|line| line.contains(&text)).count();
            assert!(range(count).contains(&(lines as f64)), "{lines} lines with {text:?}");
        }
        _ => panic!("no such command"),
    }
}
