//! What was true when, from the stand-in's history, and whether what a node serves was.
//!
//! Independent of the code that is tested: objects are read from the JSON that was written. Every write of an object
//! makes it another one (its address counts up), so that what is served says which write it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outlast::drill::standin::etcd::{Etcd, Stored, What};
use outlast::zone::Table;
use outlast::zone::object::{Kind, ObjectRef, Shape};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Ages are in whole milliseconds, rounded at each restart once more.
const ROUNDING: Duration = Duration::from_millis(20);

/// The address of a service that is headless.
const HEADLESS: &str = "None";

/// What is to be seen of objects, by `namespace/name`.
type Objects = BTreeMap<String, String>;

/// What there was of a kind from some moment on.
struct Moment {
    /// From when on; until that of the next one.
    at: Instant,
    /// What there was.
    objects: Objects,
}

/// What may be answered for the address of a service.
#[derive(Debug)]
pub(crate) enum Answers {
    /// One of these alone.
    One(BTreeSet<String>),
    /// Some of these.
    Some(BTreeSet<String>),
    /// That there is no such name.
    NoName,
    /// One or the other.
    Any,
}

/// Everything that was true.
#[derive(Default)]
pub(crate) struct Truth {
    /// By kind.
    kinds: [Past; Kind::ALL.len()],
    /// Writes of the history that were read.
    read: u64,
}

/// The past of one kind.
#[derive(Default)]
struct Past {
    /// The oldest first.
    moments: Vec<Moment>,
    /// Every object that there ever was.
    keys: BTreeSet<String>,
}

/// What one node has served of it.
#[derive(Default)]
pub(crate) struct Served {
    /// By kind.
    kinds: [Last; Kind::ALL.len()],
    /// Whether a watch may have left out an event: then what is served of a kind need not have been true at once.
    pub(crate) has_gaps: bool,
    /// Whether it has only slices of headless services.
    headless_only: bool,
}

/// What was served of a kind last.
#[derive(Default)]
struct Last {
    /// By object: the earliest moment that it can be of.
    objects: BTreeMap<String, usize>,
    /// The same for all objects of the kind together.
    together: usize,
}

impl Truth {
    /// Reads what was written since the last time.
    pub(crate) fn read(&mut self, etcd: &Etcd) {
        let (writes, read) = etcd.history_since(self.read);
        self.read = read;
        for write in &writes {
            for kind in Kind::ALL {
                let Past { moments, keys } = &mut self.kinds[kind.index()];
                let mut objects = moments.last().map(|m| m.objects.clone()).unwrap_or_default();
                match &write.what {
                    What::Put(of, object) if *of == kind => insert(&mut objects, kind, object),
                    What::Deleted(of, key) if *of == kind => drop(objects.remove(&**key)),
                    What::Replaced(backup) => {
                        objects.clear();
                        backup.objects(kind).iter().for_each(|object| insert(&mut objects, kind, object));
                    }
                    _ => continue,
                }
                keys.extend(objects.keys().cloned());
                moments.push(Moment { at: write.at, objects });
            }
        }
    }

    /// What a node whose data is said to be no older than `age` may answer for the address of a service; where it has
    /// only slices of headless services, one may have become headless before its slices are there.
    pub(crate) fn answers(&self, service: &str, age: Duration, headless_only: bool) -> Answers {
        let since = window(age);
        let of = |kind: Kind| self.kinds[kind.index()].since(since);
        let (namespace, name) = service.split_once('/').unwrap();
        let namespaces = || of(Kind::Namespace).iter().map(|moment| moment.objects.contains_key(namespace));
        let were: BTreeSet<_> = of(Kind::Service).iter().map(|moment| moment.objects.get(service)).collect();
        if !namespaces().any(|is| is) || were.iter().all(Option::is_none) {
            return Answers::NoName;
        }
        if !namespaces().all(|is| is) || were.contains(&None) {
            return Answers::Any;
        }
        let addresses = were.iter().flatten().filter(|address| **address != HEADLESS);
        let addresses: BTreeSet<String> = addresses.map(|address| (*address).clone()).collect();
        if addresses.len() == were.len() {
            return Answers::One(addresses);
        }
        // Headless, or so at times.
        let slices: Vec<BTreeSet<_>> = of(Kind::EndpointSlice)
            .iter()
            .map(|moment| {
                let of_namespace = |key: &str| key.split('/').next() == Some(namespace);
                let slices = moment.objects.iter().filter(|(key, _)| of_namespace(key));
                let slices = slices.filter_map(|(_, slice)| slice.split_once(' '));
                slices.filter(|(of, _)| *of == name).map(|(_, address)| address.to_owned()).collect()
            })
            .collect();
        if headless_only || slices.iter().any(BTreeSet::is_empty) {
            return Answers::Any;
        }
        Answers::Some(slices.into_iter().flatten().chain(addresses).collect())
    }

    fn now(&self, kind: Kind) -> Objects {
        self.kinds[kind.index()].moments.last().map(|m| m.objects.clone()).unwrap_or_default()
    }

    /// What there was of services, at every moment, the last one first.
    fn services(&self) -> impl Iterator<Item = &Objects> {
        self.kinds[Kind::Service.index()].moments.iter().rev().map(|moment| &moment.objects)
    }
}

/// When that begins which is said to be no older than `age`; `None` for the beginning of everything.
fn window(age: Duration) -> Option<Instant> {
    Instant::now().checked_sub(age + ROUNDING)
}

impl Served {
    /// Of a node that has only slices of headless services, or all.
    pub(crate) fn of(headless_only: bool) -> Self {
        Self { headless_only, ..Self::default() }
    }

    /// A node begins with what it finds on its disk, which may be older than what the one before had served.
    pub(crate) fn forget(&mut self) {
        self.kinds = Default::default();
    }

    /// Whether `table`, which is said to be no older than `age`, holds what was true.
    pub(crate) fn check(&mut self, truth: &Truth, table: &Table, age: Duration) -> Result<(), String> {
        let since = window(age);
        let served = of_table(table);
        for kind in table.complete().iter() {
            let is_part = self.headless_only && kind == Kind::EndpointSlice;
            let part = is_part.then_some(truth);
            let (last, served) = (&mut self.kinds[kind.index()], &served[kind.index()]);
            last.check(&truth.kinds[kind.index()], served, since, self.has_gaps, part)
                .map_err(|why| format!("{kind}, said to be {age:?} old: {why}\nserved: {served:?}"))?;
        }
        Ok(())
    }

    /// Whether `table` holds what is true now, of its complete kinds.
    pub(crate) fn check_equal(&self, truth: &Truth, table: &Table) -> Result<(), String> {
        let served = of_table(table);
        for kind in table.complete().iter() {
            let mut now = truth.now(kind);
            if self.headless_only && kind == Kind::EndpointSlice {
                now = headless(&now, &truth.now(Kind::Service));
            }
            let served = &served[kind.index()];
            if now != *served {
                return Err(format!("{kind}: served {served:?}, and there is {now:?}"));
            }
        }
        Ok(())
    }
}

impl Last {
    /// With `part`, only slices of headless services are served.
    fn check(
        &mut self,
        past: &Past,
        served: &Objects,
        since: Option<Instant>,
        has_gaps: bool,
        part: Option<&Truth>,
    ) -> Result<(), String> {
        let first = past.first(since);
        for key in past.keys.iter().chain(served.keys().filter(|key| !past.keys.contains(*key))) {
            if part.is_some() && !served.contains_key(key) {
                continue;
            }
            let from = self.objects.get(key).copied().unwrap_or_default();
            let is = |at: &usize| past.moments[*at].objects.get(key) == served.get(key);
            let Some(at) = (from.max(first)..past.moments.len()).find(is) else {
                let why =
                    if (first..past.moments.len()).any(|at| is(&at)) { "went back" } else { "is too old" };
                return Err(format!("{key} {why}; it was\n{}", past.tell(key, first)));
            };
            self.objects.insert(key.clone(), at);
        }
        if has_gaps {
            return Ok(());
        }
        let is = |at: &usize| {
            let objects = &past.moments[*at].objects;
            match part {
                None => objects == served,
                Some(truth) => truth.services().any(|services| headless(objects, services) == *served),
            }
        };
        let at = (self.together.max(first)..past.moments.len()).find(is);
        self.together = at.ok_or("its objects were never like this at one moment since")?;
        Ok(())
    }
}

impl Past {
    /// The first moment of a window: what ended before cannot be what is served; what is to come has not begun.
    fn first(&self, since: Option<Instant>) -> usize {
        let ends = |at: usize| self.moments.get(at + 1).map(|next| next.at);
        let in_window = |at: &usize| ends(*at).zip(since).is_none_or(|(end, since)| end >= since);
        (0..self.moments.len()).find(in_window).unwrap_or_default()
    }

    /// The moments of a window.
    fn since(&self, since: Option<Instant>) -> &[Moment] {
        &self.moments[self.first(since)..]
    }

    /// What an object was from `first` on, in lines.
    fn tell(&self, key: &str, first: usize) -> String {
        let line = |moment: &Moment| {
            let object = moment.objects.get(key).map_or("nothing", String::as_str);
            format!("  {object} from {:?} ago\n", moment.at.elapsed())
        };
        self.moments[first..].iter().map(line).collect()
    }
}

/// The slices of headless services.
fn headless(slices: &Objects, services: &Objects) -> Objects {
    let is_headless = |key: &str, is: &str| {
        let (namespace, service) = (key.split('/').next().unwrap(), is.split(' ').next().unwrap());
        services.get(&format!("{namespace}/{service}")).is_some_and(|service| service == HEADLESS)
    };
    let seen = slices.iter().filter(|(key, is)| is_headless(key, is));
    seen.map(|(key, is)| (key.clone(), is.clone())).collect()
}

fn insert(objects: &mut Objects, kind: Kind, object: &Stored) {
    let value = object.value();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is = match kind {
        Kind::Namespace => "there".to_owned(),
        Kind::Service => text(&value["spec"]["clusterIP"]),
        Kind::EndpointSlice => {
            let service = text(&value["metadata"]["labels"]["kubernetes.io/service-name"]);
            format!("{service} {}", text(&value["endpoints"][0]["addresses"][0]))
        }
        Kind::Pod => text(&value["status"]["podIP"]),
    };
    objects.insert(object.key().to_string(), is);
}

/// What a node serves, by kind.
pub(crate) fn of_table(table: &Table) -> [Objects; Kind::ALL.len()] {
    let mut all: [Objects; Kind::ALL.len()] = Default::default();
    for object in table.objects() {
        let (namespace, name) = object.parts();
        let key = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        let is = match object {
            ObjectRef::Namespace(_) => "there".to_owned(),
            ObjectRef::Service(o) => match &o.shape {
                Shape::Headless => HEADLESS.to_owned(),
                Shape::ClusterIp(ips) => ips.first().unwrap().to_string(),
                other => format!("{other:?}"),
            },
            ObjectRef::EndpointSlice(o) => {
                let addresses: Vec<_> = o.endpoints.addresses().iter().map(|a| a.to_string()).collect();
                format!("{} {}", o.service, addresses.join(" "))
            }
            ObjectRef::Pod(o) => o.ip.to_string(),
        };
        all[object.kind().index()].insert(key, is);
    }
    all
}

/// The `number`th object that is written.
pub(crate) fn object((kind, namespace, name): (Kind, &str, &str), number: u32) -> Value {
    let [_, _, high, low] = number.to_be_bytes();
    let address = format!("10.1.{high}.{low}");
    let mut object = match kind {
        Kind::Namespace => json!({}),
        Kind::Service => {
            json!({ "spec": { "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address] } })
        }
        Kind::EndpointSlice => {
            let endpoint = json!({ "addresses": [address], "conditions": { "ready": true } });
            json!({ "addressType": "IPv4", "endpoints": [endpoint], "ports": [{ "name": "http", "port": 80 }] })
        }
        Kind::Pod => {
            json!({ "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] } })
        }
    };
    object["metadata"] = json!({ "name": name });
    if kind != Kind::Namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    if kind == Kind::EndpointSlice {
        // Slices move from one service to another.
        let service = if number.is_multiple_of(4) { "y" } else { "x" };
        object["metadata"]["labels"] = json!({ "kubernetes.io/service-name": service });
    }
    object
}
