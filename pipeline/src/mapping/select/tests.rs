use proptest::prelude::*;

use super::*;

fn selection(paths: &[&str]) -> Selection {
    Selection::new(&paths.iter().map(|path| path.parse().unwrap()).collect::<Vec<Selector>>())
}

/// What the fields of a document are, as debug text.
fn read(paths: &[&str], document: &str) -> Vec<String> {
    let fields = selection(paths).read(document.as_bytes()).unwrap();
    (0..paths.len())
        .map(|index| match fields.get(index) {
            Field::Text(text) => format!("{text:?}"),
            Field::Json(json) => format!("{json:?}"),
            Field::Null => "-".to_owned(),
            Field::Bool(flag) => flag.to_string(),
            Field::Int(int) => int.to_string(),
            Field::Double(double) => format!("{double:?}"),
        })
        .collect()
}

#[test]
fn fields_are_found_by_pointer_and_by_path() {
    let document = r#" {"a":{"b":[10,{"c":"x"}],"d.e":true,"f/g~":1.5},"n":null,"big":18446744073709551616} "#;
    let paths = ["/a/b/0", "a.b.1.c", "/a/d.e", "/a/f~1g~0", "n", "missing.far", "big", "a.b", "a.b.0.none", "/a/b/1"];
    let expected = ["10", "\"x\"", "true", "1.5", "-", "-", "\"18446744073709551616\""];
    let read = read(&paths, document);
    assert_eq!(read[..7], expected);
    assert_eq!(read[7..], [r#""[10,{\"c\":\"x\"}]""#, "-", r#""{\"c\":\"x\"}""#]);
}

#[test]
fn the_empty_path_is_the_whole_document_and_one_cell_may_be_wanted_twice() {
    assert_eq!(read(&["", "a", "/a"], "{\"a\": 1}\n"), ["\"{\\\"a\\\": 1}\"", "1", "1"]);
    assert_eq!(read(&["", "a"], "\"text\""), ["\"text\"", "-"]);
}

#[test]
fn text_is_borrowed_unless_it_has_escapes() {
    let selection = selection(&["a", "b"]);
    let fields = selection.read(r#"{"a":"plain","b":"q\"\u00e9"}"#.as_bytes()).unwrap();
    assert!(matches!(fields.get(0), Field::Text(Cow::Borrowed("plain"))));
    assert_eq!(*fields.get(1), Field::Text("q\"é".into()));
}

#[test]
fn of_equal_keys_the_last_counts_with_all_that_is_in_it() {
    assert_eq!(read(&["a.b", "a"], r#"{"a":{"b":1},"a":{}}"#), ["-", "\"{}\""]);
    assert_eq!(read(&["a.b"], r#"{"a":{"b":1},"a":{"b":2}}"#), ["2"]);
    assert_eq!(read(&["a.b"], r#"{"a":{"b":1},"\u0061":3}"#), ["-"]);
}

#[test]
fn what_is_no_document_is_told() {
    let read = |document: &[u8]| selection(&["a"]).read(document).map(|_| ());
    assert_eq!(read(b"\xff"), Err(BadDocument::NotUtf8));
    for wrong in ["", "{", "{\"a\":1}x", "{\"a\":01}", "[1,]", "{\"b\":\"\x01\"}", "nul"] {
        assert!(matches!(read(wrong.as_bytes()), Err(BadDocument::NotJson(_))), "{wrong:?}");
    }
}

#[test]
fn depth_is_bounded_even_where_nobody_looks() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    let read = |document: &str| selection(&["a"]).read(document.as_bytes()).map(|_| ());
    assert_eq!(read(&nested(DEPTH_MAX - 1)), Ok(()));
    assert_eq!(read(&nested(DEPTH_MAX)), Err(BadDocument::TooDeep));
    assert_eq!(read(&format!("{{\"x\":\"{}\\\"{}\"}}", "[".repeat(99), "{".repeat(99))), Ok(()), "brackets in text");
    assert_eq!(read(&"[".repeat(1 << 20)), Err(BadDocument::TooDeep));
}

#[test]
fn a_text_that_looks_like_something_else_is_a_text() {
    let document =
        br#"{"a":true,"b":"true","c":7,"d":"7","e":99999999999999999999,"f":{"g":1},"h":"{}","i":[],"j":null,"k":1.5}"#;
    let fields = selection(&["a", "b", "c", "d", "e", "f", "h", "i", "j", "k", "none"]).read(document).unwrap();
    use CellType::{Array, Boolean, Number, Object, String};
    let types = [Boolean, String, Number, String, Number, Object, String, Array];
    for (index, expected) in types.into_iter().map(Some).chain([None, Some(Number), None]).enumerate() {
        assert_eq!(fields.cell_type(index), expected, "{:?}", fields.get(index));
    }
}

#[test]
fn a_wrong_path_is_told_what_would_be_right() {
    for (path, told) in [("a..b", "empty step"), (".a", "empty step"), ("/a~b", "followed by neither"), ("/~", "~0")] {
        let error = path.parse::<Selector>().unwrap_err();
        assert!(error.contains(told), "{path}: {error}");
    }
    assert_eq!("a.b".parse::<Selector>().unwrap().to_string(), "/a/b");
    assert_eq!("/a~1b/~0".parse::<Selector>().unwrap().to_string(), "/a~1b/~0");
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(|double| Value::from(double + 0.5)),
        "[a-c\"\\\\\u{e9}]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// A walk finds what a tree of values would find.
    #[test]
    fn every_field_is_what_a_tree_of_values_says(
        document in value(),
        paths in proptest::collection::vec(proptest::collection::vec("[a-c]|[0-3]", 0..4), 1..5),
    ) {
        let pointers: Vec<String> = paths.iter().map(|steps| steps.iter().map(|step| format!("/{step}")).collect()).collect();
        let selection = Selection::new(&pointers.iter().map(|pointer| pointer.parse().unwrap()).collect::<Vec<_>>());
        let text = document.to_string();
        let fields = selection.read(text.as_bytes()).unwrap();
        for (index, pointer) in pointers.iter().enumerate() {
            let json = document.pointer(pointer).map(ToString::to_string).unwrap_or_default();
            let expected = match document.pointer(pointer) {
                None | Some(serde_json::Value::Null) => Field::Null,
                Some(serde_json::Value::Bool(flag)) => Field::Bool(*flag),
                Some(serde_json::Value::String(text)) => Field::Text(text.clone().into()),
                Some(serde_json::Value::Number(number)) => match number.as_i64() {
                    Some(int) => Field::Int(int),
                    None => Field::Double(number.as_f64().unwrap()),
                },
                Some(_) => Field::Json(&json),
            };
            prop_assert_eq!(fields.get(index), &expected, "{} of {}", pointer, text);
        }
    }
}
