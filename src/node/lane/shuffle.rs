//! The order of a reply's records, changed where they stand: what `loadbalance` does with `round_robin`.
//!
//! Addresses whose owner is a pointer can change places: nothing points into them, and what they point to stays where
//! it is. What stands otherwise is left to the general handler.

use std::ops::Range;

use rand::Rng;
use rand::rngs::SmallRng;

use super::writer::NotHere;
use crate::node::opt::{skip_name, u16_at};

/// Records of a section that are looked at; longer sections are left to the general handler.
const MAX_RECORDS: usize = 128;

/// Length of the owner name that is a pointer.
const POINTER_LEN: usize = 2;

/// Room for the addresses of a section while they change places, where they differ in length.
const MAX_BLOCK: usize = MAX_RECORDS * 28;

/// Groups of records, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// CNAME
    Alias,
    /// All others.
    Other,
    /// A, AAAA
    Address,
    /// MX
    Exchange,
}

impl Rank {
    /// The group of records of a type.
    pub const fn of(kind: u16) -> Self {
        match kind {
            5 => Self::Alias,
            1 | 28 => Self::Address,
            15 => Self::Exchange,
            _ => Self::Other,
        }
    }
}

/// Puts the addresses of every section into another order, each order as likely as any other. `at` is where records
/// begin, `counts` how many there are in each section.
pub fn shuffle(
    message: &mut [u8],
    mut at: usize,
    counts: [u16; 3],
    dice: &mut SmallRng,
) -> Result<(), NotHere> {
    for count in counts {
        at = section(message, at, usize::from(count), dice)?;
    }
    Ok(())
}

/// Shuffles a section; where it ends.
fn section(message: &mut [u8], start: usize, count: usize, dice: &mut SmallRng) -> Result<usize, NotHere> {
    if count > MAX_RECORDS {
        return Err(NotHere);
    }
    // Where each address begins, and behind the last one where it ends.
    let mut bounds = [0_u16; MAX_RECORDS + 1];
    let (mut addresses, mut at, mut last) = (0, start, Rank::Alias);
    for record in 0..count {
        let fields = skip_name(message, at).ok_or(NotHere)?;
        let rank = Rank::of(u16_at(message, fields).ok_or(NotHere)?);
        if rank < last || (rank, last) == (Rank::Exchange, Rank::Exchange) && record > 0 {
            return Err(NotHere);
        }
        last = rank;
        let end = fields + 10 + usize::from(u16_at(message, fields + 8).ok_or(NotHere)?);
        if rank == Rank::Address {
            if fields - at != POINTER_LEN {
                return Err(NotHere);
            }
            bounds[addresses] = u16::try_from(at).map_err(|_| NotHere)?;
            addresses += 1;
            bounds[addresses] = u16::try_from(end).map_err(|_| NotHere)?;
        }
        at = end;
    }
    if addresses > 1 {
        let bounds = bounds.get_mut(..=addresses).ok_or(NotHere)?;
        permute(message, bounds, dice).ok_or(NotHere)?;
    }
    Ok(at)
}

/// Puts the records that begin at `bounds`, each up to the next one, into another order.
fn permute(message: &mut [u8], bounds: &[u16], dice: &mut SmallRng) -> Option<()> {
    let count = bounds.len() - 1;
    let range = |i: usize| -> Range<usize> { usize::from(bounds[i])..usize::from(bounds[i + 1]) };
    let block = range(0).start..range(count - 1).end;
    let size = range(0).len();
    // Fisher and Yates, from the end.
    if (1..count).all(|i| range(i).len() == size) {
        let block = message.get_mut(block)?;
        for i in (1..count).rev() {
            let j = dice.random_range(0..=i);
            let (front, back) = block.split_at_mut_checked(i * size)?;
            if let Some(other) = front.get_mut(j * size..(j + 1) * size) {
                other.swap_with_slice(back.get_mut(..size)?);
            }
        }
        return Some(());
    }
    let mut order = [0_u8; MAX_RECORDS];
    let order = order.get_mut(..count)?;
    order.iter_mut().zip(0..).for_each(|(slot, i)| *slot = i);
    for i in (1..count).rev() {
        order.swap(i, dice.random_range(0..=i));
    }
    let mut copy = [0; MAX_BLOCK];
    let copy = copy.get_mut(..block.len())?;
    copy.copy_from_slice(message.get(block.clone())?);
    let mut at = block.start;
    for i in order {
        let from = range(usize::from(*i));
        let record = copy.get(from.start - block.start..from.end - block.start)?;
        message.get_mut(at..at + record.len())?.copy_from_slice(record);
        at += record.len();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX};
    use hickory_proto::rr::{Name, RData, Record, RecordType};
    use rand::SeedableRng;

    use super::*;

    /// Records as `owner=data`: an address, or `cname` or `mx` with a name.
    fn record(word: &str) -> Record {
        let (owner, data) = word.split_once('=').unwrap();
        let name = |text: &str| Name::from_ascii(text).unwrap();
        let data = match data.split_once(':').filter(|(kind, _)| matches!(*kind, "cname" | "mx")) {
            Some(("cname", to)) => RData::CNAME(CNAME(name(to))),
            Some((_, to)) => RData::MX(MX::new(1, name(to))),
            None => match data.parse().unwrap() {
                std::net::IpAddr::V4(ip) => RData::A(A(ip)),
                std::net::IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            },
        };
        Record::from_rdata(name(owner), 5, data)
    }

    /// A message to `q.` with these sections, and where its records begin.
    fn message(sections: [&str; 2]) -> (Vec<u8>, usize, [u16; 3]) {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii("q.").unwrap(), RecordType::A));
        let [answers, additional] =
            sections.map(|words| words.split_whitespace().map(record).collect::<Vec<_>>());
        let counts = [answers.len() as u16, 0, additional.len() as u16];
        message.answers = answers;
        message.additionals = additional;
        (message.to_vec().unwrap(), 12 + 3 + 4, counts)
    }

    fn words(records: &[Record]) -> String {
        records.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_order_of_addresses_is_equally_likely() {
        for given in ["q.=10.0.0.1 q.=10.0.0.2 q.=10.0.0.3", "q.=10.0.0.1 q.=fd00::2 q.=10.0.0.3"] {
            let mut dice = SmallRng::seed_from_u64(1);
            let mut seen = BTreeMap::<String, u32>::new();
            for _ in 0..6_000 {
                let (mut bytes, at, counts) = message([given, ""]);
                shuffle(&mut bytes, at, counts, &mut dice).unwrap();
                let reply = Message::from_vec(&bytes).unwrap();
                *seen.entry(words(&reply.answers)).or_default() += 1;
            }
            assert_eq!(seen.len(), 6, "{seen:?}");
            assert!(seen.values().all(|n| (850..=1_150).contains(n)), "{seen:?}");
        }
    }

    #[test]
    fn all_sections_change_and_names_stay_with_their_addresses() {
        let mut dice = SmallRng::seed_from_u64(1);
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..200 {
            let given =
                ["q.=cname:a.q. a.q.=10.0.0.1 a.q.=10.0.0.2 q.=mx:b.q.", "a.q.=10.0.1.1 b.q.=fd00::1"];
            let (mut bytes, at, counts) = message(given);
            shuffle(&mut bytes, at, counts, &mut dice).unwrap();
            let reply = Message::from_vec(&bytes).unwrap();
            let owners: Vec<_> = reply.additionals.iter().map(|r| format!("{}={}", r.name, r.data)).collect();
            assert!(
                owners.contains(&"a.q.=10.0.1.1".to_owned()) && owners.contains(&"b.q.=fd00::1".to_owned())
            );
            *seen.entry(format!("{} | {}", words(&reply.answers), words(&reply.additionals))).or_default() +=
                1;
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
        assert!(seen.keys().all(|order| order.starts_with("a.q. 10.0.0.")), "{seen:?}");
    }

    #[test]
    fn what_stands_otherwise_is_left_alone() {
        let mut dice = SmallRng::seed_from_u64(1);
        for (name, sections, ok) in [
            ("one record", ["q.=10.0.0.1", ""], true),
            ("none", ["", ""], true),
            ("an alias behind its address", ["a.q.=10.0.0.1 q.=cname:a.q.", ""], false),
            ("two exchanges", ["q.=mx:a. q.=mx:b.", ""], false),
            ("an owner in full", ["other.=10.0.0.1 q.=10.0.0.2", ""], false),
        ] {
            let (mut bytes, at, counts) = message(sections);
            let before = bytes.clone();
            assert_eq!(shuffle(&mut bytes, at, counts, &mut dice).is_ok(), ok, "{name}");
            assert_eq!(bytes, before, "{name}");
        }
        let many = "q.=10.0.0.1 ".repeat(MAX_RECORDS + 1);
        let (mut bytes, at, counts) = message([&many, ""]);
        assert_eq!(shuffle(&mut bytes, at, counts, &mut dice), Err(NotHere));
    }
}
