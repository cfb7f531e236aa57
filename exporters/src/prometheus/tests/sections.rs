//! What can be wrong with the section.

use config::{Problems, Section};
use pdata::prom::Strategy;

use super::super::config::Checked;
use super::super::{FACTORY, plan};

fn checked(yaml: &str) -> Result<Checked, Problems> {
    Checked::of(&Section::from_yaml("prometheus", yaml).unwrap())
}

fn problems(yaml: &str) -> Vec<String> {
    let problems = match checked(yaml) {
        Ok(checked) => checked.warnings,
        Err(problems) => problems,
    };
    problems.iter().map(|problem| problem.message.clone()).collect()
}

#[test]
fn an_endpoint_is_required_in_the_collector_s_words() {
    for yaml in ["", "endpoint: ''", "endpoint: ' '", "endpoint:"] {
        assert_eq!(problems(yaml), ["expecting a non-blank address to run the Prometheus metrics handler"]);
    }
    assert!(problems("endpoint: nonsense")[0].contains("missing port in address"));
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let yaml =
        "path: metrics\nmax_series: 0\nmetric_expiration: 0s\nconst_labels: {a-b: x, le: y}\nlimits: {connections: 0}";
    let told = problems(yaml);
    assert_eq!(told.len(), 7, "{told:#?}");
    for (word, count) in [("'path'", 1), ("'max_series'", 1), ("label name", 2), ("'connections'", 1), ("non-blank", 1)]
    {
        assert_eq!(told.iter().filter(|message| message.contains(word)).count(), count, "{word} in {told:#?}");
    }
}

#[test]
fn unknown_keys_and_strategies_are_refused() {
    assert!(problems("endpoint: localhost:1\nnamespce: x")[0].contains("has invalid keys: namespce"));
    assert!(!problems("endpoint: localhost:1\ntranslation_strategy: Nope").is_empty());
}

#[test]
fn every_key_of_the_collector_is_read() {
    let checked = checked(
        "endpoint: localhost:9464\nnamespace: ns\nconst_labels: {env: prod}\nsend_timestamps: true\nmetric_expiration: 10m\n\
         resource_to_telemetry_conversion: {enabled: true, exclude_service_attributes: true}\nenable_open_metrics: false\n\
         without_scope_info: true\nadd_metric_suffixes: false\nread_timeout: 1s\nread_header_timeout: 2s\nwrite_timeout: 3s\n\
         idle_timeout: 4s\nmax_series: 7\nstartup_grace: 1s\npath: /x",
    )
    .unwrap();
    assert!(checked.warnings.is_empty());
    let rules = checked.table_rules();
    assert_eq!((rules.max_series, rules.expiration, rules.exemplars), (7, Some(600), false));
    assert_eq!(rules.labels.strategy, Strategy::UnderscoreEscapingWithoutSuffixes);
    assert!(rules.labels.resource.matches("host.name") && !rules.labels.resource.matches("service.name"));
    let timeouts = checked.timeouts();
    let seconds = [timeouts.read_timeout, timeouts.read_header_timeout, timeouts.write_timeout, timeouts.idle_timeout];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [1, 2, 3, 4]);
}

#[test]
fn a_newer_key_wins_over_a_deprecated_one_and_says_so() {
    let yaml = "endpoint: localhost:9464\nadd_metric_suffixes: false\ntranslation_strategy: NoTranslation\n\
        resource_to_telemetry_conversion: {enabled: true}\nresource_constant_labels: {included: [host.*], excluded: [host.id]}";
    let checked = checked(yaml).unwrap();
    assert_eq!(checked.warnings.len(), 2);
    let labels = checked.table_rules().labels;
    assert_eq!(labels.strategy, Strategy::NoTranslation);
    assert!(labels.resource.matches("host.name") && !labels.resource.matches("host.id"));
    assert!(!labels.resource.matches("os.type"));
}

#[test]
fn an_open_door_to_the_world_and_gates_with_nothing_set_are_odd() {
    assert!(problems("endpoint: 0.0.0.0:9464")[0].contains("everybody who can reach"));
    assert!(problems("endpoint: localhost:9464\ngates:")[0].contains("404"));
    assert!(problems("endpoint: localhost:9464").is_empty());
}

#[test]
fn the_address_is_claimed_and_the_schema_names_every_key() {
    let section = Section::from_yaml("prometheus/a", "endpoint: localhost:9464").unwrap();
    let plan = plan(&section).unwrap();
    assert_eq!(plan.claims(), [pipeline::Claim::Listen("localhost:9464".into())]);
    let schema = serde_json::to_value((FACTORY.schema)()).unwrap();
    for key in ["endpoint", "gates", "limits", "tls", "translation_strategy", "max_series"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}
