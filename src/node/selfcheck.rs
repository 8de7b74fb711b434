//! Whether a process that begins answers as its own data says, before anybody relies on it.
//!
//! A release or a configuration with which every name is a failure must not get further than its first node: a rollout
//! goes on where a process says that it is ready, and queries are led to it once it is. So some services of the data
//! that was found on the disk are asked for, the way of a pod's query.
//!
//! Only what a configuration selects is asked for. It may answer some names otherwise, and means it (`hosts`, `rewrite`,
//! `template`); what is refused to this machine says nothing about pods (`acl`). So most of what is answered at all has to be
//! as the data says, not all of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::control::lookup;
use super::control::shown::Shown;
use super::reply::Reply;
use super::router::Router;
use super::running::selections::Selection;
use crate::ops::rcode;
use crate::ops::readiness::Handle;
use crate::store::state::DataState;
use crate::zone::object::Shape;
use crate::zone::rules::Rules;
use crate::zone::table::{ServiceEntry, Table};

/// The part that `/ready` waits for.
pub(super) const PART: &str = "self-check";

/// So many services of each store are asked for, from all over its data.
const SAMPLES: usize = 16;

/// How often it is tried again where it failed: what comes from a source meanwhile, or a reload, may mend it.
const AGAIN: Duration = Duration::from_secs(1);

/// The plugin that answers from the data.
const PLUGIN: &str = "kubernetes";

/// A service with an address, and how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sample {
    /// Its name, absolute.
    name: String,
    /// The type of its first address.
    kind: RecordType,
    /// That address.
    address: IpAddr,
}

/// How the samples were answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// So many as the data says.
    right: usize,
    /// So many otherwise.
    wrong: usize,
    /// The first of those, for people.
    first: Option<String>,
}

/// What one answer says.
enum Judged {
    /// The address is in it.
    Right,
    /// It is not.
    Wrong(String),
    /// Not for this machine: REFUSED, or silence.
    Refused,
}

impl Verdict {
    /// Whether the process can be relied on.
    const fn is_good(&self) -> bool {
        self.wrong <= self.right
    }

    fn add(&mut self, sample: &Sample, judged: Judged) {
        match judged {
            Judged::Right => self.right += 1,
            Judged::Wrong(how) => {
                self.wrong += 1;
                let Sample { name, kind, address } = sample;
                self.first.get_or_insert_with(|| format!("{name} {kind}: {how}, not {address}"));
            }
            Judged::Refused => {}
        }
    }
}

/// Whether there is anything to ask for.
pub(super) fn is_needed(shown: &Shown) -> bool {
    shown.selections.iter().any(|of| !samples_of(shown, of).is_empty())
}

/// Checks until it is good, and says so through `ready`; what is wrong goes to the log, once.
pub(super) async fn run(shown: Arc<ArcSwap<Shown>>, ready: Handle, stop: CancellationToken) {
    let mut tries = interval(AGAIN);
    tries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = false;
    while stop.run_until_cancelled(tries.tick()).await.is_some() {
        let verdict = check(&shown.load_full()).await;
        let Verdict { right, wrong, first } = &verdict;
        if verdict.is_good() {
            tracing::debug!(right, wrong, "answers are as the data says");
            ready.set(true);
            // Kept, so that it stays so.
            return stop.cancelled().await;
        }
        if !std::mem::replace(&mut said, true) {
            let first = first.as_deref().unwrap_or_default();
            tracing::error!(
                right,
                wrong,
                first,
                "answers are not as the data says: not ready until they are"
            );
        }
    }
}

/// Asks for the samples of every selection at the listeners that answer them from data: one that has it is enough, as others
/// may select something else of the same zone.
async fn check(shown: &Shown) -> Verdict {
    let mut verdict = Verdict::default();
    for sample in shown.selections.iter().flat_map(|of| samples_of(shown, of)) {
        let mut judged = Judged::Refused;
        for live in &shown.listeners {
            judged = match (judged, ask(&live.router(), &sample).await) {
                (Judged::Right, _) | (_, Some(Judged::Right)) => Judged::Right,
                (Judged::Refused, Some(other)) => other,
                (before, _) => before,
            };
        }
        verdict.add(&sample, judged);
    }
    verdict
}

/// Asks one listener; `None` where it does not answer this name from data.
async fn ask(router: &Arc<Router>, sample: &Sample) -> Option<Judged> {
    let name = lookup::absolute(&sample.name).ok()?;
    let query = lookup::query(router, &name, sample.kind).ok()?;
    if !router.has(&query, PLUGIN) {
        return None;
    }
    Some(judge(router.rehearse(&query).await.as_ref(), sample.address))
}

fn judge(reply: Option<&Reply>, address: IpAddr) -> Judged {
    let Some(reply) = reply else { return Judged::Refused };
    let has_it = reply.answers.iter().any(|record| record.data.ip_addr() == Some(address));
    match reply.rcode {
        ResponseCode::NoError if has_it => Judged::Right,
        ResponseCode::NoError => Judged::Wrong(format!("{} other records", reply.answers.len())),
        ResponseCode::Refused => Judged::Refused,
        other => Judged::Wrong(rcode::text(other.into()).to_string()),
    }
}

/// What to ask for of what a block selects, if its data is served.
fn samples_of(shown: &Shown, selection: &Selection) -> Vec<Sample> {
    let Some(of) = shown.stores.iter().find(|of| Arc::ptr_eq(&of.store, &selection.store)) else {
        return Vec::new();
    };
    let generation = of.store.current();
    let state = DataState::judge(of.store.facts(&generation), of.config.wanted.kinds(), of.config.limits);
    match state {
        DataState::Live | DataState::Stale { .. } => samples(&generation.table, &selection.rules),
        DataState::Expired { .. } | DataState::Empty { .. } => Vec::new(),
    }
}

/// At most [`SAMPLES`] services that these rules answer, as far apart as can be.
fn samples(table: &Table, rules: &Rules) -> Vec<Sample> {
    let Some(zone) = rules.primary() else { return Vec::new() };
    let asked = |entry: &&ServiceEntry| rules.answers(table, entry);
    let count = table.services().filter(asked).filter_map(address).count();
    let apart = count.div_ceil(SAMPLES).max(1);
    let of = |entry: &ServiceEntry| {
        let address = address(entry)?;
        let kind = if address.is_ipv4() { RecordType::A } else { RecordType::AAAA };
        let name = format!("{}.{}.svc.{}", entry.name(), entry.namespace(), zone.name);
        Some(Sample { name, kind, address })
    };
    table.services().filter(asked).filter_map(of).step_by(apart).collect()
}

/// The first of a service's own addresses.
fn address(entry: &ServiceEntry) -> Option<IpAddr> {
    match &entry.service()?.shape {
        Shape::ClusterIp(addresses) => addresses.first().copied(),
        Shape::Headless | Shape::ExternalName(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RData;

    use super::*;
    use crate::node::test_support::{address as record, record as other};
    use crate::testkit::cluster::{ns, svc};
    use crate::zone::name::Labels;
    use crate::zone::object::Kinds;
    use crate::zone::rules::Zone;

    /// Those of a block for `cluster.local` without options.
    fn rules() -> Rules {
        let zones = vec![Zone::new(Labels::parse("cluster.local.").unwrap())];
        Rules { zones, ..Rules::default() }
    }

    #[test]
    fn samples_are_from_all_over_the_data() {
        let service = |n: usize| svc(&format!("shop/s{n:03}")).ip(&format!("10.96.0.{n}")).build();
        for (count, want) in [(0, 0), (1, 1), (16, 16), (17, 9), (100, 15)] {
            let headless = svc("shop/headless").headless().build();
            let objects = (0..count).map(service).chain([ns("shop"), headless]);
            let found = samples(&Table::build(objects, Kinds::CORE, 1), &rules());
            assert_eq!(found.len(), want, "of {count}");
            assert!(
                found.iter().all(|sample| sample.kind == RecordType::A && !sample.name.contains("headless"))
            );
        }
        let dual = svc("shop/web").ip("fd00::1").ip("10.96.0.1").build();
        let table = Table::build([ns("shop"), dual], Kinds::CORE, 1);
        let want = Sample {
            name: "web.shop.svc.cluster.local.".to_owned(),
            kind: RecordType::AAAA,
            address: "fd00::1".parse().unwrap(),
        };
        assert_eq!(samples(&table, &rules()), [want]);
    }

    #[test]
    fn only_what_is_selected_is_asked_for() {
        let objects = [
            ns("shop"),
            ns("pay"),
            svc("shop/web").ip("10.96.0.1").build(),
            svc("pay/web").ip("10.96.0.2").build(),
        ];
        let table = Table::build(objects, Kinds::CORE, 1);
        let asked = |rules: &Rules| samples(&table, rules).into_iter().map(|s| s.name).collect::<Vec<_>>();
        let only = Rules { namespaces: ["pay".into()].into(), ..rules() };
        assert_eq!(asked(&only), ["web.pay.svc.cluster.local."]);
        assert!(asked(&Rules { ignore_empty_service: true, ..rules() }).is_empty(), "none has endpoints");
        assert!(
            asked(&Rules { zones: Vec::new(), ..rules() }).is_empty(),
            "reverse zones have no such names"
        );
    }

    #[test]
    fn most_of_what_is_answered_has_to_be_right() {
        let sample = Sample {
            name: "web.shop.svc.cluster.local.".to_owned(),
            kind: RecordType::A,
            address: "10.96.0.1".parse().unwrap(),
        };
        let with = |records| Reply { answers: records, ..Reply::new(ResponseCode::NoError, "kubernetes") };
        let right = with(vec![
            other("web.", RData::CNAME(hickory_proto::rr::rdata::CNAME("a.".parse().unwrap()))),
            record("a.", "10.96.0.1"),
        ]);
        let wrong = with(vec![record("web.", "10.96.0.2")]);
        let of = |rcode| Reply::new(rcode, "kubernetes");
        let refused = of(ResponseCode::Refused);
        let failed = of(ResponseCode::ServFail);
        for (name, replies, want, first) in [
            ("nothing to ask for", vec![], true, None),
            ("right", vec![Some(&right)], true, None),
            ("wrong", vec![Some(&wrong)], false, Some("1 other records, not 10.96.0.1")),
            ("no such name", vec![Some(&of(ResponseCode::NXDomain))], false, Some("NXDOMAIN, not 10.96.0.1")),
            ("overridden", vec![Some(&right), Some(&wrong)], true, Some("1 other records")),
            ("most fail", vec![Some(&right), Some(&failed), Some(&failed)], false, Some("SERVFAIL, not")),
            ("not for us", vec![Some(&refused), None], true, None),
            ("mostly not for us", vec![Some(&refused), Some(&failed)], false, Some("SERVFAIL")),
        ] {
            let mut verdict = Verdict::default();
            replies.iter().for_each(|reply| verdict.add(&sample, judge(*reply, sample.address)));
            assert_eq!(verdict.is_good(), want, "{name}");
            let said = verdict.first.unwrap_or_default();
            assert!(first.map_or(said.is_empty(), |first| said.contains(first)), "{name}: {said}");
        }
    }
}
