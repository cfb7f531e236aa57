use proptest::prelude::*;

use super::*;

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Empty),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i32>().prop_map(|int| Value::Double(f64::from(int) / 8.0)),
        ".{0,20}".prop_map(|text| Value::Str(text.into())),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((".{0,6}".prop_map(Box::<str>::from), inner), 0..5).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn packing_keeps_every_value(pairs in prop::collection::btree_map(".{0,6}", values(), 0..8)) {
        let attributes = Attributes::from_pairs(&pairs);
        let unpacked: Vec<_> = attributes.iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
        prop_assert_eq!(unpacked, pairs.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn order_of_arrival_does_not_matter(mut pairs in prop::collection::vec(("[a-e]{1,2}", "[x-z]{0,3}"), 0..6)) {
        pairs.sort();
        pairs.dedup_by(|a, b| a.0 == b.0);
        let forward = Attributes::from_pairs(pairs.iter().map(|(k, v)| (k, v)));
        let backward = Attributes::from_pairs(pairs.iter().rev().map(|(k, v)| (k, v)));
        prop_assert_eq!(&forward, &backward);
    }
}

#[test]
fn of_equal_keys_the_last_wins() {
    let attributes = Attributes::from_pairs([("a", "1"), ("b", "2"), ("a", "3")]);
    assert_eq!(attributes.len(), 2);
    assert_eq!(attributes.get("a"), Some(ValueRef::Str("3")));
    assert_eq!(attributes.get("c"), None);
}

#[test]
fn values_have_the_text_that_opentelemetry_gives_them() {
    let map = Value::Map(vec![("k".into(), Value::Array(vec![Value::Int(1), Value::from("a\"b"), Value::Bool(true)]))]);
    assert_eq!(map.to_string(), r#"{"k":[1,"a\"b",true]}"#);
    for (bytes, text) in [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foobar", "Zm9vYmFy")] {
        assert_eq!(ValueRef::Bytes(bytes).to_string(), text);
    }
}

#[test]
fn a_builder_starts_anew_after_finish() {
    let mut builder = AttributesBuilder::default();
    builder.push("a", 1_i64);
    assert_eq!(builder.finish().len(), 1);
    assert!(builder.finish().is_empty());
}
