//! node-cache's template: a Corefile with placeholders. An installer fills in most of them, the process the others.
//!
//! Pure: text in, text out. Every line stays where it is, so that what is wrong with the rendered text has the line of
//! the template.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::kube_dns::KubeDns;
use crate::corefile::ServerBlock;

/// Servers for names outside; filled in by the process.
const UPSTREAM_SERVERS: &str = "__PILLAR__UPSTREAM__SERVERS__";

/// Address of the cluster's own DNS; filled in by the process.
const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";

/// A further address to listen on; installers leave it, or fill in nothing, where there is none.
const DNS_SERVER: &str = "__PILLAR__DNS__SERVER__";

/// The addresses that pods ask; an installer's, and filled in by the process where they are known.
const LOCAL_DNS: &str = "__PILLAR__LOCAL__DNS__";

/// What every placeholder begins with.
const PLACEHOLDER: &str = "__PILLAR__";

/// Placeholders that are an installer's, and what it writes there.
const INSTALLERS: [(&str, &str); 2] = [
    (LOCAL_DNS, "the addresses that pods ask, e.g. 169.254.20.10"),
    ("__PILLAR__DNS__DOMAIN__", "the cluster's domain, e.g. cluster.local"),
];

/// Where servers for names outside are if the ConfigMap names none.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The option that does not count for servers of the ConfigMap: these are asked over UDP first.
const FORCE_TCP: &str = "force_tcp";

/// How long answers for stub domains are kept, in seconds.
const STUB_TTL: u32 = 30;

/// Plugins that a stub domain has as the block for names outside has them. Without `bind` it would answer elsewhere;
/// node-cache leaves the others away, so that nobody sees what becomes of these names.
const LIKE_OUTSIDE: [&str; 3] = ["bind", "log", "prometheus"];

/// What placeholders stand for.
pub(super) struct Values<'a> {
    /// The cluster's own DNS, or why it is not known.
    pub(super) cluster_dns: Result<IpAddr, String>,
    /// What the ConfigMap says.
    pub(super) kube_dns: &'a KubeDns,
    /// The addresses that pods ask, if they are known.
    pub(super) local: &'a [IpAddr],
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The line, counted from 1.
    pub(super) line: u32,
    /// What is wrong, and what would be right.
    pub(super) why: String,
}

/// Fills in the template.
///
/// # Errors
/// The first placeholder that nothing is known for. node-cache leaves it, or writes `<nil>`, and CoreDNS then takes it
/// for a name.
pub(super) fn render(base: &str, values: &Values<'_>) -> Result<String, Wrong> {
    let own = &values.kube_dns.upstreams;
    let upstreams = if own.is_empty() { RESOLV_CONF.to_owned() } else { own.join(" ") };
    let mut text = String::with_capacity(base.len());
    // Within the braces of a `forward` to the servers for names outside.
    let mut within = false;
    for (number, line) in (1..).zip(base.split_inclusive('\n')) {
        let (code, comment) = split_comment(line);
        within |= code.contains(UPSTREAM_SERVERS);
        let mut code = code.to_owned();
        if within && !own.is_empty() && code.split_whitespace().any(|word| word == FORCE_TCP) {
            code = without_force_tcp(&code);
        }
        // The line of a `forward` without braces is all of it.
        let closes = code.split_whitespace().any(|word| word == "}");
        within &= !closes && (!code.contains(UPSTREAM_SERVERS) || code.trim_end().ends_with('{'));
        text.push_str(&fill(code, &upstreams, values).map_err(|why| Wrong { line: number, why })?);
        text.push_str(comment);
    }
    Ok(text)
}

/// The blocks of the ConfigMap's stub domains, by name, on `port`. They listen and are watched as `outside` does and
/// is: the block for names outside.
pub(super) fn stub_blocks(kube_dns: &KubeDns, port: u16, outside: Option<&ServerBlock>) -> String {
    let mut like = String::new();
    let directives = outside.into_iter().flat_map(|block| &block.directives);
    for directive in directives.filter(|d| LIKE_OUTSIDE.contains(&d.name.text.as_str())) {
        // Writing to a string does not fail.
        let _ = writeln!(like, "    {directive}");
    }
    let mut text = String::new();
    for (domain, servers) in &kube_dns.stub_domains {
        let servers = servers.join(" ");
        let _ = write!(
            text,
            "\n{domain}:{port} {{\n    errors\n    cache {STUB_TTL}\n{like}    forward . {servers}\n}}\n"
        );
    }
    text
}

/// Fills in the placeholders of a line.
fn fill(code: String, upstreams: &str, values: &Values<'_>) -> Result<String, String> {
    if !code.contains(PLACEHOLDER) {
        return Ok(code);
    }
    let mut code = code.replace(UPSTREAM_SERVERS, upstreams).replace(DNS_SERVER, "");
    if let Some(first) = values.local.first() {
        // With a port behind it there is room for one.
        code = code.replace(&format!("{LOCAL_DNS}:"), &format!("{}:", in_brackets(*first)));
        let all: Vec<_> = values.local.iter().map(ToString::to_string).collect();
        code = code.replace(LOCAL_DNS, &all.join(" "));
    }
    if code.contains(CLUSTER_DNS) {
        let address = values.cluster_dns.as_ref().map_err(|why| format!("{CLUSTER_DNS}: {why}"))?;
        code = code.replace(CLUSTER_DNS, &address.to_string());
    }
    let Some(at) = code.find(PLACEHOLDER) else { return Ok(code) };
    if let Some((name, what)) = INSTALLERS.iter().find(|(name, _)| code[at..].starts_with(name)) {
        return Err(format!("{name} is left in the template: write {what} in its place"));
    }
    let word = code[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    Err(format!("{word} is no placeholder that is known: {UPSTREAM_SERVERS} and {CLUSTER_DNS} are filled in"))
}

/// An address that a port follows.
fn in_brackets(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// A line's words, and its comment with all that follows.
fn split_comment(line: &str) -> (&str, &str) {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let at = line.match_indices('#').find(begins).map_or(line.len(), |(at, _)| at);
    line.split_at(at)
}

/// The line without the option; empty where it has nothing else.
fn without_force_tcp(code: &str) -> String {
    let rest = code.replace(FORCE_TCP, "");
    if rest.trim().is_empty() { "\n".to_owned() } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corefile::{self, LoadOptions};

    fn kube_dns(stub_domains: &[(&str, &[&str])], upstreams: &[&str]) -> KubeDns {
        let owned = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        KubeDns {
            stub_domains: stub_domains.iter().map(|(d, servers)| ((*d).to_owned(), owned(servers))).collect(),
            upstreams: owned(upstreams),
        }
    }

    /// Rendered with 10.96.87.4 as the cluster's DNS and these servers for names outside.
    fn rendered(base: &str, upstreams: &[&str]) -> Result<String, Wrong> {
        let kube_dns = kube_dns(&[], upstreams);
        let cluster_dns = Ok(IpAddr::from([10, 96, 87, 4]));
        render(base, &Values { cluster_dns, kube_dns: &kube_dns, local: &[] })
    }

    fn blocks(text: &str) -> Vec<String> {
        let corefile = corefile::parse(text, "Corefile", &LoadOptions::default());
        corefile.unwrap_or_else(|e| panic!("{e}\n{text}")).blocks.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lines_are_filled_in_where_they_are() {
        const TCP: &str = "    forward . __PILLAR__UPSTREAM__SERVERS__ {\n            force_tcp\n    }\n";
        const MORE: &str =
            "forward . __PILLAR__UPSTREAM__SERVERS__ {\n\tforce_tcp\n\texpire 20s\n}\nforce_tcp\n";
        struct Case {
            name: &'static str,
            base: &'static str,
            upstreams: &'static [&'static str],
            want: &'static str,
        }
        let own = &["1.1.1.1", "[2001:db8::1]:53"][..];
        for case in [
            Case {
                name: "nothing to fill in",
                base: ".:53 {\n errors\n}",
                upstreams: own,
                want: ".:53 {\n errors\n}",
            },
            Case {
                name: "the host's servers",
                base: "forward . __PILLAR__UPSTREAM__SERVERS__\r\n",
                upstreams: &[],
                want: "forward . /etc/resolv.conf\r\n",
            },
            Case {
                name: "the ConfigMap's servers",
                base: "forward . __PILLAR__UPSTREAM__SERVERS__\nforce_tcp\n",
                upstreams: own,
                want: "forward . 1.1.1.1 [2001:db8::1]:53\nforce_tcp\n",
            },
            Case {
                name: "the host's servers over TCP",
                base: TCP,
                upstreams: &[],
                want: "    forward . /etc/resolv.conf {\n            force_tcp\n    }\n",
            },
            Case {
                name: "the ConfigMap's servers over UDP",
                base: TCP,
                upstreams: &["1.1.1.1"],
                want: "    forward . 1.1.1.1 {\n\n    }\n",
            },
            Case {
                name: "however it is written, and no further than its braces",
                base: MORE,
                upstreams: &["1.1.1.1"],
                want: "forward . 1.1.1.1 {\n\n\texpire 20s\n}\nforce_tcp\n",
            },
            Case {
                name: "on one line",
                base: "forward . __PILLAR__UPSTREAM__SERVERS__ { force_tcp }\nforce_tcp\n",
                upstreams: &["1.1.1.1"],
                want: "forward . 1.1.1.1 {  }\nforce_tcp\n",
            },
            Case {
                name: "the cluster's DNS, over TCP whatever the ConfigMap says",
                base: "forward . __PILLAR__CLUSTER__DNS__ {\n force_tcp\n}\n",
                upstreams: own,
                want: "forward . 10.96.87.4 {\n force_tcp\n}\n",
            },
            Case {
                name: "an address that there is not",
                base: "bind 169.254.20.10 __PILLAR__DNS__SERVER__\n",
                upstreams: &[],
                want: "bind 169.254.20.10 \n",
            },
            Case {
                name: "comments are for people",
                base: "# __PILLAR__X__\nlog # __PILLAR__LOCAL__DNS__ is 169.254.20.10\na#b\n",
                upstreams: &[],
                want: "# __PILLAR__X__\nlog # __PILLAR__LOCAL__DNS__ is 169.254.20.10\na#b\n",
            },
        ] {
            assert_eq!(rendered(case.base, case.upstreams).as_deref(), Ok(case.want), "{}", case.name);
        }
    }

    #[test]
    fn what_is_left_is_an_error_with_its_line() {
        for (base, line, want) in [
            ("\nbind __PILLAR__LOCAL__DNS__\n", 2, "write the addresses that pods ask, e.g. 169.254.20.10"),
            ("__PILLAR__DNS__DOMAIN__:53 {\n", 1, "write the cluster's domain, e.g. cluster.local"),
            ("\n\nforward . __PILLAR__DNS__:53\n", 3, "__PILLAR__DNS__ is no placeholder that is known"),
        ] {
            let wrong = rendered(base, &[]).unwrap_err();
            assert!(wrong.line == line && wrong.why.contains(want), "{base:?}: {wrong:?}");
        }
        let kube_dns = KubeDns::default();
        let values = Values { cluster_dns: Err("no Service".to_owned()), kube_dns: &kube_dns, local: &[] };
        let wrong = render("\nforward . __PILLAR__CLUSTER__DNS__\n", &values).unwrap_err();
        assert_eq!(wrong, Wrong { line: 2, why: "__PILLAR__CLUSTER__DNS__: no Service".to_owned() });
        assert_eq!(
            render("# __PILLAR__CLUSTER__DNS__", &values).as_deref(),
            Ok("# __PILLAR__CLUSTER__DNS__")
        );
    }

    #[test]
    fn addresses_that_an_installer_has_left_are_filled_in_where_they_are_known() {
        const BASE: &str =
            "bind __PILLAR__LOCAL__DNS__ __PILLAR__DNS__SERVER__\nhealth __PILLAR__LOCAL__DNS__:8080\n";
        let kube_dns = KubeDns::default();
        for (local, want) in [
            (
                &["169.254.20.10", "10.96.0.10"][..],
                "bind 169.254.20.10 10.96.0.10 \nhealth 169.254.20.10:8080\n",
            ),
            (&["fd00:20::10"], "bind fd00:20::10 \nhealth [fd00:20::10]:8080\n"),
        ] {
            let local: Vec<_> = local.iter().map(|address| address.parse().unwrap()).collect();
            let values =
                Values { cluster_dns: Err("no Service".to_owned()), kube_dns: &kube_dns, local: &local };
            assert_eq!(render(BASE, &values).as_deref(), Ok(want));
        }
    }

    /// Installers' templates, and what their caches are known to serve.
    #[test]
    fn templates_in_the_field() {
        const STUB: &[(&str, &[&str])] = &[("corp.example", &["10.9.0.53", "10.9.1.53"])];
        struct Case {
            name: &'static str,
            base: &'static str,
            /// What the installer fills in.
            installed: &'static [(&'static str, &'static str)],
            cluster_dns: [u8; 4],
            stub_domains: &'static [(&'static str, &'static [&'static str])],
            want: &'static str,
        }
        for case in [
            Case {
                name: "the addon's, with kube-proxy's iptables",
                base: include_str!("../../../tests/nodecache/addon.base"),
                installed: &[
                    ("__PILLAR__DNS__DOMAIN__", "cluster.local"),
                    ("__PILLAR__LOCAL__DNS__", "169.254.20.10"),
                    ("__PILLAR__DNS__SERVER__", "10.96.0.10"),
                ],
                cluster_dns: [10, 96, 87, 4],
                stub_domains: &[],
                want: include_str!("../../../tests/corefile/fixtures/node-local.corefile"),
            },
            Case {
                name: "the addon's of old, with ipvs",
                base: include_str!("../../../tests/nodecache/addon-tcp.base"),
                installed: &[
                    ("__PILLAR__DNS__DOMAIN__", "cluster.local"),
                    ("__PILLAR__LOCAL__DNS__", "169.254.20.10"),
                    ("__PILLAR__CLUSTER__DNS__", "10.96.0.10"),
                ],
                cluster_dns: [192, 0, 2, 1],
                stub_domains: STUB,
                want: include_str!("../../../tests/corefile/fixtures/node-local-ipvs.corefile"),
            },
            Case {
                name: "kubespray's",
                base: include_str!("../../../tests/nodecache/kubespray.base"),
                installed: &[],
                cluster_dns: [10, 233, 0, 3],
                stub_domains: &[],
                want: include_str!("../../../tests/corefile/fixtures/kubespray-node-local.corefile"),
            },
        ] {
            let base =
                case.installed.iter().fold(case.base.to_owned(), |text, (from, to)| text.replace(from, to));
            let kube_dns = kube_dns(case.stub_domains, &[]);
            let values = Values { cluster_dns: Ok(case.cluster_dns.into()), kube_dns: &kube_dns, local: &[] };
            let text = render(&base, &values).unwrap_or_else(|e| panic!("{}: {e:?}", case.name));
            assert_eq!(text.lines().count(), base.lines().count(), "{}", case.name);
            // node-cache watches nothing of a stub domain.
            let stubs =
                stub_blocks(&kube_dns, 53, Some(&outside(&text))).replace("    prometheus :9253\n", "");
            let sorted = |text: &str| {
                let words = |block: &String| {
                    let mut lines: Vec<_> = block.lines().map(str::to_owned).collect();
                    // The order of directives is the reader's taste.
                    lines[1..].sort_unstable();
                    lines
                };
                blocks(text).iter().map(words).collect::<Vec<_>>()
            };
            assert_eq!(sorted(&(text + &stubs)), sorted(case.want), "{}", case.name);
        }
    }

    /// The last block of a text.
    fn outside(text: &str) -> ServerBlock {
        let corefile = corefile::parse(text, "Corefile", &LoadOptions::default());
        corefile.unwrap_or_else(|e| panic!("{e}\n{text}")).blocks.pop().unwrap()
    }

    #[test]
    fn stub_domains_come_by_name_and_are_like_the_block_for_names_outside() {
        let kube_dns = kube_dns(
            &[("z.example", &["192.0.2.2"]), ("a.example", &["192.0.2.1:54", "tls://192.0.2.3"])],
            &[],
        );
        let block = outside(
            ".:53 {\n log . {\n class error\n }\n errors x\n loop\n bind 127.0.0.1\n prometheus :9253\n}\n",
        );
        let want = "\na.example:1053 {\n    errors\n    cache 30\n    log . {\n        class error\n    }\n    \
                    bind 127.0.0.1\n    prometheus :9253\n    forward . 192.0.2.1:54 tls://192.0.2.3\n}\n\
                    \nz.example:1053 {\n    errors\n    cache 30\n    log . {\n        class error\n    }\n    \
                    bind 127.0.0.1\n    prometheus :9253\n    forward . 192.0.2.2\n}\n";
        assert_eq!(stub_blocks(&kube_dns, 1053, Some(&block)), want);
        let want = "\na.example:53 {\n    errors\n    cache 30\n    forward . 192.0.2.1\n}\n";
        let one = self::kube_dns(&[("a.example", &["192.0.2.1"])], &[]);
        assert_eq!(stub_blocks(&one, 53, None), want);
        assert_eq!(stub_blocks(&KubeDns::default(), 53, Some(&block)), "");
    }
}
