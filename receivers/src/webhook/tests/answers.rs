use std::io::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const SIGNED: &str = "
refused_metric: rejects
sources:
  - name: c
    verify: {scheme: cycles, secret: 0123456789abcdef}
    max_request_body_size: 1KiB
    metrics: [{metric_name: n}]
  - name: put
    method: PUT
    metrics: [{metric_name: n}]
";

const SECRET: &str = "0123456789abcdef";
const HEADER: &str = "x-cycles-signature";

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_way_to_be_refused_has_its_answer_and_its_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), SIGNED).await;
    let good = signature(SECRET, b"{}");
    let wrong = signature("another secret..", b"{}");
    let signed = (HEADER, good.as_str());
    let post = Method::POST;
    for (method, path, headers, body, told) in [
        (&post, "/c", &[signed][..], "{}", "200 "),
        (&post, "/c", &[signed], "{}", "200 "),
        (&post, "/c", &[], "{}", "401 signature_missing"),
        (&post, "/c", &[signed, signed], "{}", "401 signature_repeated"),
        (&post, "/c", &[(HEADER, "md5=00")], "{}", "401 signature_malformed"),
        (&post, "/c", &[(HEADER, &wrong)], "{}", "401 signature_bad"),
        (&post, "/c", &[signed], "{} ", "401 signature_bad"),
        (&Method::GET, "/c", &[signed], "", "405 method"),
        (&post, "/put", &[], "{}", "405 method"),
        (&Method::PUT, "/put", &[], "{}", "200 "),
        (&post, "/c/", &[signed], "{}", "404 "),
        (&post, "/c", &[signed, ("content-type", "text/xml")], "{}", "415 media_type"),
        (&post, "/c", &[signed, ("content-encoding", "br")], "{}", "415 encoding"),
    ] {
        let answer = house.send(request(method.clone(), path, headers, body)).await;
        assert_eq!(answer.error(), told, "{method} {path} {headers:?}: {}", answer.body);
        assert!(!answer.status.is_redirection());
    }
    let answer = house.send(request(Method::GET, "/put", &[], "")).await;
    assert_eq!(answer.headers[header::ALLOW], "PUT");
    let shown = house.scrape().await;
    assert!(shown.contains(&"rejects{reason=\"signature_bad\",source=\"c\"} 2".to_owned()), "{shown:?}");
    assert!(shown.contains(&"rejects{reason=\"method\",source=\"put\"} 2".to_owned()), "{shown:?}");
    assert!(shown.contains(&"n{} 2".to_owned()), "{shown:?}");
    assert_eq!(house.ledger.snapshot().commit(), 3, "two events and a duplicate: what is refused costs no commit");
    house.close().await;
}

#[tokio::test]
async fn bodies_are_verified_as_they_came_and_unpacked_to_their_bound() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), SIGNED).await;
    let send = async |body: Vec<u8>| {
        let code = signature(SECRET, &body);
        let headers = [(HEADER, &*code), ("content-encoding", "gzip")];
        house.send(request(Method::POST, "/c", &headers, body)).await.error()
    };
    assert_eq!(send(packed(b"{\"n\":1}")).await, "200 ");
    assert_eq!(send(b"{\"n\":1}".to_vec()).await, "400 body");
    let bomb = packed(&vec![b' '; 512 << 10]);
    let began = tokio::time::Instant::now();
    assert_eq!(send(bomb).await, "413 too_large");
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    let large = vec![b' '; 1025];
    let code = signature(SECRET, &large);
    let answer = house.send(request(Method::POST, "/c", &[(HEADER, &code)], large)).await;
    assert_eq!(answer.error(), "413 too_large");
    house.close().await;
}

#[tokio::test]
async fn an_authentic_body_that_is_no_event_is_200_so_that_it_is_not_sent_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), SIGNED).await;
    for body in ["", "no json", "[]", "\u{0}", &"[".repeat(100)] {
        let code = signature(SECRET, body.as_bytes());
        let told = house.send(request(Method::POST, "/c", &[(HEADER, &code)], body)).await;
        assert_eq!(told.taken(), (0, 0, json!({"malformed": 1})), "{body:?}");
    }
    assert_eq!(house.refused(), BTreeMap::from([("malformed".to_owned(), 5)]));
    house.close().await;
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_makes_the_sender_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), "sources: [{name: a, metrics: [{metric_name: n}]}]").await;
    house.ledger.close();
    let answer = house.post("/a", "{}").await;
    assert_eq!(answer.error(), "503 not_ready");
    assert_eq!(answer.headers[header::RETRY_AFTER], "1");
    house.close().await;
}

#[tokio::test]
async fn who_sends_too_fast_is_told_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "sources: [{name: a, requests_per_second: 3, metrics: [{metric_name: n}]}]";
    let house = House::open(folder.path(), sources).await;
    let mut told = Vec::new();
    for _ in 0..5 {
        told.push(house.post("/a", "{}").await);
    }
    assert_eq!(told.iter().filter(|told| told.status == StatusCode::OK).count(), 3);
    assert_eq!(told[4].error(), "429 rate");
    assert_eq!(told[4].headers[header::RETRY_AFTER], "1");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(house.post("/a", "{}").await.status, StatusCode::OK);
    house.close().await;
}

#[tokio::test]
async fn a_get_is_answered_with_what_it_asks_to_hear_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: meta
    challenge: {query: hub.challenge, token_query: hub.verify_token, token: agreed}
    metrics: [{metric_name: n}]
  - name: open
    challenge: {query: challenge}
    metrics: [{metric_name: n}]
";
    let house = House::open(folder.path(), sources).await;
    let long = format!("/open?challenge={}", "x".repeat(1025));
    for (path, told) in [
        ("/meta?hub.mode=subscribe&hub.verify_token=agreed&hub.challenge=11%2B5", "200 11+5"),
        ("/meta?hub.verify_token=wrong&hub.challenge=1", "403"),
        ("/meta?hub.challenge=1", "403"),
        ("/meta?hub.verify_token=agreed&hub.verify_token=agreed&hub.challenge=1", "403"),
        ("/meta?hub.verify_token=agreed", "403"),
        ("/open?challenge=%3Cscript%3E", "200 <script>"),
        ("/open?challenge=a%0D%0Ab", "403"),
        ("/open?challenge=%ff", "403"),
        ("/open?challenge=", "403"),
        ("/open", "403"),
        (&long, "403"),
    ] {
        let answer = house.send(request(Method::GET, path, &[], "")).await;
        let body = if answer.status == StatusCode::OK { format!(" {}", answer.body) } else { String::new() };
        assert_eq!(format!("{}{body}", answer.status.as_u16()), told, "{path}");
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        if answer.status == StatusCode::OK {
            assert_eq!(answer.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        }
    }
    let answer = house.send(request(Method::DELETE, "/open", &[], "")).await;
    assert_eq!(answer.headers[header::ALLOW], "POST, GET");
    house.close().await;
}

#[tokio::test]
async fn an_event_that_is_a_challenge_is_echoed_after_its_signature_and_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: slack
    verify: {scheme: cycles, secret: 0123456789abcdef}
    challenge: {field: challenge, when: [{field: type, equals: url_verification}]}
    metrics: [{metric_name: n}]
";
    let mut house = House::open(folder.path(), sources).await;
    let send = async |body: &str, secret: &str| {
        let code = signature(secret, body.as_bytes());
        house.send(request(Method::POST, "/slack", &[(HEADER, &code)], body)).await
    };
    let asked = r#"{"type":"url_verification","challenge":"3eZbrw"}"#;
    assert_eq!(send(asked, SECRET).await.body, "3eZbrw");
    assert_eq!(send(asked, "another secret..").await.error(), "401 signature_bad");
    assert_eq!(send(r#"{"type":"other","challenge":"x"}"#, SECRET).await.taken().0, 1);
    assert_eq!(house.scrape().await, ["n{} 1"]);
    house.close().await;
}

/// Bodies that are nearly something.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let pieces = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "d800",
        "null",
        "true",
        "1e999",
        "-0",
        "18446744073709551616",
        "\"id\"",
        "\"a\"",
        "=",
        "&",
        "%",
        "+",
        "\n",
        "\u{feff}",
        "\u{0}",
        "é",
    ]);
    prop_oneof![
        proptest::collection::vec(pieces, 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..64),
        "[a-c]{0,9}".prop_map(|text| packed(text.as_bytes())),
    ]
}

#[test]
fn whatever_is_sent_is_answered_with_one_of_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - {name: auto, id: id, time: a, json_fields: [a], metrics: [{metric_name: n, value: a, attributes: [{name: id}]}], logs: {severity: a}}
  - {name: ce, format: cloudevents, trusted_headers: [ce-*], metrics: [{metric_name: n, value: data}]}
";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::open(folder.path(), sources));
    let kinds = [
        "application/json",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/cloudevents+json",
        "x",
    ];
    let kind = proptest::sample::select(kinds.to_vec());
    let coding = proptest::sample::select(vec!["identity", "gzip", "deflate", "zstd", "br"]);
    let path = proptest::sample::select(vec!["/auto", "/ce"]);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(400) });
    let seen = std::cell::RefCell::new(BTreeMap::new());
    let told = |(path, kind, coding, body): (&str, &str, &str, Vec<u8>)| {
        let headers = [("content-type", kind), ("content-encoding", coding), ("ce-id", "%é")];
        let status = runtime.block_on(house.send(request(Method::POST, path, &headers[..2], body))).status.as_u16();
        prop_assert!([200, 400, 413, 415].contains(&status), "{}", status);
        *seen.borrow_mut().entry(status).or_insert(0) += 1;
        Ok(())
    };
    runner.run(&(path, kind, coding, body()), told).unwrap();
    assert!(seen.borrow().len() >= 3, "{seen:?}");
    runtime.block_on(house.close());
}
