//! Whether the files that say how the API server is reached can be used: what `outlast check` can know without
//! connecting.
//!
//! What a node would do itself, up to the first connection; so no exec plugin of a kubeconfig is run. Nothing
//! here decides whether a node starts: files appear late and change, and a node has its snapshot meanwhile.

use super::access::Access;
use super::client::config;

/// What would keep a node from connecting, if anything; for people.
pub async fn problem(access: &Access) -> Option<String> {
    let place = access.place.clone();
    // Files may be slow.
    let read = tokio::task::spawn_blocking(move || config::load(&place).err()).await;
    read.unwrap_or_else(|error| Some(format!("reading the configuration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::apiserver::access::{Limits, Place};

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c, cluster: {server: 'https://192.0.2.1:6443'}}
users:
- {name: u, user: {token: secret}}
- {name: plugin, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: /no/such/plugin}}}
contexts:
- {name: one, context: {cluster: c, user: u}}
- {name: two, context: {cluster: nowhere, user: u}}
- {name: three, context: {cluster: c, user: plugin}}
";

    #[tokio::test]
    async fn kubeconfigs() {
        struct Case {
            name: &'static str,
            text: Option<&'static str>,
            context: Option<&'static str>,
            /// Part of the problem; empty for none.
            want: &'static str,
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        for case in [
            Case { name: "good", text: Some(KUBECONFIG), context: None, want: "" },
            Case { name: "its context", text: Some(KUBECONFIG), context: Some("one"), want: "" },
            Case { name: "no such context", text: Some(KUBECONFIG), context: Some("four"), want: "four" },
            Case {
                name: "a context without its cluster",
                text: Some(KUBECONFIG),
                context: Some("two"),
                want: "nowhere",
            },
            Case { name: "a plugin is not run", text: Some(KUBECONFIG), context: Some("three"), want: "" },
            Case { name: "no YAML", text: Some("a: [b"), context: None, want: "YAML" },
            Case { name: "empty", text: Some(""), context: None, want: "context" },
            Case { name: "not there", text: None, context: None, want: "No such file" },
        ] {
            let _ = std::fs::remove_file(&file);
            if let Some(text) = case.text {
                std::fs::write(&file, text).unwrap();
            }
            let place = Place::Kubeconfig { file: file.clone(), context: case.context.map(str::to_owned) };
            let problem = problem(&Access { place, limits: Limits::default() }).await.unwrap_or_default();
            let begins = format!("kubeconfig {}: ", file.display());
            assert_eq!(problem.is_empty(), case.want.is_empty(), "{}: {problem}", case.name);
            assert!(problem.contains(case.want), "{}: {problem}", case.name);
            assert!(problem.is_empty() || problem.starts_with(&begins), "{}: {problem}", case.name);
        }
    }
}
