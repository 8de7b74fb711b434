//! A day's changes of a cluster whose size stays what it is, the same for the same seed.
//!
//! Pods are replaced one by one and slice by slice, become unready and ready again, services come and go, ports
//! change, deployments grow and shrink back.

pub mod rows;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::rows::{Row, rows, with_rows};
use super::cluster::Cluster;
use crate::zone::change::Change;
use crate::zone::object::{EndpointSlice, Key, Kind, Object, Port, Service, Shape};

/// Changes of a day of a cluster of 5,000 nodes, ten a second: of 100,000 endpoints each is replaced five times.
pub const CHANGES: u64 = 86_400 * 10;

/// By how many endpoints a deployment grows at a time.
const GROWTH: usize = 5;

/// How many ports there are, from 1 on.
const PORTS: u32 = u16::MAX as u32;

/// The letters of generated names.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A cluster that changes.
pub struct Day {
    /// Every slice that has endpoints.
    slices: Vec<EndpointSlice>,
    /// Services that have a slice, by the same place in the list; those of dual-stack services stand there twice.
    services: Vec<Service>,
    /// The choices.
    rng: SmallRng,
}

impl Day {
    /// The morning of this cluster; `seed` chooses what happens.
    pub fn of(cluster: Cluster, seed: u64) -> Self {
        let (mut slices, mut services, mut last) = (Vec::new(), Vec::new(), None);
        for object in cluster.stream() {
            match object {
                Object::Service(service) => last = Some(service),
                Object::EndpointSlice(slice) if !slice.endpoints.is_empty() => {
                    services.extend(last.clone());
                    slices.push(slice);
                }
                _ => {}
            }
        }
        assert_eq!(slices.len(), services.len(), "slices come after their service");
        Self { slices, services, rng: SmallRng::seed_from_u64(seed) }
    }

    /// What happens next: changes that belong together, one after the other.
    pub fn go_on(&mut self) -> Vec<Change> {
        let at = self.rng.random_range(0..self.slices.len());
        match self.rng.random_range(0..100) {
            0..60 => self.replace_pod(at),
            60..80 => self.flap(at),
            80..86 => self.replace_slice(at),
            86..90 => self.replace_service(at),
            90..95 => self.change_port(at),
            _ => self.breathe(at),
        }
    }

    /// A pod goes, and another one comes.
    fn replace_pod(&mut self, at: usize) -> Vec<Change> {
        let mut rows = rows(&self.slices[at]);
        let place = self.rng.random_range(0..rows.len());
        let gone = rows.remove(place);
        let without = with_rows(&self.slices[at], &rows);
        rows.push(self.pod_like(&gone));
        self.slices[at] = with_rows(&self.slices[at], &rows);
        vec![upsert(without), upsert(self.slices[at].clone())]
    }

    /// A pod is not ready, and is again.
    fn flap(&mut self, at: usize) -> Vec<Change> {
        let mut rows = rows(&self.slices[at]);
        rows.remove(self.rng.random_range(0..rows.len()));
        vec![upsert(with_rows(&self.slices[at], &rows)), upsert(self.slices[at].clone())]
    }

    /// A slice goes, and one of another name with other pods comes.
    fn replace_slice(&mut self, at: usize) -> Vec<Change> {
        let gone = key(Kind::EndpointSlice, &self.slices[at].namespace, &self.slices[at].name);
        let fresh: Vec<_> = rows(&self.slices[at]).iter().map(|row| self.pod_like(row)).collect();
        let mut slice = with_rows(&self.slices[at], &fresh);
        slice.name = self.renamed(&slice.name);
        self.slices[at] = slice.clone();
        vec![Change::Delete(gone), upsert(slice)]
    }

    /// A service goes with its slice, and one of another name comes.
    fn replace_service(&mut self, at: usize) -> Vec<Change> {
        let (service, slice) = (self.services[at].clone(), self.slices[at].clone());
        if matches!(&service.shape, Shape::ClusterIp(addresses) if addresses.len() > 1) {
            // It has another slice, which would be left behind.
            return self.replace_slice(at);
        }
        let gone = [
            Change::Delete(key(Kind::EndpointSlice, &slice.namespace, &slice.name)),
            Change::Delete(key(Kind::Service, &service.namespace, &service.name)),
        ];
        let name = self.renamed(&service.name);
        let fresh = Service { name: name.clone(), ..service };
        let slice = EndpointSlice { name: self.renamed(&slice.name), service: name, ..slice };
        (self.services[at], self.slices[at]) = (fresh.clone(), slice.clone());
        gone.into_iter().chain([Change::Upsert(Object::Service(fresh)), upsert(slice)]).collect()
    }

    /// The port of a service and its pods is another one.
    fn change_port(&mut self, at: usize) -> Vec<Change> {
        // Any but the one that it is, and never 0: a change that changes nothing makes no generation.
        let by = self.rng.random_range(1..PORTS);
        let another = |n: u16| ((u32::from(n) + by - 1) % PORTS + 1) as u16;
        let moved = |p: &Port| Port { number: p.number.map(another), ..p.clone() };
        let other = |ports: &[Port]| ports.iter().map(moved).collect();
        self.services[at].ports = other(&self.services[at].ports);
        self.slices[at].ports = other(&self.slices[at].ports);
        vec![Change::Upsert(Object::Service(self.services[at].clone())), upsert(self.slices[at].clone())]
    }

    /// A deployment grows for a while.
    fn breathe(&mut self, at: usize) -> Vec<Change> {
        let mut more = rows(&self.slices[at]);
        let like = more[0].clone();
        more.extend((0..GROWTH).map(|_| self.pod_like(&like)));
        vec![upsert(with_rows(&self.slices[at], &more)), upsert(self.slices[at].clone())]
    }

    /// Another pod of the same kind.
    fn pod_like(&mut self, row: &Row) -> Row {
        let address = match row.address {
            // 10.128.0.0/9, as the cluster's pods have it.
            IpAddr::V4(_) => Ipv4Addr::from(0x0a80_0000 | self.rng.random_range(0..1 << 23)).into(),
            IpAddr::V6(_) => Ipv6Addr::from(0xfd00 << 112 | self.rng.random::<u64>() as u128).into(),
        };
        // A StatefulSet's pods keep their names.
        let target =
            if row.hostname.is_empty() { self.renamed(&row.target).into() } else { row.target.clone() };
        Row { address, target, hostname: row.hostname.clone() }
    }

    /// The same name with another generated end.
    fn renamed(&mut self, name: &str) -> Box<str> {
        let kept = name.rsplit_once('-').map_or(name, |(kept, _)| kept);
        let end = (0..5).map(|_| LETTERS[self.rng.random_range(0..LETTERS.len())] as char);
        format!("{kept}-{}", end.collect::<String>()).into()
    }
}

fn upsert(slice: EndpointSlice) -> Change {
    Change::Upsert(Object::EndpointSlice(slice))
}

fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key { kind, namespace: namespace.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::zone::object::Kind;

    /// How many objects of each kind there are, and how many endpoints.
    fn size(objects: &BTreeMap<Key, Object>) -> (usize, usize, usize) {
        let of = |kind: Kind| objects.keys().filter(|key| key.kind == kind).count();
        let endpoints = |object: &Object| match object {
            Object::EndpointSlice(slice) => slice.endpoints.len(),
            _ => 0,
        };
        (of(Kind::Service), of(Kind::EndpointSlice), objects.values().map(endpoints).sum())
    }

    #[test]
    fn a_cluster_stays_as_large_as_it_is_and_becomes_another_one() {
        let cluster = Cluster::sized(40, 400);
        let morning: BTreeMap<_, _> = cluster.stream().map(|object| (object.key(), object)).collect();
        let (mut day, mut now) = (Day::of(cluster, 1), morning.clone());
        for number in 0..2_000 {
            for change in day.go_on() {
                match change {
                    Change::Upsert(object) => drop(now.insert(object.key(), object)),
                    Change::Delete(key) => assert!(now.remove(&key).is_some(), "{number}: {key}"),
                }
            }
            assert_eq!(size(&now), size(&morning), "{number}");
        }
        let same = now.iter().filter(|(key, object)| morning.get(key) == Some(object)).count();
        assert!(same < morning.len() / 4, "{same} of {} objects are as they were", morning.len());
    }

    #[test]
    fn a_seed_makes_the_same_day_again() {
        let changes = |seed| {
            let mut day = Day::of(Cluster::sized(40, 400), seed);
            (0..100).flat_map(|_| day.go_on()).collect::<Vec<_>>()
        };
        assert_eq!(changes(1), changes(1));
        assert_ne!(changes(1), changes(2));
    }

    #[test]
    fn ports_are_others_and_none_is_0() {
        let mut day = Day::of(Cluster::sized(40, 400), 1);
        for at in (0..day.slices.len()).cycle().take(1_000) {
            let before = day.slices[at].ports.clone();
            day.change_port(at);
            for (before, now) in before.iter().zip(&day.slices[at].ports) {
                assert!(before.number != now.number && now.number != Some(0), "{before:?} {now:?}");
            }
        }
    }
}
