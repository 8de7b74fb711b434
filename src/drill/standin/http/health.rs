//! `/version`, `/readyz` and `/livez`.

use std::borrow::Cow;

/// `/version`: a build from the sources of 1.36; or of 1.30, whose bookmarks do not move by themselves over an etcd that
/// does not tell how far it is.
pub(super) fn version(progress: bool) -> Cow<'static, str> {
    if progress { VERSION.into() } else { VERSION.replace("36", "30").replace("35", "29").into() }
}

/// As it was recorded.
const VERSION: &str = r#"{
  "major": "1",
  "minor": "36",
  "emulationMajor": "1",
  "emulationMinor": "36",
  "minCompatibilityMajor": "1",
  "minCompatibilityMinor": "35",
  "gitVersion": "v0.0.0-master+$Format:%H$",
  "gitCommit": "$Format:%H$",
  "gitTreeState": "",
  "buildDate": "1970-01-01T00:00:00Z",
  "goVersion": "go1.26.6",
  "compiler": "gc",
  "platform": "linux/amd64"
}"#;

/// Checks of `/readyz?verbose`, in the server's order.
const CHECKS: [&str; 35] = [
    "ping",
    "log",
    "informer-sync",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "shutdown",
];

/// Checks that `/livez` does not make.
const READY_ONLY: [&str; 2] = ["informer-sync", "shutdown"];

/// The text of a health check, if `path` is one.
pub(super) fn check(path: &str, query: &str) -> Option<String> {
    let name = path.strip_prefix('/').filter(|name| matches!(*name, "readyz" | "livez"))?;
    if !form_urlencoded::parse(query.as_bytes()).any(|(parameter, _)| parameter == "verbose") {
        return Some("ok".to_owned());
    }
    let made = CHECKS.iter().filter(|check| name == "readyz" || !READY_ONLY.contains(check));
    let lines: String = made.map(|check| format!("[+]{check} ok\n")).collect();
    Some(format!("{lines}{name} check passed\n"))
}
