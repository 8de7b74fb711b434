//! `multisocket [N]`: so many UDP sockets for each address, each with a task of its own; the kernel spreads clients
//! over them.
//!
//! Without it there is one a core, up to four. Without N there is one a core. Of blocks that share a listener the one
//! that asks for most decides. TCP has one socket for each address, whose connections have tasks of their own.

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::once;
use crate::corefile::{Directive, Error, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "multisocket";

/// Options that are accepted.
pub const OPTIONS: [&str; 0] = [];

/// CoreDNS's bound.
const MAX: u32 = 1024;

/// Reads the number.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    let directive = once(directives)?;
    if let Some(line) = directive.lines().first() {
        return Err(line.unknown_property(NAME, &OPTIONS));
    }
    let sockets = match directive.optional_arg("multisocket [SOCKETS]")? {
        Some(word) => NonZeroUsize::new(word.integer(1..=MAX)? as usize),
        None => std::thread::available_parallelism().ok(),
    };
    cx.listening.sockets = cx.listening.sockets.max(sockets);
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use crate::testkit::client::Query;
    use crate::testkit::node::{Builder, TestNode};

    /// UDP sockets on this port, as the kernel lists them.
    fn sockets(port: u16) -> usize {
        let list = std::fs::read_to_string("/proc/net/udp").unwrap();
        let suffix = format!(":{port:04X}");
        list.lines().filter(|l| l.split_whitespace().nth(1).is_some_and(|a| a.ends_with(&suffix))).count()
    }

    fn text(lines: &str) -> String {
        format!(".:0 {{\n bind 127.0.0.1\n {lines}\n}}\n")
    }

    #[tokio::test]
    async fn multisocket_sockets() {
        let cores = std::thread::available_parallelism().unwrap().get();
        for (lines, want) in
            [("", cores.min(4)), ("multisocket", cores), ("multisocket 1", 1), ("multisocket 7", 7)]
        {
            let node = TestNode::start(&text(lines));
            assert_eq!(sockets(node.dns.port()), want, "{lines}");
            for _ in 0..20 {
                // From a port of its own each: whichever socket it comes to, it is answered.
                node.client().udp(&Query::a("x.")).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_reload_adds_and_removes_sockets_of_an_address_that_stays() {
        let mut node = TestNode::start(&text("multisocket 2"));
        let address = node.dns;
        for count in [5, 1, 3] {
            node.reload(&text(&format!("multisocket {count}"))).await.unwrap();
            assert_eq!(node.addresses(), [address]);
            node.until("the sockets are there, and no others", |n| sockets(n.dns.port()) == count).await;
            for _ in 0..20 {
                node.client().udp(&Query::a("x.")).await.unwrap();
            }
        }
    }

    #[test]
    fn numbers_are_checked_and_the_most_decides() {
        let check = |text: &str| Builder::default().check(text);
        for lines in ["multisocket 0", "multisocket 1025", "multisocket x", "multisocket 1 2"] {
            let error = check(&text(lines)).map(drop).unwrap_err().to_string();
            assert!(error.starts_with("Corefile:3"), "{lines}: {error}");
        }
        let plan = check("a:0 {\n multisocket 9\n}\nb:0 {\n multisocket 3\n}\nc:0 {\n debug\n}\n").unwrap();
        assert_eq!(plan.servers[0].sockets.unwrap().get(), 9);
    }
}
