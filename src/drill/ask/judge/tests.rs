use serde_json::json;
use tokio::time::advance;

use super::super::message::Record;
use super::*;
use crate::drill::standin::{Config, Standin};
use crate::zone::object::Kind;

/// What is asked about.
const NAME: &str = "web.shop.svc.cluster.local.";

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A store in which `shop/web` has had the addresses 10.96.0.1, .2 and .3, a minute each, and is gone in the fourth.
async fn world(rules: Rules) -> (Standin, Judge) {
    let standin = Standin::in_memory(Config::default()).unwrap();
    let etcd = standin.etcd();
    etcd.put(Kind::Namespace, &json!({ "metadata": { "name": "shop" } })).unwrap();
    etcd.put(Kind::Service, &service(1)).unwrap();
    etcd.clear_history();
    let mut judge = Judge::begin(etcd, rules);
    for n in 2..=3 {
        advance(s(60)).await;
        etcd.put(Kind::Service, &service(n)).unwrap();
    }
    advance(s(60)).await;
    etcd.delete(Kind::Service, "shop", "web").unwrap();
    advance(s(60)).await;
    judge.read(etcd);
    (standin, judge)
}

fn service(n: u8) -> serde_json::Value {
    let ip = format!("10.96.0.{n}");
    json!({
        "metadata": { "namespace": "shop", "name": "web" },
        "spec": { "type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip] },
    })
}

/// A reply that came so long ago with this address, or none, and these words.
fn reply(ago: u64, address: Option<u8>, words: &str) -> Reply {
    let came = Instant::now() - s(ago);
    let record = |n| Record { owner: NAME.to_owned(), kind: Type::A, ttl: 5, data: format!("10.96.0.{n}") };
    let error = ExtendedError { code: if address.is_some() { 3 } else { 19 }, text: words.to_owned() };
    let message = Message {
        id: 1,
        rcode: if address.is_some() { 0 } else { 3 },
        truncated: false,
        question: None,
        answers: address.map(record).into_iter().collect(),
        errors: Some(error).filter(|_| !words.is_empty()).into_iter().collect(),
    };
    Reply { node: 0, life: 0, sent: came, came, question: Question::new(NAME, Type::A), outcome: Ok(message) }
}

/// Verdicts in a word.
fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Right => "right",
        Verdict::Wrong(why) if why.starts_with("went back") => "back",
        Verdict::Wrong(_) => "wrong",
        Verdict::Failed(_) => "failed",
        Verdict::Unknown => "unknown",
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_right_that_was_true_in_its_window() {
    let (_standin, mut judge) = world(Rules::default()).await;
    let held = "held back: list of services is empty";
    for (life, (name, ago, address, words, want)) in [
        ("what is so", 200, Some(1), "", "right"),
        ("what is to come", 200, Some(2), "", "wrong"),
        ("what never was", 200, Some(9), "", "wrong"),
        ("denied all the time", 200, None, "", "failed"),
        ("what was so 30 s ago", 150, Some(1), "", "right"),
        ("what was so 50 s ago", 130, Some(1), "", "wrong"),
        ("and says that it is 40 s old", 130, Some(1), "cluster data last verified 40s ago", "right"),
        ("and says that it is 30 s old", 130, Some(1), "cluster data last verified 30s ago", "wrong"),
        (
            "two minutes old",
            60,
            Some(1),
            "cluster data last verified 1m50s ago, frozen by an operator",
            "right",
        ),
        ("hours old", 0, Some(1), "cluster data last verified 1h0m ago; held back: x", "right"),
        ("of unknown age", 0, Some(1), "cluster data not verified in the 5s since the start", "right"),
        ("held back", 0, Some(3), held, "right"),
        ("held back, and never was", 0, Some(9), held, "wrong"),
        ("gone", 10, None, "", "right"),
        ("gone for 30 s", 30, Some(3), "", "right"),
        ("gone for long", 10, Some(3), "", "wrong"),
        ("not gone yet", 61, None, "", "failed"),
        ("an age that nobody can read", 0, Some(1), "cluster data last verified some time ago", "right"),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = Reply { life: life as u32, ..reply(ago, address, words) };
        let judgement = judge.judge(&reply);
        assert_eq!(word(&judgement.verdict), want, "{name}: {judgement:?}");
        assert_eq!(judgement.says_old, words.contains("verified"), "{name}");
        assert_eq!(judgement.says_held, words.contains("held"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_never_goes_back_in_one_life() {
    let old = "cluster data last verified 3m0s ago";
    for (name, rules, second, want) in [
        ("the same again", Rules::default(), Reply { ..reply(0, Some(2), old) }, "right"),
        ("further", Rules::default(), reply(0, Some(3), old), "right"),
        ("back", Rules::default(), reply(0, Some(1), old), "back"),
        ("another life", Rules::default(), Reply { life: 1, ..reply(0, Some(1), old) }, "right"),
        ("another node", Rules::default(), Reply { node: 1, ..reply(0, Some(1), old) }, "right"),
        (
            "nothing is promised",
            Rules { never_back: false, ..Rules::default() },
            reply(0, Some(1), old),
            "right",
        ),
    ] {
        let (_standin, mut judge) = world(rules).await;
        let now = Instant::now();
        let first = reply(70, Some(2), old);
        assert_eq!(judge.judge(&first).verdict, Verdict::Right, "{name}");
        let judgement = judge.judge(&Reply { sent: now - s(60), came: now - s(60), ..second });
        assert_eq!(word(&judgement.verdict), want, "{name}: {judgement:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_in_a_restore_goes_on_where_that_is_promised() {
    let (standin, mut judge) = world(Rules::default()).await;
    let etcd = standin.etcd();
    let without = etcd.save();
    etcd.put(Kind::Service, &service(4)).unwrap();
    advance(s(100)).await;
    etcd.restore_bumped(&without, 1000);
    let restored = Instant::now();
    advance(s(100)).await;
    judge.read(etcd);
    assert_eq!(word(&judge.judge(&reply(0, None, "")).verdict), "right");
    judge.rules().keeps = Keeps::Vanished(None);
    let of = |life, reply: Reply| Reply { life, ..reply };
    assert_eq!(word(&judge.judge(&of(1, reply(0, None, ""))).verdict), "failed");
    assert_eq!(word(&judge.judge(&of(1, reply(0, Some(4), ""))).verdict), "right");
    judge.rules().keeps = Keeps::Vanished(Some(restored + s(90)));
    assert_eq!(word(&judge.judge(&of(1, reply(0, None, ""))).verdict), "right");
    assert_eq!(word(&judge.judge(&of(2, reply(20, None, ""))).verdict), "failed");
}

#[tokio::test(start_paused = true)]
async fn what_was_true_long_ago_is_forgotten_where_nobody_needs_it() {
    let (standin, mut judge) = world(Rules { remembers: Some(s(90)), ..Rules::default() }).await;
    assert!(standin.etcd().history().is_empty(), "what was read is not kept twice");
    let word_of = |judge: &mut Judge, reply: Reply| word(&judge.judge(&reply).verdict);
    let reverse = |ago, n: u8| Reply {
        question: Question::new(format!("{n}.0.96.10.in-addr.arpa."), Type::Ptr),
        ..reply(ago, None, "")
    };
    // 150 s ago and before; what was so at that moment is known.
    assert_eq!(word_of(&mut judge, reply(200, Some(1), "")), "wrong");
    assert_eq!(word_of(&mut judge, reverse(0, 1)), "unknown");
    assert_eq!(word_of(&mut judge, reply(100, Some(3), "")), "right");
    assert_eq!(word_of(&mut judge, reply(10, None, "")), "right");
    assert_eq!(word_of(&mut judge, reverse(0, 3)), "right");
    // A service that is over is as one that never was, and another one of that name is a new one.
    advance(s(100)).await;
    judge.read(standin.etcd());
    assert_eq!(word_of(&mut judge, reverse(0, 3)), "unknown");
    assert_eq!(word_of(&mut judge, reply(0, None, "")), "right");
    standin.etcd().put(Kind::Service, &service(4)).unwrap();
    advance(s(50)).await;
    judge.read(standin.etcd());
    assert_eq!(word_of(&mut judge, reply(0, Some(4), "")), "right");
    assert_eq!(word_of(&mut judge, reply(0, None, "")), "failed");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_has_failed() {
    let (_standin, mut judge) = world(Rules::default()).await;
    let with = |change: fn(&mut Message)| {
        let mut reply = reply(200, Some(1), "");
        if let Ok(message) = &mut reply.outcome {
            change(message);
        }
        reply
    };
    let of = |name: &str| Reply { question: Question::new(name, Type::A), ..reply(0, None, "") };
    for (name, reply, want) in [
        ("SERVFAIL", with(|message| message.rcode = 2), "failed"),
        ("REFUSED", with(|message| message.rcode = 5), "failed"),
        ("cut", with(|message| message.truncated = true), "failed"),
        ("nothing", Reply { outcome: Err("no reply".to_owned()), ..reply(0, None, "") }, "failed"),
        ("of another owner", with(|message| message.answers[0].owner = "x.".to_owned()), "wrong"),
        ("what nobody knows", of("web.shop.pod.cluster.local."), "unknown"),
        ("what never was", of("ghost.shop.svc.cluster.local."), "right"),
        ("of outside", of("www.example."), "failed"),
    ] {
        assert_eq!(word(&judge.judge(&reply).verdict), want, "{name}");
    }
}

#[test]
fn ages_are_read_as_the_longest_that_they_can_be() {
    for (text, want) in [
        ("0s ago", Some(1)),
        ("59s ago", Some(60)),
        ("1m0s, frozen", Some(61)),
        ("3h59m ago", Some(4 * 3600)),
        ("2d23h ago", Some(3 * 86_400)),
        ("ago", None),
        ("5", None),
        ("5x ago", None),
    ] {
        assert_eq!(longest(text), want.map(s), "{text}");
    }
}
