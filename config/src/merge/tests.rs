//! The merge table, and that merging is associative.

use proptest::prelude::*;

use super::merge;
use crate::node::Node;
use crate::yaml::parse;

fn tree(text: &str) -> Node {
    parse(text, 0).root.unwrap()
}

#[test]
fn maps_join_and_everything_else_is_replaced() {
    for (earlier, later, merged) in [
        ("a: {x: 1, y: 2}", "a: {y: 3, z: 4}", "a: {x: 1, y: 3, z: 4}"),
        ("a: [1, 2]", "a: [3]", "a: [3]"),
        ("a: {x: 1}", "a: {}", "a: {x: 1}"),
        ("a: {x: 1}", "a:", "a:"),
        ("a: {x: 1}", "a: text", "a: text"),
        ("a: text", "a: {x: 1}", "a: {x: 1}"),
        ("a: 1", "b: 2", "{a: 1, b: 2}"),
        ("a: [1]", "a: []", "a: []"),
    ] {
        let result = merge(tree(earlier), tree(later));
        assert!(result.means(&tree(merged)), "{earlier} + {later} = {result:?}");
    }
}

#[test]
fn a_replaced_value_stands_where_the_later_one_stands() {
    let later = parse("b: {c: 2}", 1).root.unwrap();
    let merged = merge(tree("b: {a: 1}"), later);
    let b = merged.as_map().unwrap().get("b").unwrap().as_map().unwrap();
    assert_eq!((b.get("a").unwrap().place.file, b.get("c").unwrap().place.file), (0, 1));
}

/// Maps of maps: where only maps meet maps, order of joining makes no difference.
fn maps() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("1".to_owned()), Just("[2]".to_owned()), Just("text".to_owned())];
    let inner = prop::collection::btree_map("[a-c]", leaf, 0..4).prop_map(|map| flow(&map));
    prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| flow(&map))
}

fn flow(map: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A scalar between two maps would part them, so all leaves here stand at one depth.
    #[test]
    fn merging_is_associative_while_kinds_agree(a in maps(), b in maps(), c in maps()) {
        let left = merge(merge(tree(&a), tree(&b)), tree(&c));
        let right = merge(tree(&a), merge(tree(&b), tree(&c)));
        prop_assert!(left.means(&right), "{a} {b} {c}");
    }

    #[test]
    fn merging_with_itself_changes_nothing(a in maps()) {
        prop_assert!(merge(tree(&a), tree(&a)).means(&tree(&a)));
    }
}
