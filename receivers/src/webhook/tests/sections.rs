use super::*;

fn problems(sources: &str) -> String {
    let section = Section::from_yaml(ID, &format!("{HEAD}{sources}")).unwrap();
    Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new())
}

fn source(keys: &str) -> String {
    format!("sources:\n  - {{name: a, {keys}}}\n")
}

fn metric(keys: &str) -> String {
    source(&format!("metrics: [{{metric_name: m, {keys}}}]"))
}

#[test]
fn what_is_wrong_with_a_receiver_is_told_at_its_place() {
    let ok = "metrics: [{metric_name: n}]";
    for (yaml, told) in [
        ("sources: []".to_owned(), "'sources' has 0 elements"),
        (format!("sources: [{{name: a, {ok}}}, {{name: a, path: /b, {ok}}}]"), "two sources are called \"a\""),
        (format!("sources: [{{name: a, {ok}}}, {{name: b, path: /a, {ok}}}]"), "two sources have the path /a"),
        (
            format!("sources: [{{name: a, {ok}}}, {{name: b, metrics: [{{metric_name: n, data_type: info}}]}}]"),
            "another metric \"n\" has another data_type",
        ),
        (format!("spool: {{max_bytes: 0}}\n{}", source(ok)), "'max_bytes' must be more than 0"),
        (format!("refused_metric: ''\n{}", source(ok)), "name must not be empty"),
        (format!("dedup: {{window: 0s}}\n{}", source(ok)), "'window' must be longer"),
        (format!("unknown: 1\n{}", source(ok)), "invalid keys: unknown"),
    ] {
        assert!(problems(&yaml).contains(told), "{yaml}: {}", problems(&yaml));
    }
    assert_eq!(problems(&source(ok)), "");
}

#[test]
fn only_what_is_added_up_is_counted_by_thing() {
    let told = problems(&metric("data_type: gauge, value: x, once_per: id"));
    assert!(told.contains("metrics[0]::once_per: 'once_per' is for what is added up"), "{told}");
    assert!(problems(&metric("once_per: [id, 'header:x']")).contains("once_per[1]"));
    assert!(problems(&metric("attributes: [{name: a, field: a..b, enabled: false}]")).contains("empty step"));
    assert_eq!(problems(&metric("once_per: id, attributes: [{name: a, enabled: false}]")), "");
}

#[test]
fn what_is_wrong_with_a_source_is_told_at_its_place() {
    let ok = "metrics: [{metric_name: n}]";
    for (keys, told) in [
        ("path: /a".to_owned(), "neither metrics nor logs"),
        (format!("path: a, {ok}"), "'path' must be a path"),
        (format!("stale: 500, {ok}"), "'stale' is 200 or 401"),
        (format!("max_request_body_size: 1GiB, {ok}"), "between 1 byte and 64MiB"),
        (format!("requests_per_second: 0, {ok}"), "at least 1"),
        (format!("id: a..b, {ok}"), "empty step"),
        (format!("id: 'header:x-id', {ok}"), "list it under 'trusted_headers'"),
        (format!("time: '@when', {ok}"), "there is no @when"),
        (format!("max_age: 5m, {ok}"), "name the field under 'time'"),
        (format!("format: json, json_fields: [a], {ok}"), "fields of a form"),
        (format!("challenge: {{}}, {ok}"), "'query' or 'field' is missing"),
        (format!("challenge: {{query: a, field: b}}, {ok}"), "exclude each other"),
        (format!("challenge: {{query: a, token_query: b}}, {ok}"), "belong together"),
        (format!("challenge: {{query: a, when: [{{field: b, equals: c}}]}}, {ok}"), "'when' goes with 'field'"),
        (format!("verify: {{scheme: github}}, {ok}"), "secret"),
        ("logs: {attributes: [{field: a}]}".to_owned(), "'name' is missing"),
    ] {
        let yaml = source(&keys);
        assert!(problems(&yaml).contains(told), "{yaml}: {}", problems(&yaml));
    }
    let yaml = source(ok).replace("name: a", "name: 'a b'");
    assert!(problems(&yaml).contains("1 to 64 letters"), "{}", problems(&yaml));
}

#[test]
fn what_is_wrong_with_a_metric_is_told_at_its_place() {
    for (keys, told) in [
        ("data_type: gauge", "'value' is missing"),
        ("data_type: histogram, value: v", "'buckets' is missing"),
        ("data_type: histogram, value: v, buckets: [1, 5, 5]", "5 does not come after 5"),
        ("data_type: histogram, value: v, buckets: [.inf]", "must be finite"),
        ("data_type: histogram, buckets: [1], value: v, between: {from: a, to: b}", "exclude each other"),
        ("data_type: histogram, buckets: [1], between: {from: a}", "'between.to' must name a field"),
        ("buckets: [1]", "means nothing for data_type counter"),
        ("time: t", "means nothing for data_type counter"),
        ("scale: 2", "needs a 'value'"),
        ("value: v, scale: 0", "finite number other than 0"),
        ("data_type: stateset, value: v", "'states' has 0 names"),
        ("data_type: stateset, value: v, states: [a, a]", "named twice"),
        ("data_type: counting", "counting"),
        ("when: [{field: a}]", "this one says 0"),
        ("when: [{field: a, equals: b, exists: true}]", "this one says 2"),
        ("when: [{equals: b}]", "'field' must name a field"),
        ("when: [{field: a, matches: '('}]", "cannot be used"),
        ("attributes: [{name: a}, {name: a, field: b}]", "stands twice"),
        ("attributes: [{name: a, other: b}]", "needs an 'allow' list"),
        ("attributes: [{name: a, max_bytes: 0}]", "between 1 and"),
        ("attributes: [{name: a, colour: red}]", "invalid keys: colour"),
    ] {
        let yaml = metric(keys);
        assert!(problems(&yaml).contains(told), "{yaml}: {}", problems(&yaml));
    }
    let place = problems(&metric("when: [{field: /a~x, equals: b}]"));
    assert!(place.contains("sources[0]::metrics[0]::when[0]::field"), "{place}");
}

#[test]
fn nobody_is_believed_without_a_word_unless_only_this_machine_can_send() {
    let open = source("metrics: [{metric_name: n}]");
    let everywhere = |yaml: &str| {
        let text = format!("{HEAD}{yaml}").replace("127.0.0.1:0", ":0");
        let section = Section::from_yaml(ID, &text).unwrap();
        Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    assert!(everywhere(&open).contains("'verify' is missing"), "{}", everywhere(&open));
    assert_eq!(everywhere(&open.replace("name: a", "name: a, verify: {scheme: none}")), "");
}

#[test]
fn the_documentation_is_true() {
    let page = include_str!("../../../../docs/receivers/webhook.md");
    let schema = serde_json::to_value((FACTORY.schema)()).unwrap();
    let definitions = schema["$defs"].as_object().unwrap();
    let structs = ["Source", "Metric", "When", "Attribute", "Logs", "Challenge", "Dedup", "Spool"];
    let keys = structs.iter().flat_map(|name| definitions[*name]["properties"].as_object().unwrap().keys());
    for key in keys.chain(schema["properties"].as_object().unwrap().keys()) {
        assert!(
            page.contains(&format!("`{key}`")) || page.contains(&format!("{key}:")),
            "the page does not tell of {key}"
        );
    }
    for reason in reason::Reason::ALL {
        assert!(page.contains(&format!("`{}`", reason.word())), "the page does not tell of {}", reason.word());
    }
}
