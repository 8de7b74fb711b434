//! Asks a node every recorded question and counts how often it agrees.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use hickory_proto::rr::Name;
use hickory_proto::serialize::txt::Parser;
use outlast::testkit::client::{Client, Query, lines};
use outlast::testkit::node::Builder;
use outlast::testkit::upstream::FakeUpstream;

use crate::judge::{Judge, Recorded, Verdict};
use crate::origin::Origin;
use crate::records::{Reply, plain, record_type};

/// Questions under way at a time: enough to keep the node busy, few enough for a socket buffer.
const IN_FLIGHT: usize = 48;

/// How many questions each recording has; a shorter file would score as well.
const QUESTIONS: usize = 2705;

/// The UDP size that the recordings were made with.
const PAYLOAD: u16 = 4096;

/// Questions that are shown when replies differ.
const SHOWN: usize = 10;

pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity").join(name)
}

/// Asks everything of the recording `public-{name}.jsonl` of a node with these options in its `kubernetes`
/// block, whatever the cluster comes from, and fails unless every reply agrees.
pub(crate) async fn agrees(name: &str, options: &str) {
    let text = fs::read_to_string(data(&format!("public-{name}.jsonl"))).unwrap();
    let recorded: Vec<Recorded> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(recorded.len(), QUESTIONS);
    let judge = Judge::new(&recorded);
    let upstream = authority("example.test.", "upstream.zone").await;

    for origin in Origin::all().await {
        let corefile = format!(
            ".:0 {{
                bind 127.0.0.1
                errors
                kubernetes cluster.local in-addr.arpa ip6.arpa {{
                    {}
                    {options}
                }}
                forward . {}
            }}",
            origin.lines(),
            upstream.addr()
        );
        let node = Builder::default().start(&corefile);
        node.state("live").await;

        let score = score(&judge, &recorded, node.client()).await;
        let Score { agreed, allowed, shown, .. } = score;
        println!("{name}, {origin}: {agreed}/{QUESTIONS} (allowed deviations: {allowed:?})");
        assert_eq!(agreed, QUESTIONS, "{name}, {origin}: {shown}");
        origin.was_asked_as_it_is_meant();
        node.stop().await;
    }
}

/// Asks everything.
async fn score(judge: &Judge, recorded: &[Recorded], client: Client) -> Score {
    let mut score = Score::default();
    let mut replies = stream::iter(recorded)
        .map(|recorded| async move { (recorded, ask(client, recorded).await) })
        .buffer_unordered(IN_FLIGHT);
    while let Some((recorded, reply)) = replies.next().await {
        score.add(judge, recorded, reply);
    }
    score
}

/// An upstream that is the authority for the zone file `file`.
async fn authority(origin: &str, file: &str) -> FakeUpstream {
    let text = fs::read_to_string(data(file)).unwrap();
    let (_, sets) = Parser::new(text, None, Some(Name::from_ascii(origin).unwrap())).parse().unwrap();
    let records: Vec<_> = sets.values().flat_map(|set| set.records_without_rrsigs().cloned()).collect();
    let upstream = FakeUpstream::start(&lines(&records).join("\n")).await;
    upstream.be_authority();
    upstream
}

async fn ask(client: Client, recorded: &Recorded) -> Result<Reply, String> {
    let query = Query::new(&recorded.name, record_type(&recorded.kind)).edns(PAYLOAD);
    let answer = client.ask(&query).await.map_err(|e| e.to_string())?;
    let question = answer.message.queries.first().map(|q| plain(&q.name().to_ascii()));
    match question {
        Some(name) if name == recorded.name => Ok(Reply::from(&answer)),
        other => Err(format!("the reply echoes the question as {other:?}")),
    }
}

/// How many replies agree.
#[derive(Default)]
struct Score {
    agreed: usize,
    /// How often each deviation was taken.
    allowed: BTreeMap<String, usize>,
    differing: usize,
    /// The first differing questions, with what was wanted and what came.
    shown: String,
}

impl Score {
    fn add(&mut self, judge: &Judge, recorded: &Recorded, reply: Result<Reply, String>) {
        let verdict = reply.as_ref().map_or(Verdict::Differs, |reply| judge.verdict(recorded, reply));
        match verdict {
            Verdict::Agrees => self.agreed += 1,
            Verdict::Allowed(deviation) => {
                self.agreed += 1;
                *self.allowed.entry(format!("{deviation:?}")).or_default() += 1;
            }
            Verdict::Differs => {
                self.differing += 1;
                if self.differing <= SHOWN {
                    let Recorded { name, kind, reply: want } = recorded;
                    write!(self.shown, "\n{name} {kind}\n  want {want:?}\n  got  {reply:?}").unwrap();
                }
            }
        }
    }
}
