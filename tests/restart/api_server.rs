//! A node that follows an API server, both of them processes: what is answered while either is gone or hangs.

use std::time::{Duration, Instant};

use outlast::drill::cluster::Cluster;
use outlast::testkit::client::Query;
use outlast::zone::object::{Object, Shape};

use super::node::Node;
use super::place::Place;
use super::standin::ApiServer;

/// A small cluster: services and endpoints.
const SMALL: (usize, usize) = (20, 200);

/// The cluster that large ones are measured with.
const LARGE: (usize, usize) = (10_000, 100_900);

/// Snapshots that have been written.
const SAVES: &str = "outlast_snapshot_saves_total";

/// What a kubelet waits for `/health`, by default (`timeoutSeconds` of a probe).
const PROBE: Duration = Duration::from_secs(1);

/// How many probes may fail in a row before a kubelet restarts a pod, by default (`failureThreshold`).
const PROBES: usize = 3;

/// How long an end by SIGTERM may take, whatever hangs.
const LEAVE: Duration = Duration::from_secs(5);

/// Serves a made-up cluster of this size.
fn serve(place: &Place, (services, endpoints): (usize, usize)) -> ApiServer {
    let numbers = [services.to_string(), endpoints.to_string()];
    ApiServer::start(place, &["--services", &numbers[0], "--endpoints", &numbers[1]])
}

/// Names of that cluster, with the address of each.
fn services((services, endpoints): (usize, usize)) -> Vec<(String, String)> {
    let named = |object| match object {
        Object::Service(service) => match &service.shape {
            Shape::ClusterIp(addresses) => {
                let name = format!("{}.{}.svc.cluster.local.", service.name, service.namespace);
                addresses.first().map(|address| (name, address.to_string()))
            }
            _ => None,
        },
        _ => None,
    };
    let named: Vec<_> = Cluster::sized(services, endpoints).stream().filter_map(named).collect();
    assert!(!named.is_empty());
    named
}

/// Asks for each; fails unless the answers are right and say this about their age.
fn all_are_answered(node: &Node, names: &[(String, String)], ede: Option<u16>) {
    for (name, address) in names {
        let answer = node.ask(&Query::a(name).edns(1232));
        let records = answer.answers();
        let right = matches!(&*records, [record] if record.ends_with(&format!(" A {address}")));
        assert!(right, "{name}: {:?} {records:?}, not {address}", answer.rcode());
        let codes: Vec<u16> = answer.ede().iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, Vec::from_iter(ede), "{name}");
    }
}

/// Waits for a state, and asks for a name all the while.
fn answers_until(node: &Node, state: &str, (name, address): &(String, String)) {
    let series = format!("outlast_data_state{{state=\"{state}\"}}");
    node.until(state, |node| {
        let records = node.ask(&Query::a(name)).answers();
        assert!(matches!(&*records, [record] if record.ends_with(address.as_str())), "{name}: {records:?}");
        node.metric(&series) == Some(1.0)
    });
}

#[test]
fn answers_outlast_an_api_server_that_is_killed() {
    let place = Place::of_an_api_server("stale_after 15s");
    let (api_server, names) = (serve(&place, SMALL), services(SMALL));
    let node = Node::start(&place);
    node.until_state("live");
    all_are_answered(&node, &names, None);

    let again = api_server.kill(&place);
    answers_until(&node, "stale", &names[0]);
    all_are_answered(&node, &names, Some(3));

    // The same cluster by its uid, under other certificates and tokens.
    let _api_server = again();
    answers_until(&node, "live", &names[0]);
    all_are_answered(&node, &names, None);
    let (status, log) = node.terminate();
    assert_eq!(status, 0, "{log}");
}

#[test]
fn a_node_that_is_killed_needs_no_api_server_to_come_back() {
    let place = Place::of_an_api_server("");
    let (api_server, names) = (serve(&place, SMALL), services(SMALL));
    let node = Node::start(&place);
    node.until_state("live");
    node.until("a snapshot", |node| node.metric(SAVES) >= Some(1.0));

    let again = api_server.kill(&place);
    node.kill();
    let node = Node::start(&place);
    all_are_answered(&node, &names, Some(3));
    // It asks itself first.
    node.until("readiness", |node| node.get("/ready").is_ok_and(|(status, _)| status == 200));

    let _api_server = again();
    answers_until(&node, "live", &names[0]);
    all_are_answered(&node, &names, None);
}

#[test]
fn health_is_answered_while_a_large_cluster_is_listed() {
    let place = Place::of_an_api_server("");
    let _api_server = serve(&place, LARGE);
    let node = Node::start(&place);
    let (mut probes, mut late, mut in_a_row) = (0, 0, 0);
    while node.metric("outlast_data_state{state=\"live\"}") != Some(1.0) {
        let asked = Instant::now();
        assert_eq!(node.get("/health").unwrap(), (200, "OK".to_owned()));
        let in_time = asked.elapsed() < PROBE;
        probes += 1;
        late += usize::from(!in_time);
        in_a_row = if in_time { 0 } else { in_a_row + 1 };
        assert!(
            in_a_row < PROBES,
            "a kubelet would restart it: {late} of {probes} were late\n{}",
            node.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(probes > 1, "a list of that size is not there at once");
    all_are_answered(&node, &services(LARGE)[..100], None);
}

#[test]
fn sigterm_does_not_wait_for_an_api_server_that_hangs() {
    let place = Place::of_an_api_server("");
    let api_server = serve(&place, SMALL);
    for state in ["live", "stale"] {
        let node = Node::start(&place);
        node.until_state(state);
        // The first has watches that say nothing any more, the second never gets as far.
        api_server.hang();
        let asked = Instant::now();
        let (status, log) = node.terminate();
        assert_eq!(status, 0, "{state}: {log}");
        assert!(asked.elapsed() < LEAVE, "{state}: {:?}\n{log}", asked.elapsed());
        assert!(!place.snapshot_files().is_empty(), "{state}: what it knew is on the disk");
    }
}
