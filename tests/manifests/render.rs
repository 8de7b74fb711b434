//! What kubectl makes of an overlay.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::objects::Objects;
use super::programs::{program, skipped};

/// Where the overlays are.
pub(crate) const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");

/// Where `.ci/run` unpacks Debian's.
const DEBIANS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-programs/usr/bin/kubectl");

/// The kustomize in kubectl 1.20 is years older than that of its successors: what both take everybody's takes.
pub(crate) fn oldest() -> Option<PathBuf> {
    let debians = PathBuf::from(DEBIANS);
    (debians.is_file() || skipped("kubectl of package kubernetes-client")).then_some(debians)
}

/// Whatever comes first: they render alike, as a test of its own shows.
pub(crate) fn any() -> Option<PathBuf> {
    super::programs::there(&["kubectl"]).then(|| program("kubectl"))
}

/// The overlays by name: what `kubectl apply -k` is meant for.
pub(crate) fn overlays() -> Vec<String> {
    let entries = fs::read_dir(MANIFESTS).unwrap().map(|entry| entry.unwrap().path());
    let overlays = entries.filter(|path| path.join("kustomization.yaml").is_file());
    let mut names: Vec<_> =
        overlays.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() >= 7, "{names:?}");
    names
}

/// The objects that this kubectl renders.
pub(crate) fn render(kubectl: &Path, overlay: &str) -> Objects {
    let folder = Path::new(MANIFESTS).join(overlay);
    let output = Command::new(kubectl).arg("kustomize").arg(&folder).output().unwrap();
    let (out, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {overlay}: {errors}", kubectl.display());
    Objects::parse(&out)
}

/// Every overlay, rendered; nothing where there is no kubectl.
pub(crate) fn rendered() -> Vec<(String, Objects)> {
    let Some(kubectl) = any() else { return Vec::new() };
    let pairs = overlays().into_iter().map(|overlay| {
        let objects = render(&kubectl, &overlay);
        (overlay, objects)
    });
    pairs.collect()
}

/// The pods that kubelets start from files, by file name.
pub(crate) fn static_pods() -> Vec<(String, Value)> {
    let entries = fs::read_dir(Path::new(MANIFESTS).join("host/static-pods")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let pods = files.into_iter().map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut objects = Objects::parse(&fs::read_to_string(&path).unwrap()).0;
        assert_eq!(objects.len(), 1, "{name}");
        (name, objects.remove(0))
    });
    pods.collect()
}
