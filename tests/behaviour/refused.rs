//! Corefiles with which a node does not start: each says where it is wrong.

use outlast::testkit::node::Builder;

/// A block of the cluster with one more line in it, which is line 4.
fn kubernetes(line: &str) -> String {
    format!(".:0 {{\n kubernetes cluster.local {{\n source file c.json\n {line}\n }}\n}}")
}

/// A block with this directive, on line 3.
fn directive(line: &str) -> String {
    format!(".:0 {{\n errors\n {line}\n}}")
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    let upstreams = (1..=16).map(|i| format!("192.0.2.{i}")).collect::<Vec<_>>().join(" ");
    let cases = [
        ("an import that is not there", directive("import missing.conf"), 3, "missing.conf"),
        ("two blocks of one zone", ".:0 {\n}\n.:0 {\n}".to_owned(), 3, "already defined"),
        ("an unknown directive", directive("frobnicate"), 3, "Unknown directive 'frobnicate'"),
        ("an unknown property", kubernetes("flavour sweet"), 4, "unknown property 'flavour'"),
        ("a TTL of more than an hour", kubernetes("ttl 3601"), 4, "from 0 to 3600"),
        ("a mode of pods that is none", kubernetes("pods maybe"), 4, "disabled, insecure, verified"),
        ("no namespace", kubernetes("namespaces"), 4, "write 'namespaces NAMESPACE...'"),
        (
            "reverse zones alone",
            directive("kubernetes in-addr.arpa {\n source file c.json\n }"),
            3,
            "at least one zone must not be a reverse zone",
        ),
        ("16 upstreams", directive(&format!("forward . {upstreams}")), 3, "at most 15 upstreams, not 16"),
        // An address for each name of the cluster is what a resolver that does DNS64 makes of it, and it has
        // to be asked for names outside anyway.
        (
            "addresses for IPv6 clients",
            directive("dns64"),
            3,
            "plugin/dns64 is not supported: forward to a resolver that does DNS64",
        ),
        // A node-local server answers pods. Names for clients outside are another server's task, with another
        // address and other rights.
        (
            "names of the cluster for clients outside",
            directive("k8s_external ext.example"),
            3,
            "plugin/k8s_external is not supported: forward the zone to a server that has it",
        ),
        // Every node has the zone from the API server; nobody needs to copy it from one of them.
        (
            "zone transfers",
            directive("transfer cluster.local {\n to *\n }"),
            3,
            "plugin/transfer is not supported: remove the line; zones are not handed out",
        ),
        // Which block answers is told from the name and the address that was asked, nothing else.
        (
            "blocks by client",
            directive("view lab {\n expr incidr(client_ip(), '10.244.0.0/16')\n }"),
            3,
            "plugin/view is not supported: remove the line and give each view a server block",
        ),
    ];
    for (name, text, line, part) in cases {
        let Err(error) = Builder::default().check(&text) else { panic!("{name}: accepted") };
        let error = error.to_string();
        assert!(error.starts_with(&format!("Corefile:{line} - Error during parsing: ")), "{name}: {error}");
        assert!(error.contains(part), "{name}: {error}");
    }
}
