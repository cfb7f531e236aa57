use super::*;

/// Two subscriptions of one system: an event may come through both.
const SUBSCRIPTIONS: &str = "
sources:
  - name: one
    id: event_id
    metrics: &metrics
      - metric_name: received
        attributes: [{name: subscription, field: '@source'}]
      - metric_name: expired
        when: [{field: kind, equals: expired}]
        once_per: event_id
        attributes: [{name: tenant, null: UNKNOWN}]
      - metric_name: debts
        when: [{field: kind, equals: debt}]
        once_per: [data.reservation, request]
      - metric_name: debt
        value: data.amount
        when: [{field: kind, equals: debt}]
        once_per: [data.reservation, request]
  - name: two
    id: event_id
    metrics: *metrics
";

fn debt(id: u64, reservation: Value, request: Value, amount: i64) -> String {
    let data = json!({"reservation": reservation, "amount": amount});
    json!({"event_id": id, "kind": "debt", "request": request, "data": data}).to_string()
}

#[tokio::test]
async fn a_thing_counts_once_whichever_sources_and_however_many_events_tell_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), SUBSCRIPTIONS).await;
    let expired = r#"{"event_id": 1, "kind": "expired", "tenant": "a"}"#;
    for path in ["/one", "/two", "/one"] {
        house.take(path, expired).await;
    }
    // Three scopes of one reservation; then one that only its request tells; then two that nothing tells.
    for (id, scope) in [(2, "/one"), (3, "/two"), (4, "/one")] {
        assert_eq!(house.take(scope, &debt(id, json!("r1"), json!("q1"), 10)).await, (1, 0, Value::Null));
    }
    for (id, request) in [(5, "q2"), (6, "q2"), (7, "r1")] {
        house.take("/one", &debt(id, Value::Null, json!(request), 100)).await;
    }
    for id in [8, 9] {
        house.take("/one", &debt(id, Value::Null, Value::Null, 1000)).await;
    }
    let shown = [
        "debts{} 5",
        "debt{} 2210",
        "expired{tenant=\"a\"} 1",
        "received{subscription=\"one\"} 8",
        "received{subscription=\"two\"} 2",
    ];
    assert_eq!(house.scrape().await, shown);
    house.close().await;
    let mut house = House::open(folder.path(), SUBSCRIPTIONS).await;
    house.take("/two", &debt(10, json!("r1"), Value::Null, 10)).await;
    assert!(house.scrape().await.contains(&"debts{} 5".to_owned()), "things are remembered on disk");
    house.close().await;
}

#[tokio::test]
async fn a_metric_with_other_fixed_attributes_counts_things_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let sources = "
sources:
  - name: a
    id: id
    metrics:
      - {metric_name: broken, once_per: id, when: [{field: x, exists: false}], static_attributes: {rule: x}}
      - {metric_name: broken, once_per: id, when: [{field: y, exists: false}], static_attributes: {rule: y}}
      - {metric_name: broken, once_per: id, when: [{field: z, exists: false}], static_attributes: {rule: y}}
";
    let mut house = House::open(folder.path(), sources).await;
    assert_eq!(house.take("/a", r#"{"id": 1}"#).await, (1, 0, Value::Null));
    assert_eq!(house.scrape().await, ["broken{rule=\"x\"} 1", "broken{rule=\"y\"} 1"]);
    house.close().await;
}

#[tokio::test]
async fn an_attribute_that_is_switched_off_is_absent_and_its_values_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let sources = |enabled: &str| {
        format!(
            "sources: [{{name: a, id: id, metrics: [{{metric_name: m, attributes: [{{name: tenant, null: UNKNOWN, enabled: {enabled}}}]}}]}}]"
        )
    };
    let mut house = House::open(folder.path(), &sources("false")).await;
    for (id, tenant) in [(1, "a"), (2, "b"), (3, "")] {
        house.take("/a", &json!({"id": id, "tenant": tenant}).to_string()).await;
    }
    assert_eq!(house.scrape().await, ["m{} 3"]);
    house.close().await;
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), &sources("true")).await;
    for (id, tenant) in [(1, "a"), (2, " \t"), (3, "")] {
        house.take("/a", &json!({"id": id, "tenant": tenant}).to_string()).await;
    }
    assert_eq!(house.scrape().await, ["m{tenant=\"UNKNOWN\"} 2", "m{tenant=\"a\"} 1"], "blank is as good as nothing");
    house.close().await;
}

#[tokio::test]
async fn what_is_no_object_is_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), SUBSCRIPTIONS).await;
    for body in ["1", "\"text\"", "null", "[1]", "[[]]", ""] {
        assert_eq!(house.take("/one", body).await, (0, 0, json!({"malformed": 1})), "{body}");
    }
    assert!(house.scrape().await.is_empty());
    house.close().await;
}
