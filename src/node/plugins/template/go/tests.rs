//! The language, without DNS.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const SHAPE: Shape = Shape::Fields(&[
    ("Name", Shape::Plain),
    ("Empty", Shape::Plain),
    ("Match", Shape::Plain),
    ("Group", Shape::Map),
    ("Question", Shape::Fields(&[("Qtype", Shape::Plain)])),
    ("Meta", Shape::Lookup),
]);

fn data() -> Value {
    let list = ["ip-10-1.example.", "10", "1"].map(Value::text);
    let group: BTreeMap<_, _> =
        [("a", "10"), ("b", "ff"), ("long", "abcdef")].map(|(k, v)| (k.to_owned(), Value::text(v))).into();
    let question = Value::Struct(Rc::new([("Qtype", Value::Uint(28))]));
    Value::Struct(Rc::new([
        ("Name", Value::text("ip-10-1.example.")),
        ("Empty", Value::text("")),
        ("Match", Value::List(Rc::new(list))),
        ("Group", Value::Map(Rc::new(group))),
        ("Question", question),
        ("Meta", Value::Lookup(Rc::new(|label| format!("<{label}>")))),
    ]))
}

fn render(text: &str) -> Result<String, String> {
    let template = Template::parse(text, SHAPE).map_err(|e| format!("column {}: {}", e.column, e.message))?;
    template.render(&data()).map_err(|e| format!("run: {e}"))
}

#[test]
fn templates_print_what_go_prints() {
    for (name, text, want) in [
        ("text", "plain } text {", "plain } text {"),
        ("a field", "{{ .Name }} 60 IN A", "ip-10-1.example. 60 IN A"),
        ("without spaces", "{{.Name}}", "ip-10-1.example."),
        ("of the data as a whole", "{{ $.Group.a }}", "10"),
        ("a field of a field", "{{ .Question.Qtype }}", "28"),
        ("a key", "{{ .Group.a }}.{{ .Group.b}}", "10.ff"),
        ("a key that is not there", "{{ .Group.x }}", "<no value>"),
        ("the same by index", "[{{ index .Group \"x\" }}]", "[]"),
        ("a list", "{{ .Match }}", "[ip-10-1.example. 10 1]"),
        ("a map", "{{ .Group }}", "map[a:10 b:ff long:abcdef]"),
        ("an index", "{{ index .Match 1 }}-{{ index .Match 2 }}", "10-1"),
        ("a byte", "{{ index .Name 0 }}", "105"),
        ("a look-up", "{{ .Meta \"kubernetes/namespace\" }}", "<kubernetes/namespace>"),
        ("a look-up by pipe", "{{ \"a/b\" | .Meta }}", "<a/b>"),
        ("trimmed", "a  {{- .Group.a -}}  b", "a10b"),
        ("trimmed lines", "a\n\t{{- /* c */ -}} \n b", "ab"),
        ("a minus is no trim mark", "a {{-3}} b", "a -3 b"),
        ("a comment", "a{{/* {{ .Nope }} */}}b", "ab"),
        ("strings", "{{ \"a\\tb\\u00e9\\x41\\\"\" }}{{ `\\n}}` }}", "a\tb\u{e9}A\"\\n}}"),
        ("numbers", "{{ 0x1F }} {{ 1_000 }} {{ -5 }} {{ 010 }} {{ 'a' }}", "31 1000 -5 8 97"),
        ("constants", "{{ true }}", "true"),
        ("if", "{{ if .Empty }}a{{ else }}b{{ end }}", "b"),
        ("else if", "{{ if .Empty }}a{{ else if eq .Group.a \"10\" }}b{{ else }}c{{ end }}", "b"),
        ("else of else if", "{{ if .Empty }}a{{ else if .Empty }}b{{ else }}c{{ end }}d", "cd"),
        ("with", "{{ with .Group.a }}{{ . }}/{{ $.Group.b }}{{ end }}", "10/ff"),
        ("with and else", "{{ with .Empty }}a{{ else }}{{ .Group.a }}{{ end }}", "10"),
        ("else with", "{{ with .Empty }}a{{ else with .Group.a }}{{ . }}{{ end }}", "10"),
        ("with and a variable", "{{ with $x := .Group.a }}{{ $x }}{{ . }}{{ end }}", "1010"),
        ("range", "{{ range .Match }}<{{ . }}>{{ end }}", "<ip-10-1.example.><10><1>"),
        (
            "range with variables",
            "{{ range $i, $e := .Match }}{{ $i }}={{ $e }};{{ end }}",
            "0=ip-10-1.example.;1=10;2=1;",
        ),
        (
            "range of a map",
            "{{ range $k, $v := .Group }}{{ $k }}={{ $v }};{{ end }}",
            "a=10;b=ff;long=abcdef;",
        ),
        ("range of a number", "{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("range of nothing", "{{ range slice .Match 0 0 }}a{{ else }}none{{ end }}", "none"),
        (
            "break and continue",
            "{{ range $i, $e := .Match }}{{ if eq $i 0 }}{{ continue }}{{ end }}{{ $e }}{{ break }}{{ end }}",
            "10",
        ),
        ("a variable", "{{ $x := index .Match 1 }}{{ $x }}{{ $x }}", "1010"),
        ("set within", "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("hidden within", "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("a pipeline", "{{ .Group.a | printf \"%s-%s\" \"x\" | printf \"%q\" }}", "\"x-10\""),
        ("parentheses", "{{ printf \"%d\" (len .Match) }}", "3"),
        ("a field of parentheses", "{{ (.Group).a }}", "10"),
        ("and", "{{ and .Group.a .Empty }}|{{ and 1 2 }}", "|2"),
        ("and stops", "{{ and .Empty (index .Match 99) }}", ""),
        ("or", "{{ or .Empty .Group.a (index .Match 99) }}", "10"),
        ("not", "{{ not .Empty }}", "true"),
        ("eq with several", "{{ eq .Group.a \"1\" \"10\" }}", "true"),
        (
            "comparisons",
            "{{ ne 1 2 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 }} {{ ge \"b\" \"a\" }}",
            "true true true false true",
        ),
        ("numbers of two sorts", "{{ eq (parseInt \"10\" 10 8) 10 }}", "true"),
        ("nothing", "{{ eq .Group.x nil }}", "true"),
        ("len", "{{ len .Name }} {{ len .Group }}", "16 3"),
        (
            "slice",
            "{{ slice .Group.long 1 3 }} {{ slice .Group.long 4 }} {{ slice .Match 1 }}",
            "bc ef [10 1]",
        ),
        ("print", "{{ print 1 2 \"a\" 3 4 }}", "1 2a3 4"),
        ("println", "{{ println \"a\" 1 }}", "a 1\n"),
        ("parseInt", "{{ parseInt .Group.b 16 8 }} {{ parseInt \"0x1f\" 0 64 }}", "255 31"),
        (
            "printf",
            "{{ printf \"%03d|%-4s|%4s|%x|%X|%.2s|%t|%c|%b|%o|%v%%\" 7 \"a\" \"b\" 255 255 \"abc\" true 65 5 8 .Match }}",
            "007|a   |   b|ff|FF|ab|true|A|101|10|[ip-10-1.example. 10 1]%",
        ),
        ("printf of a text in hex", "{{ printf \"%x\" \"az\" }}", "617a"),
        ("printf with a sign", "{{ printf \"%+d %05d %.3d\" 5 -42 7 }}", "+5 -0042 007"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(want), "{name}");
    }
}

#[test]
fn what_is_wrong_is_found_when_it_is_read() {
    for (text, why) in [
        ("{{ .Nmae }}", "column 4: there is no field .Nmae; known are: .Name .Empty"),
        ("a {{ $.Nmae }}", "column 6: there is no field .Nmae"),
        ("{{ .Question.Name }}", "column 4: there is no field .Name; known are: .Qtype"),
        ("{{ .Name.First }}", "column 4: there is no field .First here"),
        ("{{ .Meta }}", "column 4: this takes one text"),
        ("{{ .Name \"a\" }}", "column 4: this takes no argument"),
        ("{{ upper .Name }}", "column 4: there is no function 'upper'; known are: and or not eq"),
        ("{{ html .Name }}", "column 4: the function 'html' is not supported"),
        ("{{ index }}", "'index' takes at least 1 arguments, not 0"),
        ("{{ not 1 2 }}", "'not' takes 1 arguments, not 2"),
        ("{{ 1 | slice 1 2 3 }}", "'slice' takes 1 to 3 arguments, not 4"),
        ("{{ printf \"%z\" 1 }}", "printf: %z is not supported"),
        ("{{ printf \"%999d\" 1 }}", "a width is at most 255"),
        ("{{ printf \"%\" }}", "the format ends within a verb"),
        ("{{ $x }}", "column 4: the variable $x is not declared"),
        ("{{ $x = 1 }}", "the variable $x is not declared"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "the variable $x is not declared"),
        ("{{ if true }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}", "the variable $x is not declared"),
        ("{{ $ := 1 }}", "$ is the data as a whole"),
        ("{{ $i, $x := .Match }}", "only 'range' sets two variables"),
        ("{{ define \"x\" }}", "column 4: 'define' is not supported"),
        ("{{ template \"x\" }}", "'template' is not supported"),
        ("{{ block \"x\" . }}", "'block' is not supported"),
        ("{{ if true }}", "column 14: 'if' has no {{ end }}"),
        ("{{ if true }}{{ else }}{{ else }}{{ end }}", "there is an 'else' already"),
        ("{{ if true }}{{ else range .Match }}{{ end }}", "write {{ else }}"),
        ("{{ end }}", "there is no 'if', 'with' or 'range'"),
        ("{{ else }}", "there is no 'if', 'with' or 'range'"),
        ("{{ end 1 }}", "'end' stands alone"),
        ("{{ break }}", "'break' has no 'range' around it"),
        ("{{ if }}{{ end }}", "a value is missing"),
        ("{{ }}", "a value is missing"),
        ("{{ 1 | }}", "a value is missing"),
        ("{{ .Name", "column 1: the action is never closed"),
        ("{{/* a ", "the comment is never closed"),
        ("{{/* a */ x }}", "a comment ends before closing braces"),
        ("{{ \"a }}", "column 4: the string is never closed"),
        ("{{ `a }}", "the string is never closed"),
        ("{{ \"\\z\" }}", "unknown escape"),
        ("{{ 'ab' }}", "single quotes hold one character"),
        ("{{ 1.5 }}", "column 4: numbers with fractions"),
        ("{{ .5 }}", "numbers with fractions"),
        ("{{ 99999999999999999999 }}", "no whole number of 64 bits"),
        ("{{ (.Name }}", "the parenthesis is never closed"),
        ("{{ .Name) }}", "unexpected Close"),
        ("{{ \"a\"\"b\" }}", "there is no space between two values"),
        ("{{ 1 2 }}", "this is no function"),
        ("{{ print len }}", "'len' is called in parentheses"),
        ("{{ nil }}", "nil is no command"),
        ("{{ ! }}", "unexpected character '!'"),
        (&"(".repeat(40).replace('(', "{{ if true }}"), "nested more than 32 deep"),
        (&format!("{{{{ {} }}}}", "(".repeat(40)), "nested more than 32 deep"),
        (&"a".repeat(8193), "has 8193 bytes"),
    ] {
        let error = render(text).unwrap_err();
        assert!(error.contains(why) && error.starts_with("column"), "{text}: {error}");
    }
}

#[test]
fn what_depends_on_the_query_fails_when_it_runs() {
    for (text, why) in [
        ("{{ index .Match 3 }}", "index out of range: 3 of 3"),
        ("{{ index .Match -1 }}", "index out of range"),
        ("{{ index .Match \"a\" }}", "a text is no index"),
        ("{{ index 5 1 }}", "a number cannot be indexed"),
        ("{{ slice .Name 5 2 }}", "ends at 2 before it begins at 5"),
        ("{{ slice \"\u{e9}\" 1 }}", "within a character"),
        ("{{ parseInt .Name 10 8 }}", "is no number of base 10 and 8 bits"),
        ("{{ parseInt \"256\" 10 8 }}", "is no number of base 10 and 8 bits"),
        ("{{ parseInt \"+1\" 10 8 }}", "is no number"),
        ("{{ parseInt \"1\" 1 8 }}", "a base is 0 or from 2 to 36"),
        ("{{ lt 1 \"a\" }}", "cannot be compared"),
        ("{{ eq .Match .Match }}", "cannot be compared"),
        ("{{ len 5 }}", "a number has no length"),
        ("{{ .Question }}", "cannot be printed"),
        ("{{ range .Name }}{{ end }}", "'range' takes a list"),
        ("{{ with .Name }}{{ .Name }}{{ end }}", "a text has no field .Name"),
        ("{{ printf \"%d\" \"a\" }}", "printf: %d does not print a text"),
        ("{{ printf \"%d\" }}", "no value for %d"),
        ("{{ printf \"a\" 1 }}", "more values than verbs"),
        ("{{ .Meta 5 }}", "a look-up takes one text"),
    ] {
        let error = render(text).unwrap_err();
        assert!(error.starts_with("run: ") && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn no_run_goes_on_for_ever() {
    for text in [
        "{{ range 1000000000 }}{{ end }}",
        "{{ range 1000 }}{{ range 1000 }}a{{ end }}{{ end }}",
        "{{ range 40000 }}{{ printf \"%255s\" \"a\" }}{{ end }}",
        "{{ $x := \"aaaaaaaa\" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}",
    ] {
        let error = render(text).unwrap_err();
        assert!(error.contains("more than"), "{text}: {error}");
    }
}

#[test]
fn what_is_the_same_for_all_is_known() {
    let fixed = |text| Template::parse(text, SHAPE).unwrap().fixed();
    assert_eq!(fixed("a. 60 IN A 10.0.0.1").as_deref(), Some("a. 60 IN A 10.0.0.1"));
    assert_eq!(fixed("a {{- /* b */}} c").as_deref(), Some("a c"));
    assert_eq!(fixed("{{ .Name }}"), None);
}

/// Texts that look like templates.
fn template() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z \n]{0,6}",
        Just("{{ ".to_owned()),
        Just(" }}".to_owned()),
        Just("{{- ".to_owned()),
        Just(" -}}".to_owned()),
        Just("{{ end }}".to_owned()),
        Just("{{ else }}".to_owned()),
        "(if|with|range|else if|else with|break|continue|end|define)",
        "(\\.Name|\\.Match|\\.Group\\.a|\\.Meta|\\$x|\\$|\\.|nil|true)",
        "(and|or|not|eq|ne|lt|len|index|slice|print|printf|println|parseInt)",
        "[ |(),=]{1,2}",
        Just(" := ".to_owned()),
        "-?(0x)?[0-9]{1,20}",
        "\"[^\"]{0,5}\"",
        "`[^`]{0,5}`",
        "'.'",
        "/\\*.{0,3}\\*/",
        "\\PC{0,4}",
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Actions that are likely to parse.
fn action() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "-?[0-9]{1,3}",
        "\"[%a-z]{0,4}\"",
        Just(".Match".to_owned()),
        Just(".Group".to_owned()),
        Just(".".to_owned())
    ];
    let call = (
        "(and|or|not|eq|ne|lt|le|gt|ge|len|index|slice|print|printf|println|parseInt)",
        proptest::collection::vec(value, 0..4),
    )
        .prop_map(|(name, args)| format!("{name} {}", args.join(" ")));
    ("(|if |with |range )", call).prop_map(|(control, call)| {
        let end = if control.is_empty() { "" } else { "{{ . }}{{ end }}" };
        format!("{{{{ {control}{call} }}}}{end}")
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_run_without_end(text in prop_oneof![template(), "\\PC{0,60}"]) {
        let _ = render(&text);
    }

    #[test]
    fn no_call_makes_it_panic(actions in proptest::collection::vec(action(), 1..4)) {
        let _ = render(&actions.concat());
    }
}
