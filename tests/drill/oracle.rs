//! Whether the judge of drills knows what is right: every answer that a real CoreDNS has given, of the sorts that drills
//! ask for, is right, and none of them is once a record in it is another one.

use std::path::Path;
use std::time::Duration;

use outlast::drill::ask::judge::{Judge, Reply, Rules, Verdict};
use outlast::drill::ask::message::{Message, Question, Record, Type};
use outlast::drill::standin::{Config, Standin, seed};
use serde_json::Value;
use tokio::time::Instant;

/// Answers of the recordings that the judge has to know at least, of 2,705: those for addresses, ports and reverse names of
/// services and their endpoints.
const KNOWN: usize = 1_000;

/// A recorded file, by line.
fn recorded() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity/public-plain.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kind(text: &str) -> Type {
    match text {
        "A" => Type::A,
        "AAAA" => Type::Aaaa,
        "PTR" => Type::Ptr,
        "SRV" => Type::Srv,
        "CNAME" => Type::Cname,
        _ => Type::Other(0),
    }
}

/// A recorded answer as the reply to its question.
fn reply(recorded: &Value) -> Reply {
    let name = recorded["name"].as_str().unwrap().to_lowercase();
    let rcode = match recorded["rcode"].as_str().unwrap() {
        "NOERROR" => 0,
        "NXDOMAIN" => 3,
        "REFUSED" => 5,
        other => panic!("{other}"),
    };
    let record = |row: &Value| Record {
        owner: row[0].as_str().unwrap().to_lowercase(),
        ttl: row[1].as_u64().unwrap() as u32,
        kind: kind(row[2].as_str().unwrap()),
        data: row[3].as_str().unwrap().to_lowercase(),
    };
    let question = Question::new(name, kind(recorded["type"].as_str().unwrap()));
    let message = Message {
        id: 1,
        rcode,
        truncated: false,
        question: Some(question.clone()),
        answers: recorded["answer"].as_array().unwrap().iter().map(record).collect(),
        errors: Vec::new(),
    };
    let now = Instant::now();
    Reply { node: 0, life: 0, sent: now, came: now, question, outcome: Ok(message) }
}

/// The same reply with another last letter of a record.
fn with_another(reply: &Reply, at: usize) -> Reply {
    let mut reply = reply.clone();
    let data = &mut reply.outcome.as_mut().unwrap().answers[at].data;
    let last = data.pop().unwrap();
    let last = if last == '.' { data.pop().unwrap() } else { last };
    data.push(if last == '1' { '2' } else { '1' });
    reply
}

#[tokio::test]
async fn what_a_real_server_has_answered_is_right_and_nothing_else_is() {
    let standin = Standin::in_memory(Config::default()).unwrap();
    let objects = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity/cluster.json");
    seed::objects(standin.etcd(), &std::fs::read_to_string(objects).unwrap(), |_| ()).unwrap();
    let rules = || Rules { fresh: Duration::from_secs(60), ..Rules::default() };
    let mut judge = Judge::begin(standin.etcd(), rules());
    let (mut known, mut changed, mut wrong) = (0, 0, Vec::new());
    for recorded in recorded() {
        // What falls through in that configuration, and finds nobody.
        if recorded["rcode"] == "REFUSED" {
            continue;
        }
        let reply = reply(&recorded);
        match judge.judge(&reply).verdict {
            Verdict::Unknown => continue,
            Verdict::Right => known += 1,
            verdict => {
                wrong.push(format!("{}: {verdict:?}", reply.question));
                continue;
            }
        }
        let answers = reply.outcome.as_ref().unwrap().answers.len();
        for at in 0..answers {
            let verdict = judge.judge(&with_another(&reply, at)).verdict;
            assert!(matches!(verdict, Verdict::Wrong(_)), "{recorded}, record {at}: {verdict:?}");
            changed += 1;
        }
        // Whoever denies what there is, or leaves something out, is not right either.
        if answers > 0 {
            let mut less = reply.clone();
            less.outcome.as_mut().unwrap().answers.pop();
            assert_ne!(judge.judge(&less).verdict, Verdict::Right, "{recorded}, a record less");
        }
    }
    println!("{known} answers are known and right, {changed} records were changed and found");
    assert_eq!(wrong, [""; 0]);
    assert!(known >= KNOWN && changed >= KNOWN, "{known}, {changed}");
}
