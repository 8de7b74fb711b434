//! `timeouts { read D ; write D ; idle D ; maxtcpqueries N }`: how long TCP and TLS connections may take, and how much
//! one may ask.
//!
//! A listener has one set of limits: of blocks that share one, what a later block says counts. A reload changes them
//! for the connections that come after it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::corefile::{Directive, Error, Line, Statement};
use crate::node::chain::Plugin;
use crate::node::setup::Context;

/// The plugin's name.
pub const NAME: &str = "timeouts";

/// Options that are accepted.
pub const OPTIONS: [&str; 4] = ["read", "write", "idle", "maxtcpqueries"];

/// CoreDNS's bounds of a timeout.
const MIN: Duration = Duration::from_secs(1);
/// See [`MIN`].
const MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads the limits.
pub fn setup(directives: &[&Directive], cx: &mut Context<'_>) -> Result<Vec<Arc<dyn Plugin>>, Error> {
    for directive in directives {
        directive.no_args()?;
        if directive.lines().is_empty() {
            return Err(directive.error(
                "plugin/timeouts: timeouts block with no timeouts or limits specified: write at least one of read, \
                 write, idle and maxtcpqueries",
            ));
        }
        for line in directive.lines() {
            match line.name().text.as_str() {
                "read" => cx.listening.read = Some(timeout(line, "read DURATION")?),
                "write" => cx.listening.write = Some(timeout(line, "write DURATION")?),
                "idle" => cx.listening.idle = Some(timeout(line, "idle DURATION")?),
                "maxtcpqueries" => cx.listening.queries = Some(queries(line)?),
                _ => return Err(line.unknown_property(NAME, &OPTIONS)),
            }
        }
    }
    Ok(Vec::new())
}

fn timeout(line: &Line, usage: &str) -> Result<Duration, Error> {
    let word = line.one_arg(usage)?;
    // A bare number is seconds here, unlike elsewhere.
    let timeout = match word.text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => word.duration()?,
    };
    if (MIN..=MAX).contains(&timeout) {
        return Ok(timeout);
    }
    Err(word.error(format!(
        "plugin/timeouts: timeout provided '{}' needs to be between 1 second and 24 hours",
        word.text
    )))
}

fn queries(line: &Line) -> Result<Option<NonZeroU32>, Error> {
    let word = line.one_arg("maxtcpqueries MAXIMUM")?;
    if word.text == "-1" {
        return Ok(None);
    }
    Ok(NonZeroU32::new(word.integer(1..=u32::MAX)?))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::testkit::client::Query;
    use crate::testkit::node::{Builder, TestNode};
    use crate::testkit::upstream::FakeUpstream;

    /// Longer than the limits of a second, far shorter than the others: what is not closed by then is not cut off.
    const SOON: Duration = Duration::from_millis(1500);

    /// How long a test waits for what has to come.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn node(lines: &str) -> TestNode {
        TestNode::start(&format!(".:0 {{\n bind 127.0.0.1\n {lines}\n forward . 127.0.0.1:9\n}}\n"))
    }

    /// Whether a connection is closed that sends this and says no more.
    async fn closes(lines: &str, sent: &[u8], patience: Duration) -> bool {
        let node = node(lines);
        let mut stream = TcpStream::connect(node.dns).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let start = Instant::now();
        let mut rest = Vec::new();
        let ended = timeout(patience, stream.read_to_end(&mut rest)).await.is_ok();
        assert!(
            !ended || start.elapsed() > Duration::from_millis(900),
            "{lines}: after {:?}",
            start.elapsed()
        );
        ended
    }

    /// A query that is answered at once, framed.
    fn refused() -> Vec<u8> {
        let message = Query::a("x.").class(4).bytes();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    }

    #[tokio::test]
    async fn timeouts_read() {
        for sent in [&b""[..], &[0], &refused()[..9]] {
            assert!(closes("timeouts {\n read 1s\n }", sent, PATIENCE).await);
            assert!(!closes("timeouts {\n read 20s\n }", sent, SOON).await);
        }
    }

    #[tokio::test]
    async fn timeouts_idle() {
        assert!(closes("timeouts {\n idle 1s\n }", &refused(), PATIENCE).await);
        assert!(!closes("timeouts {\n idle 20s\n }", &refused(), SOON).await);
        assert!(!closes("", &refused(), SOON).await, "the default is 10 s");
    }

    #[tokio::test]
    async fn timeouts_maxtcpqueries() {
        for (lines, want) in
            [("timeouts {\n maxtcpqueries 2\n }", 2), ("timeouts {\n maxtcpqueries -1\n }", 5)]
        {
            let node = node(lines);
            let mut stream = TcpStream::connect(node.dns).await.unwrap();
            stream.write_all(&refused().repeat(5)).await.unwrap();
            let mut replies = 0;
            for _ in 0..5 {
                let Ok(len) = stream.read_u16().await else { break };
                stream.read_exact(&mut vec![0; usize::from(len)]).await.unwrap();
                replies += 1;
            }
            assert_eq!(replies, want, "{lines}");
        }
    }

    /// A client that asks and never reads: whether it is cut off.
    #[tokio::test]
    async fn timeouts_write() {
        // Replies of some 30 kB, so that buffers are full soon.
        let records: Vec<_> = (0..2000).map(|i| format!("big. 60 A 10.0.{}.{}", i / 250, i % 250)).collect();
        let upstream = FakeUpstream::start(&records.join("\n")).await;
        let message = Query::a("big.").bytes();
        let query = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
        for (lines, want) in [("timeouts {\n write 1s\n }", true), ("timeouts {\n write 1m\n }", false)] {
            let text = format!(".:0 {{\n bind 127.0.0.1\n {lines}\n forward . {}\n}}\n", upstream.addr());
            let node = TestNode::start(&text);
            let mut stream = TcpStream::connect(node.dns).await.unwrap();
            let patience = if want { PATIENCE } else { SOON };
            let cut = loop {
                match timeout(patience, stream.write_all(&query)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break true,
                    Err(_) => break false,
                }
            };
            assert_eq!(cut, want, "{lines}");
        }
    }

    #[test]
    fn what_is_written_is_checked_and_the_later_block_decides() {
        let check = |lines: &str| Builder::default().check(&format!(".:0 {{\n {lines}\n}}\n"));
        for (lines, want) in [
            ("timeouts", "timeouts block with no timeouts or limits specified"),
            ("timeouts 5s", "write 'timeouts'"),
            ("timeouts {\n read 500ms\n }", "needs to be between 1 second and 24 hours"),
            ("timeouts {\n idle 25h\n }", "needs to be between 1 second and 24 hours"),
            ("timeouts {\n maxtcpqueries 0\n }", "Corefile:3"),
            ("timeouts {\n max 1\n }", "known are: read, write, idle, maxtcpqueries"),
        ] {
            let error = check(lines).map(drop).unwrap_err().to_string();
            assert!(error.contains(want), "{lines}: {error}");
        }
        let text = "a:0 {\n timeouts {\n read 7\n idle 8s\n }\n}\nb:0 {\n timeouts {\n idle 9s\n }\n}\n";
        let timeouts = Builder::default().check(text).unwrap().servers[0].timeouts;
        let seconds = [timeouts.first, timeouts.message, timeouts.idle].map(|d| d.as_secs());
        assert_eq!(seconds, [7, 7, 9]);
    }
}
