//! Objects against the definitions of Kubernetes' OpenAPI: as strict as an API server with `fieldValidation=Strict`
//! about names and types of fields, and blind for what only its code knows.
//!
//! `tests/data/kubernetes-schema/VERSION.json.zst` has the definitions that our kinds need. They are cut out of
//! `kubernetes-validate` of PyPI (Apache-2.0), whose wheel has Kubernetes' own definitions; [`cut`] does it.
//! `crds.json` was written by hand after the definitions of the operators concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The oldest release that our kinds are checked against, and the newest.
pub(crate) const VERSIONS: [&str; 2] = ["1.25", "1.36"];

/// Where the definitions are.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kubernetes-schema");

/// Kinds of Kubernetes that may be under `manifests/`.
const KINDS: [&str; 16] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "DaemonSet",
    "Deployment",
    "FlowSchema",
    "Job",
    "NetworkPolicy",
    "Pod",
    "PodDisruptionBudget",
    "PriorityLevelConfiguration",
    "Role",
    "RoleBinding",
    "Service",
    "ServiceAccount",
];

/// What is said of a group, version and kind.
const GVK: &str = "x-kubernetes-group-version-kind";

/// What tells the items of a list apart.
const KEYS: &str = "x-kubernetes-list-map-keys";

/// Definitions by name.
pub(crate) struct Schema(BTreeMap<String, Value>);

impl Schema {
    /// The definitions of a release, and of resources that others define.
    pub(crate) fn of(version: &str) -> Self {
        let packed = fs::read(Path::new(FOLDER).join(format!("{version}.json.zst"))).unwrap();
        let mut definitions: BTreeMap<String, Value> =
            serde_json::from_slice(&zstd::decode_all(&packed[..]).unwrap()).unwrap();
        let crds = fs::read(Path::new(FOLDER).join("crds.json")).unwrap();
        definitions.extend(serde_json::from_slice::<BTreeMap<String, Value>>(&crds).unwrap());
        Self(definitions)
    }

    /// Whether this release has the object's kind in its version.
    pub(crate) fn knows(&self, object: &Value) -> bool {
        self.definition(object).is_some()
    }

    /// What is wrong with an object of a kind that is known.
    pub(crate) fn problems(&self, object: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        let definition = self.definition(object).expect("the kind is known");
        self.check(definition, object, "", &mut problems);
        problems
    }

    fn definition(&self, object: &Value) -> Option<&Value> {
        let api = object["apiVersion"].as_str()?;
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let is_it =
            |gvk: &Value| gvk["group"] == group && gvk["version"] == version && gvk["kind"] == object["kind"];
        self.0.values().find(|definition| definition[GVK].as_array().is_some_and(|all| all.iter().any(is_it)))
    }

    fn check(&self, schema: &Value, value: &Value, path: &str, problems: &mut Vec<String>) {
        let here = if path.is_empty() { "the object" } else { path };
        for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$ref" => {
                    let name = wanted.as_str().and_then(|text| text.strip_prefix("#/$defs/")).unwrap();
                    let definition = self.0.get(name).unwrap_or_else(|| panic!("no definition {name}"));
                    self.check(definition, value, path, problems);
                }
                "oneOf" => {
                    let fits = |one: &&Value| {
                        let mut found = Vec::new();
                        self.check(one, value, path, &mut found);
                        found.is_empty()
                    };
                    if wanted.as_array().unwrap().iter().filter(fits).count() != 1 {
                        problems.push(format!("{here}: {value} is none or more than one of {wanted}"));
                    }
                }
                "type" => {
                    let types = wanted.as_array().map_or_else(|| vec![wanted], |all| all.iter().collect());
                    if !types.iter().any(|wanted| is_a(value, wanted.as_str().unwrap())) {
                        problems.push(format!("{here}: {value} is not of type {wanted}"));
                    }
                }
                "enum" => {
                    if !value.is_null() && !wanted.as_array().unwrap().contains(value) {
                        problems.push(format!("{here}: {value} is none of {wanted}"));
                    }
                }
                "required" => {
                    for name in wanted.as_array().unwrap().iter().filter_map(Value::as_str) {
                        if value.as_object().is_some_and(|fields| !fields.contains_key(name)) {
                            problems.push(format!("{here}: {name} is missing"));
                        }
                    }
                }
                "items" => {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(wanted, item, &format!("{path}[{at}]"), problems);
                    }
                }
                "properties" | "additionalProperties" => {}
                KEYS => same_keys(wanted, value, here, problems),
                GVK => {}
                other => panic!("{here}: the keyword {other} is not checked"),
            }
        }
        let Some(fields) = value.as_object() else { return };
        for (name, field) in fields {
            let path = format!("{path}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(known), _) => self.check(known, field, &path, problems),
                (None, Value::Bool(false)) => problems.push(format!("{path}: there is no such field")),
                (None, Value::Object(_)) => {
                    self.check(&schema["additionalProperties"], field, &path, problems);
                }
                (None, _) => {}
            }
        }
    }
}

fn is_a(value: &Value, wanted: &str) -> bool {
    match wanted {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("the type {other} is not checked"),
    }
}

/// Items of a list that is a map by some of their fields have to differ in those.
fn same_keys(keys: &Value, value: &Value, here: &str, problems: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for item in value.as_array().into_iter().flatten() {
        let key: Vec<String> =
            keys.as_array().unwrap().iter().map(|k| item[k.as_str().unwrap()].to_string()).collect();
        if !seen.insert(key.clone()) {
            problems.push(format!("{here}: two items with {keys} {}", key.join(", ")));
        }
    }
}

// === Cutting ===

/// Writes the vendored definitions anew from an unpacked wheel.
pub(crate) fn cut(wheel: &Path) {
    for version in VERSIONS {
        let from: PathBuf = wheel.join(format!(
            "kubernetes_validate/kubernetes-json-schema/v{version}.0-local-strict/_definitions.json"
        ));
        let mut all: Value = serde_json::from_slice(&fs::read(from).unwrap()).unwrap();
        let Some(Value::Object(all)) = all.get_mut("$defs").map(Value::take) else {
            panic!("no definitions")
        };
        let is_ours = |gvk: &Value| KINDS.iter().any(|kind| gvk["kind"] == *kind);
        let ours = all.iter().filter(|(_, d)| d[GVK].as_array().is_some_and(|g| g.iter().any(is_ours)));
        let mut wanted: Vec<String> = ours.map(|(name, _)| name.clone()).collect();
        let mut cut = BTreeMap::new();
        while let Some(name) = wanted.pop() {
            cut.entry(name.clone()).or_insert_with(|| without_prose(&all[&name], &mut wanted));
        }
        let packed = zstd::encode_all(&serde_json::to_vec(&cut).unwrap()[..], 19).unwrap();
        fs::write(Path::new(FOLDER).join(format!("{version}.json.zst")), packed).unwrap();
    }
}

/// A schema without what [`Schema::check`] has no use for; what it refers to is added to `wanted`.
fn without_prose(schema: &Value, wanted: &mut Vec<String>) -> Value {
    let mut kept = Map::new();
    for (keyword, value) in schema.as_object().unwrap() {
        let value = match keyword.as_str() {
            "$ref" => {
                wanted.push(value.as_str().unwrap().trim_start_matches("#/$defs/").to_owned());
                value.clone()
            }
            "properties" => {
                let fields = value.as_object().unwrap().iter();
                Value::Object(
                    fields.map(|(name, field)| (name.clone(), without_prose(field, wanted))).collect(),
                )
            }
            "items" => without_prose(value, wanted),
            "additionalProperties" if value.is_object() => without_prose(value, wanted),
            "oneOf" => value.as_array().unwrap().iter().map(|one| without_prose(one, wanted)).collect(),
            "type" | "enum" | "required" | "additionalProperties" | GVK | KEYS => value.clone(),
            _ => continue,
        };
        kept.insert(keyword.clone(), value);
    }
    Value::Object(kept)
}
