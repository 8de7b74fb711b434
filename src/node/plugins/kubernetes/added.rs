//! `kubernetes` for a Corefile that has none: a node-local cache's, which forwards the cluster's names to the cluster's
//! own DNS. Where a source was named beside it, the node answers them itself, and forwards what it cannot know:
//!
//! * Added is what has a `forward` and is for the cluster's domain or within the reverse zones; all share one store.
//! * Until there is data, everything is forwarded as before: nothing gets worse by a source that is not there yet.
//! * A name that is missing from stale data is asked for where it was forwarded to.
//! * A Corefile with a `kubernetes` of its own says what it means, and is left alone.

use std::borrow::Cow;

use super::NAME;
use crate::corefile::{Directive, Line, Position, ServerBlock, Token, Warning};
use crate::forward::target::{self, Place, Security, Word};
use crate::node::plugins::forward;
use crate::node::setup::Overrides;
use crate::zone::name::Labels;

/// The zones of addresses (RFC 1035 §3.5, RFC 3596 §2.5).
const REVERSE: [&str; 2] = ["in-addr.arpa.", "ip6.arpa."];

/// TTL of records, in seconds: what node-local caches keep answers for, and what CoreDNS gives in the field.
const TTL: &str = "30";

/// Blocks, and what was added to them.
pub struct Added<'a> {
    /// All blocks of the Corefile.
    pub blocks: Cow<'a, [ServerBlock]>,
    /// Whether there is a `kubernetes` that nobody wrote.
    pub any: bool,
    /// What people may not expect.
    pub warnings: Vec<Warning>,
}

/// Adds `kubernetes` where flags name a source for it and no block has one.
pub fn added<'a>(blocks: &'a [ServerBlock], overrides: &Overrides) -> Added<'a> {
    let untouched = Added { blocks: Cow::Borrowed(blocks), any: false, warnings: Vec::new() };
    let Some(domain) = overrides.cluster_domain.as_deref() else { return untouched };
    let has_source = overrides.source.is_some() || overrides.hub.any();
    if !has_source || blocks.iter().any(|block| block.all(NAME).next().is_some()) {
        return untouched;
    }
    let of_domain = |block: &ServerBlock| has_zone(block, |zone| zone == domain);
    let forwards = |block: &&ServerBlock| block.all(forward::NAME).next().is_some();
    let Some(main) = blocks.iter().find(|block| of_domain(block) && forwards(block)) else {
        let position =
            blocks.first().map_or_else(|| Position::of_file("Corefile"), |block| block.position.clone());
        let text = format!(
            "the source of the cluster's objects has no effect: no server block has 'kubernetes', and none for {domain} \
             has 'forward' (--cluster-domain names another domain)"
        );
        return Added { warnings: vec![Warning { position, text }], ..untouched };
    };
    let text = format!(
        "no server block has 'kubernetes': it is added here and to reverse zones, so that names of {domain} are answered \
         from the source's data, and forwarded until there is any"
    );
    let warning = Warning { position: main.position.clone(), text };
    let add = |block: &ServerBlock| {
        let mut block = block.clone();
        if forwards(&&block) && (of_domain(&block) || is_reverse(&block)) {
            let fallback = if of_domain(&block) { servers(&block) } else { Vec::new() };
            block.directives.push(directive(domain, fallback, &block.position));
        }
        block
    };
    Added { blocks: blocks.iter().map(add).collect(), any: true, warnings: vec![warning] }
}

/// Whether one of the block's zones is so.
fn has_zone(block: &ServerBlock, is_so: impl Fn(&Labels) -> bool) -> bool {
    block.keys.iter().any(|key| Labels::parse(&key.zone).is_ok_and(|zone| is_so(&zone)))
}

/// Whether one of the block's zones is of addresses.
fn is_reverse(block: &ServerBlock) -> bool {
    let zones = REVERSE.map(Labels::parse);
    has_zone(block, |zone| zones.iter().flatten().any(|reverse| zone.is_within(reverse)))
}

/// The block's upstreams that a fallback can ask: addresses, over plain DNS.
fn servers(block: &ServerBlock) -> Vec<String> {
    let words = block.all(forward::NAME).flat_map(|directive| directive.args.iter().skip(1));
    let is_plain = |word: &&Token| match target::parse(&word.text, |_| None) {
        Word::Target(target) => {
            matches!((target.place, target.security), (Place::Address(_), Security::Plain))
        }
        _ => false,
    };
    words.filter(is_plain).map(|word| word.text.clone()).collect()
}

/// The directive, as if it stood where the block begins.
fn directive(domain: &Labels, fallback: Vec<String>, at: &Position) -> Directive {
    let token = |text: &str| Token { text: text.to_owned(), quoted: false, position: at.clone() };
    let line = |words: &[&str]| {
        let mut words = words.iter().map(|word| token(word));
        words.next().map(|name| Line { name, args: words.collect() })
    };
    let [v4, v6] = REVERSE;
    let mut body = vec![line(&["pods", "insecure"]), line(&["ttl", TTL]), line(&["fallthrough", v4, v6])];
    if !fallback.is_empty() {
        let words: Vec<_> = std::iter::once("fallback").chain(fallback.iter().map(String::as_str)).collect();
        body.push(line(&words));
    }
    let domain = domain.to_string();
    Directive {
        name: token(NAME),
        args: [domain.as_str(), v4, v6].map(token).into(),
        body: Some(body.into_iter().flatten().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::{self, LoadOptions};
    use crate::source::choice::SourceChoice;

    fn overrides() -> Overrides {
        Overrides {
            source: Some(SourceChoice::File("x".into())),
            cluster_domain: Some(Box::new(Labels::parse("cluster.local").unwrap())),
            ..Overrides::default()
        }
    }

    fn parsed(text: &str) -> Vec<ServerBlock> {
        corefile::parse(text, "Corefile", &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}")).blocks
    }

    /// The added directive of each block, if it has one, and warnings with their lines.
    fn directives(text: &str, overrides: &Overrides) -> (Vec<Option<String>>, Vec<String>) {
        let blocks = parsed(text);
        let Added { blocks, any, warnings } = added(&blocks, overrides);
        let of = |block: &ServerBlock| {
            let own = block.all(NAME).next().map(ToString::to_string);
            own.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let directives: Vec<_> = blocks.iter().map(of).collect();
        assert_eq!(any, warnings.iter().any(|w| w.text.contains("it is added here")));
        (directives, warnings.iter().map(|w| format!("{}: {}", w.position.line, w.text)).collect())
    }

    #[test]
    fn a_node_local_cache_answers_what_it_knows() {
        let text = include_str!("../../../../tests/corefile/fixtures/node-local.corefile");
        let (directives, warnings) = directives(text, &overrides());
        let rest = "pods insecure ttl 30 fallthrough in-addr.arpa. ip6.arpa.";
        let kubernetes = "kubernetes cluster.local. in-addr.arpa. ip6.arpa. {";
        let want = [
            Some(format!("{kubernetes} {rest} fallback 10.96.87.4 }}")),
            Some(format!("{kubernetes} {rest} }}")),
            Some(format!("{kubernetes} {rest} }}")),
            None,
        ];
        assert_eq!(directives, want);
        assert!(
            warnings.len() == 1 && warnings[0].starts_with("1: no server block has 'kubernetes'"),
            "{warnings:?}"
        );
    }

    #[test]
    fn only_what_forwards_the_domain_and_addresses_is_added_to() {
        struct Case {
            name: &'static str,
            text: &'static str,
            want: &'static [bool],
            warning: Option<&'static str>,
        }
        let added = Some("1: no server block has 'kubernetes'");
        let idle = Some("1: the source of the cluster's objects has no effect");
        for case in [
            Case {
                name: "one block for all",
                text: "Cluster.Local 10.in-addr.arpa {\n forward . 192.0.2.1\n}\n",
                want: &[true],
                warning: added,
            },
            Case {
                name: "a part of the reverse zones, and a part of the domain",
                text: "cluster.local {\n forward . 192.0.2.1\n}\n168.192.in-addr.arpa {\n forward . 192.0.2.2\n}\n\
                       svc.cluster.local {\n forward . 192.0.2.1\n}\nip6.arpa {\n errors\n}\n",
                want: &[true, true, false, false],
                warning: added,
            },
            Case {
                name: "no such domain",
                text: ". {\n forward . 192.0.2.1\n}\n",
                want: &[false],
                warning: idle,
            },
            Case {
                name: "it forwards nothing",
                text: "cluster.local {\n errors\n}\nin-addr.arpa {\n forward . 192.0.2.1\n}\n",
                want: &[false, false],
                warning: idle,
            },
            Case {
                name: "one has its own",
                text: "cluster.local {\n forward . 192.0.2.1\n}\nother.local {\n kubernetes\n}\n",
                want: &[false, true],
                warning: None,
            },
        ] {
            let (directives, warnings) = directives(case.text, &overrides());
            let got: Vec<_> = directives.iter().map(Option::is_some).collect();
            assert_eq!(got, case.want, "{}", case.name);
            assert_eq!(warnings.len(), usize::from(case.warning.is_some()), "{}: {warnings:?}", case.name);
            let begins = |want: &str| warnings[0].starts_with(want);
            assert!(case.warning.is_none_or(begins), "{}: {warnings:?}", case.name);
        }
    }

    #[test]
    fn only_a_source_that_flags_name_has_it_added() {
        let text = "cluster.local {\n forward . 192.0.2.1 tls://192.0.2.2 /etc/resolv.conf 192.0.2.3:54\n}\n";
        let of = |overrides: Overrides| directives(text, &overrides).0.remove(0);
        assert_eq!(of(Overrides { source: None, ..overrides() }), None);
        assert_eq!(of(Overrides { cluster_domain: None, ..overrides() }), None);
        let mut hub = Overrides { source: None, ..overrides() };
        hub.hub.seeds.push("10.0.0.1:9953".parse().unwrap());
        let directive = of(hub).unwrap();
        assert!(directive.contains("fallback 192.0.2.1 192.0.2.3:54 }"), "{directive}");
        let other =
            Overrides { cluster_domain: Labels::parse("k8s.example").ok().map(Box::new), ..overrides() };
        assert_eq!(of(other), None);
    }
}
