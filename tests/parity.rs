//! The answers that CoreDNS 1.13.1 gave to 2,705 questions about a small cluster that has every shape of
//! service, in three configurations, against a whole node with the same Corefile, cluster and upstream. The node
//! has the cluster from a file, and from an API server over TLS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that panics is a test that fails")]
#![allow(clippy::print_stdout, reason = "the score belongs into the output of the test")]

#[path = "parity/judge.rs"]
mod judge;
#[path = "parity/judge_tests.rs"]
mod judge_tests;
#[path = "parity/origin.rs"]
mod origin;
#[path = "common/records.rs"]
mod records;
#[path = "parity/run.rs"]
mod run;

/// Pods by any name that spells an address, reverse names that fall through, a TTL of 30 s.
#[tokio::test]
async fn plain() {
    run::agrees(
        "plain",
        "pods insecure
         fallthrough in-addr.arpa ip6.arpa
         ttl 30",
    )
    .await;
}

/// Only pods that exist, endpoints named after their pods, nothing that falls through.
#[tokio::test]
async fn verified() {
    run::agrees(
        "verified",
        "pods verified
         endpoint_pod_names",
    )
    .await;
}

/// Two namespaces, no pods, no services without endpoints, a TTL of 7 s.
#[tokio::test]
async fn scoped() {
    run::agrees(
        "scoped",
        "pods disabled
         namespaces shop ops
         ignore empty_service
         ttl 7",
    )
    .await;
}
