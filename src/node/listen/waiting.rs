//! The waiting room: queries that wait for an upstream, over all listeners.
//!
//! Who gets in, and who has to go for it, is [`places`](super::places)'. A query that has to go is dropped where it
//! is, and with it what is done for it alone; what a cache is fetching for others goes on. Its client hears of it at
//! once: the plugins are asked again for what they have at hand (an expired entry, say), and without that it is
//! SERVFAIL with the reason.
//!
//! Memory: at most as many queries as the limit wait, and at most a quarter as many again are on their way out, i.e.
//! have yet to be dropped or their replies to be taken by a socket. Where there are more, this process does not keep up
//! with sending away, and newcomers are refused before anything is done for them, for a reason of its own: it is not
//! the upstreams' fault.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use hickory_proto::op::ResponseCode;
use metrics::{Counter, Gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::answer;
use super::places::{Entered, Limit, Place, Places, Prospect};
use crate::node::query::Query;
use crate::node::reply::{self, Ede, EdeCode, Reply};
use crate::ops::metrics::Metrics;

/// Queries that may wait at one time, over all listeners: at the default read timeout of 2 s, 2,000 cold names a second
/// with every upstream silent. With its forward each holds about ten kilobytes, and all of them 40 MB.
pub const MAX_WAITING: usize = 4096;

/// A query that has to go is told why.
type Tell = oneshot::Sender<Limit>;

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    /// For those who wait.
    Waiting(Limit),
    /// For those who are on their way out.
    Leaving,
}

impl From<Limit> for Full {
    fn from(limit: Limit) -> Self {
        Self::Waiting(limit)
    }
}

/// The waiting room of all listeners.
pub(super) struct Room {
    /// The places.
    places: Arc<Places<Tell>>,
    /// Who waits, and who is on its way out.
    inside: Arc<Semaphore>,
    /// How many places inside are free or a query's that waits, together, unless too many are on their way out.
    enough: usize,
    /// What comes of [`Limit::All`].
    all: Bound,
    /// What comes of [`Limit::Client`].
    client: Bound,
    /// What comes of [`Full::Leaving`].
    leaving: Bound,
    /// How many are inside.
    count: Gauge,
}

/// What comes of a limit that is reached.
struct Bound {
    /// What those are told who must not wait.
    why: Arc<str>,
    /// How many were told that instead of an answer.
    refused: Counter,
}

/// How far a query came without waiting.
pub(super) enum Begun {
    /// This is the reply; `None` if there is none.
    Done(Option<Vec<u8>>),
    /// The reply comes later.
    Waits(Waits),
}

/// A query that waits.
pub(super) struct Waits {
    /// The query.
    query: Arc<Query>,
    /// What it waits for.
    work: BoxFuture<'static, Option<Vec<u8>>>,
    /// Says that it has to go, and why.
    told: oneshot::Receiver<Limit>,
    /// Where it waits.
    place: Place<Tell>,
    /// That it is inside.
    inside: Inside,
    /// Where that is.
    room: Arc<Room>,
}

/// That somebody is inside, until this is dropped.
pub(super) struct Inside {
    /// One of as many as may be.
    _permit: OwnedSemaphorePermit,
    /// Counts it.
    count: Gauge,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.count.decrement(1.0);
    }
}

impl Room {
    /// A room for so many queries, at least one, each of which may stay for `firm`.
    pub(super) fn new(limit: usize, firm: Duration, metrics: &Metrics) -> Arc<Self> {
        metrics.describe_gauge(
            "outlast_waiting_queries",
            "Queries that wait for an upstream, or whose replies wait for their socket.",
        );
        let bound = |name, why: String| Bound {
            why: why.into(),
            refused: metrics.counter("outlast_overload_total", &[("limit", name)]),
        };
        let places = Places::new(limit, firm);
        let exits = limit.div_ceil(4).max(1);
        let most = limit.max(1) + exits;
        let all = format!("more than {limit} queries are waiting for upstreams");
        let client = format!("more than {} queries of this client are waiting for upstreams", places.share());
        Arc::new(Self {
            places,
            inside: Arc::new(Semaphore::new(most)),
            enough: most - exits / 2,
            all: bound("waiting_queries", all),
            client: bound("waiting_per_client", client),
            leaving: bound("replies_leaving", "too many replies wait for their sockets".to_owned()),
            count: metrics.gauge("outlast_waiting_queries", &[]),
        })
    }

    /// Begins to answer: most replies are there at once, and polling once costs no task. Only what is not takes a
    /// place, so that what is answered from memory is answered under overload, too.
    pub(super) fn begin(self: &Arc<Self>, query: Arc<Query>) -> Begun {
        let client = query.source().ip();
        if self.inside.available_permits() == 0 {
            return Begun::Done(self.turn_away(&query, Full::Leaving));
        }
        let query = match self.places.prospect(client, Instant::now()) {
            Prospect::Free => query,
            // Somebody else would have to go: what is second best for this one is better than that.
            Prospect::Instead(_) => Arc::new(query.without_waiting()),
            Prospect::None(limit) => return Begun::Done(self.turn_away(&query, limit.into())),
        };
        let mut work = answer(query.clone()).boxed();
        match work.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => Begun::Done(reply),
            Poll::Pending => match self.enter(client) {
                Ok((place, told, inside)) => {
                    Begun::Waits(Waits { query, work, told, place, inside, room: self.clone() })
                }
                // The last place was taken meanwhile.
                Err(full) => Begun::Done(self.turn_away(&query, full)),
            },
        }
    }

    /// Whether so many are on their way out that newcomers would soon be refused for that, whoever they are. Who can
    /// wait outside does: those inside have their turn, and leave.
    pub(super) fn is_clogged(&self) -> bool {
        self.inside.available_permits() + self.places.taken() < self.enough
    }

    /// Keeps who has a reply that its socket does not take yet; `None` if there are too many.
    pub(super) fn hold(&self) -> Option<Inside> {
        let permit = self.inside.clone().try_acquire_owned().ok()?;
        self.count.increment(1.0);
        Some(Inside { _permit: permit, count: self.count.clone() })
    }

    /// Lets a query of `client` in; somebody else may have to go.
    fn enter(&self, client: IpAddr) -> Result<(Place<Tell>, oneshot::Receiver<Limit>, Inside), Full> {
        // First, so that nobody goes in vain.
        let inside = self.hold().ok_or(Full::Leaving)?;
        let (tell, told) = oneshot::channel();
        let Entered { place, gone } = self.places.enter(client, Instant::now(), tell)?;
        if let Some((tell, limit)) = gone {
            // Who has just got its answer does not listen any more.
            let _ = tell.send(limit);
        }
        Ok((place, told, inside))
    }

    /// The reply to a query that must not wait: what the plugins have at hand, or SERVFAIL with the reason.
    fn turn_away(&self, query: &Query, full: Full) -> Option<Vec<u8>> {
        let bound = match full {
            Full::Waiting(Limit::All) => &self.all,
            Full::Waiting(Limit::Client) => &self.client,
            Full::Leaving => &self.leaving,
        };
        let query = Arc::new(query.turned_away(bound.why.clone()));
        let reply = answer(query.clone()).now_or_never();
        if reply.is_none() || query.is_refused() {
            bound.refused.increment(1);
        }
        reply.unwrap_or_else(|| {
            let ede = Some(Ede { code: EdeCode::Other, text: (*bound.why).to_owned() });
            reply::encode(&query, &Reply { ede, ..Reply::new(ResponseCode::ServFail, "") })
        })
    }
}

impl Waits {
    /// The reply, which is there when the work is done or the query has to go; and what is to be held until it has left.
    pub(super) async fn reply(self) -> (Option<Vec<u8>>, Inside) {
        let Self { query, mut work, mut told, place, inside, room } = self;
        let reply = tokio::select! {
            // A reply that is there is better than any reason.
            biased;
            reply = &mut work => Ok(reply),
            limit = &mut told => Err(limit.unwrap_or(Limit::All)),
        };
        // Whoever comes now has the place, and what was held for the work.
        drop((work, place));
        (reply.unwrap_or_else(|limit| room.turn_away(&query, limit.into())), inside)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use hickory_server::net::xfer::Protocol;
    use tokio::time::{advance, sleep};

    use super::*;
    use crate::node::listen::fixture::{self, Scripted, counted};
    use crate::node::listen::{FIRM, Received, receive};
    use crate::node::router::Router;
    use crate::testkit::client::{self, Answer};

    /// What is said of a limit of three.
    const FULL: (u16, &str) = (0, "more than 3 queries are waiting for upstreams");

    /// A waiting room and those who come to it.
    struct Fixture {
        room: Arc<Room>,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        plugin: Arc<Scripted>,
        /// What has been answered: the id of the query and the reply.
        answered: Arc<Mutex<Vec<(u16, Answer)>>>,
    }

    /// What is seen of an answer: its rcode, whether it has records, and its errors.
    type Said = (ResponseCode, bool, Vec<(u16, String)>);

    impl Fixture {
        fn new(limit: usize, firm: Duration) -> Self {
            let (metrics, plugin) = (Arc::new(Metrics::new()), Arc::new(Scripted::default()));
            Self {
                room: Room::new(limit, firm, &metrics),
                router: fixture::router(&metrics, plugin.clone()),
                metrics,
                plugin,
                answered: Arc::default(),
            }
        }

        /// A client asks; what waits goes on in a task.
        async fn ask(&self, client: u8, id: u16, name: &str) {
            let source = SocketAddr::from(([10, 0, 0, client], 5353));
            let local = SocketAddr::from(([127, 0, 0, 1], 53));
            let bytes = client::Query::a(name).id(id).edns(1232).bytes();
            let Received::Query(query) = receive(&bytes, source, local, Protocol::Udp, &self.router) else {
                panic!("a plain query passes the gate")
            };
            let answered = self.answered.clone();
            let told = move |reply: Option<Vec<u8>>| {
                let answer = Answer::parse(reply.expect("each query gets a reply")).unwrap();
                answered.lock().unwrap().push((id, answer));
            };
            match self.room.begin(query) {
                Begun::Done(reply) => told(reply),
                Begun::Waits(waits) => drop(tokio::spawn(async move {
                    let (reply, inside) = waits.reply().await;
                    told(reply);
                    drop(inside);
                })),
            }
            self.settle().await;
        }

        /// Lets every task go on that can.
        async fn settle(&self) {
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }

        /// The ids that were answered since the last call.
        fn answered(&self) -> Vec<u16> {
            self.take().into_iter().map(|(id, _)| id).collect()
        }

        /// The one answer since the last call.
        fn said(&self, id: u16) -> Said {
            let [(answered, answer)] = &*self.take() else { panic!("one answer") };
            assert_eq!(*answered, id);
            (answer.rcode(), !answer.answers().is_empty(), answer.ede())
        }

        fn take(&self) -> Vec<(u16, Answer)> {
            std::mem::take(&mut self.answered.lock().unwrap())
        }

        /// How many queries are in the plugin.
        fn waiting(&self) -> usize {
            Arc::strong_count(&self.plugin.waiting) - 1
        }

        /// Asserts how many were refused.
        fn refused(&self, limit: &str, count: usize) {
            counted(&self.metrics, &format!("outlast_overload_total{{limit=\"{limit}\"}} {count}"));
        }
    }

    fn servfail((code, text): (u16, &str)) -> Said {
        (ResponseCode::ServFail, false, vec![(code, text.to_owned())])
    }

    fn address() -> Said {
        (ResponseCode::NoError, true, Vec::new())
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_full_room_the_oldest_is_answered_and_gives_its_place_to_the_newcomer() {
        let fixture = Fixture::new(3, FIRM);
        for id in 1..=3 {
            fixture.ask(id as u8, id, "wait.").await;
        }
        assert_eq!((fixture.answered(), fixture.waiting()), (vec![], 3));
        advance(FIRM).await;
        fixture.ask(4, 4, "wait.").await;
        assert_eq!(fixture.said(1), servfail(FULL));
        fixture.ask(5, 5, "wait.").await;
        assert_eq!(fixture.said(2), servfail(FULL));
        assert_eq!(fixture.waiting(), 3, "what was done for the others has ended");
        fixture.refused("waiting_queries", 2);
        counted(&fixture.metrics, "outlast_waiting_queries 3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_is_refused_while_all_others_have_their_time() {
        let fixture = Fixture::new(3, FIRM);
        for id in 1..=3 {
            fixture.ask(id as u8, id, "wait.").await;
        }
        fixture.ask(4, 4, "soon.").await;
        assert_eq!(fixture.said(4), servfail(FULL));
        fixture.refused("waiting_queries", 1);
        advance(FIRM).await;
        fixture.ask(4, 5, "soon.").await;
        assert_eq!(fixture.answered(), [1]);
        sleep(Duration::from_millis(100)).await;
        fixture.settle().await;
        assert_eq!(fixture.said(5), address());
        counted(&fixture.metrics, "outlast_waiting_queries 2");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_there_at_once_is_answered_however_full_the_room_is() {
        for firm in [FIRM, Duration::ZERO] {
            let fixture = Fixture::new(3, firm);
            for id in 1..=3 {
                fixture.ask(id as u8, id, "wait.").await;
            }
            for (id, name) in [(4, "local."), (5, "second.")] {
                fixture.ask(1, id, name).await;
                assert_eq!(fixture.said(id), address(), "{name} {firm:?}");
            }
            fixture.refused("waiting_queries", 0);
            assert_eq!(fixture.waiting(), 3, "nobody had to go for it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_to_go_gets_second_best_where_there_is_some() {
        let fixture = Fixture::new(3, FIRM);
        for (id, name) in [(1, "second."), (2, "wait."), (3, "wait.")] {
            fixture.ask(id as u8, id, name).await;
        }
        advance(FIRM).await;
        fixture.ask(4, 4, "wait.").await;
        assert_eq!(fixture.said(1), address());
        fixture.refused("waiting_queries", 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_more_than_its_share_until_half_of_the_room_is_taken() {
        let fixture = Fixture::new(32, FIRM);
        for id in 1..=17 {
            fixture.ask(1, id, "wait.").await;
        }
        assert!(fixture.answered().is_empty(), "one more than half, of which a share is four");
        fixture.ask(1, 18, "wait.").await;
        let share = (0, "more than 4 queries of this client are waiting for upstreams");
        assert_eq!(fixture.said(18), servfail(share));
        advance(FIRM).await;
        fixture.ask(1, 19, "wait.").await;
        assert_eq!(fixture.said(1), servfail(share), "the client's own oldest");
        fixture.refused("waiting_per_client", 2);
        fixture.refused("waiting_queries", 0);
        assert_eq!(fixture.waiting(), 17);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_floods_takes_no_answer_from_one_that_does_not() {
        let fixture = Fixture::new(32, Duration::ZERO);
        fixture.ask(2, 1, "soon.").await;
        for id in 100..1000 {
            fixture.ask(1, id, "wait.").await;
            assert!(fixture.waiting() <= 17, "{}", fixture.waiting());
        }
        fixture.ask(2, 2, "soon.").await;
        fixture.take();
        sleep(Duration::from_millis(100)).await;
        fixture.settle().await;
        let mut answers = fixture.take();
        answers.sort_by_key(|(id, _)| *id);
        let rcodes: Vec<_> = answers.iter().map(|(id, answer)| (*id, answer.rcode())).collect();
        assert_eq!(rcodes, [(1, ResponseCode::NoError), (2, ResponseCode::NoError)]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_clients_are_answered_and_nothing_is_left_of_them() {
        let fixture = Fixture::new(8, Duration::ZERO);
        for id in 0..5000_u16 {
            let [_, client] = id.to_be_bytes();
            fixture.ask(client, id, "soon.").await;
            assert!(fixture.waiting() <= 8, "{}", fixture.waiting());
        }
        assert!(fixture.waiting() > 0, "the last ones have yet to get their answers");
        sleep(Duration::from_millis(100)).await;
        fixture.settle().await;
        assert_eq!(fixture.answered().len(), 5000);
        assert_eq!(fixture.waiting(), 0);
        counted(&fixture.metrics, "outlast_waiting_queries 0");
    }

    #[tokio::test(start_paused = true)]
    async fn replies_that_no_socket_takes_are_bounded() {
        let fixture = Fixture::new(3, Duration::ZERO);
        let held: Vec<_> = (0..4).map(|_| fixture.room.hold().expect("one more than the limit")).collect();
        assert!(fixture.room.hold().is_none());
        fixture.ask(1, 1, "wait.").await;
        assert_eq!(fixture.said(1), servfail((0, "too many replies wait for their sockets")), "nobody waits");
        fixture.refused("replies_leaving", 1);
        fixture.refused("waiting_queries", 0);
        drop(held);
        fixture.ask(1, 2, "soon.").await;
        assert!(fixture.answered().is_empty(), "there is room again");
    }
}
