//! Single questions, whose answers are compared with what is right.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record};
use outlast::testkit::client::Query;

use crate::questions::{Question, Reply};

/// How long one reply may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a server may take until it answers at all, and until it answers right: the node has a whole cluster to list.
const STARTING: Duration = Duration::from_secs(120);

/// Between two questions to a server that starts.
const LOOK: Duration = Duration::from_millis(20);

/// How many questions of a workload are compared.
const COMPARED: usize = 50;

/// The longest reply that is read.
const MAX_REPLY: usize = 4_096;

/// Waits until a server answers this question right.
pub(crate) fn until_right(server: SocketAddr, question: &Question) -> Result<(), String> {
    let deadline = Instant::now() + STARTING;
    loop {
        match ask(server, question) {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > deadline => return Err(format!("{server} does not start: {why}")),
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

/// Compares some answers, spread over the questions.
pub(crate) fn compare(server: SocketAddr, questions: &[Question]) -> Result<(), String> {
    let every = questions.len().div_ceil(COMPARED).max(1);
    questions.iter().step_by(every).try_for_each(|question| ask(server, question))
}

/// Asks once and compares.
fn ask(server: SocketAddr, question: &Question) -> Result<(), String> {
    let place = |what: &str, why: &dyn std::fmt::Display| {
        format!("{server}, {} {}: {what}: {why}", question.name, question.kind())
    };
    let query = Query::new(&format!("{}.", question.name), question.kind()).bytes();
    let exchange = || {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.send(&query)?;
        let mut reply = vec![0; MAX_REPLY];
        let length = socket.recv(&mut reply)?;
        reply.truncate(length);
        std::io::Result::Ok(reply)
    };
    let reply = exchange().map_err(|e| place("asking", &e))?;
    let message = Message::from_vec(&reply).map_err(|e| place("reading the reply", &e))?;
    if message.metadata.id.to_be_bytes() != query[..2] || !is_right(&message, &question.reply) {
        return Err(place("the wrong reply", &message));
    }
    Ok(())
}

/// Whether it says what is right, in whatever order.
fn is_right(message: &Message, reply: &Reply) -> bool {
    let code = message.metadata.response_code;
    match reply {
        Reply::Missing => code == ResponseCode::NXDomain && message.answers.is_empty(),
        Reply::Addresses(right) => code == ResponseCode::NoError && is_same(&message.answers, right),
        Reply::Targets(right) => {
            let targets = message.answers.iter().filter(|r| matches!(r.data, RData::SRV(_))).count();
            code == ResponseCode::NoError
                && targets == message.answers.len()
                && targets == right.len()
                && is_same(&message.additionals, right)
        }
    }
}

/// Whether the records are A records with these addresses.
fn is_same(records: &[Record], right: &[Ipv4Addr]) -> bool {
    let address = |record: &Record| match &record.data {
        RData::A(a) => Some(a.0),
        _ => None,
    };
    let sorted = |mut all: Vec<Option<Ipv4Addr>>| {
        all.sort_unstable();
        all
    };
    sorted(records.iter().map(address).collect()) == sorted(right.iter().copied().map(Some).collect())
}
