//! The same cluster in every format that kubectl prints, and texts that are none of them.

use std::fs;
use std::path::Path;

use outlast::source::Wanted;
use outlast::source::file::{ReadError, read};
use outlast::source::kubectl::Found;
use outlast::zone::object::{Kind, Object};
use serde_json::Value;

/// What kubectl printed of a small cluster that has every shape of service.
const PARITY: &str = include_str!("../data/parity/cluster.json");

fn items() -> Vec<Value> {
    let list: Value = serde_json::from_str(PARITY).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Prints `value` as block YAML, the way `kubectl -o yaml` does.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("\n{pad}{key}:"));
                // kubectl does not indent sequences below their key.
                yaml(value, indent + if value.is_array() { 0 } else { 2 }, out);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for item in list {
                let mut text = String::new();
                yaml(item, indent + 2, &mut text);
                out.push_str(&format!("\n{pad}- {}", text.trim_start()));
            }
        }
        Value::String(text) if plain(text) => out.push_str(&format!(" {text}")),
        scalar => out.push_str(&format!(" {scalar}")),
    }
}

/// Whether a string is written without quotes.
fn plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == 'I' || c == 'N')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-./".contains(&b))
        && !["null", "true", "false", "no", "yes", "on", "off", "n", "y"].contains(&text)
}

fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    yaml(value, 0, &mut text);
    format!("{}\n", text.trim_start())
}

fn read_text(name: &str, text: &str) -> Result<Found, ReadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    read(&path, Wanted::ALL)
}

#[test]
fn every_format_gives_the_same_objects() {
    let expected = read_text("cluster.json", PARITY).unwrap();
    let count = |kind| expected.objects.iter().filter(|o| o.kind() == kind).count();
    let counts = Kind::ALL.map(count);
    // Of its four pods one has finished.
    assert_eq!(counts, [9, 32, 19, 3]);
    assert!(expected.drops.is_empty() && expected.skipped.is_empty(), "{expected:?}");

    let list: Value = serde_json::from_str(PARITY).unwrap();
    let documents: Vec<_> = items().iter().map(to_yaml).collect();
    let values: Vec<_> = items().iter().map(Value::to_string).collect();
    let texts = [
        ("JSON by its content", "cluster", PARITY.to_owned()),
        ("compact JSON", "cluster.json", list.to_string()),
        ("JSON values one after the other", "cluster.json", values.concat()),
        ("JSON values on lines", "cluster", values.join("\n")),
        ("JSON is YAML too", "cluster.yaml", PARITY.to_owned()),
        ("a YAML list", "cluster.yaml", to_yaml(&list)),
        ("YAML by its content", "cluster", to_yaml(&list)),
        ("YAML documents", "cluster.yml", documents.join("---\n")),
        (
            "YAML documents, marked at both ends",
            "cluster.yml",
            format!("---\n{}...\n", documents.join("---\n")),
        ),
    ];
    for (name, file, text) in texts {
        let found = read_text(file, &text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_folder_is_the_sum_of_its_files() {
    let expected = read_text("cluster.json", PARITY).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (number, item) in items().into_iter().enumerate() {
        let (name, text) = match number % 2 {
            0 => (format!("{number}.json"), item.to_string()),
            _ => (format!("{number}.yaml"), to_yaml(&item)),
        };
        fs::write(folder.path().join(name), text).unwrap();
    }
    // What is not ours is not looked at.
    fs::write(folder.path().join("README.txt"), "not { yaml").unwrap();
    fs::write(folder.path().join(".hidden.json"), "not json").unwrap();
    fs::create_dir(folder.path().join("folder.json")).unwrap();
    assert_eq!(read(folder.path(), Wanted::ALL).unwrap(), expected);
}

#[test]
fn a_mounted_config_map_is_read_through_its_links() {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join("..2026_11_22_16_56_57.1");
    fs::create_dir(&version).unwrap();
    fs::write(version.join("cluster.json"), PARITY).unwrap();
    std::os::unix::fs::symlink("..2026_11_22_16_56_57.1", folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/cluster.json", folder.path().join("cluster.json")).unwrap();
    let found = read(folder.path(), Wanted::ALL).unwrap();
    // Once: not through `..data` and through the version's folder as well.
    assert_eq!(found, read_text("cluster.json", PARITY).unwrap());
}

#[test]
fn of_two_files_with_the_same_object_the_later_name_wins() {
    let folder = tempfile::tempdir().unwrap();
    for (file, target) in [("b.yaml", "second.example.test"), ("a.yaml", "first.example.test")] {
        let text = format!(
            "kind: Namespace\nmetadata: {{name: b}}\n---\nkind: Service\nmetadata: {{name: a, namespace: b}}\nspec: {{type: ExternalName, externalName: {target}}}\n"
        );
        fs::write(folder.path().join(file), text).unwrap();
    }
    let found = read(folder.path(), Wanted::default()).unwrap();
    assert!(format!("{:?}", found.objects).contains("second.example.test"), "{found:?}");
}

#[test]
fn what_lacks_a_kind_that_others_depend_on_is_refused() {
    let ns = "kind: Namespace\nmetadata: {name: shop}\n";
    let svc = "kind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: 10.96.0.1}\n";
    let headless = "kind: Service\nmetadata: {name: db, namespace: shop}\nspec: {clusterIP: None}\n";
    let slice = "kind: EndpointSlice\nmetadata: {name: db-1, namespace: shop}\naddressType: IPv4\n";
    let cases: [(&str, &[&str], Option<&str>); 6] = [
        ("kubectl get svc,endpointslices", &[svc, slice], Some("holds no Namespace")),
        ("kubectl get ns,endpointslices", &[ns, slice], Some("holds no Service")),
        ("kubectl get ns,svc with headless services", &[ns, svc, headless], Some("holds no EndpointSlice")),
        ("cluster addresses need no endpoints", &[ns, svc], None),
        ("a cluster that is still empty", &[ns], None),
        ("everything", &[ns, svc, headless, slice], None),
    ];
    for (name, documents, want) in cases {
        match (read_text("cluster.yaml", &documents.join("---\n")), want) {
            (Ok(_), None) => {}
            (Err(error), Some(want)) => assert!(error.to_string().contains(want), "{name}: {error}"),
            (got, want) => panic!("{name}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn what_holds_no_objects_is_refused() {
    let nothing = "holds no Namespace, Service, EndpointSlice or Pod";
    let cases = [
        ("empty.json", "", nothing),
        ("blank.json", " \n", nothing),
        ("empty.yaml", "", nothing),
        ("comment.yaml", "# nothing\n---\n", nothing),
        ("list.json", r#"{"kind": "List", "items": []}"#, nothing),
        ("null.json", r#"{"kind": "List", "items": null}"#, nothing),
        ("other.yaml", "kind: Deployment\n", "1 of kind Deployment"),
        ("absurd.yaml", "kind: Namespace\nmetadata: {name: A}\n", "its name has to be"),
        ("array.json", "[]", ":1:1: invalid type: sequence, expected a Kubernetes object or a List"),
        ("scalar.json", "42", ":1:2: invalid type: integer `42`, expected a Kubernetes object or a List"),
        ("scalar.yaml", "42", ":1:1: expected a mapping"),
        ("nameless.json", "{}", ":1:2: an object without \"kind\"; expected a Kubernetes object or a List"),
        ("headless.json", r#"{"items": []}"#, ":1:13: a list without \"kind\"; expected"),
        (
            "odd.json",
            r#"{"items": [], "kind": "Service"}"#,
            ":1:32: \"items\" in an object of kind \"Service\"; expected",
        ),
        ("cut.json", r#"{"kind": "List", "items": ["#, "the text is cut short"),
    ];
    for (file, text, why) in cases {
        let error = read_text(file, text).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(why), "{file}: {error}");
    }
}

#[test]
fn a_list_cut_anywhere_is_never_a_smaller_cluster() {
    let list: Value = serde_json::from_str(PARITY).unwrap();
    for (file, text) in [("a.json", PARITY.to_owned()), ("a.yaml", to_yaml(&list))] {
        let whole = read_text(file, &text).unwrap();
        for cut in (0..text.len()).step_by(3001) {
            match read_text(file, &text[..cut]) {
                Err(ReadError::Malformed { .. } | ReadError::Empty { .. }) => {}
                // Only what comes after the last object may be missing.
                other => assert_eq!(other.unwrap(), whole, "{file} at {cut}"),
            }
        }
    }
}

#[test]
fn an_error_says_file_line_and_column() {
    let text = "kind: Namespace\nmetadata: {name: a}\n---\nkind: Service\nspec:\n  ports:\n  - port: [1]\n";
    let error = read_text("a.yaml", text).unwrap_err().to_string();
    let (_, place) = error.split_once("a.yaml").unwrap();
    assert!(place.starts_with(":7:5: "), "{error}");
}

#[test]
fn the_example_holds_what_its_comments_promise() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster.yaml");
    let found = read(&path, Wanted::ALL).unwrap();
    assert!(found.drops.is_empty() && found.skipped.is_empty(), "{found:?}");
    let endpoints: usize = found
        .objects
        .iter()
        .map(|o| match o {
            Object::EndpointSlice(slice) => slice.endpoints.len(),
            _ => 0,
        })
        .sum();
    let counts = Kind::ALL.map(|kind| found.objects.iter().filter(|o| o.kind() == kind).count());
    assert_eq!((counts, endpoints), ([3, 5, 5, 3], 8));
}
