//! Corefiles that must not load: where they are wrong, and what the message says.

use outlast::corefile::{ErrorKind, LoadOptions, parse};

use super::{options, read};

struct Case {
    name: &'static str,
    text: &'static str,
    line: u32,
    /// A part of the message.
    message: &'static str,
}

fn check(cases: &[Case]) {
    for c in cases {
        let Err(error) = read(c.text) else { panic!("{}: was accepted", c.name) };
        assert_eq!(
            (&*error.position().file, error.position().line),
            ("Corefile", c.line),
            "{}: {error}",
            c.name
        );
        assert!(error.message().contains(c.message), "{}: {error}", c.name);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", c.name);
        let prefix = format!("Corefile:{} - Error during parsing: ", c.line);
        assert!(error.to_string().starts_with(&prefix), "{}: {error}", c.name);
    }
}

#[test]
fn braces() {
    check(&[
        Case {
            name: "block not closed",
            text: ". {\n errors\n",
            line: 2,
            message: "Unexpected EOF: expecting '}' for the '{' at Corefile:1",
        },
        Case {
            name: "directive not closed",
            text: ". {\n health {\n  x\n",
            line: 3,
            message: "expecting '}' for the '{' at Corefile:2",
        },
        Case {
            name: "snippet not closed",
            text: "(s) {\n x {\n }\n",
            line: 3,
            message: "expecting '}' for the '{' at Corefile:1",
        },
        Case {
            name: "first of two blocks not closed",
            text: "a {\n log\nb {\n log\n}\n",
            line: 5,
            message: "for the '{' at Corefile:1",
        },
        Case {
            name: "not closed for a quote",
            text: ". {\n log \"x\n}\n",
            line: 2,
            message: "the quote that begins at Corefile:2 is never closed",
        },
        Case {
            name: "closed twice",
            text: ". {\n errors\n}\n}\n",
            line: 4,
            message: "Unexpected '}' because no matching opening brace",
        },
        Case {
            name: "closed and never opened",
            text: ".\nerrors\n}\n",
            line: 3,
            message: "the block was opened without '{'",
        },
        Case {
            name: "closed behind a directive",
            text: ". { whoami }\n",
            line: 1,
            message: "a line of its own",
        },
        Case {
            name: "both closed on one line",
            text: ". {\n health {\n x } }\n",
            line: 3,
            message: "Unexpected '}'",
        },
        Case {
            name: "a directive behind a brace",
            text: ". {\n health {\n } ready\n}",
            line: 3,
            message: "Unexpected 'ready' after '}'",
        },
        Case {
            name: "brace on a line of its own",
            text: ". {\n health\n {\n }\n}",
            line: 3,
            message: "on the line of its directive",
        },
        Case {
            name: "a block in a directive's block",
            text: ". {\n a {\n  b {\n  }\n }\n}",
            line: 3,
            message: "no further blocks",
        },
        Case {
            name: "a brace begins a directive's line",
            text: ". {\n a {\n  {\n }\n}",
            line: 3,
            message: "no further blocks",
        },
        Case {
            name: "brace glued to a directive",
            text: ". {\n errors{\n }\n}",
            line: 2,
            message: "Unknown directive 'errors{': write a space before the brace, 'errors {'",
        },
        Case {
            name: "brace glued to a key",
            text: ".:53{\n errors\n}",
            line: 1,
            message: "Unexpected brace in '.:53{': write a space before it, '.:53 {'",
        },
        Case { name: "both braces in one word", text: ". {}\n", line: 1, message: "Unexpected '{}'" },
        Case { name: "key closes", text: "a } {\n}", line: 1, message: "Unexpected '}'" },
    ]);
}

#[test]
fn keys() {
    check(&[
        Case { name: "no key", text: "{\n errors\n}", line: 1, message: "server block without a zone" },
        Case {
            name: "key of an unset variable",
            text: "\n{$UNSET} {\n errors\n}",
            line: 2,
            message: "server block without a zone",
        },
        Case {
            name: "port without a zone",
            text: "{$UNSET}:53 {\n}",
            line: 1,
            message: "zone is missing in ':53': write .:53",
        },
        Case {
            name: "comma before the brace",
            text: "a, {\n}",
            line: 1,
            message: "Expected another address but had '{' - check for extra comma",
        },
        Case {
            name: "comma at the end",
            text: "a,\n",
            line: 1,
            message: "Unexpected EOF: another zone must follow the comma",
        },
        Case { name: "comma without a space", text: "a,b {\n}", line: 1, message: "',' has no place in it" },
        Case { name: "port is no number", text: "\na:http {\n}", line: 2, message: "invalid port 'http'" },
        Case { name: "port is too large", text: "a b:99999 {\n}", line: 1, message: "invalid port '99999'" },
        Case {
            name: "port is missing",
            text: "a: {\n}",
            line: 1,
            message: "expecting data after last colon",
        },
        Case { name: "scheme is unknown", text: "udp://a {\n}", line: 1, message: "unknown scheme 'udp'" },
        Case { name: "empty label", text: "a..b {\n}", line: 1, message: "zone is not a valid domain name" },
        Case {
            name: "label too long",
            text: "a123456789b123456789c123456789d123456789e123456789f123456789g123 {\n}",
            line: 1,
            message: "a label is too long: 64 > 63",
        },
        Case {
            name: "IPv6 begins with a colon",
            text: "::1/128 {\n}",
            line: 1,
            message: "invalid CIDR ::1/128",
        },
        Case {
            name: "IPv6 begins with a zero",
            text: "a,\n0:1::/32 {\n}",
            line: 2,
            message: "invalid CIDR 0:1::/32",
        },
        Case {
            name: "prefix too long",
            text: "10.0.0.0/33 {\n}",
            line: 1,
            message: "invalid CIDR 10.0.0.0/33",
        },
        Case {
            name: "IPv6 address",
            text: "fd00::1 {\n}",
            line: 1,
            message: "write a prefix such as fd00::1/128",
        },
    ]);
    let long = format!("{}.x {{\n}}", vec!["a".repeat(63); 4].join("."));
    let error = read(&long).unwrap_err();
    assert_eq!(error.message(), "specified zone is too long: 259 > 255");
}

#[test]
fn snippets_and_imports() {
    check(&[
        Case {
            name: "snippet twice",
            text: "(s) {\n}\n(s) {\n}",
            line: 3,
            message: "redeclaration of previously declared snippet s",
        },
        Case {
            name: "snippet without a body",
            text: "(s)\nlog",
            line: 1,
            message: "snippet (s) without a body",
        },
        Case { name: "snippet without a name", text: "() {\n}", line: 1, message: "snippet without a name" },
        Case {
            name: "snippet among keys",
            text: "(s) a {\n}",
            line: 1,
            message: "a snippet's name stands alone",
        },
        Case {
            name: "snippet in a block",
            text: ". {\n (s) {\n }\n}",
            line: 2,
            message: "outside of server blocks",
        },
        Case {
            name: "snippet imports itself",
            text: "(s) {\n log\n import s\n}\n. {\n}",
            line: 3,
            message: "snippet s imports itself",
        },
        Case {
            name: "snippet imports itself at once",
            text: "(s) { import s }\n",
            line: 1,
            message: "snippet s imports itself",
        },
        Case {
            name: "snippet is defined later",
            text: ". {\n import s\n}\n(s) {\n}",
            line: 2,
            message: "no snippet of that name is defined above",
        },
        Case {
            name: "import of nothing",
            text: ". {\n import\n}",
            line: 2,
            message: "import without an argument",
        },
        Case {
            name: "import of nothing at the end",
            text: "import",
            line: 1,
            message: "import without an argument",
        },
        Case {
            name: "import of an unset variable",
            text: ". {\n import {$UNSET}\n}",
            line: 2,
            message: "Import requires a non-empty filepath",
        },
        Case {
            name: "import of two",
            text: ". {\n import a b\n}",
            line: 2,
            message: "Import takes only one argument",
        },
        Case {
            name: "missing file",
            text: ". {\n import no/such/file\n}",
            line: 2,
            message: "File to import not found: no/such/file",
        },
        Case {
            name: "two wildcards",
            text: "import /a*/b*\n",
            line: 1,
            message: "Glob pattern may only contain one wildcard",
        },
        Case {
            name: "two question marks",
            text: "import /a/b??\n",
            line: 1,
            message: "Glob pattern may only contain one wildcard",
        },
        Case {
            name: "a class",
            text: "import /a/[ab]\n",
            line: 1,
            message: "Glob pattern may only contain one wildcard",
        },
        Case { name: "a folder", text: "import /\n", line: 1, message: "is a directory" },
        Case {
            name: "directive of an unset variable",
            text: ". {\n {$UNSET}\n}",
            line: 2,
            message: "Unknown directive ''",
        },
    ]);
}

#[test]
fn snippets_that_import_each_other() {
    // The first cannot name the second before it is defined but by a file of that name: the cycle is found
    // when it is followed.
    let text = "(a) {\n import b\n}\n(b) {\n import a\n}\n. {\n import a\n}";
    let error = read(text).unwrap_err();
    assert_eq!(error.position().line, 5);
    assert_eq!(error.message(), "snippet a imports itself, by itself or through others");
}

#[test]
fn what_multiplies_ends_at_a_limit() {
    let mut text = "(s0) {\n log\n}\n".to_owned();
    for i in 1..30 {
        text += &format!("(s{i}) {{\n import s{0}\n import s{0}\n}}\n", i - 1);
    }
    text += ". {\n import s29\n}\n";
    let error = read(&text).unwrap_err();
    assert!(error.message().contains("more than 10000 imports of snippets"), "{error}");
    let keys = format!("{} {{\n}}", "10.0.0.0/9 ".repeat(1000));
    let error = read(&keys).unwrap_err();
    assert!(error.message().contains("more than 100000 zones"), "{error}");
    let long = format!("(s) {{\n{}}}\n. {{\n{}}}\n", "x\n".repeat(1000), "import s\n".repeat(1001));
    let error = read(&long).unwrap_err();
    assert!(error.message().contains("more than 1000000 words"), "{error}");
}

#[test]
fn unknown_directives() {
    let known = LoadOptions { directives: Some(&["errors", "forward", "cache"]), ..options() };
    let read = |text| parse(text, "Corefile", &known);
    assert!(read(". {\n errors\n cache 30\n}").is_ok());
    let error = read(". {\n errors\n foward . 1.1.1.1\n}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Corefile:3 - Error during parsing: Unknown directive 'foward'; did you mean 'forward'?"
    );
    let error = read("a {\n errors\nexample.org {\n}\n").unwrap_err();
    assert_eq!(error.to_string(), "Corefile:3 - Error during parsing: Unknown directive 'example.org'");
}
