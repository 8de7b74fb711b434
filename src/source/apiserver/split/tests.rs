use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::test_support::recorded;
use super::*;

/// A splitter, whichever it is.
trait Splitter: Default {
    type Out: PartialEq + std::fmt::Debug;
    fn push(&mut self, piece: Bytes);
    fn next(&mut self) -> Result<Option<Self::Out>, Broken>;
    fn finish(&self) -> Result<(), Broken>;
}

impl Splitter for Lines {
    type Out = Bytes;
    fn push(&mut self, piece: Bytes) {
        self.push(piece);
    }
    fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        self.next()
    }
    fn finish(&self) -> Result<(), Broken> {
        self.finish()
    }
}

impl Splitter for Document {
    type Out = Part;
    fn push(&mut self, piece: Bytes) {
        self.push(piece);
    }
    fn next(&mut self) -> Result<Option<Part>, Broken> {
        self.next()
    }
    fn finish(&self) -> Result<(), Broken> {
        self.finish()
    }
}

/// Everything that comes out of pieces.
fn split<'a, S: Splitter>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<S::Out>, Broken> {
    let (mut splitter, mut out) = (S::default(), Vec::new());
    for piece in pieces {
        splitter.push(Bytes::copy_from_slice(piece));
        while let Some(item) = splitter.next()? {
            out.push(item);
        }
    }
    splitter.finish().map(|()| out)
}

fn parts(text: &str) -> Result<Vec<Part>, Broken> {
    split::<Document>([text.as_bytes()])
}

fn field(name: &str, value: &str) -> Part {
    Part::Field { name: name.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
}

fn item(value: &str) -> Part {
    Part::Item(Bytes::copy_from_slice(value.as_bytes()))
}

/// The same comes out of every size of pieces, and for short texts out of every cut in two.
fn same_at_every_cut<S: Splitter>(name: &str, text: &[u8]) -> Vec<S::Out> {
    let whole = split::<S>([text]).unwrap_or_else(|e| panic!("{name}: {e}"));
    for size in (1..=24).chain([100, 1000, 4096]) {
        assert_eq!(split::<S>(text.chunks(size)).as_ref(), Ok(&whole), "{name} in pieces of {size}");
    }
    for at in 0..=text.len().min(600) {
        let (a, b) = text.split_at(at);
        assert_eq!(split::<S>([a, b]).as_ref(), Ok(&whole), "{name} cut at {at}");
    }
    whole
}

#[test]
fn recorded_watches_come_apart_at_every_cut() {
    for name in [
        "watch-services-live",
        "watch-endpointslices-live",
        "watch-from-old-rv",
        "watchlist-services",
        "watch-expired",
        "watch-future-rv",
    ] {
        let text = recorded(name);
        let lines = same_at_every_cut::<Lines>(name, &text);
        let expected: Vec<Json> =
            serde_json::Deserializer::from_slice(&text).into_iter().map(Result::unwrap).collect();
        let seen: Vec<Json> = lines.iter().map(|l| serde_json::from_slice(l).unwrap()).collect();
        assert_eq!(seen, expected, "{name}");
    }
}

#[test]
fn recorded_lists_come_apart_at_every_cut() {
    for name in [
        "list-services-page1",
        "list-services-page2",
        "list-endpointslices",
        "list-namespaces",
        "list-pods",
        "forbidden",
    ] {
        let text = recorded(name);
        let parts = same_at_every_cut::<Document>(name, &text);
        let whole: Json = serde_json::from_slice(&text).unwrap();
        assert_eq!(joined(&parts), whole, "{name}");
    }
}

/// The document that the parts are of.
fn joined(parts: &[Part]) -> Json {
    let mut fields = serde_json::Map::new();
    for part in parts {
        match part {
            Part::Field { name, value } => {
                fields.insert(name.clone(), serde_json::from_slice(value).unwrap());
            }
            Part::Item(text) => {
                let items = fields.entry("items").or_insert_with(|| Json::Array(vec![]));
                items.as_array_mut().unwrap().push(serde_json::from_slice(text).unwrap());
            }
        }
    }
    fields.into()
}

#[test]
fn fields_come_in_any_order_and_with_any_space() {
    let text =
        " { \"items\" : [ {\"a\":\"}]\\\"\"} ,\n[1,2] , 3 ] ,\"metadata\":{}, \"it\\u0065ms2\" : 5 }\n";
    let expected = vec![
        item(r#"{"a":"}]\""}"#),
        item("[1,2]"),
        item("3"),
        field("metadata", "{}"),
        field("items2", "5"),
    ];
    assert_eq!(parts(text), Ok(expected));
}

#[test]
fn lists_of_nothing() {
    let listed = |text: &str| {
        let mut document = Document::default();
        Document::push(&mut document, Bytes::copy_from_slice(text.as_bytes()));
        while Document::next(&mut document).unwrap().is_some() {}
        document.listed()
    };
    assert!(listed(r#"{"items":[]}"#));
    assert!(!listed("{}") && !listed(r#"{"items":null}"#) && !listed(r#"{"x":{"items":[]}}"#));
    assert_eq!(parts(r#"{"items":null}"#), Ok(vec![field("items", "null")]));
}

#[test]
fn what_is_no_list_says_where() {
    let deep = format!("{{\"a\":{}", "[".repeat(200));
    for (text, message) in [
        ("", "cut in the middle of a list at byte 0"),
        ("[]", "expected '{' at byte 0"),
        ("<html>", "expected '{' at byte 0"),
        ("{} {}", "expected nothing more at byte 3"),
        ("{a:1}", "expected a field's name at byte 1"),
        ("{\"a\" 1}", "expected ':' at byte 5"),
        ("{\"a\":}", "expected a value at byte 5"),
        ("{\"a\":,}", "expected a value at byte 5"),
        ("{\"a\":1,}", "expected a field's name at byte 7"),
        ("{\"a\":1]", "expected ',' or '}' at byte 6"),
        ("{\"a\":{]}", "a bracket closed by one of another kind at byte 6"),
        ("{\"items\":[,]}", "expected a value at byte 10"),
        ("{\"items\":[{},]}", "expected a value at byte 13"),
        ("{\"items\":[{}}", "expected ',' or ']' at byte 12"),
        ("{\"items\":[{}", "cut in the middle of a list at byte 12"),
        ("{\"items\":[{\"a\":\"", "cut in the middle of a list at byte 16"),
        ("{\"\\x\":1}", "a field's name that is no text at byte 5"),
        (&deep, "brackets nested deeper than 127 at byte 132"),
    ] {
        assert_eq!(parts(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn items_are_bounded() {
    let long = "x".repeat(1 << 20);
    let mut document = Document::default();
    document.push(Bytes::from_static(b"{\"items\":[\""));
    let mut pushed = 0;
    let error = loop {
        document.push(Bytes::copy_from_slice(long.as_bytes()));
        pushed += 1;
        match document.next() {
            Ok(None) => assert!(pushed <= 16),
            Ok(Some(part)) => panic!("{part:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().starts_with("an item of more than 16 MiB"), "{error}");
    let mut lines = Lines::default();
    lines.push(long.repeat(17).into());
    assert!(lines.next().is_err());
}

#[test]
fn lines_end_with_a_line_break_or_are_cut() {
    let lines = |text: &str| split::<Lines>([text.as_bytes()]);
    assert_eq!(lines("\n a\r\n\nb\n \n"), Ok(vec![Bytes::from_static(b" a\r"), Bytes::from_static(b"b")]));
    assert_eq!(lines("a\n{\"b\"").unwrap_err().to_string(), "cut in the middle of an event at byte 6");
}

#[test]
fn an_item_within_a_piece_is_not_copied() {
    let piece = Bytes::from_static(b"{\"items\":[{\"a\":1},{}]}");
    let mut document = Document::default();
    document.push(piece.clone());
    let Ok(Some(Part::Item(first))) = document.next() else { panic!() };
    assert_eq!(first.as_ptr(), piece[10..].as_ptr());
}

/// Any JSON value, a few levels deep.
fn json() -> impl Strategy<Value = Json> {
    let text = prop_oneof![any::<String>(), Just("\"\\{[]},:\u{7f}\n".to_owned()), "[a-z]{0,8}"];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        text.prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_is_what_serde_json_reads(
        before in prop::collection::vec(("[a-h]{1,3}|[\"\\\\{é]", json()), 0..4),
        items in prop::collection::vec(json(), 1..6),
        after in prop::collection::vec(("[k-z]{1,3}", json()), 0..4),
        pretty: bool,
        sizes in prop::collection::vec(1usize..40, 1..20),
    ) {
        let quoted = |(name, value): &(String, Json)| format!("{}:{}", Json::from(name.as_str()), text_of(value, pretty));
        let texts: Vec<_> = items.iter().map(|v| text_of(v, pretty)).collect();
        let list = format!("\"items\":[{}]", texts.join(","));
        let fields = before.iter().map(quoted).chain([list]).chain(after.iter().map(quoted));
        let text = format!("{{{}}}", fields.collect::<Vec<_>>().join(if pretty { " ,\n" } else { "," }));
        let parts = split::<Document>(cut(text.as_bytes(), &sizes)).unwrap();
        prop_assert_eq!(joined(&parts), serde_json::from_str::<Json>(&text).unwrap());
    }

    #[test]
    fn no_bytes_make_it_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..10)) {
        let _ = split::<Document>(pieces.iter().map(Vec::as_slice));
        let _ = split::<Lines>(pieces.iter().map(Vec::as_slice));
    }

    #[test]
    fn nothing_alike_makes_it_panic(text in r#"\{("(items|a)":|[\[\]{}",:\\ 1]){0,40}"#, size in 1usize..9) {
        let whole = split::<Document>([text.as_bytes()]);
        let cut = split::<Document>(text.as_bytes().chunks(size));
        prop_assert_eq!(&whole, &cut);
        // What has no wrong brackets, commas and names may still hold wrong values, never the other way round.
        if serde_json::from_str::<Json>(&text).is_ok() {
            prop_assert!(whole.is_ok());
        }
    }
}

fn text_of(value: &Json, pretty: bool) -> String {
    if pretty { format!("{value:#}") } else { value.to_string() }
}

/// `text` in pieces of these sizes, over and over.
fn cut<'a>(mut text: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, rest) = text.split_at((*size).min(text.len()));
        pieces.push(piece);
        text = rest;
        if text.is_empty() {
            break;
        }
    }
    pieces
}
