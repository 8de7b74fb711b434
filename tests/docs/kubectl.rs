//! Commands of kubectl: its verbs and flags are asked of itself, overlays and objects of `manifests/`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;

use super::commands::{Place, complaint as of_command, of_container};
use super::it_finds;
use super::pages::{Page, files, path, text};
use super::programs::{program, there};

/// Names of objects that ours begin with.
const OURS: &str = "outlast";

/// Objects of the manifests: kinds in small letters, and names.
static OBJECTS: LazyLock<BTreeSet<(String, String)>> = LazyLock::new(|| {
    let manifests = files("manifests").into_iter().filter(|file| file.ends_with(".yaml"));
    let documents = manifests.flat_map(|file| {
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text(&file)).unwrap();
        documents
    });
    let pair = |object: Value| {
        let kind = object["kind"].as_str()?.to_lowercase();
        Some((kind, object["metadata"]["name"].as_str()?.to_owned()))
    };
    documents.filter_map(pair).collect()
});

/// Secrets that the Job makes.
const SECRETS: [&str; 3] = ["outlast-ca", "outlast-hub-tls", "outlast-node-tls"];

/// What kubectl says of these words.
fn said(words: &[&str]) -> String {
    static SAID: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let key = words.join(" ");
    let mut known = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let ask = || {
        let output = Command::new(program("kubectl")).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    known.entry(key).or_insert_with(ask).clone()
}

/// Verbs that have a second word.
const OF_TWO: [&str; 4] = ["config", "create", "rollout", "set"];

/// What is wrong with a command, of which `kubectl` itself is not given.
pub(super) fn complaint(words: &[String], place: Place) -> Option<String> {
    let (own, inner) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (words, None),
    };
    let of_inner = inner.and_then(|inner| of_container(inner, place));
    of_inner.or_else(|| of_overlay(own)).or_else(|| of_objects(own)).or_else(|| of_flags(own))
}

/// Overlays, files and patches that are named.
fn of_overlay(words: &[String]) -> Option<String> {
    let pairs = words.iter().zip(words.iter().skip(1));
    let wrong = |(flag, value): (&String, &String)| match flag.as_str() {
        "-k" if !path(value).join("kustomization.yaml").is_file() => Some(format!("{value} is no overlay")),
        "-f" | "--patch-file" if value != "-" && !path(value).is_file() => {
            Some(format!("{value} is no file"))
        }
        "--patch" => {
            serde_json::from_str::<Value>(value).err().map(|error| format!("the patch is none: {error}"))
        }
        _ => None,
    };
    pairs.filter_map(wrong).next()
}

/// Objects of ours that are named.
fn of_objects(words: &[String]) -> Option<String> {
    let has = |kind: &str, name: &str| {
        let kind = kind.to_lowercase();
        let made = kind == "secret" && SECRETS.contains(&name);
        made || OBJECTS.contains(&(kind, name.to_owned()))
    };
    let slashed = words.iter().filter_map(|word| word.rsplit('=').next()?.split_once('/'));
    let pairs = words.iter().zip(words.iter().skip(1)).map(|(kind, name)| (kind.as_str(), name.as_str()));
    let is_kind = |kind: &str| kind == "secret" || OBJECTS.iter().any(|(known, _)| known == kind);
    let named = slashed.chain(pairs).filter(|(kind, name)| is_kind(kind) && name.starts_with(OURS));
    named
        .filter(|(kind, name)| !has(kind, name))
        .map(|(kind, name)| format!("there is no {kind} {name}"))
        .next()
}

/// Verbs and flags that kubectl does not know.
fn of_flags(words: &[String]) -> Option<String> {
    if !there(&["kubectl"]) {
        return None;
    }
    let everywhere = said(&["options"]);
    let mut rest = words.iter().map(String::as_str);
    let mut verb = rest.next()?;
    while verb == "-n" {
        rest.next()?;
        verb = rest.next()?;
    }
    let second = OF_TWO.contains(&verb).then(|| rest.next()).flatten();
    let asked: Vec<_> = [verb].into_iter().chain(second).collect();
    let help = said(&[&asked[..], &["--help"]].concat());
    let usage = format!("kubectl {}", asked.join(" "));
    if !help.contains(&format!("{usage} ")) {
        return Some(format!("there is no {usage}"));
    }
    let flags = words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
    let name = |word: &String| word.split('=').next().unwrap_or_default().to_owned();
    let is_known = |flag: &String| {
        let spelled = if flag.starts_with("--") { format!("{flag}=") } else { format!("{flag}, --") };
        [&help, &everywhere].iter().any(|text| text.contains(&spelled))
    };
    flags.map(name).find(|flag| !is_known(flag)).map(|flag| format!("{usage} has no {flag}"))
}

#[test]
fn a_command_of_kubectl_that_is_wrong_is_found() {
    if !there(&["kubectl"]) {
        return;
    }
    let check = |page: &Page| -> Vec<String> {
        let spans = page.spans().map(|(_, span)| span);
        let words = spans.map(|span| super::shell::commands(&span).unwrap().remove(0).words);
        words.filter_map(|words| of_command(&words, Place::Block)).collect()
    };
    it_finds(
        check,
        "`kubectl apply -k manifests/node-local` `kubectl -n kube-system exec daemonset/outlast-node -c outlast -- \
         /outlast ctl status` `kubectl -n kube-system create job --from=cronjob/outlast-certs x` \
         `kubectl -n kube-system get secret outlast-ca` `kubectl label node NODE a=b`",
        &[
            ("`kubectl apply -k manifests/base`", "manifests/base is no overlay"),
            ("`kubectl apply -f manifests/sidecar/none.yaml`", "manifests/sidecar/none.yaml is no file"),
            ("`kubectl patch x y --patch '{\"a\":}'`", "the patch is none"),
            ("`kubectl rollout status deployment/outlast-node`", "there is no deployment outlast-node"),
            ("`kubectl create job --from=cronjob/outlast-cert x`", "there is no cronjob outlast-cert"),
            ("`kubectl get secret outlast-tls`", "there is no secret outlast-tls"),
            ("`kubectl aply -k manifests/node-local`", "there is no kubectl aply"),
            ("`kubectl rollout redo x`", "there is no kubectl rollout redo"),
            ("`kubectl get pods --of=x`", "kubectl get has no --of"),
            ("`kubectl exec POD -- /outlast ctl state`", "unrecognized subcommand 'state'"),
        ],
    );
}
