//! Whether what the kernel lists is what has to be.
//!
//! Rules are compared by what they do, expression by expression, and not by their bytes: the kernel adds to those what
//! it finds useful.

use std::time::Duration;

use nlink::netlink::nftables::{ChainInfo, ChainKind, Policy, RuleInfo, SetFlags, SetInfo};

use crate::net::Ip;
use crate::net::layout::{ChainName, Layout, SetName, Terms};

/// The kernel keeps times in ticks: what it lists may be a little less than what was written.
const TICK: Duration = Duration::from_millis(20);

/// Whether this is that set, whatever is in it.
pub(super) fn is_set(found: &SetInfo, layout: &Layout, ip: Ip, set: SetName) -> bool {
    let key = set.key(ip);
    let flags = match set.is_filled_by_packets() {
        false => SetFlags::empty(),
        true => SetFlags::EVAL | SetFlags::TIMEOUT,
    };
    let timeout = match set {
        SetName::Flows => layout.flows(),
        SetName::Ours | SetName::Local | SetName::Live | SetName::Held => Duration::ZERO,
    };
    let listed = found.timeout.unwrap_or_default();
    found.key_type == key.type_id()
        && found.key_len == key.len()
        && found.flags == flags
        && listed.abs_diff(timeout) <= TICK
}

/// Whether this is that chain, whatever its rules.
pub(super) fn is_chain(found: &ChainInfo, chain: ChainName) -> bool {
    match (found.kind(), chain.base()) {
        (Some(ChainKind::Regular), None) => true,
        (Some(ChainKind::Base(found)), Some(wanted)) => {
            found.hook() == wanted.hook()
                && found.chain_type() == wanted.chain_type()
                && found.priority().to_i32() == wanted.priority().to_i32()
                && found.default_policy().is_none_or(|policy| policy == Policy::Accept)
        }
        _ => false,
    }
}

/// Whether these are all rules of a chain, in their order.
pub(super) fn are_rules(found: &[&RuleInfo], layout: &Layout, ip: Ip, chain: ChainName) -> bool {
    let family = Terms::of(ip).family;
    let wanted = layout.rules(ip, chain);
    let same = |(found, wanted): (&&RuleInfo, _)| {
        let wanted: nlink::netlink::nftables::Rule = wanted;
        match (found.spec().lower(family), wanted.spec().lower(family)) {
            (Ok(found), Ok(wanted)) => found == wanted,
            _ => false,
        }
    };
    found.len() == wanted.len() && found.iter().zip(wanted).all(same)
}
