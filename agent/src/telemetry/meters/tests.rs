use prometheus::TextEncoder;

use super::*;
use crate::testing::surroundings;

fn shown(yaml: &str) -> String {
    let section = config::Section::from_yaml("telemetry", yaml).unwrap();
    let (settings, _) = Settings::plan(&section).unwrap();
    let own = OwnMetrics::new(&settings).unwrap();
    let around = Surroundings { meters: own.meters(), ..surroundings() };
    own.observe(&around, &Queues::default());
    let labels = vec![("receiver", "sql_query/a".to_owned())];
    around.meters.count("otelcol_receiver_accepted_metric_points", "Points.", "{datapoints}", labels).add(3);
    TextEncoder::new().encode_to_string(&own.registries[0].1.gather()).unwrap()
}

#[tokio::test]
async fn names_are_shown_as_the_collector_shows_them() {
    let text = shown("{resource: {service.instance.id: i}}");
    assert!(text.contains("otelcol_receiver_accepted_metric_points{receiver=\"sql_query/a\"} 3\n"), "{text}");
    for name in [
        "otelcol_process_uptime",
        "otelcol_process_cpu_seconds",
        "otelcol_process_memory_rss",
        "weir_series_interned",
        "weir_series_bytes",
        "weir_budget_used_bytes",
        "weir_budget_limit_bytes",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not in\n{text}");
    }
    assert!(!text.contains("otel_scope"), "{text}");
    assert!(text.contains("target_info{service_instance_id=\"i\",service_name=\"weir\""), "{text}");
}

#[tokio::test]
async fn suffixes_and_resource_labels_come_when_asked_for() {
    let text = shown(
        "metrics: {readers: [{pull: {exporter: {prometheus: {without_type_suffix: false, without_scope_info: false,
           with_resource_constant_labels: {included: ['service.*'], excluded: ['*.version', service.instance.id]}}}}}]}",
    );
    let line = text.lines().find(|line| line.starts_with("otelcol_receiver_accepted_metric_points_total{")).unwrap();
    assert!(line.contains("service_name=\"weir\"") && line.contains("otel_scope_name=\"weir\""), "{line}");
    assert!(!line.contains("version") && !line.contains("instance"), "{line}");
}

#[test]
fn a_star_stands_for_any_text() {
    let fits = |pattern, name| super::matches(pattern, name);
    assert!(fits("*", "") && fits("a*c", "abbc") && fits("a?c", "abc") && fits("service.*", "service.name"));
    assert!(!fits("a*c", "abcd") && !fits("", "a") && !fits("a?c", "ac"));
}
