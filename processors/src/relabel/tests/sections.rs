//! Sections that are wrong, and what is said about them.

use super::*;

fn problems(yaml: &str) -> Vec<(String, String)> {
    let section = Section::from_yaml("relabel", yaml).unwrap();
    let Err(problems) = (super::super::FACTORY.plan)(&section) else { return Vec::new() };
    assert!(problems.iter().all(|problem| problem.place.is_some()), "{problems:?}");
    problems.iter().map(|problem| (problem.path.clone(), problem.message.clone())).collect()
}

#[test]
fn mistakes_in_rules_are_told_in_prometheus_words_where_they_stand() {
    let table = [
        ("{action: ''}", "action", "relabel action cannot be empty"),
        ("{action: replce, target_label: a}", "action", "unknown relabel action \"replce\""),
        (
            "{action: hashmod, source_labels: [a], target_label: b}",
            "modulus",
            "relabel configuration for hashmod requires non-zero modulus",
        ),
        (
            "{source_labels: [a]}",
            "target_label",
            "relabel configuration for replace action requires 'target_label' value",
        ),
        (
            "{action: lowercase, source_labels: [a]}",
            "target_label",
            "relabel configuration for lowercase action requires 'target_label' value",
        ),
        (
            "{action: keepequal, source_labels: [a]}",
            "target_label",
            "relabel configuration for keepequal action requires 'target_label' value",
        ),
        ("{target_label: 'a-b'}", "target_label", "\"a-b\" is invalid 'target_label' for replace action"),
        ("{target_label: 'a-$1'}", "target_label", "\"a-$1\" is invalid 'target_label' for replace action"),
        (
            "{action: uppercase, source_labels: [a], target_label: '${1}'}",
            "target_label",
            "\"${1}\" is invalid 'target_label' for uppercase action",
        ),
        (
            "{action: hashmod, modulus: 8, source_labels: [a], target_label: a.b}",
            "target_label",
            "\"a.b\" is invalid 'target_label' for hashmod action",
        ),
        (
            "{action: lowercase, source_labels: [a], target_label: b, replacement: c}",
            "replacement",
            "'replacement' can not be set for lowercase action",
        ),
        (
            "{action: dropequal, source_labels: [a], target_label: b, replacement: c}",
            "replacement",
            "'replacement' can not be set for dropequal action",
        ),
        (
            "{action: labelmap, regex: 'a_(.*)', replacement: '$1-x'}",
            "replacement",
            "\"$1-x\" is invalid 'replacement' for labelmap action",
        ),
        (
            "{action: keepequal, source_labels: [a], target_label: b, regex: c}",
            "regex",
            "keepequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            "{action: dropequal, source_labels: [a], target_label: b, separator: ','}",
            "separator",
            "dropequal action requires only 'source_labels' and `target_label`, and no other fields",
        ),
        (
            "{action: labeldrop, regex: a, source_labels: [b]}",
            "source_labels",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "{action: labelkeep, regex: a, target_label: b}",
            "target_label",
            "labelkeep action requires only 'regex', and no other fields",
        ),
        (
            "{action: labeldrop, regex: a, modulus: 3}",
            "modulus",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        (
            "{action: labeldrop, regex: a, replacement: b}",
            "replacement",
            "labeldrop action requires only 'regex', and no other fields",
        ),
        ("{source_labels: [a.b], target_label: c}", "source_labels", "\"a.b\" is not a valid label name"),
        (
            "{source_labels: [a], target_label: b, regex: 'a(b'}",
            "regex",
            "error parsing regexp: missing closing ): `^(?s:a(b)$`",
        ),
    ];
    for (rule, field, message) in table {
        let yaml = format!("metric_name_validation_scheme: legacy\nmetric_relabel_configs:\n  - {rule}\n");
        let path = format!("relabel::metric_relabel_configs[0]::{field}");
        assert_eq!(problems(&yaml), [(path, message.to_owned())], "{rule}");
    }
}

#[test]
fn what_equals_a_default_may_be_written() {
    let rule = "{action: labeldrop, regex: a, separator: ;, replacement: $1, modulus: 0}";
    assert_eq!(problems(&format!("rules: [{rule}]")), []);
    assert_eq!(problems("rules: [{action: KeepEqual, source_labels: [a], target_label: b, regex: (.*)}]"), []);
}

#[test]
fn utf8_names_are_the_default() {
    assert_eq!(problems("rules: [{source_labels: [http.method], target_label: 'a-${1}-ö'}]"), []);
    assert_eq!(
        problems("rules: [{source_labels: [''], target_label: a}]"),
        [("relabel::rules[0]::source_labels".into(), "\"\" is not a valid label name".into())]
    );
}

#[test]
fn all_problems_of_a_section_are_told() {
    let yaml = "\
rules:
  - {action: nothing}
  - {source_labels: [a], target_label: b}
  - {regex: '(', action: labeldrop}
scope: []
input_ttl: 10ms
max_input_series: 0
";
    let paths: Vec<_> = problems(yaml).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        paths,
        [
            "relabel::rules[0]::action",
            "relabel::rules[2]::regex",
            "relabel::input_ttl",
            "relabel::max_input_series",
            "relabel::scope"
        ]
    );
}

#[test]
fn unknown_keys_and_values_are_told_with_what_would_do() {
    let said: Vec<_> =
        problems("{rules: [{soure_labels: [a], target_label: b}], on_collision: merge, aggregate: {gauge: median}}")
            .into_iter()
            .map(|(_, message)| message)
            .collect();
    assert_eq!(
        said,
        [
            "'rules[0]' has invalid keys: soure_labels",
            "'on_collision' has unknown value \"merge\" (valid values: [reaggregate reject pass])",
            "'aggregate.gauge' has unknown value \"median\" (valid values: [last sum max min avg])",
        ]
    );
}

#[test]
fn the_list_stands_under_one_of_its_two_names() {
    let said = problems("{rules: [], metric_relabel_configs: []}");
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_processor_without_rules_is_odd_and_not_wrong() {
    let section = Section::from_yaml("relabel", "").unwrap();
    let plan = (super::super::FACTORY.plan)(&section).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(plan.warnings().iter().count(), 1);
}

#[test]
fn the_page_for_users_shows_sections_that_load() {
    let page = include_str!("../../../../docs/processors/relabel.md");
    let mut snippets = 0;
    for snippet in page.split("```yaml\n").skip(1) {
        let (text, _) = snippet.split_once("```").unwrap();
        assert!(text.starts_with("# processor relabel\n"), "a snippet is a whole section");
        assert_eq!(problems(text), [], "{text}");
        snippets += 1;
    }
    assert!(snippets > 2);
}
