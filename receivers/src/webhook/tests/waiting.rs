use pipeline::Verdict;

use super::*;

const LOGS: &str = "
spool: {max_bytes: 1KiB}
resource_attributes: {service.name: shop}
sources:
  - name: s
    id: id
    time: at
    metrics: [{metric_name: n}]
    logs:
      when: [{field: quiet, exists: false}]
      body: message
      severity: level
      event_name: kind
      attributes: [{name: user, field: user.name}, {name: gone}]
      static_attributes: {env: test}
";

#[tokio::test]
async fn an_event_is_a_log_record_that_stays_until_its_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), LOGS).await;
    let now = pipeline::Clock::system().wall().0 / 1_000_000_000;
    let event =
        json!({"id": 1, "at": now, "message": {"a": 1}, "level": "Warning", "kind": "k", "user": {"name": "é"}});
    assert_eq!(house.take("/s", &event.to_string()).await.0, 1);
    assert_eq!(house.take("/s", &event.to_string()).await.1, 1, "a duplicate leaves no second record");
    assert_eq!(house.take("/s", r#"{"id":2,"quiet":true}"#).await.0, 1);
    let batch = house.records().await;
    let logs = batch.logs().unwrap();
    assert_eq!(logs.records.len(), 1);
    let record = &logs.records[0];
    assert_eq!((record.severity.0, &*record.severity_text, &*record.event_name), (13, "Warning", "k"));
    assert_eq!(record.time.0, now * 1_000_000_000);
    assert!(record.observed_time.is_set());
    assert_eq!(record.body, pdata::Value::from("{\"a\":1}"));
    let attributes: Vec<_> = record.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(attributes, ["env=test", "user=é"]);
    assert_eq!(record.origin.resource.get("service.name").map(|value| value.to_string()).as_deref(), Some("shop"));
    batch.settle(Verdict::Lost);
    let again = house.records().await;
    assert_eq!(again.items(), 1, "what was lost is sent again");
    drop(again);
    house.close().await;

    let mut house = House::open(folder.path(), LOGS).await;
    let again = house.records().await;
    assert_eq!(again.items(), 1, "and by the next agent");
    again.settle(Verdict::Delivered);
    while !house.ledger.spooled(0, 9, 9).await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    house.close().await;
}

#[tokio::test]
async fn a_full_spool_pushes_back_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = House::open(folder.path(), LOGS).await;
    let event = |id: u64| json!({"id": id, "message": "x".repeat(100)}).to_string();
    let mut taken = 0;
    let full = loop {
        let answer = house.post("/s", &event(taken)).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        taken += 1;
        assert!(taken < 20, "1 KiB holds no twenty records");
    };
    assert_eq!(full.error(), "503 spool_full");
    assert_eq!(full.headers[header::RETRY_AFTER], "5");
    assert!(taken > 2, "{taken}");
    assert_eq!(house.scrape().await, [format!("n{{}} {taken}")], "what was refused is not counted");
    let mut delivered = 0;
    while delivered < taken {
        let batch = house.records().await;
        delivered += batch.items() as u64;
        batch.settle(Verdict::Rejected);
    }
    while house.post("/s", &event(taken)).await.status != StatusCode::OK {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.scrape().await, [format!("n{{}} {}", taken + 1)]);
    house.close().await;
}

#[tokio::test]
async fn a_sender_that_hangs_up_frees_no_room_that_its_record_takes() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), LOGS).await;
    let event = |id: u64| json!({"id": id, "message": "x".repeat(100)}).to_string();
    let mut hung_up = 0;
    for id in 0..200 {
        let asked = tower::ServiceExt::oneshot(house.service.clone(), request(Method::POST, "/s", &[], event(id)));
        // Polled once: its event is in line, and nobody waits for it any more.
        hung_up += u64::from(futures_util::FutureExt::now_or_never(asked).is_none());
        tokio::task::yield_now().await;
    }
    assert!(hung_up > 2, "{hung_up}");
    let mut more = 1_000..1_020;
    while house.post("/s", &event(more.next().unwrap())).await.error() != "503 spool_full" {}
    let waiting = house.ledger.spooled(0, 1_000, 1 << 20).await.unwrap();
    let bytes: usize = waiting.iter().map(|(_, record)| record.len()).sum();
    assert!(bytes <= 1 << 10, "{} records of {bytes} bytes wait, and 1 KiB may", waiting.len());
    house.close().await;
}

#[tokio::test]
async fn what_waits_from_an_earlier_run_takes_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::open(folder.path(), LOGS).await;
    let event = |id: u64| json!({"id": id, "message": "x".repeat(100)}).to_string();
    let mut id = 0;
    while house.post("/s", &event(id)).await.status == StatusCode::OK {
        id += 1;
    }
    house.close().await;
    let house = House::open(folder.path(), LOGS).await;
    assert_eq!(house.post("/s", &event(id)).await.error(), "503 spool_full");
    house.close().await;
}
