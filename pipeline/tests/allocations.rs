//! A known event is read and mapped without an allocation of its own.

use std::sync::Arc;

use pdata::{Kind, Metric, SeriesTable, UnixNanos};
use pipeline::mapping::counted::{CountAttribute, CountRule, CountRules, CountValue, Counted, When};
use pipeline::mapping::select::Selection;
use pipeline::state::{Entry, Ledger, LedgerOptions};
use pipeline::{Clock, Health, Meters};

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

const EVENT: &str = r#"{"event_id":"evt_0123456789abcdef","event_type":"budget.debited","tenant_id":"acme","timestamp":"2026-01-31T12:00:00Z","data":{"scope":"tenant:acme","unit":"TOKENS","amount":1200}}"#;

#[test]
fn a_known_event_is_mapped_without_an_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let (table, meters) = (SeriesTable::with_defaults(), Meters::unread());
    let ledger = Ledger::open(
        folder.path(),
        "test",
        LedgerOptions::default(),
        &Clock::system(),
        &table,
        &meters,
        &Health::default(),
    )
    .unwrap();
    let rule = |name: &str, value| CountRule {
        metric: Arc::new(Metric::new(name, Kind::COUNTER)),
        value,
        when: Vec::new(),
        attributes: vec![CountAttribute::new("type", 0), CountAttribute::new("tenant", 1)],
        static_attributes: Vec::new(),
        time: None,
    };
    let metrics = vec![
        rule("events", CountValue::Add { cell: None, scale: None }),
        rule("amount", CountValue::Add { cell: Some(2), scale: None }),
    ];
    let rules = Arc::new(CountRules { metrics, ..CountRules::default() });
    let mut counted = Counted::new(rules, ledger, &meters, Vec::new()).unwrap();
    let paths = ["event_type", "tenant_id", "/data/amount"].map(|path| path.parse().unwrap());
    let selection = Selection::new(&paths);
    let when = When { received: UnixNanos(1), stated: None };
    let mut pass = || {
        let fields = selection.read(EVENT.as_bytes()).unwrap();
        let mut entry = Entry::new();
        assert_eq!(counted.apply(&fields, when, &mut entry).changes, 2);
        entry
    };
    (0..3).for_each(|_| drop(pass()));
    let (_, allocated) = tally::allocated(|| (0..1_000).for_each(|_| drop(pass())));
    // The list of its fields, which the reader of a request keeps; mapping adds nothing.
    assert_eq!(allocated.count, 1_000);
}
