//! Objects as scripts write them.

use outlast::testkit::cluster::{ns, pod, slice, svc};
use outlast::zone::object::{Key, Kind, Kinds, Object};

/// The object of a line:
///
/// ```text
/// ns NAME
/// svc NAMESPACE/NAME ADDRESS...
/// headless NAMESPACE/NAME
/// external NAMESPACE/NAME TARGET
/// slice NAMESPACE/NAME SERVICE ADDRESS...
/// pod NAMESPACE/NAME ADDRESS
/// ```
pub(super) fn object(words: &[&str]) -> Object {
    match words {
        ["ns", name] => ns(name),
        ["svc", name, addresses @ ..] => {
            addresses.iter().fold(svc(name).port("http", 80), |svc, address| svc.ip(address)).build()
        }
        ["headless", name] => svc(name).headless().port("http", 80).build(),
        ["external", name, target] => svc(name).external(target).build(),
        ["slice", name, service, addresses @ ..] => {
            addresses.iter().fold(slice(name, service).port("http", 80), |slice, a| slice.v4(a)).build()
        }
        ["pod", name, address] => pod(name, address),
        _ => panic!("no object: {}", words.join(" ")),
    }
}

/// The key of `KIND NAMESPACE/NAME`, with the kinds of [`object`].
pub(super) fn key(kind: &str, name: &str) -> Key {
    let kind = match kind {
        "ns" => Kind::Namespace,
        "svc" | "headless" | "external" => Kind::Service,
        "slice" => Kind::EndpointSlice,
        "pod" => Kind::Pod,
        _ => panic!("no kind: {kind}"),
    };
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    Key { kind, namespace: namespace.into(), name: name.into() }
}

/// A kind by its name in a script.
pub(super) fn kind(word: &str) -> Kind {
    match word {
        "namespaces" => Kind::Namespace,
        "services" => Kind::Service,
        "slices" => Kind::EndpointSlice,
        "pods" => Kind::Pod,
        _ => panic!("no kind: {word}"),
    }
}

/// Several kinds, with commas between them.
pub(super) fn kinds(word: &str) -> Kinds {
    word.split(',').map(kind).collect()
}
