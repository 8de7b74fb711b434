//! What node-cache (NodeLocal DNSCache) has left: one that was killed deletes nothing, and its rules would lead queries
//! here for ever, whether or not anybody answers.
//!
//! Where iptables keeps its rules in tables of nftables they can be seen. They are told by their comment and an address of
//! ours. What has no comment (node-cache before 2023), or is in the old tables, which nobody can see without iptables'
//! own programs, is left to people: the log says which commands delete it.
//!
//! They are looked for again and again: one that is killed while this process runs leaves them as well.

use std::net::IpAddr;

use super::Ip;
use super::iptables::rows::{self, COMMENT, Ports, RAW, Which};
use super::nft::{Nft, NftError};

/// Words of a rule that keeps packets from being tracked, as iptables writes it into tables of nftables: an expression of
/// nftables, or a target of its own.
const UNTRACKED: [&[u8]; 3] = [b"notrack", b"NOTRACK", b"CT"];

/// Whose a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// node-cache's, for an address of ours.
    NodeCaches,
    /// It does what one of node-cache's does, and does not say whose it is.
    Unclear,
    /// Somebody else's.
    Others,
}

/// Whose a rule is, by what it does and says.
fn judge(table: &str, comment: Option<&str>, does: &[u8], addresses: &[IpAddr]) -> Whose {
    let has = |part: &[u8]| does.windows(part.len()).any(|window| window == part);
    let of_ours = addresses.iter().any(|address| match address {
        IpAddr::V4(v4) => has(&v4.octets()),
        IpAddr::V6(v6) => has(&v6.octets()),
    });
    if !of_ours {
        return Whose::Others;
    }
    let said = comment.is_some_and(|text| text.starts_with(COMMENT));
    if said || has(COMMENT.as_bytes()) {
        Whose::NodeCaches
    } else if table == RAW && UNTRACKED.iter().any(|word| has(word)) {
        Whose::Unclear
    } else {
        Whose::Others
    }
}

/// What became of rules that were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cleared {
    /// So many were node-cache's, and are deleted.
    pub(super) deleted: usize,
    /// So many may be, and are there still.
    pub(super) unclear: usize,
}

/// Deletes those that are node-cache's, in these tables.
///
/// # Errors
/// A list that cannot be had, or what the kernel refuses.
pub(super) async fn delete(nft: &Nft, addresses: &[IpAddr], tables: &[&str]) -> Result<Cleared, NftError> {
    let (mut left, mut unclear) = (Vec::new(), 0_usize);
    for ip in Ip::ALL {
        let ours: Vec<_> = addresses.iter().copied().filter(|address| Ip::of(address) == ip).collect();
        if ours.is_empty() {
            continue;
        }
        for table in tables {
            for rule in nft.rules_of(ip, table).await? {
                match judge(table, rule.comment_text.as_deref(), &rule.expression_bytes, &ours) {
                    Whose::NodeCaches => left.push(rule),
                    Whose::Unclear => unclear += 1,
                    Whose::Others => {}
                }
            }
        }
    }
    if !left.is_empty() {
        nft.delete_rules(&left).await?;
    }
    Ok(Cleared { deleted: left.len(), unclear })
}

/// Whether the rules that a command deletes have node-cache's comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// They have.
    Its,
    /// They are from before 2023.
    None,
}

/// Commands that delete the rules of these addresses that lead packets here, with `; ` between. The names of the programs
/// end in `suffix`.
pub(super) fn commands(addresses: &[IpAddr], ports: Ports, suffix: &str, comment: Comment) -> String {
    let of = |address: &IpAddr| {
        let program = format!("{}{suffix}", rows::program(Ip::of(address)));
        let rules = rows::rules(*address, ports, Which::All).into_iter().filter(|rule| rule.table == RAW);
        rules.map(move |rule| rule.deletion(&program, comment == Comment::Its))
    };
    addresses.iter().flat_map(of).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::iptables::rows::FILTER;

    #[test]
    fn rules_are_told_by_what_they_do_and_say() {
        let (ours, others): (&[u8], &[u8]) = (&[10, 96, 0, 10], &[10, 96, 0, 11]);
        let said = "NodeLocal DNS Cache: skip conntrack";
        /// A rule's table, its comment, the parts of what it does, and whose it is.
        type Case<'a> = (&'static str, &'static str, Option<&'static str>, &'a [&'a [u8]], Whose);
        let cases: [Case<'_>; 7] = [
            ("a comment of nftables", RAW, Some(said), &[ours, b"notrack"], Whose::NodeCaches),
            ("a match of iptables", FILTER, None, &[ours, b"comment", said.as_bytes()], Whose::NodeCaches),
            ("of another address", RAW, Some(said), &[others, b"notrack"], Whose::Others),
            ("without a comment", RAW, None, &[ours, b"CT"], Whose::Unclear),
            ("with another comment", RAW, Some("mine"), &[ours, b"NOTRACK"], Whose::Unclear),
            ("of a firewall", FILTER, None, &[ours, b"drop"], Whose::Others),
            ("that does something else", RAW, None, &[ours, b"log"], Whose::Others),
        ];
        for (name, table, comment, does, want) in cases {
            let whose = judge(table, comment, &does.concat(), &["10.96.0.10".parse().unwrap()]);
            assert_eq!(whose, want, "{name}");
        }
    }

    #[test]
    fn commands_are_of_the_rules_that_lead_packets_here() {
        let addresses = ["10.96.0.10".parse().unwrap(), "fd00:96::a".parse().unwrap()];
        let ports = Ports { dns: 53, health: 8080 };
        let old = commands(&addresses, ports, "", Comment::None);
        let commands: Vec<_> = old.split("; ").collect();
        assert_eq!(commands.len(), 16, "{old}");
        assert_eq!(commands[0], "iptables -t raw -D PREROUTING -p tcp -d 10.96.0.10 --dport 53 -j NOTRACK");
        assert!(commands[15].starts_with("ip6tables -t raw -D OUTPUT -p tcp -s fd00:96::a --sport 8080"));
        let new = super::commands(&addresses, ports, "-legacy", Comment::Its);
        let want = "iptables-legacy -t raw -D PREROUTING -p tcp -d 10.96.0.10 --dport 53 -j NOTRACK -m comment --comment \
                    'NodeLocal DNS Cache: skip conntrack'; ";
        assert!(new.starts_with(want), "{new}");
    }
}
