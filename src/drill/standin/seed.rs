//! Filling the store: with a cluster made up, or with what `kubectl get -o json` printed.
//!
//! Every object keeps its whole JSON; only the resourceVersion becomes the store's own. Objects of kinds that the
//! stand-in does not serve are counted and passed over.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::bulk::Printer;
use super::etcd::{Etcd, ObjectError};
use crate::drill::cluster::Cluster;
use crate::zone::object::{Kind, Labels, Namespace, Object};

/// The namespaces that every cluster has.
const SYSTEM_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "default", "kube-node-lease"];

/// Objects between two reports of progress: some milliseconds of work.
const REPORT_EVERY: usize = 1_000;

/// What has been stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Objects that are served now.
    pub stored: usize,
    /// Objects of other kinds.
    pub skipped: usize,
}

/// Why a store could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The text is not JSON, or not a list of objects.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An object cannot be stored.
    #[error("object {number}, {name}: {problem}")]
    Object {
        /// Its place in the text, from 1.
        number: usize,
        /// Its kind, namespace and name, as far as it has them.
        name: String,
        /// What is wrong with it.
        problem: ObjectError,
    },
    /// It cannot even be told what an object is.
    #[error("object {number}: {problem}")]
    Unknown {
        /// Its place in the text, from 1.
        number: usize,
        /// What is wrong with it.
        problem: serde_json::Error,
    },
}

/// What tells an object, or a list of them, from others.
#[derive(Deserialize)]
struct Head<'a> {
    /// `Service`, `ServiceList`, `List`; an item of a `ServiceList` has none.
    kind: Option<String>,
    /// The name.
    metadata: Option<Name>,
    /// Of a list.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

/// `metadata`, as far as it names the object.
#[derive(Default, Deserialize)]
struct Name {
    /// Empty for a Namespace.
    namespace: Option<String>,
    /// The name.
    name: Option<String>,
}

/// Stores a made-up cluster beside the namespaces that every cluster has; the same uids in every run, so that a
/// stand-in that is started again is the same cluster. `progress` hears now and then how many objects there are.
///
/// # Errors
/// None that a possible cluster ([`Cluster::possible`]) can cause.
pub fn cluster(etcd: &Etcd, cluster: Cluster, mut progress: impl FnMut(usize)) -> Result<Seeded, SeedError> {
    let mut printer = Printer::default();
    let mut seeded = Seeded::default();
    for object in SYSTEM_NAMESPACES.map(namespace).into_iter().chain(cluster.stream()) {
        seeded.stored += 1;
        etcd.put_raw(object.kind(), printer.print((&object).into())).map_err(|problem| {
            SeedError::Object { number: seeded.stored, name: object.key().to_string(), problem }
        })?;
        if seeded.stored.is_multiple_of(REPORT_EVERY) {
            progress(seeded.stored);
        }
    }
    settled(etcd);
    Ok(seeded)
}

/// Stores what `kubectl get -o json` printed: a List, lists of one kind, single objects, one after the other. The
/// namespace kube-system, which says which cluster it is, is added if the text does not have it.
///
/// # Errors
/// The first thing that is wrong; what came before it is stored.
pub fn objects(etcd: &Etcd, text: &str, mut progress: impl FnMut(usize)) -> Result<Seeded, SeedError> {
    let mut seeded = Seeded::default();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value?;
        let list: Head<'_> = serde_json::from_str(value.get())?;
        match list.items {
            None => store(etcd, value, None, &mut seeded)?,
            Some(items) => {
                let of = list.kind.as_deref().and_then(|kind| kind.strip_suffix("List"));
                for item in items {
                    store(etcd, item, of, &mut seeded)?;
                    if (seeded.stored + seeded.skipped).is_multiple_of(REPORT_EVERY) {
                        progress(seeded.stored);
                    }
                }
            }
        }
    }
    let [system, ..] = SYSTEM_NAMESPACES;
    if etcd.get(Kind::Namespace, "", system).is_none() {
        let system = namespace(system);
        let problem = etcd.put_raw(Kind::Namespace, Printer::default().print((&system).into()));
        problem.map_err(|problem| SeedError::Object {
            number: 0,
            name: system.key().to_string(),
            problem,
        })?;
    }
    settled(etcd);
    Ok(seeded)
}

/// Stores one object, of the list's kind `of` where it does not say its own.
fn store(etcd: &Etcd, item: &RawValue, of: Option<&str>, seeded: &mut Seeded) -> Result<(), SeedError> {
    let number = seeded.stored + seeded.skipped + 1;
    let head: Head<'_> =
        serde_json::from_str(item.get()).map_err(|problem| SeedError::Unknown { number, problem })?;
    let kind = head.kind.as_deref().or(of).unwrap_or_default();
    let Some(kind) = Kind::ALL.into_iter().find(|k| k.as_str() == kind) else {
        seeded.skipped += 1;
        return Ok(());
    };
    etcd.put_raw(kind, &on_one_line(item.get())).map_err(|problem| {
        let Name { namespace, name } = head.metadata.unwrap_or_default();
        let parts: Vec<String> = namespace.into_iter().chain(name).collect();
        SeedError::Object { number, name: format!("{kind} {:?}", parts.join("/")), problem }
    })?;
    seeded.stored += 1;
    Ok(())
}

/// JSON without the white space between its parts: a watch has a line for each event.
fn on_one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        match c {
            ' ' | '\t' | '\r' | '\n' if !in_string => continue,
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        line.push(c);
    }
    line
}

/// Nobody will ask when the objects came, or follow from before they were all there.
fn settled(etcd: &Etcd) {
    etcd.forget_history();
    etcd.clear_history();
}

fn namespace(name: &str) -> Object {
    Object::Namespace(Namespace { name: name.into(), labels: Labels::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::standin::{Config, Standin};
    use crate::source::Wanted;
    use crate::source::kubectl::{Decoder, Format};

    const PRINTED: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/parity/cluster.json"));

    fn empty() -> Standin {
        Standin::in_memory(Config { fresh_namespaces: false, ..Config::default() }).expect("keys can be made")
    }

    /// The slim objects of these texts, pods and labels among them.
    fn slim<'a>(format: Format, texts: impl IntoIterator<Item = &'a str>) -> Vec<Object> {
        let mut decoder = Decoder::new(Wanted::ALL);
        for text in texts {
            decoder.decode(format, text.as_bytes()).expect("JSON");
        }
        decoder.finish().objects
    }

    /// The slim objects of a store.
    fn served(etcd: &Etcd) -> Vec<Object> {
        let texts: Vec<String> = Kind::ALL
            .into_iter()
            .flat_map(|kind| etcd.all(kind).into_iter().map(move |o| (kind, o)))
            .map(|(kind, o)| o.text().replacen('{', &format!("{{\"kind\":\"{kind}\","), 1))
            .collect();
        assert!(texts.iter().all(|text| !text.contains('\n')));
        slim(Format::Json, texts.iter().map(String::as_str))
    }

    #[tokio::test]
    async fn what_kubectl_printed_is_kept_whole() {
        let standin = empty();
        let seeded = objects(standin.etcd(), PRINTED, |_| ()).expect("kubectl printed it");
        assert_eq!(served(standin.etcd()), slim(Format::Json, [PRINTED]));
        let list: serde_json::Value = serde_json::from_str(PRINTED).expect("JSON");
        let items = list["items"].as_array().expect("a list");
        assert_eq!(seeded, Seeded { stored: items.len(), skipped: 0 });
        for item in items {
            let text = |path: &str| item.pointer(path).and_then(|v| v.as_str()).unwrap_or_default();
            let kind = Kind::ALL.into_iter().find(|k| k.as_str() == text("/kind")).expect("one of four");
            let stored = standin.etcd().get(kind, text("/metadata/namespace"), text("/metadata/name"));
            let mut stored = stored.expect("stored").value();
            for own in ["kind", "apiVersion"] {
                stored[own] = item[own].clone();
            }
            stored["metadata"]["resourceVersion"] = item["metadata"]["resourceVersion"].clone();
            assert_eq!(&stored, item);
        }
    }

    #[tokio::test]
    async fn a_made_up_cluster_is_served_whole() {
        let plan = Cluster::sized(40, 400).with_pods();
        let standin = empty();
        let seeded = cluster(standin.etcd(), plan, |_| ()).expect("a possible cluster");
        let mut expected: Vec<Object> = plan.stream().chain(SYSTEM_NAMESPACES.map(namespace)).collect();
        assert_eq!(seeded.stored, expected.len());
        expected.sort_by_key(Object::key);
        let keys = |objects: &[Object]| objects.iter().map(Object::key).collect::<Vec<_>>();
        assert_eq!(keys(&served(standin.etcd())), keys(&expected));
        assert!(standin.etcd().history().is_empty());
    }

    #[tokio::test]
    async fn lists_of_a_kind_and_single_objects_follow_each_other() {
        let text = r#"{"kind":"NamespaceList","items":[{"metadata":{"name":"a"}}, {"metadata":{"name":"b\"  \\"}}]}
            {"kind":"Deployment","metadata":{"name":"x"}} {"kind":"Namespace","metadata":{"name":"c"}}"#;
        let standin = empty();
        let seeded = objects(standin.etcd(), text, |_| ()).expect("objects");
        assert_eq!(seeded, Seeded { stored: 3, skipped: 1 });
        // And kube-system.
        assert_eq!(standin.etcd().len(Kind::Namespace), 4);
        assert!(standin.etcd().get(Kind::Namespace, "", "b\"  \\").is_some());
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        for (text, wrong) in [
            ("{", "EOF while parsing"),
            ("[1]", "invalid type"),
            (r#"{"kind":"List","items":[{"kind":"Namespace","metadata":{"name":"a"}},7]}"#, "object 2: "),
            (
                r#"{"kind":"List","items":[{"kind":"Service","metadata":{"name":"web"}}]}"#,
                "object 1, Service \"web\": ",
            ),
        ] {
            let standin = empty();
            let error = objects(standin.etcd(), text, |_| ()).expect_err(text).to_string();
            assert!(error.contains(wrong), "{text}: {error}");
        }
    }
}
