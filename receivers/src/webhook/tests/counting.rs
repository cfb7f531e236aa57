use super::*;

const ORDERS: &str = "
sources:
  - name: orders
    id: event_id
    time: at
    metrics:
      - metric_name: orders
        attributes: [{name: status, null: UNKNOWN, lower_case: true}]
      - metric_name: amount
        value: /data/amount
        when: [{field: status, equals: paid}]
";

fn event(id: u64, status: &str, amount: u64) -> String {
    json!({"event_id": format!("evt_{id}"), "status": status, "data": {"amount": amount}}).to_string()
}

#[tokio::test]
async fn an_event_counts_once_however_often_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), ORDERS).await;
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (1, 0, Value::Null));
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (0, 1, Value::Null));
    assert_eq!(house.take("/orders", &event(1, "PAID", 99)).await, (0, 1, Value::Null), "the id decides");
    assert_eq!(house.take("/orders", &event(2, "PAID", 7)).await, (1, 0, Value::Null));
    assert_eq!(house.take("/orders", &event(3, "", 7)).await, (1, 0, Value::Null));
    let shown = ["amount{} 5", "orders{status=\"UNKNOWN\"} 1", "orders{status=\"paid\"} 2"];
    assert_eq!(house.scrape().await, shown);
    house.close().await;
}

#[tokio::test]
async fn all_series_are_there_after_a_restart_and_ids_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), ORDERS).await;
    house.take("/orders", &event(1, "paid", 5)).await;
    let before = house.scrape().await;
    let starts = |house: &House| house.ledger.snapshot().series().map(|(_, start, _)| start).collect::<Vec<_>>();
    let began = starts(&house);
    house.close().await;
    let mut house = House::open(folder.path(), ORDERS).await;
    assert_eq!(house.scrape().await, before);
    assert_eq!(starts(&house), began);
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (0, 1, Value::Null));
    house.close().await;
}

#[tokio::test]
async fn in_memory_events_count_once_until_the_end_of_the_process() {
    let mut house = House::in_memory(ORDERS).await;
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (1, 0, Value::Null));
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (0, 1, Value::Null));
    assert_eq!(house.take("/orders", &event(2, "paid", 7)).await, (1, 0, Value::Null));
    assert_eq!(house.scrape().await, ["amount{} 12", "orders{status=\"paid\"} 2"]);
    house.close().await;
    let mut house = House::in_memory(ORDERS).await;
    assert_eq!(house.scrape().await, [""; 0]);
    assert_eq!(house.take("/orders", &event(1, "paid", 5)).await, (1, 0, Value::Null), "nobody knows it any more");
    house.close().await;
}

#[tokio::test]
async fn events_that_do_not_go_together_are_taken_page_by_page_and_each_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), ORDERS).await;
    // The longest body that is sure to go together, all of it lines that are no events.
    let lines = request(Method::POST, "/orders", &[("content-type", "application/x-ndjson")], "1\n".repeat(1024));
    assert_eq!(house.send(lines).await.taken(), (0, 0, json!({"malformed": 1024})));
    let events: Vec<_> = (0..2500).map(|id| event(id % 2400, "paid", 1)).collect();
    let body = format!("[{}]", events.join(","));
    assert_eq!(house.take("/orders", &body).await, (2400, 100, Value::Null));
    assert_eq!(house.take("/orders", &body).await, (0, 2500, Value::Null));
    assert_eq!(house.scrape().await, ["amount{} 2400", "orders{status=\"paid\"} 2400"]);
    house.close().await;
}

#[tokio::test]
async fn arrays_lines_and_forms_hold_many_events_and_good_ones_count_beside_bad_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), ORDERS).await;
    let array = format!("[{}, {}, {}]", event(1, "a", 0), event(1, "a", 0), event(2, "a", 0));
    assert_eq!(house.take("/orders", &array).await, (2, 1, Value::Null));
    let body = format!("{}\n{{\n{}\n", event(3, "b", 0), event(1, "b", 0));
    let sent = request(Method::POST, "/orders", &[("content-type", "application/x-ndjson")], body);
    assert_eq!(house.send(sent).await.taken(), (1, 1, json!({"malformed": 1})));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let sent = request(Method::POST, "/orders", &form, "event_id=evt_1&status=c");
    assert_eq!(house.send(sent).await.taken(), (0, 1, Value::Null));
    assert_eq!(house.scrape().await, ["orders{status=\"a\"} 2", "orders{status=\"b\"} 1"]);
    house.close().await;
}

#[tokio::test]
async fn without_an_id_the_body_is_the_id_and_its_place_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), &ORDERS.replace("    id: event_id\n", "")).await;
    let two = r#"[{"status":"a"},{"status":"a"}]"#;
    assert_eq!(house.take("/orders", two).await, (2, 0, Value::Null), "two equal events of one body are two");
    assert_eq!(house.take("/orders", two).await, (0, 2, Value::Null));
    assert_eq!(house.take("/orders", &format!(" {two}")).await, (2, 0, Value::Null));
    house.close().await;
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), ORDERS).await;
    assert_eq!(house.take("/orders", r#"{"event_id":null,"status":"a"}"#).await.0, 1);
    assert_eq!(house.take("/orders", r#"{"event_id":null,"status":"a"}"#).await.1, 1);
    assert_eq!(house.take("/orders", r#"{"event_id":"","status":"a"}"#).await.0, 1);
    assert_eq!(house.take("/orders", r#"{"event_id":"","status":"b"}"#).await.0, 1, "an empty id names nothing");
    assert_eq!(house.take("/orders", r#"{"event_id":7}"#).await.0, 1);
    assert_eq!(house.take("/orders", r#"{"event_id":"7"}"#).await.1, 1);
    house.close().await;
}

#[tokio::test]
async fn the_id_that_a_scheme_signs_is_the_events_id() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: s
    verify:
      {scheme: hmac, secret: 0123456789abcdef, header: x-code, signed_content: '{id}.{body}', id_header: x-id}
    metrics: [{metric_name: n}]
";
    let mut house = House::open(folder.path(), sources).await;
    for (id, body, expected) in [("1", "{}", (1, 0)), ("1", "{ }", (0, 1)), ("2", "{}", (1, 0))] {
        let code = signature("0123456789abcdef", format!("{id}.{body}").as_bytes()).replace("sha256=", "");
        let sent = request(Method::POST, "/s", &[("x-code", &code), ("x-id", id)], body);
        let (accepted, duplicates, _) = house.send(sent).await.taken();
        assert_eq!((accepted, duplicates), expected, "{id} {body}");
    }
    assert_eq!(house.scrape().await, ["n{} 2"]);
    house.close().await;
}

#[tokio::test]
async fn sources_keep_their_ids_apart_unless_they_share_a_scope() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - {name: a, id: id, metrics: [{metric_name: n}]}
  - {name: b, path: /other, id: id, metrics: [{metric_name: n}]}
  - {name: c, dedup_scope: a, id: id, metrics: [{metric_name: n, attributes: [{name: from, field: '@source'}]}]}
";
    let mut house = House::open(folder.path(), sources).await;
    assert_eq!(house.take("/a", "{\"id\":1}").await.0, 1);
    assert_eq!(house.take("/other", "{\"id\":1}").await.0, 1);
    assert_eq!(house.take("/c", "{\"id\":1}").await.1, 1);
    assert_eq!(house.take("/c", "{\"id\":2}").await.0, 1);
    assert_eq!(house.scrape().await, ["n{from=\"c\"} 1", "n{} 2"]);
    house.close().await;
}

#[tokio::test]
async fn what_is_older_than_the_window_is_told_and_not_added() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), ORDERS).await;
    let at = |at: Value| json!({"event_id": at.to_string(), "status": "a", "at": at}).to_string();
    assert_eq!(house.take("/orders", &at(json!("2020-01-01T00:00:00Z"))).await, (0, 0, json!({"too_old": 1})));
    assert_eq!(house.take("/orders", &at(json!(1_600_000_000.5))).await, (0, 0, json!({"too_old": 1})));
    assert_eq!(house.take("/orders", &at(json!("yesterday"))).await, (0, 0, json!({"malformed": 1})));
    assert_eq!(house.take("/orders", &at(Value::Null)).await, (1, 0, Value::Null));
    assert_eq!(house.scrape().await, ["orders{status=\"a\"} 1"]);
    assert_eq!(house.refused(), BTreeMap::from([("too_old".to_owned(), 2), ("malformed".to_owned(), 1)]));
    house.close().await;
}

#[tokio::test]
async fn what_is_stale_is_answered_as_the_user_wants_it() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - {name: mild, time: t, max_age: 5m, metrics: [{metric_name: n}]}
  - {name: strict, time: t, max_age: 5m, stale: 401, metrics: [{metric_name: n}]}
";
    let mut house = House::open(folder.path(), sources).await;
    let now = pipeline::Clock::system().wall().0 / 1_000_000_000;
    let at = |offset: i64| json!({"t": now.saturating_add_signed(offset)}).to_string();
    for offset in [-600, 600] {
        assert_eq!(house.take("/mild", &at(offset)).await, (0, 0, json!({"stale": 1})));
        assert_eq!(house.post("/strict", &at(offset)).await.error(), "401 stale");
    }
    assert_eq!(house.take("/strict", &at(-60)).await.0, 1);
    let both = format!("[{}, {}]", at(-61), at(-600));
    assert_eq!(house.take("/strict", &both).await, (1, 0, json!({"stale": 1})), "one good event is enough");
    assert_eq!(house.scrape().await, ["n{} 2"]);
    assert_eq!(house.refused(), BTreeMap::from([("stale".to_owned(), 5)]));
    house.close().await;
}

#[tokio::test]
async fn cloud_events_are_known_by_source_and_id_in_all_three_modes() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: ce
    format: cloudevents
    trusted_headers: [ce-*]
    metrics:
      - {metric_name: n, attributes: [{name: type}, {name: unit, field: data.unit}]}
";
    let mut house = House::open(folder.path(), sources).await;
    let event = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "t", "data": {"unit": "u"}});
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let batched = [("content-type", "application/cloudevents-batch+json")];
    let binary = [("content-type", "application/json"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    for (headers, body, expected) in [
        (&structured[..], event("1").to_string(), (1, 0)),
        (&batched, json!([event("1"), event("2")]).to_string(), (1, 1)),
        (&binary, "{\"unit\":\"u\"}".to_owned(), (0, 1)),
        (&binary[..1], "{\"unit\":\"v\"}".to_owned(), (1, 0)),
    ] {
        let (accepted, duplicates, _) = house.send(request(Method::POST, "/ce", headers, body)).await.taken();
        assert_eq!((accepted, duplicates), expected, "{headers:?}");
    }
    assert_eq!(house.scrape().await, ["n{type=\"t\",unit=\"u\"} 2", "n{unit=\"v\"} 1"]);
    house.close().await;
}

#[tokio::test]
async fn trusted_headers_are_fields_and_a_repeated_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: gh
    trusted_headers: [X-GitHub-Event]
    metrics:
      - metric_name: n
        attributes: [{name: event, field: 'header:x-github-event', allow: [push, pull_request]}]
";
    let mut house = House::open(folder.path(), sources).await;
    let name = "x-github-event";
    for (at, headers) in
        [&[(name, "push")][..], &[(name, "evil")], &[(name, "push"), (name, "push")]].iter().enumerate()
    {
        house.send(request(Method::POST, "/gh", headers, format!("{{\"n\":{at}}}"))).await.taken();
    }
    // Nobody's header is no value, and so none of the list.
    assert_eq!(house.scrape().await, ["n{event=\"other\"} 1", "n{event=\"push\"} 1", "n{} 1"]);
    house.close().await;
}
