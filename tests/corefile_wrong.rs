//! Corefiles that are well formed and still wrong for the plugins: where the error is said to be, and what it
//! says would be right.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "not every test needs all of it")]
mod process;

use outlast::node::plugins::PLUGINS;
use outlast::node::plugins::refused::REFUSED;
use outlast::testkit::node::Builder;

struct Case {
    name: &'static str,
    text: String,
    line: u32,
    /// Parts of the message.
    message: &'static [&'static str],
}

/// A case whose text is given in full.
fn case(name: &'static str, text: impl Into<String>, line: u32, message: &'static [&'static str]) -> Case {
    Case { name, text: text.into(), line, message }
}

/// A case of one directive, which begins on line 2.
fn directive(name: &'static str, directive: &str, line: u32, message: &'static [&'static str]) -> Case {
    case(name, format!(".:0 {{\n{directive}\n}}\n"), line, message)
}

/// A case of one line in a `kubernetes` block, which is on line 4.
fn kubernetes(name: &'static str, line: &str, message: &'static [&'static str]) -> Case {
    case(name, kubernetes_text(line), 4, message)
}

fn kubernetes_text(line: &str) -> String {
    format!(".:0 {{\nkubernetes cluster.local {{\nsource file cluster.yaml\n{line}\n}}\n}}\n")
}

/// A case of one line in a `forward` block, which is on line 3.
fn forward(name: &'static str, line: &str, message: &'static [&'static str]) -> Case {
    directive(name, &format!("forward . 192.0.2.1 {{\n{line}\n}}"), 3, message)
}

fn check(cases: &[Case]) {
    for case in cases {
        let Err(error) = Builder::default().check(&case.text) else { panic!("{}: accepted", case.name) };
        let text = error.to_string();
        let place = format!("Corefile:{} - Error during parsing: ", case.line);
        assert!(text.starts_with(&place), "{}: not on line {}: {text}", case.name, case.line);
        for part in case.message {
            assert!(text.contains(part), "{}: no {part:?} in: {text}", case.name);
        }
    }
}

#[test]
fn kubernetes_lines() {
    check(&[
        kubernetes(
            "unknown property",
            "flavour sweet",
            &["unknown property 'flavour'", "known are: endpoint, tls"],
        ),
        kubernetes(
            "a slip",
            "namespace shop",
            &["unknown property 'namespace'", "did you mean 'namespaces'?"],
        ),
        kubernetes("ttl too long", "ttl 3601", &["'3601' is not a whole number from 0 to 3600"]),
        kubernetes("ttl negative", "ttl -1", &["from 0 to 3600"]),
        kubernetes("ttl with a unit", "ttl 30s", &["from 0 to 3600"]),
        kubernetes("ttl without a number", "ttl", &["write 'ttl SECONDS'"]),
        kubernetes("pods of no mode", "pods maybe", &["must be one of: disabled, insecure, verified"]),
        kubernetes("pods without a mode", "pods", &["write 'pods disabled|insecure|verified'"]),
        kubernetes("namespaces without names", "namespaces", &["write 'namespaces NAMESPACE...'"]),
        kubernetes("labels without a selector", "labels", &["write 'labels SELECTOR'"]),
        kubernetes(
            "namespace_labels without one",
            "namespace_labels",
            &["write 'namespace_labels SELECTOR'"],
        ),
        kubernetes("a selector that is none", "labels app in (", &["plugin/kubernetes: ", "app in ("]),
        kubernetes(
            "endpoint_pod_names with a word",
            "endpoint_pod_names yes",
            &["write 'endpoint_pod_names'"],
        ),
        kubernetes("noendpoints with a word", "noendpoints yes", &["write 'noendpoints'"]),
        kubernetes("fallthrough to no zone", "fallthrough a..b", &["a..b"]),
        kubernetes("ignore what cannot be", "ignore everything", &["must be one of: empty_service"]),
        kubernetes("endpoint without a URL", "endpoint", &["write 'endpoint URL'"]),
        kubernetes("two endpoints", "endpoint https://a https://b", &["write 'endpoint URL'"]),
        kubernetes(
            "an endpoint that is an address",
            "endpoint 10.96.0.1:443",
            &["'10.96.0.1:443' is not a URL", "write https://HOST:PORT or http://HOST:PORT"],
        ),
        kubernetes("an endpoint of another kind", "endpoint ftp://10.96.0.1", &["write https://HOST:PORT"]),
        kubernetes("an endpoint without a host", "endpoint https://", &["write https://HOST:PORT"]),
        kubernetes("an endpoint without a port", "endpoint https://a:b", &["write https://HOST:PORT"]),
        kubernetes("an endpoint that asks", "endpoint https://a/?b=c", &["without what follows '?'"]),
        kubernetes(
            "an endpoint that tells a password",
            "endpoint https://admin:secret@a",
            &["plugin/kubernetes: a URL with a user or a password", "'kubeconfig FILE'"],
        ),
        kubernetes("tls with too little", "tls a b", &["write 'tls CERT KEY CACERT'"]),
        kubernetes("tls with too much", "tls a b c d", &["write 'tls CERT KEY CACERT'"]),
        kubernetes("kubeconfig without a file", "kubeconfig", &["write 'kubeconfig FILE [CONTEXT]'"]),
        kubernetes("kubeconfig with too much", "kubeconfig a b c", &["write 'kubeconfig FILE [CONTEXT]'"]),
        kubernetes(
            "qps that is no number",
            "apiserver_qps many",
            &["'many' is not a whole number from 1 to 4294967295"],
        ),
        kubernetes("qps of nothing", "apiserver_qps", &["write 'apiserver_qps NUMBER'"]),
        kubernetes("no requests at all", "apiserver_qps 0", &["'0' is not a whole number from 1"]),
        kubernetes("half a burst", "apiserver_burst 0.5", &["'0.5' is not a whole number from 1"]),
        kubernetes("no burst at all", "apiserver_burst 0", &["'0' is not a whole number from 1"]),
        kubernetes("nothing in flight", "apiserver_max_inflight 0", &["'0' is not a whole number from 1"]),
        kubernetes(
            "too much in flight",
            "apiserver_max_inflight 4294967296",
            &["is not a whole number from 1 to 4294967295"],
        ),
        kubernetes(
            "two in flights",
            "apiserver_max_inflight 1 2",
            &["write 'apiserver_max_inflight NUMBER'"],
        ),
        kubernetes("startup_timeout without a unit", "startup_timeout 5", &["write 5s for seconds"]),
        kubernetes("snapshot nowhere", "snapshot", &["write 'snapshot DIR'"]),
        kubernetes(
            "snapshots all the time",
            "snapshot_interval 100ms",
            &["'snapshot_interval' is from 1s to 3600s"],
        ),
        kubernetes("snapshots never", "snapshot_interval 2h", &["'snapshot_interval' is from 1s to 3600s"]),
        kubernetes("stale_after without a unit", "stale_after 30", &["write 30s for seconds"]),
        kubernetes("max_stale that is no time", "max_stale forever", &["as in 300ms, 5s or 1m30s"]),
        kubernetes("fallback to nobody", "fallback", &["write 'fallback ADDRESS...'"]),
        kubernetes("fallback to a name", "fallback dns.example", &["neither an address nor a file"]),
        kubernetes("hub nowhere", "hub", &["write 'hub ADDRESS...'"]),
        kubernetes(
            "a hub by name",
            "hub hubs.example",
            &["is not the address of a hub", "IP:PORT", "never looked up by name"],
        ),
        kubernetes("hub_tls without a key", "hub_tls ca cert", &["write 'hub_tls CA CERT KEY'"]),
        kubernetes("hub_plain and more", "hub_plain yes", &["'hub_plain yes': write 'hub_plain'"]),
        kubernetes("grace for a year", "cert_grace 8760h", &["at most 90 days"]),
        kubernetes("some endpoints", "endpoints some", &["must be one of: all, headless"]),
        kubernetes("half a guard", "guard half", &["must be one of: on, off"]),
        kubernetes(
            "a guard for a second",
            "guard_hold 1s",
            &["'guard_hold' is from 1m to 168h", "'guard off'"],
        ),
        kubernetes("multicluster", "multicluster clusterset.local", &["'multicluster' is not supported"]),
        kubernetes("zonal", "zonal", &["'zonal' is not supported"]),
        kubernetes("upstream, of old", "upstream", &["'upstream' was removed", "remove the line"]),
        kubernetes("resyncperiod, of old", "resyncperiod 5m", &["'resyncperiod' was removed"]),
        kubernetes("transfer, of old", "transfer to *", &["'transfer' was removed"]),
        kubernetes(
            "source of no kind",
            "source etcd x",
            &["no source 'etcd'", "write 'source auto|hub|apiserver|file PATH'"],
        ),
        kubernetes(
            "source hub somewhere",
            "source hub 10.0.0.1",
            &["'hub' stands alone", "'hub ADDRESS...'"],
        ),
        kubernetes(
            "an API server in place",
            "source apiserver https://a",
            &["'apiserver' stands alone", "'endpoint URL'"],
        ),
        kubernetes("auto with a word", "source auto a", &["'auto' stands alone", "'kubeconfig FILE'"]),
        kubernetes("a file without a path", "source file", &["needs a path", "write 'source file PATH'"]),
        kubernetes("source of nothing", "source", &["write 'source auto|hub|apiserver|file PATH'"]),
        kubernetes("two paths", "source file a b", &["write 'source auto|hub|apiserver|file PATH'"]),
    ]);
}

#[test]
fn kubernetes_as_a_whole() {
    let source = "source file c.yaml";
    check(&[
        directive(
            "no API server: this is no pod",
            "kubernetes cluster.local",
            2,
            &[
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set in pods only",
                "write 'kubeconfig FILE', 'endpoint URL' or 'source file PATH'",
            ],
        ),
        directive(
            "the same, on purpose",
            "kubernetes cluster.local {\nsource apiserver\ntls a b c\n}",
            2,
            &["nothing says where the API server is"],
        ),
        directive(
            "hubs, and nothing says where",
            "kubernetes cluster.local {\nsource hub\n}",
            2,
            &["nothing says where the hubs are", "'hub ADDRESS...'"],
        ),
        directive(
            "hubs beyond loopback",
            "kubernetes cluster.local {\nhub 10.0.0.1\n}",
            2,
            &["10.0.0.1:9953 is not on loopback", "'hub_tls CA CERT KEY' or 'hub_plain'"],
        ),
        directive(
            "hubs and the API server",
            "kubernetes cluster.local {\nhub ::1\nsource apiserver\n}",
            2,
            &["exclude each other", "never contacts the API server"],
        ),
        directive(
            "reverse zones only",
            &format!("kubernetes in-addr.arpa ip6.arpa {{\n{source}\n}}"),
            2,
            &["at least one zone must not be a reverse zone", "'cluster.local'"],
        ),
        directive(
            "namespaces and their labels",
            &format!("kubernetes cluster.local {{\n{source}\nnamespaces a\nnamespace_labels b=c\n}}"),
            2,
            &["'namespaces' and 'namespace_labels' exclude each other"],
        ),
        directive(
            "twice",
            &format!("kubernetes cluster.local {{\n{source}\n}}\nkubernetes other.local {{\n{source}\n}}"),
            5,
            &["can only be used once per Server Block", "already at Corefile:2"],
        ),
        case(
            "two stores in one folder",
            format!(
                "a:0 {{\nkubernetes a {{\n{source}\nsnapshot s\n}}\n}}\nb:0 {{\nkubernetes b {{\n{source}\nsnapshot s\n}}\n}}\n"
            ),
            8,
            &["s is already the snapshot folder of zone a.", "give each its own with 'snapshot DIR'"],
        ),
        directive("a zone that is none", &format!("kubernetes a..b {{\n{source}\n}}"), 2, &["a..b"]),
    ]);
}

#[test]
fn forward_lines() {
    check(&[
        forward("unknown property", "flavour sweet", &["unknown property 'flavour'", "known are: except"]),
        forward("a slip", "forcetcp", &["did you mean 'force_tcp'?"]),
        forward("no such policy", "policy best", &["must be one of: random, round_robin, sequential"]),
        forward("policy of nothing", "policy", &["write 'policy random|round_robin|sequential'"]),
        forward("read_timeout without a unit", "read_timeout 2", &["write 2s for seconds"]),
        forward("max_concurrent of words", "max_concurrent lots", &["not a whole number from 0"]),
        forward("max_connect_attempts below zero", "max_connect_attempts -1", &["not a whole number from 0"]),
        forward("except nothing", "except", &["write 'except ZONE...'"]),
        forward("except no zone", "except a..b", &["a..b"]),
        forward("force_tcp with a word", "force_tcp yes", &["write 'force_tcp'"]),
        forward("health checks of no pause", "health_check", &["write 'health_check DURATION [no_rec]"]),
        forward("connections that expire some time", "expire soon", &["soon"]),
        forward("failover of a slip", "failover SERVFIAL", &["'SERVFIAL' is not a response code"]),
        forward("DNS over HTTPS", "doh_method GET", &["'https://' upstreams, which are not supported"]),
    ]);
}

#[test]
fn forward_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("resolv.conf");
    std::fs::write(&empty, "search example\noptions ndots:5\n").unwrap();
    let many: String = (1..=16).map(|i| format!(" 192.0.2.{i}")).collect();
    check(&[
        directive("nothing", "forward", 2, &["write 'forward FROM TO...'"]),
        directive("nobody", "forward .", 2, &["write 'forward FROM TO...'"]),
        directive("16 upstreams", &format!("forward .{many}"), 2, &["at most 15 upstreams, not 16"]),
        directive(
            "a file without name servers",
            &format!("forward . {}", empty.display()),
            2,
            &["no nameserver line with an IP address", "resolv.conf"],
        ),
        directive(
            "a file that is not there",
            "forward . /nonexistent/resolv.conf",
            2,
            &[
                "'/nonexistent/resolv.conf' is neither an address nor a file",
                "[IPV6]:PORT",
                "/etc/resolv.conf",
            ],
        ),
        directive("a mistyped address", "forward . 192.0.2.300", 2, &["neither an address nor a file"]),
        directive("no name", "forward . dns_.example..", 2, &["neither an address nor a file"]),
        directive(
            "https",
            "forward . https://dns.example",
            2,
            &["'https://' upstreams are not supported here", "DNS over TLS"],
        ),
        directive("no zone", "forward a..b 192.0.2.1", 2, &["a..b"]),
        directive(
            "both transports",
            "forward . 192.0.2.1 {\nforce_tcp\nprefer_udp\n}",
            2,
            &["'force_tcp' and 'prefer_udp' exclude each other"],
        ),
        directive(
            "no time",
            "forward . 192.0.2.1 {\nread_timeout 0\n}",
            2,
            &["read_timeout must be longer than 0"],
        ),
    ]);
}

#[test]
fn faces_and_listeners() {
    check(&[
        directive("bind nothing", "bind", 2, &["write 'bind ADDRESS|INTERFACE...'"]),
        directive(
            "no such interface",
            "bind eth99",
            2,
            &["'eth99' is neither an address nor an interface", "lo"],
        ),
        directive(
            "bind everything but all",
            "bind 127.0.0.1 {\nexcept 127.0.0.1\n}",
            2,
            &["nothing is left to listen on"],
        ),
        directive(
            "except nothing",
            "bind 127.0.0.1 {\nexcept\n}",
            3,
            &["write 'except ADDRESS|INTERFACE...'"],
        ),
        directive("except nobody", "bind 127.0.0.1 {\nexcept eth99\n}", 3, &["'eth99' is neither"]),
        directive("bind unknown", "bind 127.0.0.1 {\nexcluding lo\n}", 3, &["unknown property 'excluding'"]),
        directive("debug with a word", "debug all", 2, &["write 'debug'"]),
        directive("debug with a block", "debug {\nall\n}", 2, &["takes no block"]),
        directive("health at no address", "health 8080", 2, &["plugin/health: ", "\"8080\"", ":PORT"]),
        directive("health at a name", "health host:8080", 2, &["localhost:PORT"]),
        directive("health at two", "health :1 :2", 2, &["write 'health [ADDRESS]'"]),
        directive("health twice", "health :1\nhealth :2", 3, &["once per Server Block"]),
        directive("health unknown", "health {\nlameduk 5s\n}", 3, &["did you mean 'lameduck'?"]),
        directive("lameduck without a unit", "health {\nlameduck 5\n}", 3, &["write 5s for seconds"]),
        directive("lameduck without a time", "health {\nlameduck\n}", 3, &["write 'lameduck DURATION'"]),
        directive("ready at no address", "ready here", 2, &["plugin/ready: ", ":PORT"]),
        directive("ready of no mode", "ready {\nmonitor often\n}", 3, &["one of: until-ready, continuously"]),
        directive("ready unknown", "ready {\nwatch\n}", 3, &["unknown property 'watch'; known are: monitor"]),
        directive("prometheus at no port", "prometheus 127.0.0.1", 2, &["plugin/prometheus: ", ":PORT"]),
        directive(
            "prometheus with TLS",
            "prometheus :0 {\ntls web.yaml\n}",
            3,
            &["'tls' is not supported yet", "localhost"],
        ),
        directive("prometheus unknown", "prometheus {\nruntime\n}", 3, &["known are: runtime_metrics"]),
        directive(
            "runtime_metrics with a word",
            "prometheus {\nruntime_metrics on\n}",
            3,
            &["write 'runtime_metrics'"],
        ),
        directive("unknown directive", "quux", 2, &["Unknown directive 'quux'"]),
        directive(
            "a slip",
            "kubernetess cluster.local",
            2,
            &["Unknown directive 'kubernetess'", "did you mean 'kubernetes'?"],
        ),
        directive("another", "prometheu", 2, &["did you mean 'prometheus'?"]),
    ]);
}

#[test]
fn keys() {
    check(&[
        case(
            "a zone twice",
            "a:0 {\ndebug\n}\nA.:0 {\ndebug\n}\n",
            4,
            &["cannot serve dns://a.:0", "already defined (at Corefile:1)"],
        ),
        case("a zone twice in a block", "a:0 a:0 {\ndebug\n}\n", 1, &["already defined"]),
        case(
            "a zone twice on an address",
            "a:0 {\nbind 127.0.0.1 127.0.0.2\n}\na:0 {\nbind 127.0.0.2\n}\n",
            4,
            &["cannot serve dns://a.:0 on 127.0.0.2"],
        ),
        case(
            "bound and not",
            "a:0 {\nbind 127.0.0.1\n}\na:0 {\ndebug\n}\n",
            4,
            &["zone overlap listener capacity", "must all have 'bind', or none"],
        ),
        case(
            "DNS over TLS without a certificate",
            "tls://.:853 {\ndebug\n}\n",
            1,
            &["tls://:853 has no certificate", "write 'tls CERT KEY'"],
        ),
        case(
            "DNS over HTTPS",
            "https://. {\ndebug\n}\n",
            1,
            &["https listeners are not supported", "tls://"],
        ),
        case(
            "gRPC",
            ". {\ndebug\n}\ngrpc://. {\ndebug\n}\n",
            4,
            &["grpc listeners are not supported", "tls://"],
        ),
    ]);
}

/// Whatever CoreDNS can do and we cannot is refused by its name, with something to do.
#[test]
fn refused_plugins() {
    for (name, advice) in REFUSED {
        let text = format!(".:0 {{\n{name}\n}}\n");
        let Err(error) = Builder::default().check(&text) else { panic!("{name}: accepted") };
        let want = format!("Corefile:2 - Error during parsing: plugin/{name} is not supported: {advice}");
        assert_eq!(error.to_string(), want);
        // Something to do, without a full stop, as every message.
        let first = advice.split(' ').next().unwrap();
        assert!(["remove", "write", "use", "forward"].contains(&first), "{name}: {advice:?}");
        assert!(!advice.ends_with('.') && !advice.contains("  "), "{name}: {advice:?}");
        assert!(PLUGINS.iter().all(|plugin| plugin.name != *name), "{name} is both");
    }
}

/// The plugins of CoreDNS 1.14.7 and those that it once had: each is ours or refused by name.
#[test]
fn every_plugin_of_coredns_is_known() {
    let names = "root metadata geoip cancel proxyproto quic grpc_server https https3 timeouts multisocket reload nsid \
                 bufsize bind debug trace ready health pprof shed prometheus errors log dnstap local dns64 any chaos \
                 loadbalance tsig rewrite autopath acl cache header dnssec tls minimal template transfer hosts route53 \
                 azure clouddns k8s_external kubernetes file auto secondary etcd loop forward grpc erratic whoami on \
                 sign view nomad proxy federation";
    for name in names.split_whitespace() {
        let known =
            PLUGINS.iter().map(|entry| entry.name).chain(REFUSED.iter().map(|(n, _)| *n)).any(|n| n == name);
        assert!(known, "{name}");
    }
}

/// Nothing is lost between the check and the command: exit status, standard error, and the file's own name.
#[test]
fn the_command_says_so_too() {
    let folder = tempfile::tempdir().unwrap();
    let corefile = folder.path().join("Corefile");
    for (text, line, part) in [
        (kubernetes_text("ttl 3601"), 4, "from 0 to 3600"),
        (".:0 {\nroute53\n}\n".to_owned(), 2, "plugin/route53 is not supported: forward the zone"),
        (".:0 {\nforward . https://192.0.2.1\n}\n".to_owned(), 2, "'https://' upstreams"),
        (".:0 {\nforwrd . 192.0.2.1\n}\n".to_owned(), 2, "did you mean 'forward'?"),
        ("a:0 {\ndebug\n}\na:0 {\ndebug\n}\n".to_owned(), 4, "already defined"),
    ] {
        std::fs::write(&corefile, &text).unwrap();
        for command in ["check", "node"] {
            let (code, out, error) =
                process::run(process::outlast().args([command, "--conf"]).arg(&corefile));
            assert_eq!((code, out.as_str()), (2, ""), "{command} {text}: {error}");
            let want = format!("outlast: {}:{line} - Error during parsing: ", corefile.display());
            assert!(error.starts_with(&want) && error.contains(part), "{command} {text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
    let (code, _, error) =
        process::run(process::outlast().args(["check", "--conf", "/nonexistent/Corefile"]));
    assert!(
        code == 2 && error.contains("/nonexistent/Corefile") && error.contains("No such file"),
        "{error}"
    );
}
