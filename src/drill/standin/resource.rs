//! The four resources that the stand-in serves: their paths, their keys, and what of their JSON differs by kind.

use std::sync::Arc;

use super::ids;
use crate::zone::object::Kind;

/// What the API calls a kind.
pub(super) struct Resource {
    /// `services`
    pub(super) plural: &'static str,
    /// `discovery.k8s.io`; empty for the core group.
    pub(super) group: &'static str,
    /// What stands before a single object's own fields.
    pub(super) opening: &'static str,
    /// What stands before the metadata of a list.
    pub(super) list_opening: &'static str,
    /// What a bookmark has after its metadata: the fields of an empty object.
    pub(super) empty_fields: &'static str,
}

/// The API's names of a kind.
pub(super) const fn of(kind: Kind) -> &'static Resource {
    match kind {
        Kind::Namespace => &Resource {
            plural: "namespaces",
            group: "",
            opening: r#"{"kind":"Namespace","apiVersion":"v1","#,
            list_opening: r#"{"kind":"NamespaceList","apiVersion":"v1","#,
            empty_fields: r#","spec":{},"status":{}}"#,
        },
        Kind::Service => &Resource {
            plural: "services",
            group: "",
            opening: r#"{"kind":"Service","apiVersion":"v1","#,
            list_opening: r#"{"kind":"ServiceList","apiVersion":"v1","#,
            empty_fields: r#","spec":{},"status":{"loadBalancer":{}}}"#,
        },
        Kind::EndpointSlice => &Resource {
            plural: "endpointslices",
            group: "discovery.k8s.io",
            opening: r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#,
            list_opening: r#"{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","#,
            empty_fields: r#","addressType":"","endpoints":null,"ports":null}"#,
        },
        Kind::Pod => &Resource {
            plural: "pods",
            group: "",
            opening: r#"{"kind":"Pod","apiVersion":"v1","#,
            list_opening: r#"{"kind":"PodList","apiVersion":"v1","#,
            empty_fields: r#","spec":{"containers":null},"status":{}}"#,
        },
    }
}

impl Resource {
    /// `services`, `endpointslices.discovery.k8s.io`: how messages call it.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// The key under which an object is stored; see [`Stored::key`](super::etcd::Stored::key).
pub(super) fn key(kind: Kind, namespace: &str, name: &str) -> Arc<str> {
    match kind {
        Kind::Namespace => name.into(),
        _ => format!("{namespace}/{name}").into(),
    }
}

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The kind.
    pub(super) kind: Kind,
    /// The namespace that the path names; empty for the whole cluster.
    pub(super) namespace: String,
    /// The one object that the path names; empty for a list.
    pub(super) name: String,
}

/// The resource at a path; `None` if there is none.
pub(super) fn target(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] => ("", rest),
        ["apis", group, "v1", rest @ ..] if !group.is_empty() => (*group, rest),
        _ => return None,
    };
    let kind_of =
        |plural: &str| Kind::ALL.into_iter().find(|k| of(*k).plural == plural && of(*k).group == group);
    let target = |kind, namespace: &str, name: &str| {
        Some(Target { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    };
    match rest {
        [plural] => target(kind_of(plural)?, "", ""),
        ["namespaces", name] => target(kind_of("namespaces")?, "", name),
        ["namespaces", namespace, plural] => {
            target(kind_of(plural).filter(|k| *k != Kind::Namespace)?, namespace, "")
        }
        ["namespaces", namespace, plural, name] => {
            target(kind_of(plural).filter(|k| *k != Kind::Namespace)?, namespace, name)
        }
        _ => None,
    }
}

/// A namespace as it is in a cluster that has just started.
pub(super) fn fresh_namespace(name: &str) -> String {
    let now = ids::timestamp();
    format!(
        concat!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"kubernetes.io/metadata.name":"{name}"}},"#,
            r#""managedFields":[{{"manager":"kube-apiserver","operation":"Update","apiVersion":"v1","#,
            r#""time":"{now}","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:labels":{{".":{{}},"#,
            r#""f:kubernetes.io/metadata.name":{{}}}}}}}}}}]}},"spec":{{"finalizers":["kubernetes"]}},"#,
            r#""status":{{"phase":"Active"}}}}"#
        ),
        name = name,
        now = now
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_resource_or_nothing() {
        let at = |kind, namespace: &str, name: &str| {
            Some(Target { kind, namespace: namespace.to_owned(), name: name.to_owned() })
        };
        for (path, want) in [
            ("/api/v1/services", at(Kind::Service, "", "")),
            ("/api/v1/namespaces", at(Kind::Namespace, "", "")),
            ("/api/v1/namespaces/kube-system", at(Kind::Namespace, "", "kube-system")),
            ("/api/v1/namespaces/shop/services", at(Kind::Service, "shop", "")),
            ("/api/v1/namespaces/shop/pods/web-a", at(Kind::Pod, "shop", "web-a")),
            ("/apis/discovery.k8s.io/v1/endpointslices", at(Kind::EndpointSlice, "", "")),
            ("/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/b", at(Kind::EndpointSlice, "a", "b")),
            ("/apis/discovery.k8s.io/v9/endpointslices", None),
            ("/apis/discovery.k8s.io/v1/services", None),
            ("/apis/discovery.k8s.io/v1/namespaces", None),
            ("/api/v1/endpointslices", None),
            ("/api/v1/services/web", None),
            ("/api/v1", None),
            ("/", None),
        ] {
            assert_eq!(target(path), want, "{path}");
        }
    }

    #[test]
    fn a_fresh_namespace_is_json() {
        let value: serde_json::Value = serde_json::from_str(&fresh_namespace("default")).unwrap();
        assert_eq!(value["status"]["phase"], "Active");
    }
}
