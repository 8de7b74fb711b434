//! The language of expressions.

use proptest::prelude::*;

use super::*;
use crate::node::test_support::Ask;

fn evaluate(text: &str) -> Result<String, String> {
    let variables: BTreeMap<_, _> = [("ip".to_owned(), Value::text("10.1.2.3"))].into();
    let groups: BTreeMap<_, _> = [("0", "whole"), ("1", "10-1-2-3"), ("ip", "10-1-2-3")]
        .map(|(k, v)| (k.to_owned(), Value::text(v)))
        .into();
    let expression =
        Expression::parse(text, &["ip"]).map_err(|e| format!("column {}: {}", e.column, e.message))?;
    let query = Ask { edns: Some((1232, true)), ..Ask::default() }.query();
    let subject = Subject { query: &query, groups: &groups, variables: &variables };
    expression.evaluate(&subject).map(|v| v.to_string()).map_err(|e| format!("run: {e}"))
}

#[test]
fn values() {
    for (text, want) in [
        ("replace(group('ip'), '-', '.')", "10.1.2.3"),
        ("group(1) + \"|\" + group('x')", "10-1-2-3|"),
        ("any(['10.0.0.0/8', '172.16.0.0/12'], incidr(ip, #))", "true"),
        ("any(['172.16.0.0/12'], incidr(ip, #))", "false"),
        ("all([1, 2], # > 0) and none([1, 2], # > 2) and one([1, 2], # == 2)", "true"),
        ("count(split(ip, '.'), int(#) > 1)", "3"),
        ("map(filter(split(ip, '.'), # != '1'), 'x' + #)", "[x10 x2 x3]"),
        ("any([[1], [2]], any(#, # == 2))", "true"),
        ("join(split(ip, '.'), '-')", "10-1-2-3"),
        ("split(ip, '.')[0] + split(ip, '.')[-1]", "103"),
        ("first([]) == nil ? last([1, 2]) : 0", "2"),
        ("type() in ['A', 'AAAA'] && name() == 'example.org.' || false", "true"),
        ("type() not in ['A']", "false"),
        ("not (1 == 2)", "true"),
        ("!true || 1 + 2 * 3 - 10 % 4 == 5", "true"),
        ("-(-5)", "5"),
        ("name() contains 'ample' and name() startsWith 'ex' and not (name() endsWith 'x')", "true"),
        ("name() matches '^ex.*[.]org[.]$'", "true"),
        ("name() not matches 'org'", "false"),
        ("'a' < 'b' and 2 >= 2 and 1 <= 2 and 1 != 2", "true"),
        ("hasPrefix(ip, '10.') and hasSuffix(ip, '.3')", "true"),
        ("trimPrefix(trimSuffix(ip, '.3'), '10.')", "1.2"),
        ("upper(trim(' a ')) + lower('B') + string(len('abc')) + string(len([1]))", "Ab31"),
        ("[bufsize(), do(), id(), opcode(), size() > 20]", "[1232 true 7 0 true]"),
        (
            "[class(), client_ip(), port(), proto(), server_ip(), server_port(), metadata('a/b')]",
            "[IN 10.240.0.1 40212 udp 10.96.0.10 53 ]",
        ),
        (r#"'it\'s' + "\"" + `\`"#, r#"it's"\"#),
        ("true or int('x') == 1", "true"),
    ] {
        assert_eq!(evaluate(text).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn what_is_wrong_is_found_when_it_is_read() {
    for (text, why) in [
        ("", "column 1: a value is missing"),
        ("1 +", "column 4: a value is missing"),
        ("1 2", "column 3: there is more than one expression"),
        ("nope", "column 1: there is no variable 'nope'; known are: ip"),
        ("nope()", "column 1: the function 'nope' is not supported; known are: bufsize class"),
        ("1 + len()", "column 5: 'len' takes 1 arguments, not 0"),
        ("# == 1", "column 1: # has no list around it"),
        ("any([1])", "',' is missing"),
        ("(1", "')' is missing"),
        ("[1", "',' is missing"),
        ("1 ? 2", "':' is missing"),
        ("ip matches ip", "takes a regular expression in quotes"),
        ("ip matches '('", "is not a regular expression"),
        ("'a", "column 1: the string is never closed"),
        ("'\\z'", "unknown escape"),
        ("1.5", "no whole number"),
        ("99999999999999999999", "no whole number"),
        ("1 / 2", "there is more than one expression"),
        ("ip | len", "there is more than one expression"),
        ("let x", "unexpected 'let'"),
        ("{}", "unexpected character '{'"),
        (&"(".repeat(40), "nested more than 32 deep"),
        (&"-".repeat(40), "nested more than 32 deep"),
        (&"1".repeat(5000), "has 5000 bytes"),
    ] {
        let error = evaluate(text).unwrap_err();
        assert!(error.starts_with("column") && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn what_depends_on_values_fails_when_it_runs() {
    for (text, why) in [
        ("incidr('x', '10.0.0.0/8')", "'x' is no address"),
        ("incidr(ip, 'x')", "'x' is no prefix"),
        ("int('x')", "is no whole number"),
        ("not 1", "a number is no truth value"),
        ("1 and true", "a number is no truth value"),
        ("1 < 'a'", "have no order"),
        ("1 + 'a'", "are not both numbers"),
        ("9223372036854775807 + 1", "does not fit"),
        ("1 % 0", "divided by zero"),
        ("[1][1]", "index out of range: 1 of 1"),
        ("1[1]", "has no a number as index"),
        ("any(1, true)", "a number is no list"),
        ("1 in 1", "a number is no list"),
        ("upper(1)", "wrong arguments"),
    ] {
        let error = evaluate(text).unwrap_err();
        assert!(error.starts_with("run: ") && error.contains(why), "{text}: {error}");
    }
}

#[test]
fn no_run_goes_on_for_ever() {
    let many = "split('........................................', '.')";
    let long = "replace('........................................', '.', '........................................')";
    for text in [
        format!("any({many}, any({many}, any({many}, any({many}, false))))"),
        format!("replace({long}, '.', {long})"),
    ] {
        let error = evaluate(&text).unwrap_err();
        assert!(error.contains("more than"), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![
            "\\PC{0,60}".boxed(),
            proptest::collection::vec(
                prop_oneof![
                    "(any|map|filter|len|split|join|replace|group|int|incidr|first|string)\\(",
                    "[,()\\[\\]#?:!+*%-]",
                    "( and | or | not | in | == | < | contains | matches )",
                    "(ip|true|nil|'[a.]{0,3}'|-?[0-9]{1,19})",
                ],
                0..16,
            ).prop_map(|pieces| pieces.concat()).boxed(),
        ],
    ) {
        let _ = evaluate(&text);
    }
}
