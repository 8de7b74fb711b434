//! What is counted: a name, and work that does an operation so many times.
//!
//! A further row is one more [`Rows::each`] with a name, what it is done to, and how it is done.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use outlast::node::gate::Gate;
use outlast::node::router::Router;
use outlast::ops::metrics::Metrics;
use outlast::ops::top::Top;
use outlast::zone::answer::Scratch;
use outlast::zone::lookup::QueryType;
use outlast::zone::name::Labels;
use outlast::zone::object::Object;

use crate::support::answer::{Inline, answer, caching, parse, query, router};
use crate::support::change::{one_change, prepare};
use crate::support::cluster::{Question, look_up, measured, rules, table};
use crate::support::{grouped, snapshot};

/// Endpoints of the cluster that is asked; `benches/scale.rs` shows what other sizes cost.
const ASKED: usize = 10_000;

/// Endpoints of the clusters that change.
const CHANGED: [usize; 2] = [1_000, 100_000];

/// Endpoints of the snapshot that is loaded.
const LOADED: usize = 10_000;

/// Names outside that are asked for: as many as `benches/serve.rs` has.
const OUTSIDE: usize = 2_000;

/// The questions that are asked; those of the other kinds take the same ways.
const KINDS: [&str; 4] = ["ClusterIP A", "headless A, 10 addresses", "SRV, 3 targets", "NXDOMAIN"];

/// Who asks.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 128, 3, 7));

/// One figure.
pub(crate) struct Row<'a> {
    /// What is counted.
    pub(crate) name: &'a str,
    /// How often it is done by `work`.
    pub(crate) operations: u64,
    /// Does it.
    pub(crate) work: &'a mut dyn FnMut(),
}

/// Takes the rows.
struct Rows<F>(F);

impl<F: FnMut(Row<'_>)> Rows<F> {
    /// A row of what is done to each of `items`.
    fn each<T>(&mut self, name: &str, items: &[T], mut operation: impl FnMut(&T)) {
        self.of(name, items.len(), &mut || items.iter().for_each(&mut operation));
    }

    /// A row of work that does something so many times.
    fn of(&mut self, name: &str, operations: usize, work: &mut dyn FnMut()) {
        (self.0)(Row { name, operations: operations as u64, work });
    }
}

/// Hands every row to `take`, one after the other: only its own data is in memory meanwhile.
pub(crate) fn each(quick: bool, take: impl FnMut(Row<'_>)) {
    let mut rows = Rows(take);
    let cluster = measured(ASKED);
    let asked: Vec<_> = cluster.questions.iter().filter(|q| KINDS.contains(&q.what)).collect();
    look_ups(&mut rows, cluster.objects.clone(), &asked);
    let plain = router("", cluster.objects.clone());
    answers(&mut rows, &plain, "", &asked);
    let counted = router("prometheus localhost:0", cluster.objects);
    answers(&mut rows, &counted, ", counted", &asked[..1]);
    looked_at(&mut rows, &counted, asked[0]);
    kept(&mut rows);
    for &size in &CHANGED[..if quick { 1 } else { CHANGED.len() }] {
        changes(&mut rows, size);
    }
    load(&mut rows);
}

/// Names to records.
fn look_ups(rows: &mut Rows<impl FnMut(Row<'_>)>, objects: Vec<Object>, asked: &[&Question]) {
    let (rules, table, mut scratch) = (rules(), table(objects), Scratch::default());
    for question in asked {
        let names: Vec<_> = question.names.iter().map(|n| Labels::parse(n).expect("a name")).collect();
        let kind = QueryType::from(question.kind);
        rows.of(&format!("lookup: {}", question.what), names.len(), &mut || {
            black_box(look_up(&rules, &table, &mut scratch, &names, kind));
        });
    }
}

/// Bytes of queries to what plugins see, and to bytes of replies.
fn answers(rows: &mut Rows<impl FnMut(Row<'_>)>, router: &Arc<Router>, how: &str, asked: &[&Question]) {
    for question in asked {
        let queries: Vec<_> = question.names.iter().map(|n| query(n, question.kind)).collect();
        let passes = |q: &Vec<u8>| matches!(parse(router, q), Gate::Pass(_)) && !answer(router, q).is_empty();
        assert!(queries.iter().all(passes), "what is counted is an answer");
        if question.what == KINDS[0] && how.is_empty() {
            rows.each("parse", &queries, |q| drop(black_box(parse(router, q))));
        }
        rows.each(&format!("answer: {}{how}", question.what), &queries, |q| {
            drop(black_box(answer(router, q)));
        });
        let mut lane = Inline::new(router);
        assert!(queries.iter().all(|q| lane.answer(q) == answer(router, q)), "both ways say the same");
        rows.each(&format!("inline: {}{how}", question.what), &queries, |q| {
            black_box(lane.answer(q));
        });
    }
}

/// The same while somebody looks at what is asked for: each query is a batch of its own, which costs the most.
fn looked_at(rows: &mut Rows<impl FnMut(Row<'_>)>, router: &Arc<Router>, question: &Question) {
    let queries: Vec<_> = question.names.iter().map(|n| query(n, question.kind)).collect();
    let (top, mut lane) = (Top::default(), Inline::new(router));
    let desk = top.register();
    top.arm();
    rows.each(&format!("inline: {}, counted, looked at", question.what), &queries, |q| {
        black_box(lane.answer(q));
        desk.note(|see| see(q, CLIENT));
    });
    let seen = top.busiest(1).questions;
    assert!(seen > 0, "what is counted is seen");
}

/// Bytes of queries for names outside to bytes of replies that are kept.
fn kept(rows: &mut Rows<impl FnMut(Row<'_>)>) {
    let name = |number| format!("www-{number}.example.com.");
    let queries: Vec<_> = (0..OUTSIDE).map(|number| query(&name(number), RecordType::A.into())).collect();
    let router = caching(&queries);
    let mut lane = Inline::new(&router);
    assert!(queries.iter().all(|q| lane.answer(q).len() > q.len()), "what is counted is an answer");
    rows.each("inline: outside A, cached", &queries, |q| {
        black_box(lane.answer(q));
    });
}

/// One change of one slice, with a generation for it.
fn changes(rows: &mut Rows<impl FnMut(Row<'_>)>, size: usize) {
    let (changes, mut published) = prepare(size);
    // A change is used up by being made, and it is made twice.
    let mut rounds = vec![changes.clone(), changes];
    let operations = rounds[0].len();
    rows.of(&format!("apply at {} endpoints", grouped(size as u64)), operations, &mut || {
        let changes = rounds.pop().unwrap_or_default();
        changes.into_iter().for_each(|change| one_change(&mut published, change));
    });
}

/// A snapshot to a table, for each endpoint.
fn load(rows: &mut Rows<impl FnMut(Row<'_>)>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let table = table(measured(LOADED).objects);
    let header = snapshot::header(&table);
    snapshot::folder(dir.path()).save(&header, table.objects()).expect("saved");
    let mut loaded = Vec::new();
    rows.of("load, an endpoint", LOADED, &mut || {
        loaded.push(snapshot::keeper(dir.path(), &Metrics::new()).load());
    });
    let whole = |booted: &Option<_>| {
        booted
            .as_ref()
            .is_some_and(|b: &outlast::store::keeper::Booted| b.generation.table.endpoint_count() == LOADED)
    };
    assert!(loaded.iter().all(whole), "what is counted is a whole load");
}
