//! A template that is read, rendered and parsed, at the start and at every look of the reloader.
//!
//! * What is wrong with the template or the ConfigMap is an error, and what runs goes on; but at the start a ConfigMap
//!   that is wrong is left out: names of the cluster must not wait until somebody repairs a stub domain.
//! * The rendered text is a file for people and tools only. It is written when it changes and is a configuration; nothing
//!   is read from it, and a file system that takes none changes no answer.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::Counter;

use super::host_variable;
use super::kube_dns::{self, Broken, Found, KubeDns};
use super::template::{self, Values};
use crate::corefile::{self, Corefile, Error, LoadOptions, Position, ServerBlock, Warning};
use crate::node::reload::Load;
use crate::node::setup::directive_names;
use crate::ops::catalogue;
use crate::ops::metrics::Metrics;
use crate::snapshot::atomic;
use crate::snapshot::disk::{DiskError, RealDisk};

/// Where the ConfigMap is mounted if nothing else is said, and it is mounted at all.
const KUBE_DNS: &str = "/etc/kube-dns";

/// Kinds of errors that node-cache counts; dashboards ask for each.
const ERROR_TYPES: [&str; 5] = ["iptables", "iptables_lock", "interface_add", "interface_check", CONFIGMAP];

/// The kind that is about what is rendered.
const CONFIGMAP: &str = "configmap";

/// Where everything is.
pub(super) struct Place {
    /// The template.
    pub(super) base: PathBuf,
    /// Folder of the ConfigMap, if it was said.
    pub(super) kube_dns: Option<PathBuf>,
    /// The service whose address is the cluster's DNS.
    pub(super) service: String,
    /// Where the rendered text is written.
    pub(super) rendered: Option<PathBuf>,
    /// Port of blocks that name none, and of stub domains.
    pub(super) port: u16,
    /// The addresses that pods ask, if they are known.
    pub(super) local: Vec<IpAddr>,
}

/// A template and what it was rendered to.
pub(in crate::cli) struct Template {
    /// Where everything is.
    place: Place,
    /// Errors of the template and the ConfigMap.
    errors: Counter,
    /// What was seen last.
    seen: Mutex<Seen>,
}

/// What is said or written once.
#[derive(Default)]
struct Seen {
    /// The text that was written, or could not be.
    written: Option<String>,
    /// What was wrong.
    error: Option<String>,
}

impl Template {
    /// Reads nothing yet.
    pub(super) fn new(place: Place, metrics: &Metrics) -> Self {
        let counter = |kind: &str| metrics.counter(catalogue::NODECACHE_SETUP_ERRORS, &[("errortype", kind)]);
        for kind in ERROR_TYPES {
            counter(kind).increment(0);
        }
        Self { place, errors: counter(CONFIGMAP), seen: Mutex::default() }
    }

    /// The template's path.
    pub(in crate::cli) fn base(&self) -> &Path {
        &self.place.base
    }

    /// What would be served, without writing it.
    ///
    /// # Errors
    /// What is wrong with the template or the ConfigMap.
    pub(in crate::cli) fn check(&self) -> Result<Corefile, Error> {
        let found = self.kube_dns().map_err(|broken| error_of(&broken))?;
        self.render(&found).map(|(corefile, _)| corefile)
    }

    /// What a node begins with.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub(in crate::cli) fn start(&self) -> Result<Corefile, Error> {
        let (found, broken) = match self.kube_dns() {
            Ok(found) => (found, None),
            Err(broken) => (Found { kube_dns: KubeDns::default(), idle: None }, Some(broken)),
        };
        let (mut corefile, text) = self.render(&found)?;
        if let Some(Broken { path, why }) = broken {
            let text = format!("{why}; the node begins without stub domains and servers of the ConfigMap");
            corefile.warnings.push(Warning { position: position(&path, 0), text });
            self.errors.increment(1);
        }
        self.write(text);
        Ok(corefile)
    }

    /// What the reloader calls.
    pub(in crate::cli) fn reload(self: &Arc<Self>) -> Load {
        let template = self.clone();
        Arc::new(move || template.look())
    }

    /// What is there now; what was rendered is written if it is another text.
    fn look(&self) -> Result<Corefile, Error> {
        let rendered =
            self.kube_dns().map_err(|broken| error_of(&broken)).and_then(|found| self.render(&found));
        let error = rendered.as_ref().err().map(ToString::to_string);
        let is_new = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = error.is_some() && seen.error != error;
            seen.error = error;
            is_new
        };
        // Once for each, and not with every look.
        if is_new {
            self.errors.increment(1);
        }
        let (corefile, text) = rendered?;
        self.write(text);
        Ok(corefile)
    }

    fn kube_dns(&self) -> Result<Found, Broken> {
        match &self.place.kube_dns {
            Some(folder) => kube_dns::read(folder),
            None => kube_dns::read(Path::new(KUBE_DNS)),
        }
    }

    /// The configuration, and the text of it.
    fn render(&self, found: &Found) -> Result<(Corefile, String), Error> {
        let Place { base, service, port, local, .. } = &self.place;
        let wrong = |line, why: String| Error::new(&position(base, line), why);
        let text = kube_dns::read_text(base).map_err(|e| wrong(0, format!("reading the template: {e}")))?;
        let text =
            text.ok_or_else(|| wrong(0, "there is no such template: --base-corefile names it".to_owned()))?;
        let values = Values {
            cluster_dns: cluster_dns(service, |name| std::env::var(name).ok()),
            kube_dns: &found.kube_dns,
            local,
        };
        let mut text = template::render(&text, &values).map_err(|e| wrong(e.line, e.why))?;
        let names = directive_names();
        let options = LoadOptions { default_port: *port, directives: Some(&names), ..LoadOptions::default() };
        let mut corefile = corefile::parse(&text, &base.to_string_lossy(), &options)?;
        let stubs = template::stub_blocks(&found.kube_dns, *port, outside(&corefile.blocks, *port));
        text.push_str(&stubs);
        // Apart from the template: it may end without a brace, and its lines are its own.
        let folder = self.place.kube_dns.as_deref().unwrap_or(Path::new(KUBE_DNS));
        let stubs = corefile::parse(&stubs, &folder.join("stubDomains").to_string_lossy(), &options)?;
        corefile.blocks.extend(stubs.blocks);
        corefile.files.insert(0, base.clone());
        if let Some(idle) = &found.idle {
            let text = "federations have no effect: they went with kube-dns".to_owned();
            corefile.warnings.push(Warning { position: position(idle, 0), text });
        }
        Ok((corefile, text))
    }

    /// Writes the text, once.
    fn write(&self, text: String) {
        let Some(path) = &self.place.rendered else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.written.as_ref() == Some(&text) {
            return;
        }
        let written = atomic::replace(&RealDisk, path, |to| {
            to.write_all(text.as_bytes()).map_err(DiskError::at("writing", path))
        });
        match written {
            Ok(()) => tracing::info!(path = %path.display(), "rendered the template"),
            Err(error) => {
                self.errors.increment(1);
                tracing::warn!(%error, "the rendered template is not in its file; it is served all the same");
            }
        }
        seen.written = Some(text);
    }
}

/// The block for names outside: of several the one on this port.
fn outside(blocks: &[ServerBlock], port: u16) -> Option<&ServerBlock> {
    let has = |block: &&ServerBlock, is_on: &dyn Fn(u16) -> bool| {
        block.keys.iter().any(|key| key.zone == "." && is_on(key.port))
    };
    let on_port = blocks.iter().find(|block| has(block, &|its| its == port));
    on_port.or_else(|| blocks.iter().find(|block| has(block, &|_| true)))
}

/// The address of a service, as Kubernetes tells it the pods of its namespace; or why it is not known.
fn cluster_dns(service: &str, env: impl Fn(&str) -> Option<String>) -> Result<IpAddr, String> {
    let variable = host_variable(service);
    let Some(value) = env(&variable) else {
        return Err(format!(
            "the environment has no {variable}: this namespace had no Service {service} when the pod was made; make it \
             and then the pod anew, name another one with --upstream-service, or write the address into the template"
        ));
    };
    value.parse().map_err(|_| format!("{variable} of the environment is no address: {value:?}"))
}

fn position(file: &Path, line: u32) -> Position {
    Position { line, ..Position::of_file(&file.to_string_lossy()) }
}

fn error_of(Broken { path, why }: &Broken) -> Error {
    Error::new(&position(path, 0), why)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use tempfile::TempDir;

    use super::*;

    const BASE: &str = "cluster.local:53 {\n bind 127.0.0.1\n forward . 192.0.2.1\n}\n\
                        .:53 {\n bind 127.0.0.2\n forward . __PILLAR__UPSTREAM__SERVERS__\n prometheus :9253\n}\n";

    /// A template with its folder.
    struct World {
        folder: TempDir,
        metrics: Metrics,
        template: Arc<Template>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            std::fs::create_dir(path("kube-dns")).unwrap();
            let place = Place {
                base: path("Corefile.base"),
                kube_dns: Some(path("kube-dns")),
                service: "kube-dns".to_owned(),
                rendered: Some(path("Corefile")),
                port: 53,
                local: Vec::new(),
            };
            let metrics = Metrics::new();
            let template = Arc::new(Template::new(place, &metrics));
            let world = Self { folder, metrics, template };
            world.write("Corefile.base", BASE);
            world
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        /// The zones of what is there now.
        fn look(&self) -> Result<Vec<String>, String> {
            let corefile = self.template.look().map_err(|e| e.to_string())?;
            Ok(corefile.blocks.iter().flat_map(ServerBlock::zones).collect())
        }

        fn errors(&self) -> Option<String> {
            let text = self.metrics.render();
            let series = "coredns_nodecache_setup_errors_total{errortype=\"configmap\"} ";
            text.lines().find_map(|line| line.strip_prefix(series)).map(str::to_owned)
        }

        /// Which file the rendered text is.
        fn inode(&self) -> u64 {
            std::fs::metadata(self.path("Corefile")).unwrap().ino()
        }
    }

    #[test]
    fn every_look_sees_what_is_there_and_writes_what_changed() {
        let world = World::new();
        assert_eq!(world.look().unwrap(), ["cluster.local.", "."]);
        let rendered = || std::fs::read_to_string(world.path("Corefile")).unwrap();
        let want = BASE.replace("__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf");
        assert_eq!(rendered(), want);
        let inode = world.inode();
        world.look().unwrap();
        assert_eq!(world.inode(), inode, "the same text is not written again");

        world.write("kube-dns/stubDomains", r#"{"b.example": ["192.0.2.2"], "a.example": ["192.0.2.1"]}"#);
        world.write("kube-dns/upstreamNameservers", r#"["192.0.2.3"]"#);
        assert_eq!(world.look().unwrap(), ["cluster.local.", ".", "a.example.", "b.example."]);
        let want = BASE.replace("__PILLAR__UPSTREAM__SERVERS__", "192.0.2.3");
        let stub = |domain: &str, server: &str| {
            format!(
                "\n{domain}:53 {{\n    errors\n    cache 30\n    bind 127.0.0.2\n    prometheus :9253\n    \
                 forward . {server}\n}}\n"
            )
        };
        assert_eq!(rendered(), want + &stub("a.example", "192.0.2.1") + &stub("b.example", "192.0.2.2"));
        assert_ne!(world.inode(), inode);
    }

    #[test]
    fn what_is_wrong_is_an_error_that_is_counted_once_and_writes_nothing() {
        let world = World::new();
        world.look().unwrap();
        let inode = world.inode();
        let path = |name: &str| world.path(name).display().to_string();
        let (base, stubs) = (path("Corefile.base"), path("kube-dns/stubDomains"));
        for (count, (name, text, want)) in (1..).zip([
            ("kube-dns/stubDomains", "{", format!("{stubs} - Error during parsing: it is no such JSON: ")),
            (
                "kube-dns/stubDomains",
                r#"{"a": []}"#,
                format!("{stubs} - Error during parsing: a has no servers"),
            ),
            ("Corefile.base", ".:53 {\n forwar . 192.0.2.1\n}\n", format!("{base}:2 - ")),
            ("Corefile.base", ".:53 {\n\n bind __PILLAR__LOCAL__DNS__\n}\n", format!("{base}:3 - ")),
            ("Corefile.base", "", stubs),
        ]) {
            if name == "Corefile.base" {
                let stubs = if text.is_empty() { "[" } else { "{}" };
                world.write("kube-dns/stubDomains", stubs);
            }
            world.write(name, text);
            for _ in 0..2 {
                let error = world.look().unwrap_err();
                assert!(error.starts_with(&want), "{text}: {error}");
            }
            assert_eq!(world.errors(), Some(count.to_string()), "{text}");
        }
        std::fs::remove_file(world.path("Corefile.base")).unwrap();
        world.write("kube-dns/stubDomains", "{}");
        assert!(world.look().unwrap_err().contains("there is no such template"));
        assert_eq!(world.inode(), inode);
    }

    #[test]
    fn a_start_leaves_a_wrong_config_map_out() {
        let world = World::new();
        world.write("kube-dns/stubDomains", r#"{"a.example": "#);
        world.write("kube-dns/upstreamNameservers", r#"["192.0.2.3"]"#);
        assert!(world.template.check().is_err());
        assert!(!world.path("Corefile").exists(), "a check writes nothing");
        let corefile = world.template.start().unwrap();
        assert_eq!(corefile.blocks.len(), 2);
        assert_eq!(corefile.warnings.len(), 1);
        assert_eq!(
            corefile.warnings[0].position.to_string(),
            world.path("kube-dns/stubDomains").display().to_string()
        );
        assert_eq!(world.errors().as_deref(), Some("1"));
        assert!(world.look().is_err(), "and says that it is wrong");
        world.write("Corefile.base", ".:53 {");
        assert!(world.template.start().is_err());
    }

    #[test]
    fn a_text_that_cannot_be_written_is_served() {
        let world = World::new();
        std::fs::create_dir(world.path("Corefile")).unwrap();
        world.write("kube-dns/federations", "a=b");
        let corefile = world.template.start().unwrap();
        assert_eq!(corefile.blocks.len(), 2);
        assert!(corefile.warnings[0].text.contains("federations have no effect"), "{:?}", corefile.warnings);
        assert_eq!(world.errors().as_deref(), Some("1"));
        world.look().unwrap();
        assert_eq!(world.errors().as_deref(), Some("1"), "it is tried once for each text");
    }

    #[test]
    fn stub_domains_are_like_the_block_on_their_port() {
        let parsed = |text| corefile::parse(text, "Corefile", &LoadOptions::default()).unwrap().blocks;
        let blocks = parsed("a:53 {\n}\n.:54 {\n}\nb . {\n}\n");
        assert_eq!(outside(&blocks, 53).map(|b| b.position.line), Some(5));
        assert_eq!(outside(&blocks, 55).map(|b| b.position.line), Some(3));
        assert_eq!(outside(&blocks[..1], 53), None);
    }

    #[test]
    fn the_cluster_s_dns_is_in_the_environment() {
        let env = |name: &str| match name {
            "KUBE_DNS_UPSTREAM_SERVICE_HOST" => Some("10.96.87.4".to_owned()),
            "SIX_SERVICE_HOST" => Some("fd00::a".to_owned()),
            "BAD_SERVICE_HOST" => Some("None".to_owned()),
            _ => None,
        };
        assert_eq!(cluster_dns("kube-dns-upstream", env), Ok(IpAddr::from([10, 96, 87, 4])));
        assert_eq!(cluster_dns("six", env), Ok("fd00::a".parse().unwrap()));
        let error = cluster_dns("kube-dns", env).unwrap_err();
        assert!(error.contains("the environment has no KUBE_DNS_SERVICE_HOST"), "{error}");
        assert!(cluster_dns("bad", env).unwrap_err().contains("\"None\""));
    }
}
