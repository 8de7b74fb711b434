//! What interception promises on this node, and what it does not: the start says both.
//!
//! Pure.

use super::config::{KubeProxy, Mode};

/// What was found, and is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What leads packets here.
    pub rules: Mode,
    /// Who sends packets for Services elsewhere.
    pub kube_proxy: KubeProxy,
    /// Whether one of the addresses that are answered at is known to be a Service's.
    pub services: bool,
    /// Whether addresses of Services had to be left to somebody else.
    pub left: bool,
}

/// Something that may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Its name in the line of the start.
    pub name: &'static str,
    /// Why it does not hold here; `None` where it does.
    pub not: Option<&'static str>,
}

/// All that there is something to say of: nothing is promised of Services as long as no address is known to be one's.
pub fn promises(form: Form) -> Vec<Promise> {
    let Form { rules, kube_proxy, services: known, left } = form;
    let fail_open = match rules {
        Mode::Nftables | Mode::Auto => None,
        Mode::Iptables => Some(
            "rules of iptables do not expire: after SIGKILL, SIGSTOP or being out of memory this process still has all \
             queries of the node, and nobody answers them",
        ),
        Mode::Off => Some(
            "nothing leads queries here, and nothing leads them elsewhere when this process does not answer",
        ),
    };
    let connections = match rules {
        Mode::Nftables | Mode::Auto => None,
        Mode::Iptables => {
            Some("connections of clients break whenever queries are led elsewhere or here again")
        }
        Mode::Off => Some("nothing keeps connections of clients through an exchange of processes"),
    };
    let services = match (rules, kube_proxy) {
        _ if left => {
            Some("somebody else has the addresses of Services first: queries to them are not led here")
        }
        (Mode::Off, _) => Some("queries to addresses of Services go where they went before"),
        (_, KubeProxy::None) => Some(
            "nobody is seen who sends packets for Services elsewhere: their addresses have nothing to fall back to",
        ),
        _ => None,
    };
    let local = match rules {
        Mode::Nftables | Mode::Auto => None,
        Mode::Iptables | Mode::Off => Some("the node's own addresses have nothing to fall back to"),
    };
    let mut all = vec![
        Promise { name: "fail-open", not: fail_open },
        Promise { name: "connections", not: connections },
    ];
    all.extend((known || left).then_some(Promise { name: "services", not: services }));
    all.push(Promise { name: "local", not: local });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_depends_on_rules_and_on_who_has_services() {
        let form =
            Form { rules: Mode::Nftables, kube_proxy: KubeProxy::Iptables, services: true, left: false };
        let cases: [(&str, Form, &[&str]); 7] = [
            ("all", form, &["fail-open", "connections", "services", "local"]),
            (
                "IPVS",
                Form { kube_proxy: KubeProxy::Ipvs, left: true, ..form },
                &["fail-open", "connections", "local"],
            ),
            (
                "no kube-proxy",
                Form { kube_proxy: KubeProxy::None, ..form },
                &["fail-open", "connections", "local"],
            ),
            (
                "no Service that is known, whoever sends its packets on",
                Form { services: false, ..form },
                &["fail-open", "connections", "local"],
            ),
            (
                "the only one left to somebody else",
                Form { kube_proxy: KubeProxy::Cilium, services: false, left: true, ..form },
                &["fail-open", "connections", "local"],
            ),
            ("iptables", Form { rules: Mode::Iptables, ..form }, &["services"]),
            ("addresses only", Form { rules: Mode::Off, ..form }, &[]),
        ];
        for (name, form, want) in cases {
            let kept = promises(form).into_iter().filter(|promise| promise.not.is_none());
            assert_eq!(kept.map(|promise| promise.name).collect::<Vec<_>>(), want, "{name}");
        }
    }

    #[test]
    fn nothing_is_said_of_services_before_one_is_known() {
        let form = Form { rules: Mode::Nftables, kube_proxy: KubeProxy::None, services: false, left: false };
        let says = |form| promises(form).iter().any(|promise| promise.name == "services");
        assert!(!says(form));
        assert!(says(Form { services: true, ..form }) && says(Form { left: true, ..form }));
    }
}
