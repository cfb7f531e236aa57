//! What sections may say, and what is told of those that are wrong.

use config::Problems;
use pipeline::{Planned, Signals};

use super::super::{GRPC, HTTP};
use super::*;

fn told(planned: Planned<dyn Exporter>) -> Vec<String> {
    let problems = planned.err().expect("a section that is wrong");
    lines(&problems)
}

fn lines(problems: &Problems) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

fn http(yaml: &str) -> Planned<dyn Exporter> {
    (HTTP.plan)(&section("otlp_http", yaml))
}

fn grpc(yaml: &str) -> Planned<dyn Exporter> {
    (GRPC.plan)(&section("otlp_grpc", yaml))
}

/// Problems of a section with a good endpoint.
fn http_with(yaml: &str) -> Vec<String> {
    told(http(&format!("endpoint: http://localhost:4318\n{yaml}")))
}

fn grpc_with(yaml: &str) -> Vec<String> {
    told(grpc(&format!("endpoint: localhost:4317\n{yaml}")))
}

#[test]
fn an_http_endpoint_is_a_url() {
    assert_eq!(told(http("")), ["otlp_http::endpoint: at least one endpoint must be specified"]);
    assert_eq!(
        told(http("endpoint: localhost:4318")),
        ["otlp_http::endpoint: \"endpoint\" must be a URL with a scheme"]
    );
    assert_eq!(told(http("endpoint: 'http://a b'")), ["otlp_http::endpoint: \"endpoint\" is no URL"]);
    assert_eq!(
        told(http("endpoint: ftp://a/")),
        ["otlp_http::endpoint: \"endpoint\" must begin with http:// or https://"]
    );
    assert_eq!(
        told(http("logs_endpoint: /v1/logs")),
        ["otlp_http::logs_endpoint: \"logs_endpoint\" must be a URL with a scheme"]
    );
    assert_eq!(told(http("endpoint: http://me:c4n4ry@a/")), ["otlp_http::endpoint: \"endpoint\" holds credentials"]);
}

#[test]
fn an_exporter_carries_the_signals_that_it_has_endpoints_for() {
    let signals = |yaml: &str| http(yaml).expect("a good section").signals();
    assert_eq!(signals("endpoint: http://a"), Signals::ALL);
    assert_eq!(signals("metrics_endpoint: http://a"), Signals::METRICS);
    assert_eq!(signals("logs_endpoint: http://a"), Signals::LOGS);
    assert_eq!(signals("{traces_endpoint: http://a, logs_endpoint: http://b}"), Signals::LOGS.with(Signals::TRACES));
}

#[test]
fn a_grpc_endpoint_is_a_host_and_a_port() {
    assert_eq!(told(grpc("")), ["otlp_grpc::endpoint: requires a non-empty \"endpoint\""]);
    assert_eq!(told(grpc("endpoint: otel")), ["otlp_grpc::endpoint: address otel: missing port in address"]);
    assert_eq!(told(grpc("endpoint: otel:grpc")), ["otlp_grpc::endpoint: invalid port \"grpc\""]);
}

#[test]
fn plain_text_is_only_spoken_when_it_is_asked_for() {
    let scheme = |yaml: &str| {
        let plan =
            super::super::grpc::check(&section("otlp_grpc", yaml)).unwrap_or_else(|problems| panic!("{problems}"));
        (plan.scheme().to_owned(), lines(&pipeline::Plan::warnings(&plan)).len())
    };
    assert_eq!(scheme("endpoint: otel:4317"), ("https".into(), 0));
    assert_eq!(scheme("endpoint: http://otel:4317"), ("https".into(), 0), "the prefix does not turn TLS off");
    assert_eq!(scheme("{endpoint: otel:4317, tls: {insecure: true}}"), ("http".into(), 0));
    assert_eq!(scheme("{endpoint: https://otel:4317, tls: {insecure: true}}"), ("https".into(), 1), "and says so");
}

#[test]
fn addresses_of_the_hosts_cloud_are_refused_unless_asked_for() {
    for address in ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "168.63.129.16"] {
        assert_eq!(told(http(&format!("endpoint: http://{address}"))).len(), 1, "{address}");
        assert_eq!(told(grpc(&format!("endpoint: \"{address}:4317\""))).len(), 1, "{address}");
        assert!(http(&format!("{{endpoint: \"http://{address}\", allow_link_local: true}}")).is_ok());
    }
    assert!(http("endpoint: http://127.0.0.1").is_ok() && http("endpoint: http://10.0.0.1").is_ok());
}

#[test]
fn keys_that_are_not_supported_are_told_and_not_ignored() {
    let yaml = "\
profiles_endpoint: http://a
auth: {authenticator: bearertokenauth}
proxy_url: http://proxy
compresion: gzip
";
    assert_eq!(http_with(yaml), ["otlp_http::compresion: 'otlp_http' has invalid keys: compresion"]);
    assert_eq!(
        http_with(&yaml.replace("compresion: gzip\n", "")),
        [
            "otlp_http::profiles_endpoint: `profiles_endpoint` is not supported yet",
            "otlp_http::auth: `auth` is not supported yet",
            "otlp_http::proxy_url: `proxy_url` is not supported yet",
        ]
    );
    assert_eq!(
        grpc_with("{auth: {}, wait_for_ready: true}".trim_matches(['{', '}']).replace(", w", "\nw").as_str()),
        [
            "otlp_grpc::auth: `auth` is not supported yet",
            "otlp_grpc::wait_for_ready: `wait_for_ready` is not supported yet"
        ]
    );
}

#[test]
fn values_that_make_no_sense_are_told() {
    assert_eq!(http_with("compression: snappy").len(), 1);
    assert_eq!(http_with("encoding: xml"), ["otlp_http::encoding: invalid encoding type: xml"]);
    assert!(
        http("{endpoint: http://a, encoding: json}").is_ok() && http("{endpoint: http://a, encoding: proto}").is_ok()
    );
    assert_eq!(grpc_with("encoding: json").len(), 1, "gRPC is protobuf");
    let level = |compression: &str, level: i32| {
        http_with(&format!("compression: {compression}\ncompression_params: {{level: {level}}}"))
    };
    assert_eq!(
        level("gzip", 12),
        ["otlp_http::compression_params::level: unsupported compression level 12 for gzip: write 1 to 9, or -1"]
    );
    assert_eq!(
        level("zstd", 0),
        ["otlp_http::compression_params::level: unsupported compression level 0 for zstd: write 1 to 22"]
    );
    assert_eq!(level("none", 1), ["otlp_http::compression_params::level: a level means nothing without compression"]);
    assert_eq!(
        http_with("retry_status_codes: [500, 200]"),
        ["otlp_http::retry_status_codes[1]: 200 is no status of an error: write 400 to 599"]
    );
    assert_eq!(
        grpc_with("retry_codes: [INTERNAL, OK]"),
        ["otlp_grpc::retry_codes[1]: \"OK\" is no gRPC code of an error"]
    );
    assert_eq!(
        grpc_with("keepalive: {time: 1s}"),
        ["otlp_grpc::keepalive::time: `time` must be at least 10s: servers close connections of who pings more often"]
    );
    assert_eq!(grpc_with("balancer_name: ring"), ["otlp_grpc::balancer_name: invalid balancer_name: ring"]);
    assert_eq!(grpc_with("authority: a b"), ["otlp_grpc::authority: \"authority\" is no name of a host"]);
}

#[test]
fn headers_that_cannot_be_sent_are_told_without_their_values() {
    let told = |headers: &str| http_with(&format!("headers: {headers}"));
    assert_eq!(told("{\"a b\": c4n4ry}"), ["otlp_http::headers::a b: invalid header name \"a b\""]);
    assert_eq!(
        told("{a: \"c4n4ry\\n\"}"),
        ["otlp_http::headers::a: the value holds characters that no header may hold"]
    );
    assert_eq!(
        told("{Content-Encoding: c4n4ry}"),
        ["otlp_http::headers::Content-Encoding: the header \"content-encoding\" is set by weir itself"]
    );
    assert_eq!(told("[{name: a}]"), ["otlp_http::headers[0]: the header \"a\" has neither `value` nor `value_file`"]);
    let missing = &told("[{name: a, value_file: /nowhere/token}]")[0];
    assert!(missing.starts_with("otlp_http::headers[0]: /nowhere/token: cannot read"), "{missing}");
}

#[test]
fn files_of_tls_are_looked_at_when_the_section_is_checked() {
    let told = |tls: &str| http_with(&format!("tls: {tls}"))[0].clone();
    assert!(told("{ca_file: /nowhere/ca.pem}").starts_with("otlp_http::tls::ca_file: cannot read /nowhere/ca.pem"));
    assert_eq!(told("{ca_pem: x}"), "otlp_http::tls::ca_pem: 'ca_pem' holds no certificate in PEM");
    assert!(told("{cert_pem: x}").contains("the key is missing"));
    assert_eq!(
        told("{min_version: \"1.3\", max_version: \"1.2\"}"),
        "otlp_http::tls::min_version: 'min_version' is newer than 'max_version'"
    );
}

#[test]
fn what_weakens_tls_is_warned_of() {
    let warnings = |yaml: &str| lines(&http(yaml).expect("a good section").warnings());
    assert_eq!(warnings("{endpoint: https://a, tls: {insecure_skip_verify: true}}").len(), 1);
    assert_eq!(warnings("{endpoint: https://a, tls: {insecure: true}}").len(), 1);
    assert_eq!(warnings("{endpoint: http://a, tls: {insecure: true}}").len(), 0);
}
