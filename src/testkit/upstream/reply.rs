//! How a fake upstream writes its replies.

use hickory_proto::op::{Edns, Message, MessageType, ResponseCode};
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::opt::EdnsOption;

use super::authority::Authoritative;
use super::zone::{Zone, soa};
use super::{Behaviour, Mode, authority};
use crate::forward::Transport;

/// UDP replies to queries without an OPT record (RFC 1035 §4.2.1).
const MIN_UDP: usize = 512;

/// Option code of an Extended DNS Error, RFC 8914 §2.
const EDE: u16 = 15;

/// The reply to `query`, as its bytes.
pub(super) fn reply(
    zone: &Zone,
    mode: Mode,
    behaviour: &Behaviour,
    query: &Message,
    transport: Transport,
) -> Vec<u8> {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.checking_disabled = query.metadata.checking_disabled;
    reply.add_queries(query.queries.clone());
    if let Some(theirs) = &query.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(1232).set_dnssec_ok(theirs.flags().dnssec_ok);
        reply.set_edns(edns);
    }
    fill(&mut reply, zone, mode, behaviour);
    if matches!(behaviour, Behaviour::WrongQuestion) {
        for question in &mut reply.queries {
            question.set_name(Name::from_ascii("another.question.").expect("a name"));
        }
    }

    let limit = match (transport, behaviour) {
        (Transport::Tcp | Transport::Tls, _) | (_, Behaviour::IgnoreSize) => usize::from(u16::MAX),
        (Transport::Udp, Behaviour::TruncateUdp) => 0,
        (Transport::Udp, _) => query.edns.as_ref().map_or(MIN_UDP, |e| usize::from(e.max_payload())),
    };
    let bytes = reply.to_vec().expect("a reply fits a message");
    if bytes.len() <= limit {
        return bytes;
    }
    reply.metadata.truncation = true;
    (reply.answers, reply.authorities) = (Vec::new(), Vec::new());
    reply.to_vec().expect("a question fits a message")
}

fn fill(reply: &mut Message, zone: &Zone, mode: Mode, behaviour: &Behaviour) {
    match behaviour {
        Behaviour::Rcode(code) => reply.metadata.response_code = *code,
        Behaviour::Ede(code, number, text) => {
            reply.metadata.response_code = *code;
            if let Some(edns) = &mut reply.edns {
                let data = [&number.to_be_bytes()[..], text.as_bytes()].concat();
                edns.options_mut().insert(EdnsOption::Unknown(EDE, data));
            }
        }
        Behaviour::NxDomain => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authority(soa());
        }
        _ => {
            let Some(question) = reply.queries.first() else {
                reply.metadata.response_code = ResponseCode::FormErr;
                return;
            };
            let unknown = match mode {
                Mode::NxDomain => ResponseCode::NXDomain,
                Mode::Refuse => ResponseCode::Refused,
                Mode::Authority => {
                    let found = authority::find(zone, question.name(), question.query_type());
                    return fill_as_authority(reply, found);
                }
            };
            let found = zone.find(question.name(), question.query_type(), unknown);
            reply.metadata.response_code = found.rcode;
            reply.add_answers(found.answers);
            if found.soa {
                reply.add_authority(soa());
            }
        }
    }
}

fn fill_as_authority(reply: &mut Message, found: Option<Authoritative>) {
    let Some(found) = found else {
        reply.metadata.response_code = ResponseCode::Refused;
        return;
    };
    reply.metadata.authoritative = true;
    reply.metadata.response_code = found.rcode;
    reply.add_answers(found.answers);
    reply.add_authorities(found.authorities);
    reply.add_additionals(found.additionals);
}
