//! What follows from interruptions.

use tokio::sync::mpsc;

use super::*;
use crate::feed::position::Position;
use crate::source::UPDATE_QUEUE;
use crate::source::apiserver::access::Limits;
use crate::source::apiserver::test_support::Server;
use crate::zone::object::Kinds;

/// A follower that has come to version 10.
fn follower() -> (Follower, mpsc::Receiver<crate::source::Update>) {
    let at = Position { epoch: 0, versions: [10; 4] };
    let resume = Resume { cluster_uid: "u".to_owned(), position: at, told: at, ..Resume::default() };
    let (updates, queue) = mpsc::channel(UPDATE_QUEUE);
    let common = Common {
        wanted: Wanted::default(),
        client: Server::new([]).client(Limits::default()),
        report: Arc::new(Report::new(Kinds::CORE, &resume, updates)),
        orders: Orders::default(),
        metrics: Arc::new(Metrics::new()),
    };
    (Follower::new(Kind::Service, &common, &resume, Jitter::from_seed(1)), queue)
}

#[tokio::test(start_paused = true)]
async fn a_list_for_good_measure_that_fails_leaves_the_watch_where_it_was() {
    let why = || "no".to_owned();
    let faults: [fn(String) -> Fault; 4] = [
        |why| Fault::Busy { why, retry_after: Some(Duration::from_secs(7)) },
        |why| Fault::Unreachable { why },
        |why| Fault::Denied { why },
        |why| Fault::Expired { why },
    ];
    let asked = |why| Plan::List(Why::Asked(why));
    let cases = [
        ("held", asked(command::Why::Held), Plan::Watch),
        ("an audit", asked(command::Why::Audit), Plan::Watch),
        ("something was lost", asked(command::Why::Lost), asked(command::Why::Lost)),
        ("versions never came", Plan::List(Why::Suspicious), Plan::List(Why::Suspicious)),
    ];
    for fault in faults {
        for (case, plan, then) in cases {
            let (mut follower, _queue) = follower();
            follower.plan = plan;
            let fault = fault(why());
            let floor = if matches!(fault, Fault::Busy { .. }) { 7 } else { 0 };
            let wait = follower.recover(Interrupt::Fault(fault)).await.expect("it goes on");
            assert_eq!((follower.plan, follower.known()), (then, 10), "{case}");
            assert!(wait >= Duration::from_secs(floor), "{case}: {wait:?}");
        }
    }
}
