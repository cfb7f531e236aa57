//! From the JSON of an event to what it changes in a ledger, without the disk.

use std::sync::Arc;

use pdata::{Kind, Metric, SeriesTable, UnixNanos};
use pipeline::mapping::counted::{Condition, CountAttribute, CountRule, CountRules, CountValue, Counted, Test, When};
use pipeline::mapping::select::{Selection, Selector};
use pipeline::state::{Entry, Ledger, LedgerOptions};
use pipeline::{Clock, Health, Meters};

use crate::measure::{Report, best_of};

const EVENTS: usize = 10_000;
const TENANTS: usize = 200;

pub fn run() {
    let mut report = Report::new("Events: JSON to a ledger entry, two metrics of two attributes, 200 tenants");
    let events: Vec<String> = (0..EVENTS).map(event).collect();
    report.figure("bytes of an event", events[0].len().to_string(), None);
    let paths = ["event_id", "timestamp", "event_type", "tenant_id", "/data/amount"];
    let selectors: Vec<Selector> = paths.iter().map(|path| path.parse().expect("it is a path")).collect();
    let selection = Selection::new(&selectors);
    let read = best_of(7, EVENTS, || {
        for event in &events {
            std::hint::black_box(selection.read(event.as_bytes()).expect("it is JSON"));
        }
    });
    report.cost("five fields found", read, "event", None);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (table, meters) = (SeriesTable::with_defaults(), Meters::unread());
    let ledger = Ledger::open(
        folder.path(),
        "bench",
        LedgerOptions::default(),
        &Clock::system(),
        &table,
        &meters,
        &Health::default(),
    );
    let ledger = ledger.expect("the folder is fresh");
    let mut counted =
        Counted::new(Arc::new(rules()), ledger.clone(), &meters, Vec::new()).expect("counters can be kept");
    let mapped = best_of(7, EVENTS, || {
        for event in &events {
            let fields = selection.read(event.as_bytes()).expect("it is JSON");
            let mut entry = Entry::new().with_id(ledger.event("bench", event.as_bytes()));
            counted.apply(&fields, When { received: UnixNanos(1), stated: None }, &mut entry);
            std::hint::black_box(entry);
        }
    });
    report.cost("fields, id and series: a ledger entry", mapped, "event", Some("3 us"));
    report.print();
}

fn rules() -> CountRules {
    let rule = |name: &str, value| CountRule {
        metric: Arc::new(Metric::new(name, Kind::COUNTER)),
        value,
        when: vec![Condition { cell: 2, test: Test::StartsWith("budget.".into()), not: false }],
        attributes: vec![
            CountAttribute::new("type", 2),
            CountAttribute { null: Some("UNKNOWN".into()), ..CountAttribute::new("tenant", 3) },
        ],
        static_attributes: Vec::new(),
        time: None,
    };
    let metrics = vec![
        rule("events", CountValue::Add { cell: None, scale: None }),
        rule("amount", CountValue::Add { cell: Some(4), scale: None }),
    ];
    CountRules { metrics, ..CountRules::default() }
}

/// As Cycles sends them, some 600 bytes.
fn event(n: usize) -> String {
    format!(
        r#"{{"event_id":"evt_{n:016x}","event_type":"budget.debited","category":"budget","timestamp":"2026-01-31T12:00:00.123Z","tenant_id":"tenant-{}","scope":"tenant:tenant-{}/workspace:default/app:checkout","actor":{{"type":"api_key","key_id":"key_0123456789abcdef","source_ip":"192.0.2.17"}},"source":"cycles-server","data":{{"ledger_id":"led_0123456789abcdef","operation":"DEBIT","scope":"tenant:tenant-{}/workspace:default","unit":"USD_MICROCENTS","amount":{n},"previous_state":"ACTIVE","new_state":"ACTIVE"}},"correlation_id":"cor_0123456789abcdef","request_id":"req_0123456789abcdef","trace_id":"0123456789abcdef0123456789abcdef"}}"#,
        n % TENANTS,
        n % TENANTS,
        n % TENANTS
    )
}
