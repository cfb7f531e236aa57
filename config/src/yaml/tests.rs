//! What reading YAML promises.

use crate::node::{Node, Value};
use crate::yaml::{Parsed, parse};
use crate::{MAX_NODES, redact};

/// The problems of a text, as `line:column message`.
fn problems(text: &str) -> Vec<String> {
    let told = |problem: &crate::Problem| {
        let place = problem.place.unwrap();
        format!("{}:{} {}", place.line, place.column, problem.message)
    };
    parse(text, 0).problems.iter().map(told).collect()
}

fn root(text: &str) -> Node {
    let Parsed { root, problems, .. } = parse(text, 0);
    assert!(problems.is_empty(), "{problems}");
    root.unwrap()
}

fn text_at<'n>(node: &'n Node, keys: &[&str]) -> &'n str {
    keys.iter().fold(node, |node, key| node.as_map().unwrap().get(key).unwrap()).text().unwrap()
}

#[test]
fn scalars_keep_their_text_quotes_and_place() {
    let root = root("a: 1.10\nb: \"1.10\"\nc: no\nd: |\n  x\n  y\n");
    let map = root.as_map().unwrap();
    assert!(matches!(&map.get("a").unwrap().value, Value::Plain(text) if text == "1.10"));
    assert!(matches!(&map.get("b").unwrap().value, Value::Text(text) if text == "1.10"));
    assert_eq!(text_at(&root, &["d"]), "x\ny\n");
    let place = map.get("c").unwrap().place;
    assert_eq!((place.line, place.column), (3, 4));
}

#[test]
fn aliases_and_merge_keys_work() {
    let root = root(
        "base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nlist: {<<: [{c: 4}, *base], a: 5}\nkey: &k x\n*k : 6\n",
    );
    assert_eq!(text_at(&root, &["use", "a"]), "1");
    assert_eq!(text_at(&root, &["use", "b"]), "3");
    assert_eq!(text_at(&root, &["list", "c"]), "4");
    assert_eq!(text_at(&root, &["list", "a"]), "5");
    assert_eq!(text_at(&root, &["x"]), "6");
}

#[test]
fn a_key_with_double_colons_is_a_path() {
    let root = root("a::b: {c: 1}\na:\n  b::d: 2\n\"::1\": 3\nx::y: 4\nx::z: 5\n");
    assert_eq!(text_at(&root, &["a", "b", "c"]), "1");
    assert_eq!(text_at(&root, &["a", "b", "d"]), "2");
    assert_eq!(text_at(&root, &["::1"]), "3");
    assert_eq!(text_at(&root, &["x", "z"]), "5");
    assert_eq!(problems("a::b: 1\na: {b: 2}\n"), ["2:1 mapping key \"a\" already defined"]);
}

#[test]
fn equal_keys_are_refused() {
    assert_eq!(
        problems("a: 1\nb: {c: 1, c: 2}\na: 3\n"),
        ["2:11 mapping key \"c\" already defined", "3:1 mapping key \"a\" already defined"]
    );
}

#[test]
fn nested_flow_maps_are_given_up_at_once() {
    for unit in ["{a: ", "[", "{a: [", "- ", "? ", "{? "] {
        let text = unit.repeat(400_000 / unit.len());
        let parsed = parse(&text, 0);
        assert!(parsed.root.is_none(), "{unit}");
        assert!(parsed.problems.has_errors(), "{unit}");
        assert!(parsed.events < 200, "{unit}: {} events", parsed.events);
    }
    let deep: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let parsed = parse(&deep, 0);
    assert!(parsed.root.is_none() && parsed.events < 200, "{} events", parsed.events);
}

#[test]
fn thirty_two_levels_are_allowed_and_one_more_is_not() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(problems(&nested(32)).is_empty());
    assert_eq!(problems(&nested(33)), ["1:33 lists and maps nest deeper than 32"]);
    assert_eq!(problems(&format!("{}: 1", vec!["a"; 40].join("::"))), ["1:1 lists and maps nest deeper than 32"]);
}

#[test]
fn a_billion_laughs_stop_at_the_node_budget() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..10 {
        let below = format!("*a{}, ", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    let parsed = parse(&text, 0);
    assert!(parsed.root.is_none());
    let problem = parsed.problems.iter().next().unwrap();
    assert_eq!(problem.message, format!("more than {MAX_NODES} nodes, aliases counted as what they stand for"));
    assert!(parsed.events < 200, "{} events", parsed.events);
}

#[test]
fn many_nodes_and_many_aliases_are_refused() {
    let parsed = parse(&format!("[{}]", "1,".repeat(400_000)), 0);
    assert!(parsed.root.is_none() && parsed.events <= MAX_NODES + 10, "{} events", parsed.events);
    assert_eq!(problems(&format!("a: &a 1\nb: [{}]", "*a,".repeat(1_001))), ["2:3005 more than 1000 aliases"]);
    assert_eq!(problems("a: &a [*a]"), ["1:8 the alias stands inside the anchor it names"]);
}

#[test]
fn lines_inside_secret_values_are_found() {
    let parsed = parse("password: |\n  one\n  two\nnext: 1\ntokens:\n  - three\n  - {x: four}\nlast: \"a\n  b\"\n", 0);
    let lines: Vec<u32> = parsed.secret_lines.iter().flat_map(|(from, to)| *from..=*to).collect();
    assert_eq!(lines, [2, 3, 6, 7]);
    assert!(redact::is_secret_key("tokens"));
}

#[test]
fn what_is_no_plain_yaml_is_refused_with_its_place() {
    for (text, problem) in [
        ("a: 1\n---\nb: 2\n", "2:1 a second YAML document starts here"),
        ("a: !custom x\n", "1:12 the tag !custom is not supported"),
        ("a: !!binary eA==\n", "1:13 the tag !!binary is not supported"),
        ("[a]: 1\n", "1:1 a key must be a scalar, not a list or map"),
        ("a: *nothing\n", "1:4 yaml: unknown anchor 'nothing' referenced"),
        ("<<: 3\n", "1:5 yaml: map merge requires map or sequence of maps as the value"),
    ] {
        assert_eq!(problems(text).first().map(String::as_str), Some(problem), "{text}");
    }
    assert!(matches!(&root("a: !!str 5").as_map().unwrap().get("a").unwrap().value, Value::Text(text) if text == "5"));
    assert_eq!(root("a: !!int \"5\"").as_map().unwrap().get("a").unwrap().type_name(), "int");
}

#[test]
fn line_ends_of_every_system_give_the_same_places() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["\u{feff}a: 1", "é: 2", "  # note", "a: 3", ""].join(end);
        assert_eq!(problems(&text), ["4:1 mapping key \"a\" already defined"], "{end:?}");
        assert_eq!(crate::files::lines(&text).nth(3), Some("a: 3"));
    }
    assert_eq!(problems("\u{feff}é: [日, *x]"), ["1:8 yaml: unknown anchor 'x' referenced"]);
}
