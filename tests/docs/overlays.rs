//! Overlays that pages propose: kubectl renders them.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use super::pages::{Block, Page, path};
use super::programs::{program, there};
use super::{every_page_passes, it_finds};

/// The file that a block is, if it says so in its first line: `# NAME.yaml`.
fn file(block: &Block) -> Option<&str> {
    let name = block.text.lines().next()?.strip_prefix("# ")?;
    (name.ends_with(".yaml") && !name.contains(' ')).then_some(name)
}

/// What kubectl has against a kustomization with these files beside it, within a folder that has the repository as
/// `outlast`.
fn rendered(kustomization: &Block, files: &[&Block]) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    symlink(path(""), folder.path().join("outlast")).unwrap();
    fs::write(folder.path().join("kustomization.yaml"), &kustomization.text).unwrap();
    for block in files {
        fs::write(folder.path().join(file(block).unwrap()), &block.text).unwrap();
    }
    let output = Command::new(program("kubectl")).arg("kustomize").arg(folder.path()).output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(serde_saphyr::from_multiple(&text).unwrap())
}

/// What is wrong with what a page has of YAML.
fn complaints(page: &Page) -> Vec<String> {
    let mut complaints = Vec::new();
    let blocks: Vec<_> = page.blocks.iter().filter(|block| block.language == "yaml").collect();
    let mut used = 0;
    for (at, block) in blocks.iter().enumerate() {
        let documents: Vec<Value> = match serde_saphyr::from_multiple(&block.text) {
            Ok(documents) => documents,
            Err(error) => {
                complaints.push(format!("{}: {error}", page.at(block.line)));
                continue;
            }
        };
        if !documents.iter().any(|document| document["bases"].is_array()) {
            continue;
        }
        let files: Vec<_> =
            blocks[at + 1..].iter().copied().take_while(|block| file(block).is_some()).collect();
        used += files.len();
        if !there(&["kubectl"]) {
            continue;
        }
        match rendered(block, &files) {
            Err(error) => complaints.push(format!("{}: {error}", page.at(block.line))),
            Ok(objects) if objects.is_empty() => {
                complaints.push(format!("{}: nothing is rendered", page.at(block.line)));
            }
            Ok(_) => {}
        }
    }
    let named = blocks.iter().filter(|block| file(block).is_some()).count();
    if named != used {
        complaints.push(format!("{}: {named} files, {used} of them beside a kustomization", page.name));
    }
    complaints
}

#[test]
fn overlays_of_pages_are_rendered() {
    every_page_passes(complaints);
}

#[test]
fn an_overlay_that_is_wrong_is_found() {
    if !there(&["kubectl"]) {
        return;
    }
    let overlay = |base: &str, patch: &str, file: &str| {
        format!(
            "```yaml\nbases:\n  - outlast/manifests/{base}\npatchesStrategicMerge:\n  - {patch}\n```\n\n```yaml\n# {file}\n\
             apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: outlast-hub\n  namespace: kube-system\n```"
        )
    };
    it_finds(
        complaints,
        &overlay("node-local", "size.yaml", "size.yaml"),
        &[
            (&overlay("node-locals", "size.yaml", "size.yaml"), "wrong.md:1: "),
            (&overlay("node-local", "size.yaml", "sizes.yaml"), "size.yaml"),
            (&overlay("flowcontrol", "size.yaml", "size.yaml"), "outlast-hub"),
            ("```yaml\na: [b\n```", "wrong.md:1: "),
            ("```yaml\n# x.yaml\na: b\n```", "1 files, 0 of them"),
        ],
    );
}
