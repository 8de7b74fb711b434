//! The ConfigMap `kube-dns` as a folder: a file for each of its keys.
//!
//! A kubelet exchanges all files at once, by the symbolic link `..data`. They are read as of one version: a file that
//! seems to be missing because the link was exchanged meanwhile is no answer.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::forward::target::{self, Place, Target, Word};
use crate::snapshot::disk::{Disk, RealDisk};

/// Key of the stub domains: a JSON object of domains, each with a list of servers.
const STUB_DOMAINS: &str = "stubDomains";

/// Key of the servers for names outside: a JSON list.
const UPSTREAMS: &str = "upstreamNameservers";

/// Key that kube-dns had; nothing of it is served any more.
const FEDERATIONS: &str = "federations";

/// The link that a kubelet exchanges.
const DATA: &str = "..data";

/// Most bytes of a file that a ConfigMap is mounted as: it holds no more (its size is limited to 1 MiB in all).
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Most servers for names outside, as in kube-dns.
const MAX_UPSTREAMS: usize = 3;

/// Most bytes of a domain's name (RFC 1123 §2.1) and of its labels (RFC 1035 §2.3.4).
const MAX_DOMAIN: usize = 253;
/// See [`MAX_DOMAIN`].
const MAX_LABEL: usize = 63;

/// How often the folder is read before it counts as never at rest: a kubelet exchanges it once a minute at most.
const TRIES: usize = 3;

/// What the ConfigMap says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KubeDns {
    /// Servers of each stub domain, as they are written.
    pub(super) stub_domains: BTreeMap<String, Vec<String>>,
    /// Servers for names outside, as they are written.
    pub(super) upstreams: Vec<String>,
}

/// A folder that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it says.
    pub(super) kube_dns: KubeDns,
    /// A file without effect.
    pub(super) idle: Option<PathBuf>,
}

/// What is wrong with the ConfigMap, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The file or the folder.
    pub(super) path: PathBuf,
    /// What is wrong with it.
    pub(super) why: String,
}

/// Reads the folder. Files that are not there are keys that the ConfigMap does not have: it may be missing whole.
///
/// # Errors
/// A file that cannot be read or does not say what it should.
pub(super) fn read(folder: &Path) -> Result<Found, Broken> {
    let link = folder.join(DATA);
    for _ in 0..TRIES {
        let version = std::fs::read_link(&link).ok();
        let found = read_files(folder);
        if std::fs::read_link(&link).ok() == version {
            return found;
        }
    }
    Err(Broken { path: folder.to_owned(), why: "it changes all the time".to_owned() })
}

fn read_files(folder: &Path) -> Result<Found, Broken> {
    let stub_domains: BTreeMap<String, Option<Vec<String>>> = key(folder, STUB_DOMAINS)?;
    let stub_domains: BTreeMap<_, _> =
        stub_domains.into_iter().map(|(domain, servers)| (domain, servers.unwrap_or_default())).collect();
    let upstreams: Vec<String> = key(folder, UPSTREAMS)?;
    let at = |name: &str| {
        let path = folder.join(name);
        move |why| Broken { path, why }
    };
    check_stub_domains(&stub_domains).map_err(at(STUB_DOMAINS))?;
    check_upstreams(&upstreams).map_err(at(UPSTREAMS))?;
    let idle = folder.join(FEDERATIONS);
    let idle = idle.exists().then_some(idle);
    Ok(Found { kube_dns: KubeDns { stub_domains, upstreams }, idle })
}

/// The value of a key; empty where there is none, or `null`.
fn key<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T, Broken> {
    let path = folder.join(name);
    let broken = |why: String| Broken { path: path.clone(), why };
    let Some(text) = read_text(&path).map_err(|e| broken(e.to_string()))? else { return Ok(T::default()) };
    let value: Option<T> =
        serde_json::from_str(&text).map_err(|e| broken(format!("it is no such JSON: {e}")))?;
    Ok(value.unwrap_or_default())
}

/// A file of at most [`MAX_BYTES`] of UTF-8; `None` if it is not there.
pub(super) fn read_text(path: &Path) -> io::Result<Option<String>> {
    let bytes = match RealDisk.read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    String::from_utf8(bytes).map(Some).map_err(|_| io::Error::other("it is not UTF-8"))
}

fn check_stub_domains(stub_domains: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    for (domain, servers) in stub_domains {
        if !is_domain(domain) {
            return Err(format!("{domain:?} is no domain: write it in lower case, as in corp.example"));
        }
        if servers.is_empty() {
            return Err(format!("{domain} has no servers: list them, or leave the domain out"));
        }
        if let Some(server) = servers.iter().find(|server| address(server).is_none()) {
            return Err(format!("{server:?} of {domain} is no server: write IP, IP:PORT or tls://IP"));
        }
    }
    Ok(())
}

fn check_upstreams(upstreams: &[String]) -> Result<(), String> {
    if upstreams.len() > MAX_UPSTREAMS {
        return Err(format!("it lists {} servers, and at most {MAX_UPSTREAMS} are allowed", upstreams.len()));
    }
    let is_plain = |word: &String| !word.contains("://") && address(word).is_some();
    match upstreams.iter().find(|word| !is_plain(word)) {
        Some(word) => Err(format!("{word:?} is no server: write IP or IP:PORT")),
        None => Ok(()),
    }
}

/// Where a server is, if the word can stand in a Corefile as an address.
fn address(word: &str) -> Option<Target> {
    let is_word = word.bytes().all(|b| b.is_ascii_graphic() && !b"{}\"#".contains(&b));
    match target::parse(word, |_| None) {
        Word::Target(target) if is_word && matches!(target.place, Place::Address(_)) => Some(target),
        _ => None,
    }
}

/// Whether it is a name as Kubernetes has them: labels of lower-case letters, digits and hyphens.
fn is_domain(text: &str) -> bool {
    let is_plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=MAX_LABEL).contains(&bytes.len())
            && bytes.iter().all(|b| is_plain(b) || *b == b'-')
            && bytes.first().is_some_and(is_plain)
            && bytes.last().is_some_and(is_plain)
    };
    text.len() <= MAX_DOMAIN && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn what_may_be_said() {
        struct Case {
            name: &'static str,
            files: &'static [(&'static str, &'static str)],
            stub_domains: &'static [(&'static str, &'static [&'static str])],
            upstreams: &'static [&'static str],
        }
        for case in [
            Case { name: "nothing", files: &[], stub_domains: &[], upstreams: &[] },
            Case {
                name: "nothing, at length",
                files: &[("stubDomains", "null"), ("upstreamNameservers", " [ ]\n")],
                stub_domains: &[],
                upstreams: &[],
            },
            Case {
                name: "servers of every form",
                files: &[
                    (
                        "stubDomains",
                        r#"{"b.example": ["192.0.2.1", "[2001:db8::1]:54"], "a": ["tls://192.0.2.1%dns.example"]}"#,
                    ),
                    ("upstreamNameservers", r#"["2001:db8::1", "192.0.2.1:5353"]"#),
                    ("other", "}"),
                ],
                stub_domains: &[
                    ("a", &["tls://192.0.2.1%dns.example"]),
                    ("b.example", &["192.0.2.1", "[2001:db8::1]:54"]),
                ],
                upstreams: &["2001:db8::1", "192.0.2.1:5353"],
            },
        ] {
            let folder = folder(case.files);
            let Found { kube_dns, idle } =
                read(folder.path()).unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
            let got: Vec<_> = kube_dns.stub_domains.iter().collect();
            let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
            let want: Vec<_> = case.stub_domains.iter().map(|(d, s)| ((*d).to_owned(), words(s))).collect();
            assert_eq!(got, want.iter().map(|(d, s)| (d, s)).collect::<Vec<_>>(), "{}", case.name);
            assert_eq!((kube_dns.upstreams, idle), (words(case.upstreams), None), "{}", case.name);
        }
        let gone = folder(&[]).path().join("gone");
        assert_eq!(read(&gone).unwrap().kube_dns, KubeDns::default());
        let old = folder(&[("federations", "a=b")]);
        assert_eq!(read(old.path()).unwrap().idle, Some(old.path().join("federations")));
    }

    #[test]
    fn what_is_wrong_names_its_file() {
        for (name, text, want) in [
            ("stubDomains", "", "no such JSON"),
            ("stubDomains", "{", "no such JSON"),
            ("stubDomains", r#"["a.example"]"#, "no such JSON"),
            ("stubDomains", r#"{"a.example": "192.0.2.1"}"#, "no such JSON"),
            ("stubDomains", r#"{"A.example": ["192.0.2.1"]}"#, "\"A.example\" is no domain"),
            ("stubDomains", r#"{"a.example {": ["192.0.2.1"]}"#, "is no domain"),
            ("stubDomains", r#"{"a..example": ["192.0.2.1"]}"#, "is no domain"),
            ("stubDomains", r#"{"": ["192.0.2.1"]}"#, "is no domain"),
            ("stubDomains", r#"{"a.example": []}"#, "a.example has no servers"),
            ("stubDomains", r#"{"a.example": null}"#, "a.example has no servers"),
            ("stubDomains", r#"{"a.example": ["dns.example"]}"#, "\"dns.example\" of a.example is no server"),
            ("stubDomains", r#"{"a.example": ["https://192.0.2.1"]}"#, "is no server"),
            ("stubDomains", r#"{"a.example": ["tls://192.0.2.1%x\n} . {"]}"#, "is no server"),
            ("stubDomains", r#"{"a.example": ["192.0.2.1", "/etc/resolv.conf"]}"#, "is no server"),
            ("upstreamNameservers", r#"{"a": 1}"#, "no such JSON"),
            (
                "upstreamNameservers",
                r#"["192.0.2.1","192.0.2.2","192.0.2.3","192.0.2.4"]"#,
                "it lists 4 servers",
            ),
            ("upstreamNameservers", r#"["tls://192.0.2.1"]"#, "\"tls://192.0.2.1\" is no server"),
            ("upstreamNameservers", r#"["192.0.2.1:99999"]"#, "is no server"),
        ] {
            let folder = folder(&[(name, text)]);
            let broken = read(folder.path()).unwrap_err();
            assert_eq!(broken.path, folder.path().join(name), "{text}");
            assert!(broken.why.contains(want), "{text}: {}", broken.why);
        }
        let bytes = folder(&[]);
        std::fs::write(bytes.path().join(UPSTREAMS), b"[\"\xff\"]").unwrap();
        assert_eq!(read(bytes.path()).unwrap_err().why, "it is not UTF-8");
        std::fs::write(bytes.path().join(UPSTREAMS), vec![b' '; 1 + (1 << 20)]).unwrap();
        assert_eq!(read(bytes.path()).unwrap_err().path, bytes.path().join(UPSTREAMS));
    }
}
