//! Paths and queries, as the API has them.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris>

use std::fmt::{Display, Write};

use super::list::AtLeast;
use crate::zone::object::Kind;

/// The namespace whose uid stands for the cluster: it is there from the first start and cannot be deleted.
pub(super) const KUBE_SYSTEM: &str = "kube-system";

/// The path of all objects of a kind.
pub(super) const fn path(kind: Kind) -> &'static str {
    match kind {
        Kind::Namespace => "/api/v1/namespaces",
        Kind::Service => "/api/v1/services",
        Kind::EndpointSlice => "/apis/discovery.k8s.io/v1/endpointslices",
        Kind::Pod => "/api/v1/pods",
    }
}

/// The path and query of a list of at most one object: one that every cluster has, if it is of that kind.
pub(super) fn one(kind: Kind) -> String {
    let (path, name) = match kind {
        Kind::Namespace => ("/api/v1/namespaces", KUBE_SYSTEM),
        Kind::Service => ("/api/v1/namespaces/default/services", "kubernetes"),
        Kind::EndpointSlice => ("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "kubernetes"),
        Kind::Pod => ("/api/v1/namespaces/default/pods", "kubernetes"),
    };
    format!("{path}{}", Query::default().with("fieldSelector", format_args!("metadata.name={name}")).0)
}

/// The last part of the path, for metrics.
pub(super) fn plural(kind: Kind) -> &'static str {
    path(kind).rsplit('/').next().unwrap_or_default()
}

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// With a field.
    pub(super) fn with(mut self, name: &str, value: impl Display) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.to_string().bytes() {
            // The unreserved characters of RFC 3986 §2.3.
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                write!(self.0, "%{byte:02X}").expect("writing to a String does not fail");
            }
        }
        self
    }

    /// At most so many objects in the answer.
    pub(super) fn limit(self, objects: u32) -> Self {
        self.with("limit", objects)
    }

    /// With how fresh a list has to be.
    pub(super) fn at_least(self, at_least: AtLeast) -> Self {
        match at_least {
            AtLeast::Now => self,
            AtLeast::Version(version) => {
                self.with("resourceVersion", version).with("resourceVersionMatch", "NotOlderThan")
            }
        }
    }

    /// The path and query of a request for objects of `kind`.
    pub(super) fn of(&self, kind: Kind) -> String {
        format!("{}{}", path(kind), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_written_as_rfc_3986_has_them() {
        let list = Query::default().limit(500).at_least(AtLeast::Version(7));
        assert_eq!(
            list.of(Kind::EndpointSlice),
            "/apis/discovery.k8s.io/v1/endpointslices?limit=500&resourceVersion=7&resourceVersionMatch=NotOlderThan"
        );
        assert_eq!(Query::default().at_least(AtLeast::Now).of(Kind::Pod), "/api/v1/pods");
        let odd = Query::default().with("continue", "a+/=&ä").of(Kind::Service);
        assert_eq!(odd, "/api/v1/services?continue=a%2B%2F%3D%26%C3%A4");
    }

    #[test]
    fn resources_have_the_names_of_their_paths() {
        assert_eq!(Kind::ALL.map(plural), ["namespaces", "services", "endpointslices", "pods"]);
    }
}
