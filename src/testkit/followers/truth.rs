//! What there is, read from the stand-in's own objects as if they were a file: by other code than that of hubs and their
//! followers.

use crate::drill::standin::etcd::Etcd;
use crate::source::Wanted;
use crate::source::kubectl::{Decoder, Format};
use crate::zone::Table;
use crate::zone::object::{Kind, Kinds};

/// Objects that are read at once.
const CHUNK: usize = 1_000;

/// Namespaces, services and slices as a table that has been built of them.
///
/// # Panics
/// The stand-in has objects that are none.
pub fn truth(etcd: &Etcd) -> Table {
    let mut decoder = Decoder::new(Wanted::default());
    for kind in Kinds::CORE.iter() {
        let version = if kind == Kind::EndpointSlice { "discovery.k8s.io/v1" } else { "v1" };
        let all = etcd.all(kind);
        for chunk in all.chunks(CHUNK) {
            let items: Vec<_> = chunk.iter().map(|object| object.text()).collect();
            let (kind, items) = (kind.as_str(), items.join(","));
            let list = format!(r#"{{"apiVersion":"{version}","kind":"{kind}List","items":[{items}]}}"#);
            decoder.decode(Format::Json, list.as_bytes()).expect("what is stored is JSON");
        }
    }
    Table::build(decoder.finish().objects, Kinds::CORE, 1)
}
