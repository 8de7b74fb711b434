//! Objects of an overlay, and what is in them.

use serde_json::Value;

/// Of one overlay, in the order of the text.
#[derive(Debug)]
pub(crate) struct Objects(pub(crate) Vec<Value>);

impl Objects {
    /// All documents of a text.
    pub(crate) fn parse(text: &str) -> Self {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|e| panic!("{e}"));
        Self(documents.into_iter().filter(|document| !document.is_null()).collect())
    }

    /// By kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// Whether there is such an object.
    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        self.of(kind).any(|object| self::name(object) == name)
    }

    /// The object of this kind and name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> &Value {
        let found = self.0.iter().find(|object| object["kind"] == kind && self::name(object) == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Whatever makes pods, with the pods' template.
    pub(crate) fn workloads(&self) -> Vec<Workload<'_>> {
        self.0.iter().filter_map(Workload::of).collect()
    }
}

/// What makes pods.
pub(crate) struct Workload<'a> {
    /// `DaemonSet outlast-node`.
    pub(crate) title: String,
    /// The object.
    pub(crate) object: &'a Value,
    /// The pods' metadata and specification.
    pub(crate) template: &'a Value,
}

impl<'a> Workload<'a> {
    /// `None` for what makes none.
    pub(crate) fn of(object: &'a Value) -> Option<Self> {
        let template = match object["kind"].as_str()? {
            "Pod" => object,
            "Deployment" | "DaemonSet" | "Job" => &object["spec"]["template"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => return None,
        };
        Some(Self { title: title(object), object, template })
    }

    /// The pods' specification.
    pub(crate) fn spec(&self) -> &'a Value {
        &self.template["spec"]
    }

    /// Their containers.
    pub(crate) fn containers(&self) -> &'a [Value] {
        list(&self.spec()["containers"])
    }

    /// Those that run Outlast.
    pub(crate) fn outlasts(&self) -> impl Iterator<Item = &'a Value> {
        self.containers().iter().filter(|container| is_outlast(container))
    }

    /// Whether their ports are the host's.
    pub(crate) fn is_on_host(&self) -> bool {
        self.spec()["hostNetwork"] == true
    }
}

/// Whether a container runs Outlast.
pub(crate) fn is_outlast(container: &Value) -> bool {
    text(&container["image"]).starts_with("outlast:")
}

/// The name of an object, or of whatever has one beside its fields.
pub(crate) fn name(object: &Value) -> &str {
    let at = if object["metadata"].is_object() { &object["metadata"] } else { object };
    text(&at["name"])
}

/// Kind and name.
pub(crate) fn title(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), name(object))
}

/// A text; empty where there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list; empty where there is none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

/// Whether these labels are among those.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().unwrap_or_else(|| panic!("no labels: {selector}"));
    assert!(!wanted.is_empty(), "a selector of everything");
    wanted.iter().all(|(key, value)| labels[key] == *value)
}
