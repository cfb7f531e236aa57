use crate::testing::source;

/// The problems of a configuration, in their order, one line each without their places' files.
fn problems(yaml: &str) -> Vec<String> {
    source(yaml).examine().problems.iter().map(ToString::to_string).collect()
}

fn only_problem(yaml: &str) -> String {
    let problems = problems(yaml);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

const PIPELINE: &str = "service: {pipelines: {metrics: {receivers: [source], exporters: [sink]}}}";

#[test]
fn all_problems_of_all_components_are_told_at_once() {
    let found = problems(
        "receivers: {source: {batches: x}, source/b: {items: 0}, sauce: {}, absent: {}}
exporters: {sink: {refuse: 3}}
service: {telemetry: {logs: {level: loud}}, pipelines: {metrics: {receivers: [source], exporters: [sink, drain]}}}",
    );
    let expected = [
        "expected type 'uint', got unconvertible type 'string'",
        "items must not be 0",
        "unknown type: \"sauce\" for id: \"sauce\" (valid values: [log_source source])",
        "this build has no receiver \"absent\" (build weir with the feature `receiver-absent`",
        "has invalid keys: refuse",
        "level",
        "references exporter \"drain\" which is not configured",
    ];
    for text in expected {
        assert!(found.iter().any(|problem| problem.contains(text)), "{text:?} is not in {found:#?}");
    }
}

#[test]
fn a_receiver_that_cannot_carry_the_signal_of_a_pipeline_is_a_problem_at_its_reference() {
    let yaml = "receivers: {log_source: }
exporters: {sink: }
service: {pipelines: {metrics: {receivers: [log_source], exporters: [sink]}}}";
    assert_eq!(
        only_problem(yaml),
        "3:45: error: service::pipelines::metrics::receivers[0]: failed to create \"log_source\" receiver for data type \
         \"metrics\": telemetry type is not supported (\"log_source\" carries logs)"
    );
}

#[test]
fn an_exporter_that_cannot_carry_the_signal_is_a_problem_too() {
    let yaml = "receivers: {log_source: }
exporters: {sink: }
service: {pipelines: {logs: {receivers: [log_source], exporters: [sink]}}}";
    assert!(only_problem(yaml).contains("failed to create \"sink\" exporter for data type \"logs\""));
}

#[test]
fn two_components_on_one_port_are_told_with_both_places() {
    let yaml = "receivers: {source: }
exporters:
  sink/a: {endpoint: '0.0.0.0:9464'}
  sink/b: {endpoint: 'localhost:9464'}
service: {pipelines: {metrics: {receivers: [source], exporters: [sink/a, sink/b]}}}";
    let examined = source(yaml).examine();
    let text = examined.problems.render(&examined.loaded.files);
    assert!(text.contains("the address localhost:9464 is held by exporters::sink/a already"), "{text}");
    assert!(text.contains(":4:22") && text.contains(":3:22"), "{text}");
}

#[test]
fn own_telemetry_holds_its_port_as_components_do() {
    let yaml = format!(
        "receivers: {{source: }}
exporters: {{sink: {{endpoint: ':8888'}}}}
service: {{telemetry: {{metrics: {{level: normal}}}}, {}",
        PIPELINE.strip_prefix("service: {").unwrap()
    );
    let problem = only_problem(&yaml);
    assert!(problem.contains("the address localhost:8888 is held by exporters::sink already"), "{problem}");
}

#[test]
fn components_that_no_pipeline_names_hold_nothing() {
    let yaml = format!(
        "receivers: {{source: }}
exporters: {{sink: {{endpoint: ':9464'}}, sink/spare: {{endpoint: ':9464'}}}}
{PIPELINE}"
    );
    let examined = source(&yaml).examine();
    assert!(examined.plan.is_some(), "{}", examined.problems);
}

#[test]
fn an_older_spelling_is_the_same_component_with_a_warning() {
    let yaml = "receivers: {spring: }\nexporters: {sink: }
service: {pipelines: {metrics: {receivers: [spring], exporters: [sink]}}}";
    let examined = source(yaml).examine();
    assert!(examined.plan.is_some());
    assert!(examined.problems.to_string().contains("\"spring\" alias is deprecated; use \"source\" instead"));
}

#[test]
fn each_pipeline_has_processors_of_its_own_and_shares_the_rest() {
    let yaml = "receivers: {source: }\nexporters: {sink: }\nprocessors: {thin: }
service:
  pipelines:
    metrics: {receivers: [source], processors: [thin], exporters: [sink]}
    metrics/b: {receivers: [source], processors: [thin], exporters: [sink]}";
    let plan = source(yaml).examine().plan.unwrap();
    assert_eq!((plan.receivers.len(), plan.exporters.len()), (1, 1));
    assert!(plan.routes.iter().all(|route| route.processors.len() == 1 && route.receivers == [0]));
}

#[test]
fn a_document_with_a_part_that_cannot_be_read_is_no_plan() {
    for receivers in ["'source/': ", "source: {password: '${file:/nowhere}'}", "'source/a b': "] {
        let yaml = format!("receivers: {{{receivers}}}\nexporters: {{sink: }}\n{PIPELINE}");
        assert!(source(&yaml).examine().plan.is_none(), "{receivers}");
    }
}
