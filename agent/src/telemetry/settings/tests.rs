use super::*;

fn plan(yaml: &str) -> Result<(Settings, Problems), Problems> {
    Settings::plan(&Section::from_yaml("telemetry", yaml).unwrap())
}

fn addresses(yaml: &str) -> Vec<String> {
    plan(yaml).unwrap().0.endpoints.into_iter().map(|endpoint| endpoint.address).collect()
}

#[test]
fn own_metrics_stand_at_localhost_8888_unless_told_otherwise() {
    assert_eq!(addresses("{}"), ["localhost:8888"]);
    assert_eq!(addresses("metrics: {address: ':9999'}"), [":9999"]);
    assert_eq!(addresses("metrics: {address: '[::1]:1'}"), ["[::1]:1"]);
    assert_eq!(addresses("metrics: {level: none}"), [] as [&str; 0]);
    let reader = "{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 1234}}}}";
    assert_eq!(addresses(&format!("metrics: {{readers: [{reader}]}}")), ["0.0.0.0:1234"]);
}

#[test]
fn what_would_silently_lose_metrics_is_refused() {
    let cases = [
        ("metrics: {readers: []}", "collector telemetry metrics reader should exist when metric level is not none"),
        ("metrics: {readers: [{periodic: {interval: 1s}}]}", "periodic readers are not supported"),
        ("metrics: {readers: [{}]}", "a reader needs an exporter"),
        ("metrics: {address: localhost}", "missing port in address"),
        ("metrics: {views: []}", "can only be set when service::telemetry::metrics::level is detailed"),
        ("logs: {sampling: {tick: 0s}}", "tick must be longer than 0s"),
        ("metrics: {level: loud}", "loud"),
        ("metric: {}", "has invalid keys: metric"),
    ];
    for (yaml, text) in cases {
        let problems = plan(yaml).unwrap_err().to_string();
        assert!(problems.contains(text), "{yaml}: {problems}");
    }
}

#[test]
fn what_has_no_effect_is_a_warning() {
    let (_, warnings) = plan("{traces: {level: none}, logs: {processors: [{}], development: true}}").unwrap();
    let warnings: Vec<_> = warnings.iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(
        warnings,
        [
            "logs.development has no effect in weir",
            "logs.processors has no effect in weir",
            "traces has no effect in weir"
        ]
    );
}

#[test]
fn the_resource_takes_both_forms_and_null_takes_a_default_away() {
    let resource = |yaml: &str| -> Vec<_> {
        let attributes = plan(yaml).unwrap().0.resource;
        attributes.into_iter().filter(|(name, _)| name != "service.version").collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        resource("resource: {service.name: edge, service.instance.id: null, zone: 3}"),
        [pair("service.name", "edge"), pair("zone", "3")]
    );
    let listed = "resource: {attributes: [{name: service.instance.id, value: a}, {name: zone, value: b}]}";
    assert_eq!(resource(listed), [pair("service.instance.id", "a"), pair("service.name", "weir"), pair("zone", "b")]);
}

#[test]
fn an_instance_id_is_a_random_uuid() {
    let (one, two) = (instance_id(), instance_id());
    assert_ne!(one, two);
    assert_eq!((one.len(), one.as_bytes()[14]), (36, b'4'));
    assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{one}");
}
