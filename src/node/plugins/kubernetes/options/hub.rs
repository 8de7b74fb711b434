//! The lines about hubs: where they are, who is believed, and what is asked of them.
//!
//! Invariants:
//! * A block that has hubs never contacts the API server, whatever else it says.
//! * Hubs beyond loopback are reached by TLS, unless somebody has written that anybody may be believed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::corefile::{Error, Line, Statement, Token};
use crate::source::hub::access::{self, HubAccess};
use crate::trust::config::{DEFAULT_GRACE, TlsFiles, TrustConfig, check_grace, check_plain};

/// Most hubs that may be named: a few replicas, with an address of each family.
pub const MAX_SEEDS: usize = 32;

/// What flags and environment variables say of hubs, ahead of the Corefile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubOverrides {
    /// `hub`; empty leaves it to the Corefile.
    pub seeds: Vec<SocketAddr>,
    /// Hubs are meant, but nobody knows where they are: there is none to dial, and what a snapshot holds is served.
    pub unknown: bool,
    /// The first of `hub_tls`.
    pub ca: Option<PathBuf>,
    /// The second of `hub_tls`.
    pub cert: Option<PathBuf>,
    /// The third of `hub_tls`.
    pub key: Option<PathBuf>,
    /// `hub_plain`
    pub plain: bool,
    /// `cert_grace`
    pub grace: Option<Duration>,
    /// `endpoints`, whether it says `headless`.
    pub headless_only: Option<bool>,
}

impl HubOverrides {
    /// Whether hubs are meant to be followed.
    pub const fn any(&self) -> bool {
        !self.seeds.is_empty() || self.unknown
    }
}

/// What the block says.
#[derive(Default)]
pub(super) struct HubLines {
    /// `hub ADDRESS...`
    seeds: Vec<SocketAddr>,
    /// `hub_tls CA CERT KEY`
    tls: Option<[PathBuf; 3]>,
    /// `hub_plain`
    plain: bool,
    /// `cert_grace DURATION`
    grace: Option<Duration>,
    /// `endpoints all|headless`
    headless_only: Option<bool>,
    /// The first word of each line, to say which of them have no effect.
    lines: Vec<Token>,
}

impl HubLines {
    /// Takes a line, if it is one of these.
    pub(super) fn take(&mut self, line: &Line) -> Result<bool, Error> {
        match line.name().text.as_str() {
            "hub" => {
                for word in line.expect_args(1..=usize::MAX, "hub ADDRESS...")? {
                    let seed = access::address(&word.text);
                    self.seeds.push(seed.map_err(|e| word.error(format!("plugin/kubernetes: {e}")))?);
                }
                if self.seeds.len() > MAX_SEEDS {
                    let text = format!(
                        "plugin/kubernetes: more than {MAX_SEEDS} hubs: name a few, they tell of the others"
                    );
                    return Err(line.error(text));
                }
            }
            "hub_tls" => {
                const USAGE: &str = "hub_tls CA CERT KEY";
                let [ca, cert, key] = line.expect_args(3..=3, USAGE)? else {
                    return Err(line.error(format!("plugin/kubernetes: write '{USAGE}'")));
                };
                self.tls = Some([ca, cert, key].map(|word| PathBuf::from(&word.text)));
            }
            "hub_plain" => {
                line.no_args()?;
                self.plain = true;
            }
            "cert_grace" => {
                let word = line.one_arg("cert_grace DURATION")?;
                let grace = check_grace(word.duration()?);
                self.grace = Some(grace.map_err(|e| word.error(format!("plugin/kubernetes: {e}")))?);
            }
            "endpoints" => {
                let word = line.one_arg("endpoints all|headless")?;
                self.headless_only = Some(word.choice(&[("all", false), ("headless", true)])?);
            }
            _ => return Ok(false),
        }
        self.lines.push(line.name().clone());
        Ok(true)
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[Token] {
        &self.lines
    }

    /// The lines that have no effect when hubs are reached so, each with the reason.
    pub(super) fn idle<'a>(
        &'a self,
        trust: &'a TrustConfig,
    ) -> impl Iterator<Item = (&'a Token, &'static str)> {
        let reason = move |line: &Token| match (trust, line.text.as_str()) {
            (TrustConfig::Plain, "cert_grace" | "hub_tls") => Some("hubs are reached without TLS"),
            (TrustConfig::Tls(_), "hub_plain") => Some("flags name the files of TLS"),
            _ => None,
        };
        self.lines.iter().filter_map(move |line| Some((line, reason(line)?)))
    }

    /// Whether any hub is configured.
    pub(super) fn any(&self, overrides: &HubOverrides) -> bool {
        !self.seeds.is_empty() || overrides.any()
    }

    /// Where the hubs are and how they are reached; `name` is this node's.
    ///
    /// # Errors
    /// There is none, or nothing says who is believed; the text says what would.
    pub(super) fn access(&self, overrides: &HubOverrides, name: &str) -> Result<HubAccess, String> {
        let mut seeds = if overrides.seeds.is_empty() { &self.seeds } else { &overrides.seeds }.clone();
        seeds.sort_unstable();
        seeds.dedup();
        if seeds.is_empty() && !overrides.unknown {
            return Err("nothing says where the hubs are: write 'hub ADDRESS...' in this block, --hub or OUTLAST_HUB, \
                        with IP or IP:PORT"
                .to_owned());
        }
        let trust = self.trust(overrides, &seeds)?;
        let headless_only = overrides.headless_only.or(self.headless_only).unwrap_or(false);
        Ok(HubAccess { seeds, trust, headless_only, name: name.to_owned() })
    }

    /// Who is believed. What flags say of it is ahead of the block as a whole, but for the single files.
    fn trust(&self, overrides: &HubOverrides, seeds: &[SocketAddr]) -> Result<TrustConfig, String> {
        let flags = [&overrides.ca, &overrides.cert, &overrides.key];
        let flagged = flags.iter().any(|file| file.is_some());
        if overrides.plain && flagged || !overrides.plain && !flagged && self.plain && self.tls.is_some() {
            return Err(
                "'hub_plain' and 'hub_tls' exclude each other: hubs are believed by their certificates, or \
                        anybody is"
                    .to_owned(),
            );
        }
        let lines = if overrides.plain { None } else { self.tls.as_ref() };
        if flagged || lines.is_some() {
            let [ca, cert, key] = [0, 1, 2].map(|n| flags[n].as_ref().or_else(|| Some(&lines?[n])).cloned());
            let (Some(ca), Some(cert), Some(key)) = (ca, cert, key) else {
                return Err("TLS takes three files: --hub-tls-ca, --hub-tls-cert and --hub-tls-key, or 'hub_tls CA CERT \
                            KEY' in the block"
                    .to_owned());
            };
            let grace = overrides.grace.or(self.grace).unwrap_or(DEFAULT_GRACE);
            return Ok(TrustConfig::Tls(TlsFiles { ca, cert, key, grace }));
        }
        check_plain(seeds, overrides.plain || self.plain).map_err(|e| {
            format!("hub {e}: 'hub_tls CA CERT KEY' or 'hub_plain' in this block, or the flags")
        })?;
        Ok(TrustConfig::Plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::setup::Overrides;
    use crate::source::SourceConfig;
    use crate::source::choice::SourceChoice;
    use crate::testkit::node::Builder;

    /// What a block with these lines says of its hubs, or why not.
    fn access(lines: &str, hub: HubOverrides) -> Result<HubAccess, String> {
        let text = format!("cluster.local:53 {{\n kubernetes {{\n {lines}\n }}\n}}\n");
        let overrides = Overrides { hub, ..Overrides::default() };
        let builder = Builder::default().overrides(overrides).node_name("n1").in_cluster();
        let mut plan = builder.check(&text).map_err(|e| e.to_string())?;
        match plan.process.stores.remove(0).0.source {
            SourceConfig::Hub(access) => Ok(access),
            other => Err(other.to_string()),
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|t| t.parse().expect("an address")).collect()
    }

    fn flags(seeds: &[&str]) -> HubOverrides {
        HubOverrides { seeds: addresses(seeds), ..HubOverrides::default() }
    }

    fn files(names: [&str; 3], grace: Duration) -> TrustConfig {
        let [ca, cert, key] = names.map(PathBuf::from);
        TrustConfig::Tls(TlsFiles { ca, cert, key, grace })
    }

    #[test]
    fn hubs_are_the_source_wherever_they_are_named() {
        let block = access("hub 127.0.0.1 [::1]:7\n hub 127.0.0.1", HubOverrides::default());
        let block = block.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(block.seeds, addresses(&["127.0.0.1:9953", "[::1]:7"]));
        assert_eq!(
            (block.trust, block.headless_only, block.name.as_str()),
            (TrustConfig::Plain, false, "n1")
        );
        let flag = access("hub 127.0.0.1", flags(&["127.0.0.2:1"])).map(|access| access.seeds);
        assert_eq!(flag, Ok(addresses(&["127.0.0.2:1"])));
        let alone = access("", flags(&["127.0.0.2:1"])).map(|access| access.seeds);
        assert_eq!(alone, Ok(addresses(&["127.0.0.2:1"])));
        let headless = access("hub 127.0.0.1\n endpoints headless", HubOverrides::default());
        assert_eq!(headless.map(|access| access.headless_only), Ok(true));
        let all = HubOverrides { headless_only: Some(false), ..HubOverrides::default() };
        let all = access("hub 127.0.0.1\n endpoints headless", all);
        assert_eq!(all.map(|access| access.headless_only), Ok(false));
    }

    #[test]
    fn whom_to_believe() {
        let hour = Duration::from_secs(3600);
        let some = |name: &str| Some(PathBuf::from(name));
        let tls = "hub 10.0.0.1\n hub_tls a b c";
        for (name, lines, hub, want) in [
            (
                "by the files",
                tls.to_owned(),
                HubOverrides::default(),
                Ok(files(["a", "b", "c"], DEFAULT_GRACE)),
            ),
            (
                "grace of the block",
                format!("{tls}\n cert_grace 1h"),
                HubOverrides::default(),
                Ok(files(["a", "b", "c"], hour)),
            ),
            (
                "single files of flags",
                format!("{tls}\n cert_grace 1h"),
                HubOverrides { key: some("k"), grace: Some(hour * 2), ..HubOverrides::default() },
                Ok(files(["a", "b", "k"], hour * 2)),
            ),
            (
                "all files of flags",
                "hub 10.0.0.1".to_owned(),
                HubOverrides { ca: some("x"), cert: some("y"), key: some("z"), ..HubOverrides::default() },
                Ok(files(["x", "y", "z"], DEFAULT_GRACE)),
            ),
            (
                "files of flags are ahead of hub_plain in the block",
                "hub 10.0.0.1\n hub_plain".to_owned(),
                HubOverrides { ca: some("x"), cert: some("y"), key: some("z"), ..HubOverrides::default() },
                Ok(files(["x", "y", "z"], DEFAULT_GRACE)),
            ),
            (
                "anybody",
                "hub 10.0.0.1\n hub_plain".to_owned(),
                HubOverrides::default(),
                Ok(TrustConfig::Plain),
            ),
            (
                "anybody, by a flag",
                tls.to_owned(),
                HubOverrides { plain: true, ..HubOverrides::default() },
                Ok(TrustConfig::Plain),
            ),
            (
                "nobody",
                "hub 127.0.0.1 10.0.0.1".to_owned(),
                HubOverrides::default(),
                Err("10.0.0.1:9953 is not on loopback"),
            ),
            (
                "two files of three",
                "hub 10.0.0.1".to_owned(),
                HubOverrides { ca: some("x"), cert: some("y"), ..HubOverrides::default() },
                Err("TLS takes three files"),
            ),
            ("both", format!("{tls}\n hub_plain"), HubOverrides::default(), Err("exclude each other")),
            (
                "both by flags",
                "hub 10.0.0.1".to_owned(),
                HubOverrides { plain: true, ca: some("x"), ..HubOverrides::default() },
                Err("exclude each other"),
            ),
        ] {
            match (access(&lines, hub).map(|access| access.trust), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{name}"),
                (Err(got), Err(want)) => assert!(got.contains(want), "{name}: {got}"),
                (got, want) => panic!("{name}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn a_node_with_hubs_never_contacts_the_api_server() {
        let text =
            "cluster.local:53 {\n kubernetes {\n hub 127.0.0.1\n kubeconfig /k\n apiserver_qps 5\n }\n}\n";
        let plan = Builder::default().in_cluster().check(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(plan.process.stores[0].0.source.to_string(), "hub:127.0.0.1:9953");
        let warned: Vec<_> = plan.process.warnings.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(
            warned,
            [
                "'kubeconfig' has no effect: the source is hub:127.0.0.1:9953",
                "'apiserver_qps' has no effect: the source is hub:127.0.0.1:9953",
            ]
        );
        for lines in ["source apiserver\n hub 127.0.0.1", "hub 127.0.0.1\n source apiserver\n kubeconfig /k"]
        {
            let error = access(lines, HubOverrides::default()).unwrap_err();
            assert!(error.contains("a node that has hubs never contacts the API server"), "{error}");
        }
        let error = access("source hub", HubOverrides::default()).unwrap_err();
        assert!(error.contains("nothing says where the hubs are"), "{error}");
    }

    #[test]
    fn lines_about_hubs_without_one_are_warned_of() {
        for (lines, want) in [
            ("source file x\n hub 127.0.0.1", &["'hub' has no effect: the source is file:x"][..]),
            (
                "endpoints headless\n hub_plain",
                &[
                    "'endpoints' has no effect: the source is apiserver:in-cluster",
                    "'hub_plain' has no effect: the source is apiserver:in-cluster",
                ],
            ),
            ("hub 127.0.0.1\n guard off", &["'guard' has no effect: hubs judge for their nodes"]),
            ("hub 127.0.0.1\n cert_grace 1h", &["'cert_grace' has no effect: hubs are reached without TLS"]),
        ] {
            let text = format!("cluster.local:53 {{\n kubernetes {{\n {lines}\n }}\n}}\n");
            let plan = Builder::default().in_cluster().check(&text).unwrap_or_else(|e| panic!("{e}"));
            let warned: Vec<_> = plan.process.warnings.iter().map(|w| w.text.as_str()).collect();
            assert_eq!(warned, want, "{lines}");
        }
    }

    #[test]
    fn a_flag_for_hubs_decides_the_source_unless_a_file_is_named() {
        for (choice, want) in [
            (None, "hub:127.0.0.1:1"),
            (Some(SourceChoice::Auto), "hub:127.0.0.1:1"),
            (Some(SourceChoice::Hub), "hub:127.0.0.1:1"),
            (Some(SourceChoice::File("f".into())), "file:f"),
        ] {
            let overrides =
                Overrides { source: choice, hub: flags(&["127.0.0.1:1"]), ..Overrides::default() };
            let plan = Builder::default().overrides(overrides).check("cluster.local {\n kubernetes\n}\n");
            let plan = plan.unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(plan.process.stores[0].0.source.to_string(), want);
        }
    }
}
