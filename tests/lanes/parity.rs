//! Every question of the recordings, in each of their configurations, in many spellings. What `tests/parity.rs` asks is
//! whether the answers are right; here it is whether there is one answer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use outlast::source::Wanted;
use outlast::source::kubectl::{Decoder, Format};
use outlast::testkit::client::Query;
use outlast::zone::object::{Object, Shape};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::Deserialize;

use crate::pair::{Answered, Pair};
use crate::score::{Score, class};
use crate::spelling::{SPELLINGS, Spelling, mix_case};

/// How many questions each recording has.
const QUESTIONS: usize = 2705;

/// No name is longer than this (RFC 1035 §2.3.4). A reply that would be that much shorter than it may be is whole in
/// any case.
const MAX_NAME: usize = 255;

/// The lowest size that a Corefile here lowers others to.
const SMALLEST: u16 = 700;

/// Where names of the cluster end.
const ZONES: [&str; 2] = ["cluster.local.", ".arpa."];

/// Types that the lane leaves alone: DS, IXFR, AXFR and ANY.
const SPECIAL: [u16; 4] = [43, 251, 252, 255];

/// What a question of the recordings asks.
#[derive(Deserialize)]
struct Recorded {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[tokio::test(start_paused = true)]
async fn plain() {
    agrees("plain", "pods insecure\n fallthrough in-addr.arpa ip6.arpa\n ttl 30").await;
}

#[tokio::test(start_paused = true)]
async fn verified() {
    agrees("verified", "pods verified\n endpoint_pod_names").await;
}

#[tokio::test(start_paused = true)]
async fn scoped() {
    agrees("scoped", "pods disabled\n namespaces shop ops\n ignore empty_service\n ttl 7").await;
}

/// Asks everything of the recording `public-{name}.jsonl` of nodes with these options in their `kubernetes` block.
async fn agrees(name: &str, options: &str) {
    let (questions, objects) = (questions(name), objects());
    // Every spelling, and then each question in a few of them.
    for (around, step) in [("", 1), ("cache 30\n prometheus", 3), ("loadbalance\n bufsize 700", 3)] {
        let corefile = format!(
            ".:53 {{\n {around}\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n source file /nowhere\n \
             {options}\n }}\n}}\n"
        );
        let outside = [
            "soa example.test. 3600 60",
            "has www.example.test. 3600 A 192.0.2.80",
            "has www.example.test. 3600 A 192.0.2.81",
            "has www.example.test. 3600 AAAA 2001:db8::80",
            "has example.test. 3600 MX 10 mail.example.test.",
        ];
        let mut pair = Pair::start(&corefile, &outside);
        pair.tell_state(&objects).await;
        let score = ask_all(&mut pair, &questions, &aliases(&objects), step).await;
        let (inline, all) = score.total();
        println!("{name}, '{}': {inline} of {all} inline\n{score}", around.replace('\n', ""));
        if around.starts_with("cache") {
            assert!(score.share("outside A", 4) >= 0.7 && score.share("outside NODATA", 4) >= 0.5, "{score}");
        }
        pair.have_counted_the_same();
    }
}

fn questions(name: &str) -> Vec<Recorded> {
    let text = fs::read_to_string(data(&format!("public-{name}.jsonl"))).unwrap();
    let questions: Vec<Recorded> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(questions.len(), QUESTIONS);
    questions
}

/// The cluster of the recordings.
fn objects() -> Vec<Object> {
    let mut decoder = Decoder::new(Wanted::ALL);
    decoder.decode(Format::Json, fs::File::open(data("cluster.json")).unwrap()).unwrap();
    decoder.finish().objects
}

/// The names of services that are aliases.
fn aliases(objects: &[Object]) -> BTreeSet<String> {
    let name = |object: &Object| match object {
        Object::Service(service) if matches!(service.shape, Shape::ExternalName(_)) => {
            Some(format!("{}.{}.svc.cluster.local.", service.name, service.namespace))
        }
        _ => None,
    };
    objects.iter().filter_map(name).collect()
}

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parity").join(name)
}

/// Asks every question in one of `step` spellings, in turn others, and checks of each whether it is answered inline that
/// should be.
async fn ask_all(pair: &mut Pair, questions: &[Recorded], aliases: &BTreeSet<String>, step: usize) -> Score {
    let mut score = Score::default();
    let mut rng = SmallRng::seed_from_u64(1);
    for (first, Recorded { name, kind }) in questions.iter().enumerate() {
        let kind = if kind == "IXFR" { RecordType::IXFR } else { kind.parse().unwrap() };
        let lower = name.to_ascii_lowercase();
        let is_alias = aliases.contains(&lower);
        // What is kept of such a name is spelled as its first client spelled it, which may not do for others.
        let is_outside = !ZONES.iter().any(|zone| lower.ends_with(zone));
        for (number, spelling) in SPELLINGS.iter().enumerate().skip(first % step).step_by(step) {
            // Every other one in random letter case.
            let name = if number % 2 == 0 { name.clone() } else { mix_case(name, &mut rng) };
            let query = (spelling.of)(Query::new(&name, kind).id(0x1234));
            let asked = || format!("{name} {kind}, {}", spelling.name);
            let answered =
                pair.ask(&query.bytes()).await.unwrap_or_else(|differ| panic!("{}: {differ}", asked()));
            match should_be_inline(kind, is_alias, spelling, &answered) {
                Some(true) if is_outside => {}
                Some(should) if should != answered.inline => {
                    panic!("{} is inline: {}\n{answered:?}", asked(), answered.inline)
                }
                _ => {}
            }
            score.add(class(answered.reply.as_deref()), answered.inline);
        }
    }
    score
}

/// Whether a question is one for the lane, judged by the general handler's reply; `None` if it may be either way.
fn should_be_inline(
    kind: RecordType,
    is_alias: bool,
    spelling: &Spelling,
    answered: &Answered,
) -> Option<bool> {
    let reply = answered.reply.as_ref()?;
    let message = Message::from_vec(reply).unwrap();
    let header = &message.metadata;
    let is_answer = matches!(header.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    let is_ours = header.authoritative && !SPECIAL.contains(&kind.into());
    if !is_ours || !is_answer || header.truncation || !message.answers.is_empty() && is_alias {
        return Some(false);
    }
    // An alias that leads nowhere has to be followed to know that.
    if is_alias && header.response_code == ResponseCode::NoError {
        return None;
    }
    let fits = reply.len() + MAX_NAME <= usize::from(spelling.size.min(SMALLEST));
    fits.then_some(true)
}
