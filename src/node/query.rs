//! A query that passed the gate, with what every plugin asks of it at hand.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_proto::op::{Edns, Message, Metadata, OpCode, Query as Question};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_server::net::xfer::Protocol;
use hickory_server::server::Request;

use super::facts::Facts;
use super::gate::HEADER;
use super::opt::{self, Opt};
use super::router::Router;
use crate::zone::name::Labels;

/// How many times a query may lead to further queries within this server (aliases to aliases, …). CoreDNS
/// follows about ten links; a longer chain is a loop.
pub const MAX_DEPTH: u8 = 10;

/// Bytes of a question behind its name, RFC 1035 §4.1.2.
const TYPE_AND_CLASS: usize = 4;

/// One question on its way through the plugins; a clone is cheap.
#[derive(Clone)]
pub struct Query {
    /// The message as it was received.
    request: Arc<Request>,
    /// The name that is asked for, in lower case.
    labels: Labels,
    /// Its OPT record.
    opt: Option<Opt>,
    /// The listener that it came in by; questions that arise on the way are asked there again.
    router: Arc<Router>,
    /// The address that it was sent to.
    local: SocketAddr,
    /// How many questions led to this one.
    depth: u8,
    /// What plugins say of it, if anybody asks.
    facts: Option<Arc<Facts>>,
    /// Whether its answer may take time.
    may_wait: bool,
    /// Set where it may not even if there is no other answer.
    turned_away: Option<Arc<TurnedAway>>,
}

/// That a query has no place to wait in.
struct TurnedAway {
    /// Why, for the client.
    why: Arc<str>,
    /// Whether that is its answer.
    is_answer: AtomicBool,
}

/// A request that has no single question, one whose name is no name, or an OPT record that does not add up.
#[derive(Debug)]
pub struct Malformed;

impl Query {
    /// A query received by `router` at `local`.
    pub fn new(request: Request, router: Arc<Router>, local: SocketAddr) -> Result<Self, Malformed> {
        let [question] = request.queries.queries() else { return Err(Malformed) };
        let labels = Labels::from_labels(question.original().name().iter()).map_err(|_| Malformed)?;
        // The first name of a message has nothing to point back to but the header, which is another one in the
        // reply. A pointer is never as long as what it stands for, so the length tells.
        let question_len = wire_len(&labels) + TYPE_AND_CLASS;
        if request.queries.as_bytes().len() != question_len {
            return Err(Malformed);
        }
        let opt = opt::find(request.as_slice(), HEADER + question_len).map_err(|_| Malformed)?;
        Ok(Self {
            request: Arc::new(request),
            labels,
            opt,
            router,
            local,
            depth: 0,
            facts: None,
            may_wait: true,
            turned_away: None,
        })
    }

    /// The same client's question for another name, as if it had come in by the same listener.
    ///
    /// `None` when the chain has become too long, or the name cannot be asked for.
    pub fn follow_up(&self, name: &Name, kind: RecordType) -> Option<Self> {
        let depth = self.depth.checked_add(1).filter(|d| *d <= MAX_DEPTH)?;
        let mut message = Message::query();
        message.metadata.id = self.metadata().id;
        message.metadata.recursion_desired = self.metadata().recursion_desired;
        message.metadata.checking_disabled = self.metadata().checking_disabled;
        let mut question = Question::query(name.clone(), kind);
        question.set_query_class(self.class());
        message.add_query(question);
        if let Some(edns) = self.edns() {
            message.set_edns(edns.clone());
        }
        Some(Self { depth, ..self.sent_as(&message)? })
    }

    /// The same query with another message: what plugins make of it on its way. The reply that the client gets
    /// still repeats the question that it asked.
    ///
    /// `None` when what comes out cannot be sent or is no query.
    pub fn changed(&self, change: impl FnOnce(&mut Message)) -> Option<Self> {
        let mut message = Message::from_vec(self.bytes()).ok()?;
        change(&mut message);
        self.sent_as(&message)
    }

    /// The same query as if it had come over TCP: a reply may be as long as it is.
    ///
    /// `None` when it is not a query any more.
    pub fn over_tcp(&self) -> Option<Self> {
        self.sent_over(self.bytes().to_vec(), Protocol::Tcp)
    }

    /// The same query from the same client with this message.
    fn sent_as(&self, message: &Message) -> Option<Self> {
        self.sent_over(message.to_vec().ok()?, self.request.protocol())
    }

    fn sent_over(&self, bytes: Vec<u8>, protocol: Protocol) -> Option<Self> {
        let request = Request::from_bytes(bytes, self.request.src(), protocol).ok()?;
        let query = Self::new(request, self.router.clone(), self.local).ok()?;
        Some(Self {
            depth: self.depth,
            facts: self.facts.clone(),
            may_wait: self.may_wait,
            turned_away: self.turned_away.clone(),
            ..query
        })
    }

    /// The same query, of which plugins say what they know.
    #[must_use]
    pub fn with_facts(&self, facts: Arc<Facts>) -> Self {
        Self { facts: Some(facts), ..self.clone() }
    }

    /// The same query where places to wait in are scarce: a plugin that has second best at hand gives that.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self { may_wait: false, ..self.clone() }
    }

    /// The same query where there is no place to wait, for this reason: what is there at once is given, and nothing
    /// is begun that it would have to wait for.
    #[must_use]
    pub fn turned_away(&self, why: Arc<str>) -> Self {
        let turned_away = TurnedAway { why, is_answer: AtomicBool::new(false) };
        Self { may_wait: false, turned_away: Some(Arc::new(turned_away)), ..self.clone() }
    }

    /// Whether there is a place to wait for an answer that takes time. Where there is none, a plugin that has
    /// second best at hand gives that.
    pub const fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// Why it must not wait whatever comes; a plugin that would have to begin something answers with this instead.
    pub fn refusal(&self) -> Option<&str> {
        let turned_away = self.turned_away.as_ref()?;
        turned_away.is_answer.store(true, Ordering::Relaxed);
        Some(&turned_away.why)
    }

    /// Whether a plugin has answered with its [`refusal`](Self::refusal).
    pub fn is_refused(&self) -> bool {
        self.turned_away.as_ref().is_some_and(|turned_away| turned_away.is_answer.load(Ordering::Relaxed))
    }

    /// What plugins have said of it; `None` if nobody asked them.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_deref()
    }

    /// Whether another question led to this one.
    pub const fn is_follow_up(&self) -> bool {
        self.depth > 0
    }

    /// The message as it was received.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The bytes as they were received.
    pub fn bytes(&self) -> &[u8] {
        self.request.as_slice()
    }

    /// The name that is asked for as it stands in the message; `new` took it uncompressed.
    pub fn wire_name(&self) -> &[u8] {
        self.bytes().get(HEADER..HEADER + wire_len(&self.labels)).unwrap_or_default()
    }

    /// The question as it stands in the message.
    pub fn wire_question(&self) -> &[u8] {
        self.request.queries.as_bytes()
    }

    /// Its header but for the counts.
    pub fn metadata(&self) -> &Metadata {
        &self.request.metadata
    }

    /// Its OPT record.
    pub fn edns(&self) -> Option<&Edns> {
        self.request.edns.as_ref()
    }

    /// Its OPT record as it stands in the message.
    pub const fn opt(&self) -> Option<&Opt> {
        self.opt.as_ref()
    }

    /// The name that is asked for, in the client's letter case.
    pub fn name(&self) -> &Name {
        self.question().name()
    }

    /// The name that is asked for, in lower case.
    pub const fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The type that is asked for.
    pub fn kind(&self) -> RecordType {
        self.question().query_type()
    }

    /// The class that is asked for.
    pub fn class(&self) -> DNSClass {
        self.question().query_class()
    }

    fn question(&self) -> &Question {
        // `new` took nothing but a request with one question.
        self.request.queries.queries()[0].original()
    }

    /// Whether the client wants DNSSEC records (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.edns().is_some_and(|e| e.flags().dnssec_ok)
    }

    /// The largest UDP reply that the client takes, at least 512 (RFC 6891 §6.2.3).
    pub fn max_payload(&self) -> u16 {
        self.request.max_payload()
    }

    /// Who asks.
    pub fn source(&self) -> SocketAddr {
        self.request.src()
    }

    /// The address that was asked.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// The listener that it came in by.
    pub const fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// Whether it came over UDP.
    pub fn is_udp(&self) -> bool {
        self.request.protocol() == Protocol::Udp
    }

    /// `udp` or `tcp` (which TLS counts as), as metrics and logs have it.
    pub fn transport(&self) -> &'static str {
        if self.is_udp() { "udp" } else { "tcp" }
    }

    /// The client's address family, `1` or `2` as CoreDNS numbers them.
    pub fn is_ipv6(&self) -> bool {
        matches!(self.source().ip().to_canonical(), IpAddr::V6(_))
    }

    /// Whether it is a plain query and not, say, a NOTIFY.
    pub fn is_query(&self) -> bool {
        self.metadata().op_code == OpCode::Query
    }
}

/// Length of a name on the wire without compression: a length byte for each label and one for the root.
fn wire_len(name: &Labels) -> usize {
    name.key().len() + name.len() + 1
}
