//! The objects of the Prometheus operator that carry the rules, and those that have processes scraped.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::files::{RULES, alerts, document, documents, path, text};

/// The rules as an object.
const OBJECT: &str = "manifests/monitoring/prometheusrule.yaml";

/// Who is scraped.
const MONITORS: &str = "manifests/monitoring/podmonitors.yaml";

/// Who puts the objects together.
const KUSTOMIZATIONS: [&str; 2] =
    ["manifests/monitoring/kustomization.yaml", "monitoring/kustomization.yaml"];

/// What kustomize within kubectl 1.20 knows and within today's still does.
const FIELDS: [&str; 6] =
    ["apiVersion", "kind", "bases", "resources", "configMapGenerator", "generatorOptions"];

/// kubectl 1.20 takes folders as bases only, and nobody takes files of other folders.
#[test]
fn kustomizations_are_as_old_and_new_ones_take_them() {
    for name in KUSTOMIZATIONS {
        let (whole, folder) = (document(name), path(name));
        let folder = folder.parent().unwrap();
        for field in whole.as_object().unwrap().keys() {
            assert!(FIELDS.contains(&field.as_str()), "{name}: {field}");
        }
        let entries = |of: &Value| of.as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
        let file = |entry: &Value| folder.join(entry.as_str().unwrap());
        let generated = entries(&whole["configMapGenerator"]);
        let generated = generated.iter().flat_map(|config| entries(&config["files"]));
        for entry in entries(&whole["resources"]).into_iter().chain(generated) {
            assert!(file(&entry).is_file() && !entry.as_str().unwrap().contains(".."), "{name}: {entry}");
        }
        for entry in entries(&whole["bases"]) {
            assert!(file(&entry).join("kustomization.yaml").is_file(), "{name}: {entry}");
        }
    }
}

/// `UPDATE=1` writes the object anew.
#[test]
fn the_object_has_the_rules() {
    let (object, rules) = (text(OBJECT), text(RULES));
    let (head, _) = object.split_once("\nspec:\n").unwrap();
    let groups = &rules[rules.find("\ngroups:\n").unwrap() + 1..];
    let indented =
        groups.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
    let want = format!("{head}\nspec:\n{}", indented.collect::<String>());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(OBJECT), &want).unwrap();
    }
    assert_eq!(text(OBJECT), want, "{OBJECT}: UPDATE=1 writes it anew");
    assert_eq!(document(OBJECT)["spec"], document(RULES), "the same to who reads it");
}

/// Jobs that the expressions of rules name.
fn named_jobs() -> BTreeSet<String> {
    let rules = alerts();
    let words = rules.iter().flat_map(|alert| alert.expr.split('"').skip(1).step_by(2));
    let of_jobs = words.filter_map(|value| value.strip_prefix("outlast-"));
    let alternatives = of_jobs.flat_map(|rest| rest.trim_matches(['(', ')']).split('|'));
    alternatives.map(|job| format!("outlast-{job}")).collect()
}

#[test]
fn the_jobs_that_rules_name_are_scraped() {
    let monitors = documents(MONITORS);
    let mut jobs = BTreeSet::new();
    for monitor in &monitors {
        assert_eq!(monitor["kind"], "PodMonitor");
        let [endpoint] = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap().as_slice() else {
            panic!("{monitor}: one place to scrape")
        };
        assert!(endpoint["port"].is_null(), "{monitor}: pods declare no port");
        let relabelings = endpoint["relabelings"].as_array().unwrap();
        let job = relabelings.iter().find(|of| of["targetLabel"] == "job").unwrap();
        let (job, name) = (&job["replacement"], &monitor["metadata"]["name"]);
        // A node is a node, whoever's DaemonSet it is in.
        assert!(
            job == name || (job, name) == (&"outlast-node".into(), &"outlast-node-cache".into()),
            "{name}"
        );
        jobs.insert(job.as_str().unwrap().to_owned());
    }
    assert_eq!(jobs, named_jobs());
    let rules = text(RULES);
    for job in jobs {
        assert!(rules.contains(&format!("#   {job} ")), "{RULES} says what {job} is");
    }
}
