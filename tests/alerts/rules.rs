//! The rules, by Prometheus' own tool, and that nothing of an alert is missing.

use std::fmt::Write;
use std::process::Command;

use serde_json::Value;

use super::files::{Alert, RULES, alerts, document, files, path};
use super::process::{isolate, run};
use super::programs::{program, there};
use super::{dashboards, pages};

/// Runs promtool, which has to find nothing wrong. Without it there is nothing to run.
fn promtool(arguments: &[String]) {
    if !there(&["promtool"]) {
        return;
    }
    let mut command = Command::new(program("promtool"));
    isolate(command.args(arguments));
    let (code, output, errors) = run(&mut command);
    assert_eq!(code, 0, "promtool {}\n{output}{errors}", arguments.join(" "));
}

fn in_repository(name: &str) -> String {
    path(name).to_str().unwrap().to_owned()
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&["check".to_owned(), "rules".to_owned(), in_repository(RULES)]);
}

/// promtool knows rules only: each expression becomes one.
#[test]
fn prometheus_takes_the_expressions_of_dashboards_and_pages() {
    let of_panels = dashboards::panels().into_iter().flat_map(|panel| panel.targets);
    let expressions: Vec<_> = of_panels
        .map(|target| target.expression)
        .chain(pages::expressions().into_iter().map(|(_, e)| e))
        .collect();
    assert!(expressions.len() > 100, "{}", expressions.len());
    let mut text = String::from("groups:\n- name: all\n  rules:\n");
    for (n, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m");
        writeln!(text, "  - {{ record: 'n:{n}', expr: {} }}", Value::from(expression)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    promtool(&["check".to_owned(), "rules".to_owned(), file.to_str().unwrap().to_owned()]);
}

#[test]
fn alerts_fire_and_are_silent_when_they_should() {
    let cases = cases().into_iter().map(|(file, _)| in_repository(&file));
    promtool(&[vec!["test".to_owned(), "rules".to_owned()], cases.collect()].concat());
}

/// A thousand series are no case for a file.
#[test]
fn a_hundredth_of_many_nodes_is_enough_where_it_is_many_machines() {
    const NODES: usize = 1100;
    for (down, fires) in [(21, true), (20, false)] {
        let mut text = format!(
            "rule_files: [{}]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n",
            path(RULES).display()
        );
        for node in 0..NODES {
            let up = usize::from(node >= down);
            let series = format!(r#"up{{namespace="kube-system",job="outlast-node",instance="{node}"}}"#);
            writeln!(text, "  - {{ series: '{series}', values: '{up}x10' }}").unwrap();
        }
        let count = "count(ALERTS{alertname=\"OutlastNodesDown\",alertstate=\"firing\"}) or vector(0)";
        let want = u8::from(fires);
        writeln!(text, "  promql_expr_test:").unwrap();
        writeln!(
            text,
            "  - {{ expr: '{count}', eval_time: 8m, exp_samples: [{{ labels: '{{}}', value: {want} }}] }}"
        )
        .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nodes.yaml");
        std::fs::write(&file, text).unwrap();
        promtool(&["test".to_owned(), "rules".to_owned(), file.to_str().unwrap().to_owned()]);
    }
}

/// The files of cases with what is in them.
fn cases() -> Vec<(String, Value)> {
    let names = files("tests/alerts", "yaml");
    assert!(!names.is_empty());
    names.into_iter().map(|name| (name.clone(), document(&name))).collect()
}

/// What is expected of an alert at some time.
struct Expected {
    alert: String,
    fires: bool,
}

fn expected() -> Vec<Expected> {
    let cases = cases();
    let tests = cases.iter().flat_map(|(_, file)| file["tests"].as_array().unwrap());
    let looks = tests.flat_map(|test| test["alert_rule_test"].as_array().unwrap());
    let expected = |look: &Value| Expected {
        alert: look["alertname"].as_str().unwrap().to_owned(),
        fires: look["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty()),
    };
    looks.map(expected).collect()
}

#[test]
fn every_alert_has_a_case_of_each_kind_and_a_page() {
    let (alerts, expected) = (alerts(), expected());
    assert!(alerts.len() >= 20, "{}", alerts.len());
    for Alert { name, hold, severity, annotations, .. } in &alerts {
        assert!(name.starts_with("Outlast"), "{name}");
        assert_eq!(alerts.iter().filter(|other| other.name == *name).count(), 1, "{name}");
        assert!(hold.is_some(), "{name}: 'for' is written also where it is 0m");
        assert!(matches!(severity.as_deref(), Some("warning" | "critical")), "{name}: {severity:?}");
        for text in ["summary", "description"] {
            assert!(annotations[text].as_str().is_some_and(|text| text.ends_with('.')), "{name}: {text}");
        }
        let page = annotations["runbook_url"].as_str().unwrap();
        assert_eq!(page, pages::of(name), "{name}");
        assert!(path(page).is_file(), "{name}: {page}");
        for fires in [true, false] {
            let has = expected.iter().any(|case| case.alert == *name && case.fires == fires);
            assert!(has, "{name}: no case in which it {}", if fires { "fires" } else { "is silent" });
        }
    }
    for case in &expected {
        assert!(alerts.iter().any(|alert| alert.name == case.alert), "{}: no such alert", case.alert);
    }
}
