//! Corefiles that must load, and as what.

use std::path::{Path, PathBuf};

use outlast::corefile::{Corefile, LoadOptions, load};

use super::{options, read, summary};

#[test]
fn layouts() {
    struct Case {
        name: &'static str,
        text: &'static str,
        want: &'static str,
    }
    for c in [
        Case { name: "nothing", text: "", want: "" },
        Case { name: "comments only", text: "# nothing\n  # here", want: "" },
        Case { name: "key only", text: "example.org", want: "example.org.:53[]" },
        Case { name: "empty block", text: ". {\n}", want: ".:53[]" },
        Case {
            name: "no braces",
            text: "example.org:1053\nwhoami\nlog",
            want: "example.org.:1053[whoami log]",
        },
        Case { name: "brace on the next line", text: ".\n{\n whoami\n}", want: ".:53[whoami]" },
        Case { name: "directive behind the brace", text: ". { whoami\n}", want: ".:53[whoami]" },
        Case { name: "block behind a block", text: "a {\n} b {\n}", want: "a.:53[] b.:53[]" },
        Case { name: "several keys", text: "a b c:54 {\n}", want: "a.:53,b.:53,c.:54[]" },
        Case { name: "commas", text: "a, b , c {\n}", want: "a.:53,b.:53,c.:53[]" },
        Case { name: "keys on several lines", text: "a,\n\nb,\nc {\n}", want: "a.:53,b.:53,c.:53[]" },
        Case {
            name: "byte order mark and CR LF",
            text: "\u{feff}. {\r\n errors\r\n}\r\n",
            want: ".:53[errors]",
        },
        Case { name: "no white space before a comment", text: ".#x\n{#y\nlog#z\n}#", want: ".:53[log]" },
        Case {
            name: "arguments",
            text: ". {\n forward . 1.1.1.1 tls://9.9.9.9\n}",
            want: ".:53[forward·.·1.1.1.1·tls://9.9.9.9]",
        },
        Case {
            name: "a block in a directive",
            text: ". {\n health :8080 {\n  lameduck 5s\n\n  x\n }\n log\n}",
            want: ".:53[health·:8080{lameduck·5s|x} log]",
        },
        Case {
            name: "the same on one line",
            text: ". {\n health { lameduck 5s }\n}",
            want: ".:53[health{lameduck·5s}]",
        },
        Case {
            name: "the brace at the end of a line",
            text: ". {\n health {\n lameduck 5s }\n}",
            want: ".:53[health{lameduck·5s}]",
        },
        Case { name: "an empty block in a directive", text: ". {\n health {\n }\n}", want: ".:53[health{}]" },
        Case {
            name: "repeated directives",
            text: ". {\n log a\n errors\n log b\n}",
            want: ".:53[log·a errors log·b]",
        },
        Case {
            name: "quoted words",
            text: ". {\n log . \"{remote} \\\"{name}\\\"\"\n}",
            want: ".:53[log·.·{remote} \"{name}\"]",
        },
        Case {
            name: "a quoted word of two lines",
            text: ". {\n log \"a\nb\" c\n errors\n}",
            want: ".:53[log·a\nb·c errors]",
        },
        Case { name: "quoted braces are words", text: ". {\n x \"{\" \"}\"\n}", want: ".:53[x·{·}]" },
        Case {
            name: "braces within words are letters",
            text: ". {\n log {common} a}b {{.Name}}\n}",
            want: ".:53[log·{common}·a}b·{{.Name}}]",
        },
        Case { name: "a quote that is never closed", text: ".\nlog \"a\nb", want: ".:53[log·a\nb]" },
        Case {
            name: "prefixes",
            text: "10.0.0.0/15:54 {\n}",
            want: "0.10.in-addr.arpa.:54,1.10.in-addr.arpa.:54[]",
        },
        Case {
            name: "schemes",
            text: "tls://. https://a quic://b:1 {\n}",
            want: "tls://.:853,https://a.:443,quic://b.:1[]",
        },
        Case { name: "upper case", text: "Example.ORG. {\n}", want: "example.org.:53[]" },
        Case {
            name: "variables in keys",
            text: "{$ZONE}:{%PORT%} {$UNSET} {\n}",
            want: "env.example.:5300[]",
        },
        Case {
            name: "variables in directives",
            text: ". {\n {$DIRECTIVE} x{$PORT}y {$UNSET} z\n}",
            want: ".:53[cache·x5300y··z]",
        },
        Case {
            name: "variables in lines",
            text: ". {\n a {\n {$DIRECTIVE} {$PORT}\n }\n}",
            want: ".:53[a{cache·5300}]",
        },
        Case { name: "a value is not split", text: ". {\n log {$TWO}\n}", want: ".:53[log·one two]" },
        Case { name: "a value makes no block", text: ". {\n log {$BRACE}\n}", want: ".:53[log·{]" },
        Case {
            name: "a snippet",
            text: "(s) {\n log\n}\n. {\n import s\n errors\n}",
            want: ".:53[log errors]",
        },
        Case {
            name: "a snippet on one line",
            text: "(s) { log }\n. {\n import s\n import s\n}",
            want: ".:53[log log]",
        },
        Case {
            name: "a snippet by a variable",
            text: "(common) {\n log\n}\n. {\n import {$SNIPPET}\n}",
            want: ".:53[log]",
        },
        Case {
            name: "a snippet in a snippet",
            text: "(a) {\n x\n}\n(b) {\n import a\n y\n}\n. {\n import b\n}",
            want: ".:53[x y]",
        },
        Case {
            name: "a snippet of a block",
            text: "(s) {\n a {\n log\n }\n}\nimport s\nb {\n}",
            want: "a.:53[log] b.:53[]",
        },
        Case {
            name: "a snippet in a directive",
            text: "(s) {\n ttl 5\n}\n. {\n x {\n import s\n y\n }\n}",
            want: ".:53[x{ttl·5|y}]",
        },
        Case { name: "an empty snippet", text: "(s) {\n}\nimport s\n. {\n import s\n}", want: ".:53[]" },
        Case { name: "import as an argument", text: ". {\n log import\n}", want: ".:53[log·import]" },
        Case {
            name: "unused snippets are not looked into",
            text: "(s) {\n import nothing\n}\n. {\n}",
            want: ".:53[]",
        },
    ] {
        match read(c.text) {
            Ok(corefile) => assert_eq!(summary(&corefile), c.want, "{}", c.name),
            Err(e) => panic!("{}: {e}", c.name),
        }
    }
}

fn fixture(name: &str) -> (PathBuf, Corefile) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corefile/fixtures").join(name);
    let corefile = load(&path, &options()).unwrap_or_else(|e| panic!("{e}"));
    (path, corefile)
}

#[test]
fn files_of_distributions() {
    struct Case {
        file: &'static str,
        /// Zone and port of each block's keys, and the block's directives.
        blocks: &'static [(&'static str, &'static str)],
        /// Globs without a match, by line.
        warnings: &'static [u32],
    }
    const CLUSTER: &str = "errors health ready kubernetes prometheus forward cache loop reload loadbalance";
    const NODE: &str = "errors cache reload loop bind forward prometheus";
    for c in [
        Case { file: "kubeadm.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case { file: "kubeadm-old.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case { file: "eks.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case { file: "helm.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case { file: "deployment-script.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case { file: "kops.corefile", blocks: &[(".:53", CLUSTER)], warnings: &[] },
        Case {
            file: "kubespray.corefile",
            blocks: &[
                ("corp.example.:53", "errors cache loadbalance reload forward"),
                (
                    ".:53",
                    "errors health ready kubernetes prometheus forward hosts cache loop reload loadbalance",
                ),
            ],
            warnings: &[],
        },
        Case {
            file: "kubespray-node-local.corefile",
            blocks: &[
                ("cluster.local.:53", "errors cache reload loop bind forward prometheus health"),
                ("in-addr.arpa.:53", NODE),
                ("ip6.arpa.:53", NODE),
                (".:53", NODE),
            ],
            warnings: &[],
        },
        Case {
            file: "node-local-ipvs.corefile",
            blocks: &[
                ("cluster.local.:53", "errors cache reload loop bind forward prometheus health"),
                ("in-addr.arpa.:53", NODE),
                ("ip6.arpa.:53", NODE),
                (".:53", NODE),
                ("corp.example.:53", "errors cache bind forward"),
            ],
            warnings: &[],
        },
        Case {
            file: "openshift-later.corefile",
            blocks: &[
                (".:5353", "bufsize errors log health ready kubernetes prometheus forward cache reload"),
                ("hostname.bind.:5353", "chaos"),
            ],
            warnings: &[],
        },
        Case {
            file: "additions.corefile",
            blocks: &[
                (
                    ".:53",
                    "log errors debug health ready bufsize nsid metadata acl any minimal header local autopath \
                     rewrite rewrite kubernetes hosts template prometheus forward cache loop reload loadbalance",
                ),
                ("team.example.:53 corp.example.:53", "errors cache forward"),
            ],
            warnings: &[],
        },
        Case {
            file: "stub-zones.corefile",
            blocks: &[
                (
                    ".:53",
                    "errors cache rewrite hosts kubernetes template prometheus forward loop reload loadbalance",
                ),
                ("corp.example.:53", "errors cache forward"),
            ],
            warnings: &[28, 38],
        },
        Case {
            file: "aks.corefile",
            blocks: &[(
                ".:53",
                "errors ready health kubernetes prometheus forward cache loop reload loadbalance template template",
            )],
            warnings: &[18, 28],
        },
        Case {
            file: "gardener.corefile",
            blocks: &[(
                ".:8053",
                "errors log health ready rewrite rewrite kubernetes prometheus forward cache loop reload loadbalance",
            )],
            warnings: &[31, 33],
        },
        Case {
            file: "k3s.corefile",
            blocks: &[(
                ".:53",
                "errors health ready kubernetes hosts prometheus cache loop reload loadbalance forward",
            )],
            warnings: &[19, 22],
        },
        Case {
            file: "openshift.corefile",
            blocks: &[
                ("corp.example.:5353 intra.example.:5353", "prometheus forward errors log cache"),
                (".:5353", "bufsize errors log health ready kubernetes prometheus forward cache reload"),
                ("hostname.bind.:5353", "chaos"),
            ],
            warnings: &[],
        },
        Case {
            file: "node-local.corefile",
            blocks: &[
                ("cluster.local.:53", "errors cache reload loop bind forward prometheus health"),
                ("in-addr.arpa.:53", NODE),
                ("ip6.arpa.:53", NODE),
                (".:53", NODE),
            ],
            warnings: &[],
        },
        Case {
            file: "eks-cross-cluster.corefile",
            blocks: &[(".:53", CLUSTER), ("team-a.svc.cluster.local.:53", "errors cache forward")],
            warnings: &[],
        },
    ] {
        let (path, corefile) = fixture(c.file);
        let blocks: Vec<_> = corefile
            .blocks
            .iter()
            .map(|b| {
                let keys: Vec<_> = b.keys.iter().map(|k| format!("{}:{}", k.zone, k.port)).collect();
                let names: Vec<_> = b.directives.iter().map(|d| d.name.text.as_str()).collect();
                (keys.join(" "), names.join(" "))
            })
            .collect();
        let blocks: Vec<_> = blocks.iter().map(|(k, n)| (k.as_str(), n.as_str())).collect();
        assert_eq!(blocks, c.blocks, "{}", c.file);
        let warnings: Vec<_> = corefile.warnings.iter().map(|w| w.position.line).collect();
        assert_eq!(warnings, c.warnings, "{}: {:?}", c.file, corefile.warnings);
        assert_eq!(corefile.files, [path], "{}", c.file);
    }
}

#[test]
fn words_keep_their_text_and_place() {
    let (path, corefile) = fixture("stub-zones.corefile");
    let block = &corefile.blocks[0];
    let template = block.all("template").next().unwrap();
    assert_eq!(template.lines()[0].args[0].text, r"^(?:[^.]+\.){4,}dead\.example\.net\.$");
    assert_eq!(template.lines()[0].args[0].position.line, 19);
    let imported = block.all("cache").next().unwrap();
    assert_eq!(imported.position().line, 3, "a snippet's word keeps the snippet's line");
    assert_eq!(*imported.position().file, *path.to_str().unwrap());
    let (_, gardener) = fixture("gardener.corefile");
    let rewrite = gardener.blocks[0].all("rewrite").next().unwrap();
    assert_eq!(rewrite.lines()[0].args[2].text, "{1}svc.cluster.local");
}

#[test]
fn default_port_is_for_dns_only() {
    let options = LoadOptions { default_port: 1053, ..options() };
    let corefile = outlast::corefile::parse("a b:53 tls://c {\n}", "Corefile", &options).unwrap();
    assert_eq!(summary(&corefile), "a.:1053,b.:53,tls://c.:853[]");
}

#[test]
fn plugins_of_a_block() {
    let corefile = read("b a b:54 {\n cache 1\n log\n cache 2\n}").unwrap();
    let block = &corefile.blocks[0];
    assert_eq!(block.zones(), ["b.", "a."]);
    assert_eq!(block.all("cache").count(), 2);
}

#[test]
fn printing_gives_an_equal_configuration() {
    for file in ["kubeadm.corefile", "stub-zones.corefile", "gardener.corefile", "openshift.corefile"] {
        let (_, corefile) = fixture(file);
        let printed: String = corefile.blocks.iter().map(ToString::to_string).collect();
        assert_eq!(summary(&read(&printed).unwrap()), summary(&corefile), "{file}:\n{printed}");
    }
}
