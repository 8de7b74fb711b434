//! The order of one section's records. Nothing is allocated for the short sections that replies have.

use std::net::IpAddr;
use std::ops::Range;

use hickory_proto::rr::{RData, Record};
use ipnet::IpNet;
use rand::Rng;
use rand::seq::SliceRandom;

use super::weights::{DEFAULT, Weights};
use crate::node::lane::shuffle::Rank;

/// The group of a record.
fn rank(record: &Record) -> Rank {
    Rank::of(record.record_type().into())
}

/// Groups the records by rank; where the addresses are then.
fn group(records: &mut [Record]) -> Range<usize> {
    if !records.is_sorted_by_key(rank) {
        records.sort_by_key(rank);
    }
    let start = records.partition_point(|r| rank(r) < Rank::Address);
    let end = records.partition_point(|r| rank(r) <= Rank::Address);
    start..end
}

/// Groups the records; addresses of both families together, and MX records, get a random order, every order being
/// equally likely. Addresses within the first prefix of `prefer` then come first, those within the second next,
/// and those within none last.
pub(super) fn shuffle(records: &mut [Record], prefer: &[IpNet], rng: &mut impl Rng) {
    let addresses = group(records);
    records[addresses.end..].shuffle(rng);
    let addresses = &mut records[addresses];
    addresses.shuffle(rng);
    if !prefer.is_empty() {
        // Stable, so that equals keep their random order.
        addresses.sort_by_key(|record| {
            let matching = ip(record).and_then(|ip| prefer.iter().position(|net| net.contains(&ip)));
            matching.unwrap_or(prefer.len())
        });
    }
}

/// Groups the records of a section that has addresses, and moves one of these before the others, each with a
/// probability in proportion to its weight.
pub(super) fn lift_one(records: &mut [Record], weights: &Weights, rng: &mut impl Rng) {
    if !records.iter().any(|r| rank(r) == Rank::Address) {
        return;
    }
    let addresses = group(records);
    let addresses = &mut records[addresses];
    let weight = |record: &Record| u32::from(ip(record).map_or(DEFAULT, |ip| weights.of(&record.name, ip)));
    // A message has at most 65,535 records.
    let mut drawn = rng.random_range(0..addresses.iter().map(weight).sum());
    let first = addresses.iter().position(|record| {
        let weight = weight(record);
        let hit = drawn < weight;
        drawn = drawn.saturating_sub(weight);
        hit
    });
    if let Some(first) = first {
        addresses[..=first].rotate_right(1);
    }
}

/// The address of an A or AAAA record.
fn ip(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::{CNAME, MX, TXT};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::node::test_support::{address, record};

    /// A section from a list of words: addresses, or `KIND=VALUE`.
    fn section(words: &str) -> Vec<Record> {
        let word = |word: &str| {
            let name = |text: &str| Name::from_ascii(text).unwrap();
            match word.split_once('=') {
                Some(("cname", to)) => record("a.", RData::CNAME(CNAME(name(to)))),
                Some(("mx", to)) => record("a.", RData::MX(MX::new(10, name(to)))),
                Some(("txt", text)) => record("a.", RData::TXT(TXT::new(vec![text.to_owned()]))),
                _ => address("a.", word),
            }
        };
        words.split_whitespace().map(word).collect()
    }

    /// The same list from a section.
    fn words(records: &[Record]) -> String {
        let word = |record: &Record| match &record.data {
            RData::CNAME(to) => format!("cname={}", to.0),
            RData::MX(mx) => format!("mx={}", mx.exchange),
            RData::TXT(text) => format!("txt={text}"),
            _ => ip(record).unwrap().to_string(),
        };
        records.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// How often each order comes out of `rounds`.
    fn outcomes(
        given: &str,
        rounds: u64,
        order: impl Fn(&mut [Record], &mut SmallRng),
    ) -> BTreeMap<String, u64> {
        let mut seen = BTreeMap::new();
        for seed in 0..rounds {
            let mut records = section(given);
            order(&mut records, &mut SmallRng::seed_from_u64(seed));
            *seen.entry(words(&records)).or_default() += 1;
        }
        seen
    }

    #[test]
    fn every_order_of_addresses_is_equally_likely() {
        let seen = outcomes("10.0.0.1 fd00::2 10.0.0.3", 6_000, |r, rng| shuffle(r, &[], rng));
        assert_eq!(seen.len(), 6, "{seen:?}");
        // The standard deviation of each count is 29.
        assert!(seen.values().all(|n| (850..=1_150).contains(n)), "{seen:?}");
        let seen = outcomes("mx=x. mx=y.", 1_000, |r, rng| shuffle(r, &[], rng));
        assert_eq!(seen.len(), 2);
        assert!(seen.values().all(|n| (400..=600).contains(n)), "{seen:?}");
    }

    #[test]
    fn kinds_come_in_their_order() {
        let given = "mx=x. 10.0.0.1 txt=one cname=b. fd00::2 txt=two cname=c.";
        let seen = outcomes(given, 100, |r, rng| shuffle(r, &[], rng));
        let want = |a, b| format!("cname=b. cname=c. txt=one txt=two {a} {b} mx=x.");
        assert_eq!(
            seen.into_keys().collect::<Vec<_>>(),
            [want("10.0.0.1", "fd00::2"), want("fd00::2", "10.0.0.1")]
        );
    }

    #[test]
    fn preferred_addresses_come_first() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let prefer = [net("10.1.0.0/16"), net("fd00::/8"), net("10.0.0.0/8")];
        let seen = outcomes("192.0.2.1 10.2.0.1 fd00::1 10.1.0.1 cname=b. 10.1.0.2", 200, |r, rng| {
            shuffle(r, &prefer, rng);
        });
        let rest = "fd00::1 10.2.0.1 192.0.2.1";
        assert_eq!(
            seen.into_keys().collect::<Vec<_>>(),
            [format!("cname=b. 10.1.0.1 10.1.0.2 {rest}"), format!("cname=b. 10.1.0.2 10.1.0.1 {rest}")]
        );
    }

    #[test]
    fn weights_decide_which_address_is_first() {
        let weights = Weights::parse("a.\n10.0.0.1 3\n10.0.0.3 2").unwrap();
        let seen = outcomes("mx=x. 10.0.0.1 10.0.0.2 10.0.0.3 cname=b.", 6_000, |r, rng| {
            lift_one(r, &weights, rng);
        });
        let count = |addresses: &str| seen[&format!("cname=b. {addresses} mx=x.")];
        let counts = [
            count("10.0.0.1 10.0.0.2 10.0.0.3"),
            count("10.0.0.2 10.0.0.1 10.0.0.3"),
            count("10.0.0.3 10.0.0.1 10.0.0.2"),
        ];
        assert_eq!(counts.iter().sum::<u64>(), 6_000, "the others keep their order: {seen:?}");
        for (count, want) in counts.into_iter().zip([3_000, 1_000, 2_000]) {
            assert!(count.abs_diff(want) < 200, "{counts:?}");
        }
    }

    #[test]
    fn without_addresses_nothing_is_weighed() {
        let seen = outcomes("mx=x. txt=a cname=b.", 3, |r, rng| lift_one(r, &Weights::default(), rng));
        assert_eq!(seen.into_keys().collect::<Vec<_>>(), ["mx=x. txt=a cname=b."]);
        shuffle(&mut [], &[], &mut SmallRng::seed_from_u64(1));
    }
}
