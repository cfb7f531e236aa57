//! What references promise.

use proptest::prelude::*;

use super::{MAX_STEPS, expand, find_reference};
use crate::environment::{Environment, MapEnvironment};
use crate::files::Files;
use crate::node::{Node, Value};
use crate::problem::Problems;
use crate::yaml::parse;

/// Expands one YAML value.
fn expanded(text: &str, env: &dyn Environment) -> (Node, Problems) {
    let mut files = Files::default();
    let file = files.add("test.yaml", text);
    let mut node = parse(text, file).root.unwrap();
    let mut problems = Problems::new();
    expand(&mut node, env, &mut files, &mut problems);
    (node, problems)
}

fn value(text: &str, env: &MapEnvironment) -> String {
    let (node, problems) = expanded(&format!("v: \"{text}\""), env);
    assert!(!problems.has_errors(), "{problems}");
    node.as_map().unwrap().get("v").unwrap().text().unwrap().to_owned()
}

fn error(text: &str, env: &MapEnvironment) -> String {
    let (_, problems) = expanded(&format!("v: \"{text}\""), env);
    problems.iter().find(|problem| problem.is_error()).map(|problem| problem.message.clone()).unwrap_or_default()
}

#[test]
fn references_follow_the_collectors_syntax() {
    let env = MapEnvironment::new().with("A", "1").with("N", "A").with("EMPTY", "").with("REF", "x${env:A}y");
    for (text, result) in [
        ("${A}", "1"),
        ("${env:A}", "1"),
        ("http://${env:A}:80/${A}", "http://1:80/1"),
        ("${env:NO:-fallback}", "fallback"),
        ("${env:NO:-a:-b}", "a:-b"),
        ("${env:NO:-}", ""),
        ("${env:EMPTY:-fallback}", ""),
        ("${env:${env:N}}", "1"),
        ("${env:NO:-${env:A}}", "1"),
        ("${REF}", "x1y"),
        ("$A", "$A"),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$$${A}", "$1"),
        ("$$$${A}", "$${A}"),
        ("a } ${A} { }", "a } 1 { }"),
        ("${A", "${A"),
        ("$${A} ${A}", "${A} 1"),
        ("${yaml:text}", "text"),
    ] {
        assert_eq!(value(text, &env), result, "{text}");
    }
}

#[test]
fn what_the_collector_refuses_is_refused_in_its_words() {
    let env = MapEnvironment::new().with("LOOP", "${env:LOOP}").with("GROWS", "x${env:GROWS}").with("D", "a$$b");
    for (text, message) in [
        (
            "${env:hello.world}",
            "environment variable \"hello.world\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$",
        ),
        ("${1}", "environment variable \"1\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"),
        ("${}", "environment variable \"\" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$"),
        ("${nosuch:x}", "scheme \"nosuch\" is not supported for uri \"nosuch:x\""),
        ("${https://x/y}", "scheme \"https\" is not supported for uri \"https://x/y\""),
        ("${a:b}", "invalid uri: \"a:b\""),
        ("${env:A$B}", "the uri \"env:A$B\" contains unsupported characters ('$')"),
        ("${LOOP}", "too many recursive expansions"),
        ("${GROWS}", "too many recursive expansions"),
        ("${file:/no/such/file}", "unable to read the file file:/no/such/file: no such file or directory"),
    ] {
        assert_eq!(error(text, &env), message, "{text}");
    }
}

#[test]
fn a_thousand_steps_are_allowed() {
    let chain = |length: usize| -> MapEnvironment {
        (0..length)
            .map(|n| (format!("V{n}"), if n + 1 == length { "end".to_owned() } else { format!("${{V{}}}", n + 1) }))
            .collect()
    };
    assert_eq!(value("${V0}", &chain(MAX_STEPS)), "end");
    assert_eq!(error("${V0}", &chain(MAX_STEPS + 1)), "too many recursive expansions");
}

#[test]
fn a_group_in_a_replacement_gets_the_hint_to_double_the_dollar() {
    let (_, problems) = expanded("replacement: ${1}-x\nother: ${name}", &MapEnvironment::new());
    let helps: Vec<_> = problems.iter().filter_map(|problem| problem.help.as_deref()).collect();
    assert!(helps[0].contains("write $${1}"), "{helps:?}");
    assert!(helps[1].contains("write $${name}"), "{helps:?}");
}

#[test]
fn text_from_outside_never_changes_the_document() {
    let env = MapEnvironment::new().with("EVIL", "x\nadmin: true\n# ${env:NO}: {").with("MAP", "{a: [1, 2]}");
    let (node, _) = expanded("v: a ${MAP} b\nw: ${MAP}\nx: z ${env:MAP}", &env);
    let map = node.as_map().unwrap();
    assert_eq!(map.len(), 3);
    assert_eq!(map.get("v").unwrap().text(), Some("a {a: [1, 2]} b"));
    let grafted = map.get("w").unwrap();
    assert_eq!(grafted.as_map().unwrap().get("a").unwrap().type_name(), "[]interface {}");
    assert_eq!(grafted.text(), Some("{a: [1, 2]}"));
    let (node, _) = expanded("v: \"a${EVIL}\"", &env);
    assert_eq!(node.as_map().unwrap().len(), 1);
}

#[test]
fn an_unset_variable_is_null_for_values_and_empty_for_text() {
    let (node, problems) = expanded("v: ${NO}", &MapEnvironment::new());
    let v = node.as_map().unwrap().get("v").unwrap();
    assert!(v.is_null());
    assert_eq!(v.text(), Some(""));
    let problem = problems.iter().next().unwrap();
    assert!(!problem.is_error());
    assert_eq!(problem.message, "Configuration references unset environment variable \"NO\"");
}

#[test]
fn a_file_is_grafted_with_its_own_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("part.yaml");
    std::fs::write(&path, "a: 1\nb: [\"${env:X}\"]\n").unwrap();
    let env = MapEnvironment::new().with("X", "5");
    let (node, problems) = expanded(&format!("v: ${{file:{}}}", path.display()), &env);
    assert!(problems.is_empty(), "{problems}");
    let v = node.as_map().unwrap().get("v").unwrap();
    let entry = v.as_map().unwrap().entry("b").unwrap();
    assert_eq!((entry.place.file, entry.place.line), (1, 2));
    assert_eq!(v.text(), Some("a: 1\nb: [\"5\"]\n"));
}

#[test]
fn a_file_that_holds_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loop.yaml");
    std::fs::write(&path, format!("a: ${{file:{}}}\n", path.display())).unwrap();
    let (_, problems) = expanded(&format!("v: ${{file:{}}}", path.display()), &MapEnvironment::new());
    assert!(problems.iter().any(|problem| problem.message.contains("nest deeper than 32")), "{problems}");
}

#[test]
fn the_innermost_reference_comes_first() {
    assert_eq!(find_reference("a${b${c}d}"), Some((4, 8)));
    assert_eq!(find_reference("$${a}"), None);
    assert_eq!(find_reference("$$${a}"), Some((2, 6)));
    assert_eq!(find_reference("} ${a}"), Some((2, 6)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn text_without_a_dollar_stays_as_it_is(text in "[^$\\p{Cc}]{0,40}") {
        let mut node = Node::new(Value::Text(text.clone()), crate::Place { file: 0, line: 1, column: 1 });
        let mut problems = Problems::new();
        expand(&mut node, &MapEnvironment::new(), &mut Files::default(), &mut problems);
        prop_assert!(problems.is_empty());
        prop_assert_eq!(node.text(), Some(text.as_str()));
    }

    #[test]
    fn a_value_is_kept_whole_by_a_text_target(text in "[^$]{0,40}") {
        let env = MapEnvironment::new().with("X", text.clone());
        let (node, _) = expanded("v: ${env:X}", &env);
        let v = node.as_map().unwrap().get("v").unwrap();
        prop_assert_eq!(v.text(), Some(text.as_str()));
    }

    #[test]
    fn any_text_with_dollars_is_handled(text in "[$a{}:}1-]{0,24}") {
        let mut node = Node::new(Value::Text(text), crate::Place { file: 0, line: 1, column: 1 });
        expand(&mut node, &MapEnvironment::new().with("a", "${a}"), &mut Files::default(), &mut Problems::new());
    }
}
