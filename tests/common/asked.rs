//! Names that are asked at each look, by both ways that an answer takes: both say the same, and what was true.

use std::collections::BTreeSet;

use hickory_proto::op::ResponseCode;
use outlast::drill::memory::lanes::Lanes;
use outlast::testkit::client::{Answer, Query};

use super::past::Answers;

/// The services whose addresses are asked for, in turn. The first of them is always there.
pub(crate) const SERVICES: [&str; 4] = ["default/kubernetes", "a/x", "a/y", "b/x"];

/// Who asks, and where.
const SOURCE: &str = "10.0.0.1:5353";
const LOCAL: &str = "127.0.0.1:53";

/// What was answered: the rcode and the addresses, sorted, as their order is a matter of chance.
pub(crate) type Said = (u16, Vec<String>);

/// Asks for the address of a service. Returns what the reply says, or what is wrong with it.
pub(crate) async fn ask(lanes: &mut Lanes, service: &str, want: &Answers) -> Result<Said, String> {
    let (namespace, name) = service.split_once('/').unwrap();
    let question = Query::a(&format!("{name}.{namespace}.svc.cluster.local.")).id(1).edns(1232).bytes();
    let (source, local) = (SOURCE.parse().unwrap(), LOCAL.parse().unwrap());
    let inline = lanes.inline(&question, source);
    let reply = lanes.general(&question, source, local).await.ok_or("no reply")?;
    if let Some(inline) = inline.filter(|inline| *inline != reply) {
        return Err(format!("the lane says to {service} {inline:02x?} and the general handler {reply:02x?}"));
    }
    let answer = Answer::parse(reply).map_err(|error| error.to_string())?;
    let (rcode, lines) = (answer.rcode(), answer.answers());
    let addresses: BTreeSet<_> = lines.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    let all_of = |these: &BTreeSet<String>| addresses.iter().all(|address| these.contains(*address));
    let is_right = match (rcode, want) {
        (ResponseCode::NoError, Answers::One(one)) => lines.len() == 1 && all_of(one),
        (ResponseCode::NoError, Answers::Some(some)) => !lines.is_empty() && all_of(some),
        (ResponseCode::NXDomain, Answers::NoName | Answers::Any) => true,
        (ResponseCode::NoError, Answers::Any) => true,
        _ => false,
    };
    if !is_right {
        return Err(format!("{service} is answered with {rcode}, {lines:?}: {want:?}"));
    }
    Ok((rcode.into(), addresses.into_iter().map(str::to_owned).collect()))
}
