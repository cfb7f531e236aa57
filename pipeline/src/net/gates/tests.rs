use ::config::{MapEnvironment, Section};
use http::Request;

use super::*;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Config {
    gates: Option<GatesConfig>,
    #[serde(rename = "endpoint")]
    _endpoint: String,
}

fn section(yaml: &str) -> Section {
    let env = MapEnvironment::from_iter([("EMPTY", ""), ("TOKEN", "0123456789abcdef")]);
    Section::from_yaml_with_env("prometheus", yaml, &env).unwrap()
}

fn plan(yaml: &str) -> Result<Gates, Problems> {
    let section = section(yaml);
    Gates::plan(&section, "gates", section.decode::<Config>().unwrap().gates.as_ref())
}

fn review(yaml: &str, endpoint: &str) -> String {
    plan(yaml).unwrap().review(&section(yaml), &endpoint.parse().unwrap(), None, "write there").to_string()
}

fn admits(gates: &Gates, peer: &str, token: &str) -> Admission {
    let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    gates.admits(request.headers(), Some(&Peer::new(format!("{peer}:1").parse().unwrap())))
}

#[test]
fn without_the_key_the_route_is_open_and_with_nothing_set_it_is_not_there() {
    for (yaml, admission) in [
        ("{}", Admission::Open),
        ("endpoint: localhost:1", Admission::Open),
        ("gates:", Admission::Unmounted),
        ("gates: {}", Admission::Unmounted),
        ("gates: {token: null}", Admission::Unmounted),
        ("gates: {token: '', token_file: '', cidrs: '', mtls: {client_ca_file: ''}}", Admission::Unmounted),
        ("gates: {cidrs: [], mtls: null, when_unset: null}", Admission::Unmounted),
        ("gates: {token: '${env:EMPTY}'}", Admission::Unmounted),
        ("gates: {token: '${env:UNSET:-}'}", Admission::Unmounted),
        ("gates: {trusted_proxies: 127.0.0.1}", Admission::Unmounted),
        ("gates: {when_unset: unmounted}", Admission::Unmounted),
        ("gates: {when_unset: open}", Admission::Open),
        ("gates: {trusted_proxies: 192.0.2.1, when_unset: open}", Admission::Open),
        ("gates: {token: '${env:UNSET:-}', when_unset: open}", Admission::Open),
        ("gates: {token: '${env:TOKEN}', when_unset: open}", Admission::Pass),
        ("gates: {cidrs: '10.0.0.0/8,192.0.2.0/24'}", Admission::Pass),
        ("gates: {cidrs: [10.0.0.0/8, 192.0.2.0/24]}", Admission::Pass),
    ] {
        assert_eq!(admits(&plan(yaml).unwrap(), "192.0.2.1", "0123456789abcdef"), admission, "{yaml}");
    }
}

#[test]
fn all_gates_that_are_set_must_pass_and_the_address_comes_first() {
    let gates = plan("gates: {token: 0123456789abcdef, cidrs: 10.0.0.0/8}").unwrap();
    assert_eq!(admits(&gates, "10.0.0.1", "0123456789abcdef"), Admission::Pass);
    assert_eq!(admits(&gates, "10.0.0.1", "wrong"), Admission::Refused(Refused::Token));
    assert_eq!(admits(&gates, "192.0.2.1", "0123456789abcdef"), Admission::Refused(Refused::Address));
    assert_eq!(admits(&gates, "192.0.2.1", "wrong"), Admission::Refused(Refused::Address));
}

#[test]
fn refusals_are_counted_by_gate() {
    for (place, (refused, _)) in Refused::ALL.into_iter().enumerate() {
        assert_eq!(refused as usize, place);
    }
    let meters = Meters::unread();
    let gates = plan("gates: {token: 0123456789abcdef, cidrs: 10.0.0.0/8}").unwrap();
    let gates =
        gates.watched(&LimitsConfig { auth_failures_per_second: 1, ..Default::default() }, &meters, "exporter", "a");
    for _ in 0..7 {
        admits(&gates, "10.0.0.1", "wrong");
    }
    admits(&gates, "192.0.2.1", "wrong");
    let counts: Vec<_> = meters.counts().into_iter().map(|(_, labels, n)| (labels[1].1.clone(), n)).collect();
    let of = |gate: &str| counts.iter().find(|(known, _)| known == gate).unwrap().1;
    assert_eq!((of("token"), of("auth_failures_per_second"), of("cidrs")), (5, 2, 1));
}

#[test]
fn a_certificate_is_missed_where_there_is_no_tls() {
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doors/pki/ca.pem");
    let yaml = format!("endpoint: localhost:1\ngates: {{mtls: {{client_ca_file: {ca}}}}}");
    let problems = review(&yaml, "localhost:1");
    assert!(problems.contains("2:") && problems.contains("'mtls' needs TLS"), "{problems}");
}

#[test]
fn what_is_weak_or_without_effect_is_warned_of() {
    for (yaml, endpoint, part) in [
        (
            "endpoint: 0.0.0.0:1",
            "0.0.0.0:1",
            "warning: prometheus::endpoint: everybody who can reach 0.0.0.0:1 may write there",
        ),
        ("gates: {when_unset: open}", ":1", "everybody who can reach :1"),
        ("gates: {token: short}", "localhost:1", "gates::token: the token has 5 bytes"),
        ("gates: {}", "localhost:1", "no gate is set, so the route answers 404"),
    ] {
        let problems = review(yaml, endpoint);
        assert!(problems.contains(part) && !problems.contains("error:"), "{yaml}: {problems}");
    }
    assert_eq!(review("gates: {token: 0123456789abcdef}", "0.0.0.0:1"), "");
    assert_eq!(review("endpoint: localhost:1", "localhost:1"), "");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_place() {
    let yaml = "gates:\n  token: two words\n  cidrs: [10.0.0.0/8, 10.0.0.0/33]\n  trusted_proxies: proxy\n  mtls: {allowed_names: [a]}";
    let problems = plan(yaml).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| (problem.place.unwrap().line, problem.path.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "prometheus::gates::cidrs[1]"),
            (4, "prometheus::gates::trusted_proxies[0]"),
            (5, "prometheus::gates::mtls::allowed_names"),
            (2, "prometheus::gates::token"),
        ]
    );
    assert!(!problems.to_string().contains("two words"));
    let both = plan("gates: {token: 0123456789abcdef, token_file: /nowhere}").unwrap_err().to_string();
    assert!(both.contains("'token' and 'token_file' exclude each other"), "{both}");
    let missing = plan("gates: {token_file: /nowhere}").unwrap_err().to_string();
    assert!(missing.contains("gates::token_file: cannot read /nowhere"), "{missing}");
}
