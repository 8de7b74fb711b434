//! Recorded exchanges with a real server, and the objects in them.

use std::fs;
use std::path::Path;

use outlast::drill::standin::etcd::Etcd;
use outlast::zone::object::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One file.
pub(crate) struct Recording {
    /// `GET /api/v1/services`
    pub(crate) request: String,
    /// `HTTP/1.1 200 OK`
    pub(crate) status: String,
    /// In their order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body without its chunks.
    pub(crate) body: String,
}

impl Recording {
    pub(crate) fn read(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standin/recordings");
        let text = fs::read_to_string(root.join(name).with_extension("http")).unwrap();
        let (request, answer) = text.split_once("\n\n").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().to_owned();
        let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned())).unwrap();
        Self {
            request: request.to_owned(),
            status,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    /// The path and the parameters.
    pub(crate) fn target(&self) -> &str {
        self.request.strip_prefix("GET ").unwrap()
    }

    /// The body's lines, with their ends.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.body.split_inclusive('\n').collect()
    }
}

/// One recorded change.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) kind: Kind,
    pub(crate) version: u64,
    pub(crate) deleted: bool,
    pub(crate) text: String,
}

/// Everything that the recordings know of the cluster, in the order in which it was written.
pub(crate) fn timeline() -> Vec<Recorded> {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow)]
        items: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Event<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let mut all = Vec::new();
    let mut add = |kind, deleted, text: &RawValue| {
        let value: serde_json::Value = serde_json::from_str(text.get()).unwrap();
        let version = value["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        all.push(Recorded { kind, version, deleted, text: text.get().to_owned() });
    };
    for (name, kind) in [
        ("list-endpointslices", Kind::EndpointSlice),
        ("list-namespaces", Kind::Namespace),
        ("list-pods", Kind::Pod),
    ] {
        let recording = Recording::read(name);
        for item in serde_json::from_str::<List<'_>>(&recording.body).unwrap().items {
            add(kind, false, item);
        }
    }
    for (name, kind) in
        [("watch-from-old-rv", Kind::Service), ("watch-endpointslices-live", Kind::EndpointSlice)]
    {
        let recording = Recording::read(name);
        for line in recording.lines().into_iter().filter(|line| !line.trim().is_empty()) {
            let event: Event<'_> = serde_json::from_str(line).unwrap();
            if event.r#type != "BOOKMARK" {
                add(kind, event.r#type == "DELETED", event.object);
            }
        }
    }
    all.sort_by_key(|change| change.version);
    all
}

/// Writes what was recorded from after the store's revision up to `revision`.
pub(crate) fn replay_until(etcd: &Etcd, revision: u64) {
    let from = etcd.revision();
    for change in timeline().iter().filter(|c| c.version > from && c.version <= revision) {
        let replayed = match change.deleted {
            true => etcd.replay_delete(change.kind, &change.text),
            false => etcd.replay(change.kind, &change.text),
        };
        assert_eq!(replayed, Ok(change.version));
    }
    etcd.advance_to(revision);
}
