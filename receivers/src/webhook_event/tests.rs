use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use pipeline::inbox::Inbox;
use pipeline::net::{Peer, RequestBody, Service, request_body};
use pipeline::testing::{context, probe};
use pipeline::{Batch, Verdict};

use super::*;

const ID: &str = "webhook_event/x";

fn section(yaml: &str) -> Section {
    Section::from_yaml(ID, &format!("endpoint: 127.0.0.1:0\n{yaml}")).unwrap()
}

fn open(yaml: &str) -> (Service, Inbox) {
    let checked = Checked::of(&section(yaml)).unwrap_or_else(|problems| panic!("{problems}"));
    let (context, (outlet, inbox)) = (context(ID), probe());
    (Door::new(checked, ID.to_owned(), outlet, (context.clock, context.budget), &context.meters).service(), inbox)
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Request<RequestBody> {
    let mut request = Request::new(request_body(body.to_vec()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    request.extensions_mut().insert(Peer::new(([127, 0, 0, 1], 9).into()));
    request
}

async fn send(service: &Service, request: Request<RequestBody>) -> (StatusCode, String) {
    let response = tower::ServiceExt::oneshot(service.clone(), request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Sends a body, lets it end as `verdict` says, and gives the answer and the batch's records as debug text.
async fn deliver(
    yaml: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    verdict: Verdict,
) -> (u16, Vec<String>) {
    let (service, mut inbox) = open(yaml);
    let taking = async {
        let batch: Batch = inbox.next().await.unwrap();
        let logs = batch.logs().unwrap();
        let records = logs.records.iter().map(|record| {
            let resource: Vec<_> = record.origin.resource.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let own: Vec<_> = record.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
            assert!(record.observed_time.is_set() && !record.time.is_set());
            assert_eq!(record.origin.scope.attributes.get("source").unwrap().to_string(), ID);
            format!("{} [{}] [{}]", record.body, resource.join(","), own.join(","))
        });
        let records = records.collect();
        batch.settle(verdict);
        records
    };
    let (told, records) = tokio::join!(send(&service, request(Method::POST, path, headers, body)), taking);
    (told.0.as_u16(), records)
}

#[tokio::test]
async fn a_body_is_one_record_its_query_the_resource_and_200_is_said_after_the_verdict() {
    let sent = deliver("", "/events?service.name=a+b&x", &[], b"{\"a\":1}\n{}", Verdict::Delivered).await;
    assert_eq!(sent, (200, vec!["{\"a\":1}\n{} [service.name=a b,x=] []".to_owned()]));
    for (verdict, status) in [(Verdict::Discarded, 200), (Verdict::Rejected, 400), (Verdict::Lost, 503)] {
        assert_eq!(deliver("", "/events", &[], b"x", verdict).await.0, status, "{verdict:?}");
    }
    let sent = deliver("convert_query_to_resource: false", "/events?a=1", &[], b"x", Verdict::Delivered).await;
    assert_eq!(sent.1, ["x [] []"]);
    let long = format!("/events?a={}&b=1", "x".repeat(257));
    assert_eq!(deliver("", &long, &[], b"x", Verdict::Delivered).await.1, ["x [b=1] []"]);
}

#[tokio::test]
async fn bodies_are_split_at_lines_or_documents() {
    let lines = deliver("split_logs_at_newline: true", "/events", &[], b"a\r\n\nb", Verdict::Delivered).await;
    assert_eq!(lines.1, ["a [] []", "b [] []"]);
    let body = b"{\"a\":\n1} [2]{}";
    let documents = deliver("split_logs_at_json_boundary: true", "/events", &[], body, Verdict::Delivered).await;
    assert_eq!(documents.1, ["{\"a\":\n1} [] []", "[2] [] []", "{} [] []"]);
}

#[tokio::test]
async fn headers_are_attributes_but_for_those_that_are_secret() {
    let headers = [("x-a", "1"), ("x-a", "2"), ("y", "3"), ("x-key", "s3cret"), ("authorization", "Bearer t")];
    let required = "required_header: {key: X-Key, value: s3cret}\n";
    let all = format!("{required}convert_headers_to_attributes: true");
    let sent = deliver(&all, "/events", &headers, b"x", Verdict::Delivered).await;
    assert_eq!(sent.1, ["x [] [header.X-A=[\"1\",\"2\"],header.Y=[\"3\"]]"]);
    let some = format!("{required}header_attribute_regex: ^x-");
    let sent = deliver(&some, "/events", &headers, b"x", Verdict::Delivered).await;
    assert_eq!(sent.1, ["x [] [header.X-A=[\"1\",\"2\"]]"]);
}

#[tokio::test]
async fn who_is_not_believed_or_asks_for_something_else_is_turned_away() {
    let yaml = "required_header: {key: X-Key, value: s3cret}\nhmac_signature: {secret: 0123456789abcdef, header: X-Sig, prefix: 'sha256='}\nsplit_logs_at_json_boundary: true\n";
    let (service, _inbox) = open(yaml);
    let key = ("x-key", "s3cret");
    let empty = "sha256=de28cee1d50f1bbf0b9b88a1f6862d3d3dd3ed4c8a06ecf9b3ff6c4a6fa4b1a5";
    for (method, path, headers, body, status) in [
        (Method::POST, "/events", &[][..], "{}", 401),
        (Method::POST, "/events", &[("x-key", "other")], "{}", 401),
        (Method::POST, "/events", &[key, key], "{}", 401),
        (Method::POST, "/events", &[key], "{}", 401),
        (Method::POST, "/events", &[key, ("x-sig", empty)], "{}", 401),
        (Method::POST, "/events", &[key, ("content-encoding", "br")], "{}", 415),
        (Method::GET, "/events", &[key], "", 405),
        (Method::POST, "/health_check", &[], "", 405),
        (Method::GET, "/health_check", &[], "", 200),
        (Method::POST, "/other", &[key], "{}", 404),
    ] {
        let told = send(&service, request(method.clone(), path, headers, body.as_bytes())).await;
        assert_eq!(told.0.as_u16(), status, "{method} {path} {headers:?}: {}", told.1);
    }
    let (service, _inbox) = open("split_logs_at_json_boundary: true");
    for (body, status) in [("", 400), ("{", 400), (" ", 400)] {
        assert_eq!(send(&service, request(Method::POST, "/events", &[], body.as_bytes())).await.0.as_u16(), status);
    }
    let (service, _inbox) = open("split_logs_at_newline: true");
    let many = "x\n".repeat(record::RECORDS_MAX + 1);
    assert_eq!(send(&service, request(Method::POST, "/events", &[], many.as_bytes())).await.0.as_u16(), 413);
}

#[test]
fn what_is_wrong_is_told_in_the_collectors_words() {
    let problems = |yaml: &str| {
        let section = Section::from_yaml(ID, yaml).unwrap();
        Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    let at = "endpoint: localhost:1\n";
    for (yaml, told) in [
        ("path: /x".to_owned(), "missing receiver server endpoint from config"),
        (format!("{at}read_timeout: 11s"), "read_timeout exceeds the maximum allowed value of 10s"),
        (format!("{at}required_header: {{key: a}}"), "both key and value are required"),
        (format!("{at}header_attribute_regex: '('"), "regex for header_attribute_regex failed to compile"),
        (format!("{at}path: events"), "'path' must be a path"),
        (format!("{at}health_path: /events"), "must differ"),
        (format!("{at}split_logs_at_newline: true\nsplit_logs_at_json_boundary: true"), "cannot both be true"),
        (format!("{at}hmac_signature: {{secret: 0123456789abcdef}}"), "'header' is missing"),
        (format!("{at}max_request_body_size: 0"), "at least 1"),
    ] {
        assert!(problems(&yaml).contains(told), "{yaml}: {}", problems(&yaml));
    }
    assert_eq!(problems(at), "");
    let warnings = |yaml: &str| Checked::of(&Section::from_yaml(ID, yaml).unwrap()).unwrap().warnings.to_string();
    assert!(warnings("endpoint: 0.0.0.0:1").contains("may send log records"));
    assert_eq!(warnings("endpoint: 0.0.0.0:1\nrequired_header: {key: a, value: b}"), "");
}

/// The keys of the Collector's receiver (v0.160), its own and those of its server.
const COLLECTOR: &str = "
path: /events
health_path: /health_check
read_timeout: 500ms
write_timeout: 500ms
required_header: {key: a, value: b}
hmac_signature: {secret: 0123456789abcdef, header: X-Sig, prefix: 'sha256='}
split_logs_at_newline: true
split_logs_at_json_boundary: true
convert_headers_to_attributes: true
header_attribute_regex: ^x-
endpoint: localhost:1
transport: tcp
dialer: {timeout: 1s}
auth: {authenticator: basicauth, request_params: [token]}
compression_algorithms: [gzip]
cors: {allowed_origins: ['*'], allowed_headers: [a], exposed_headers: [b], max_age: 7200}
idle_timeout: 1m
include_metadata: true
include_tls_metadata: true
keep_alives_enabled: true
keepalive: {enabled: true, idle_timeout: 1m}
max_request_body_size: 20971520
middlewares: [{id: limitermiddleware}]
read_header_timeout: 1m
response_headers: {X-A: b}
tls: {cert_file: /nowhere/cert.pem, key_file: /nowhere/key.pem}
";

#[test]
fn every_key_of_the_collector_works_or_is_told_what_to_write_instead() {
    let mut known = 0;
    for line in COLLECTOR.lines().filter(|line| !line.is_empty()) {
        let key = line.split_once(':').unwrap().0;
        let endpoint = if key == "endpoint" { "" } else { "endpoint: localhost:1\n" };
        let section = Section::from_yaml(ID, &format!("{endpoint}{line}")).unwrap();
        let told = Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new());
        match settings::UNSUPPORTED.iter().find(|(unsupported, _)| *unsupported == key) {
            Some((_, instead)) => assert!(told.contains("is not supported yet") && told.contains(instead), "{told}"),
            // The files of TLS are looked for.
            None if key == "tls" => assert!(told.contains("/nowhere/cert.pem"), "{told}"),
            None => assert_eq!(told, "", "{line}"),
        }
        known += 1;
    }
    assert!(known > settings::UNSUPPORTED.len() + 10, "{known}");
    let told = |yaml: &str| Checked::of(&section(yaml)).map_or_else(|problems| problems.to_string(), |_| String::new());
    assert!(told("transport: unix").contains("the transport \"unix\" is not supported yet"));
}

#[tokio::test]
async fn a_bomb_is_refused_and_a_body_that_memory_does_not_take_is_to_come_again() {
    let packed = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = [("content-encoding", "gzip")];
    let (service, _inbox) = open("max_request_body_size: 1MiB");
    let bomb = request(Method::POST, "/events", &gzip, &packed(&vec![b' '; 8 << 20]));
    assert_eq!(send(&service, bomb).await, (StatusCode::PAYLOAD_TOO_LARGE, "too_large\n".to_owned()));

    let checked = Checked::of(&section("")).unwrap();
    let (context, (outlet, _inbox)) = (context(ID), probe());
    let budget = pipeline::Budget::new(64 << 10);
    let _held = budget.take(60 << 10).unwrap();
    let door = Door::new(checked, ID.to_owned(), outlet, (context.clock, budget.clone()), &context.meters).service();
    for (headers, body) in [(&[][..], vec![b'x'; 8 << 10]), (&gzip, packed(&vec![b'x'; 32 << 10]))] {
        let told = send(&door, request(Method::POST, "/events", headers, &body)).await;
        assert_eq!(told.0, StatusCode::SERVICE_UNAVAILABLE, "{}", told.1);
    }
    assert_eq!(budget.used(), 60 << 10, "what was refused is given back");
}

#[test]
fn the_documentation_tells_of_every_key() {
    let page = include_str!("../../../docs/receivers/webhook_event.md");
    let schema = serde_json::to_value((FACTORY.schema)()).unwrap();
    let unsupported = settings::UNSUPPORTED.iter().map(|(key, _)| (*key).to_owned());
    for key in schema["properties"].as_object().unwrap().keys().cloned().chain(unsupported) {
        assert!(page.contains(&format!("`{key}`")), "the page does not tell of {key}");
    }
}
