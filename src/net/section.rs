//! What interception says to operators.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::Ip;
use super::beat::Why;
use super::config::Mode;
use super::layout::Layout;
use crate::ops::control::section::{Advice, Level, Row, Section, Tells};

/// In place of addresses where all are left to somebody else.
const NONE: &str = "no address";

/// Where it stands then, if all is well, for scripts.
const LEFT: &str = "left";

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not begun, for this reason.
    Waiting(Why),
    /// Another process of the node owns the addresses, and is to give them up.
    Asking,
    /// Another process of the node owns the addresses.
    Standby,
    /// Nothing leads queries here: the addresses are there, and that is all that is wanted.
    Carried,
    /// Queries are led here.
    Live,
    /// They are led to the cluster's DNS.
    Out {
        /// Why.
        why: Why,
        /// For how long all has to be well first.
        pause: Duration,
    },
    /// The process ends.
    Ended,
}

impl Standing {
    /// For scripts.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Asking => "asking",
            Self::Standby => "standby",
            Self::Carried => "addresses",
            Self::Live => "live",
            Self::Out { .. } => "withdrawn",
            Self::Ended => "ended",
        }
    }
}

/// What is known, for who asks from another thread.
#[derive(Debug)]
pub struct Report(Mutex<Known>);

/// The same inside.
#[derive(Debug)]
struct Known {
    /// Where it stands; `None` before the first beat.
    standing: Option<Standing>,
    /// All addresses.
    addresses: Vec<String>,
    /// The interface that carries them, if it is ours.
    interface: Option<String>,
    /// Families with local addresses, which have nothing to fall back to.
    uncovered: Vec<Ip>,
    /// What leads queries here.
    rules: Mode,
}

impl Report {
    /// Nothing has happened yet.
    pub fn new(layout: &Layout, interface: Option<&str>) -> Self {
        let addresses = layout.addresses().iter().map(ToString::to_string).collect();
        let interface = interface.map(str::to_owned);
        let (uncovered, rules) = (uncovered(layout), Mode::Nftables);
        let known = Known { standing: None, addresses, interface, uncovered, rules };
        Self(Mutex::new(known))
    }

    /// The same where queries are led here by these rules, and not by tables of our own.
    #[must_use]
    pub fn led_by(self, rules: Mode) -> Self {
        self.known().rules = rules;
        self
    }

    /// Where it stands now.
    pub fn set(&self, standing: Standing) {
        self.known().standing = Some(standing);
    }

    /// The addresses, or what local ones fall back to, have changed.
    pub fn follow(&self, layout: &Layout) {
        let mut known = self.known();
        known.addresses = layout.addresses().iter().map(ToString::to_string).collect();
        known.uncovered = uncovered(layout);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Families whose local addresses have nowhere to send queries without us.
fn uncovered(layout: &Layout) -> Vec<Ip> {
    Ip::ALL.into_iter().filter(|ip| layout.has_local(*ip) && !layout.fallback.covers(*ip)).collect()
}

impl Tells for Report {
    fn section(&self) -> Section {
        let known = self.known();
        let is_left = known.addresses.is_empty() && known.standing == Some(Standing::Live);
        let all = if known.addresses.is_empty() { NONE.to_owned() } else { known.addresses.join(", ") };
        let (text, level) = match &known.standing {
            None => (format!("{all}: not begun"), Level::Warn),
            Some(Standing::Waiting(why)) => (format!("{all}: not begun: {why}"), Level::Warn),
            Some(Standing::Asking) => {
                let text =
                    format!("{all}: another process of this node has them, and is asked to give them up");
                (text, Level::Warn)
            }
            Some(Standing::Standby) => (format!("{all}: another process of this node has them"), Level::Fine),
            Some(Standing::Carried) => {
                (format!("{all}: on this node, and nothing leads queries here"), Level::Fine)
            }
            Some(Standing::Live) if is_left => {
                ("nothing is led here: somebody else has all addresses before us".to_owned(), Level::Fine)
            }
            Some(Standing::Live) => (format!("{all}: answered here"), Level::Fine),
            Some(Standing::Out { why, pause }) => {
                let text = format!(
                    "{all}: led to the cluster's DNS: {why} ({} s of health needed)",
                    pause.as_secs()
                );
                (text, Level::Bad)
            }
            Some(Standing::Ended) => (format!("{all}: given up, this process ends"), Level::Fine),
        };
        let mut rows = vec![Row { text, level }];
        let mut advice = Vec::new();
        for ip in &known.uncovered {
            let text = format!("local {ip} addresses have nothing to fall back to");
            rows.push(Row { text, level: Level::Warn });
        }
        if !known.uncovered.is_empty() && known.rules == Mode::Nftables {
            let text = "If this process stops answering, nobody answers at the node's own addresses: no ready endpoint \
                        of the cluster's DNS is known beside it. See the flag --cluster-dns-service."
                .to_owned();
            advice.push(Advice { level: Level::Warn, text });
        }
        let reason = match &known.standing {
            Some(Standing::Waiting(why) | Standing::Out { why, .. }) => Some(why),
            _ => None,
        };
        let data = json!({
            "state": if is_left { LEFT } else { known.standing.as_ref().map_or("waiting", Standing::as_str) },
            "reason": reason.map(Why::reason),
            "why": reason.map(ToString::to_string),
            "addresses": known.addresses,
            "interface": known.interface,
            "rules": known.rules.as_str(),
            "without_fallback": known.uncovered.iter().map(|ip| ip.as_str()).collect::<Vec<_>>(),
        });
        Section { title: "interception".to_owned(), rows, advice, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Endpoint;
    use crate::net::fallback::Fallback;
    use crate::net::layout::FLOWS;

    fn layout(services: &[&str], fallback: &[&str]) -> Layout {
        let parse = |of: &[&str]| of.iter().map(|a| a.parse().unwrap()).collect::<Vec<_>>();
        let mut layout = Layout::new(&parse(&["10.96.0.10", "169.254.20.10"]), &parse(services), 53, FLOWS);
        let at = |of: &&str| Endpoint { udp: of.parse().ok(), tcp: of.parse().ok() };
        layout.fallback = Fallback::new(&fallback.iter().map(at).collect::<Vec<_>>(), layout.addresses());
        layout
    }

    #[test]
    fn it_says_where_it_stands_and_what_is_missing() {
        let both = "10.96.0.10, 169.254.20.10";
        let out = Standing::Out { why: Why::Rules, pause: Duration::from_secs(10) };
        let cases = [
            ("before the first beat", None, "not begun", Level::Warn, "waiting"),
            (
                "not ready",
                Some(Standing::Waiting(Why::Readiness)),
                "not begun: not ready to answer",
                Level::Warn,
                "waiting",
            ),
            ("live", Some(Standing::Live), "answered here", Level::Fine, "live"),
            (
                "addresses only",
                Some(Standing::Carried),
                "on this node, and nothing leads queries here",
                Level::Fine,
                "addresses",
            ),
            (
                "asking",
                Some(Standing::Asking),
                "another process of this node has them, and is asked to give them up",
                Level::Warn,
                "asking",
            ),
            (
                "standby",
                Some(Standing::Standby),
                "another process of this node has them",
                Level::Fine,
                "standby",
            ),
            (
                "withdrawn",
                Some(out),
                "led to the cluster's DNS: links, addresses or rules are not as they should be (10 s of health needed)",
                Level::Bad,
                "withdrawn",
            ),
            ("ended", Some(Standing::Ended), "given up, this process ends", Level::Fine, "ended"),
        ];
        for (name, standing, text, level, state) in cases {
            let report = Report::new(&layout(&[], &["10.244.0.10:53"]), Some("nodelocaldns"));
            if let Some(standing) = standing {
                report.set(standing);
            }
            let section = report.section();
            assert_eq!(section.rows, [Row { text: format!("{both}: {text}"), level }], "{name}");
            assert_eq!(section.data["state"], state, "{name}");
            assert_eq!(section.data["interface"], "nodelocaldns", "{name}");
            assert!(section.advice.is_empty(), "{name}");
        }
        assert_eq!(Report::new(&layout(&[], &[]), None).section().data["without_fallback"], json!(["ip"]));
    }

    #[test]
    fn nothing_to_fall_back_to_is_worth_an_advice() {
        let report = Report::new(&layout(&[], &[]), None);
        let section = report.section();
        assert_eq!(section.rows[1].text, "local ip addresses have nothing to fall back to");
        assert_eq!((section.rows[1].level, section.advice.len()), (Level::Warn, 1));
        report.follow(&layout(&[], &["10.244.0.10:53"]));
        assert_eq!((report.section().rows.len(), report.section().advice.len()), (1, 0));
        let services = Report::new(&layout(&["10.96.0.10", "169.254.20.10"], &[]), None);
        assert_eq!(services.section().advice, [], "what is a Service's is sent on by others");
        let mut fewer = layout(&[], &["10.244.0.10:53"]);
        fewer.set_addresses(&["169.254.20.10".parse().unwrap()]);
        report.follow(&fewer);
        assert_eq!(report.section().data["addresses"], json!(["169.254.20.10"]));
        fewer.set_addresses(&[]);
        report.follow(&fewer);
        report.set(Standing::Live);
        let section = report.section();
        let text = "nothing is led here: somebody else has all addresses before us".to_owned();
        assert_eq!(section.rows, [Row { text, level: Level::Fine }]);
        assert_eq!((&section.data["state"], &section.data["addresses"]), (&json!("left"), &json!([])));
        let iptables = Report::new(&layout(&[], &[]), None).led_by(Mode::Iptables).section();
        assert_eq!((iptables.rows.len(), iptables.advice.len()), (2, 0), "no endpoint would help");
    }
}
