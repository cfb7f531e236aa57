use super::*;
use crate::{Attributes, Kind, Metric, Metrics, Origin};

fn identity(tenant: &str) -> Identity {
    Identity {
        origin: Arc::new(Origin::default()),
        metric: Arc::new(Metric::new("requests", Kind::COUNTER)),
        attributes: Attributes::from_pairs([("tenant", tenant)]),
    }
}

fn table(limits: Limits) -> Arc<SeriesTable> {
    SeriesTable::new(Seed::from_bytes([3; 16]), limits)
}

fn sweep(table: &SeriesTable, times: u32) {
    (0..times).for_each(|_| table.sweep());
}

const SHORT: Limits = Limits { series: 100, bytes: 1 << 20, sights: 100, idle_epochs: 2 };

#[test]
fn one_identity_has_one_id() {
    let table = table(SHORT);
    let (a, b, c) = (table.intern(identity("a")), table.intern(identity("a")), table.intern(identity("c")));
    assert_eq!(a.id(), b.id());
    assert_ne!(a.id(), c.id());
    assert_eq!(table.stats().series, 2);
    assert_eq!(table.series(a.id().unwrap()).unwrap().identity(), a.identity());
}

#[test]
fn a_reworded_description_is_the_same_series_and_another_unit_is_not() {
    let table = table(SHORT);
    let with = |change: &dyn Fn(&mut Metric)| {
        let mut metric = Metric::new("requests", Kind::COUNTER);
        change(&mut metric);
        table.intern(Identity { metric: Arc::new(metric), ..identity("a") }).id()
    };
    assert_eq!(with(&|_| {}), with(&|metric| metric.description = "told better".into()));
    assert_ne!(with(&|_| {}), with(&|metric| metric.unit = "By".into()));
    assert_ne!(with(&|_| {}), with(&|metric| metric.kind = Kind::Gauge));
}

#[test]
fn a_first_sight_takes_no_slot_and_a_second_does() {
    let table = table(SHORT);
    assert!(table.sight(identity("once")).id().is_none());
    assert_eq!(table.stats().series, 0);
    assert!(table.sight(identity("once")).id().is_some());
}

#[test]
fn a_full_table_sends_identities_inline_and_keeps_the_living() {
    let table = table(Limits { series: 1, ..SHORT });
    let first = table.intern(identity("first"));
    let second = table.intern(identity("second"));
    assert!(first.id().is_some() && second.id().is_none());
    assert_eq!(table.intern(identity("first")).id(), first.id());
    assert_eq!(table.stats().refused, 1);
}

#[test]
fn equal_key_lists_are_kept_once() {
    let table = table(SHORT);
    let (a, b) = (table.intern(identity("a")), table.intern(identity("b")));
    assert!(Arc::ptr_eq(a.attributes().shape(), b.attributes().shape()));
}

#[test]
fn an_idle_series_loses_its_slot_and_its_old_id_finds_nothing() {
    let table = table(SHORT);
    let id = table.intern(identity("idle")).id().unwrap();
    sweep(&table, 10);
    assert!(table.series(id).is_none());
    assert_eq!(table.stats(), TableStats { recycled: 1, ..TableStats::default() });
    let next = table.intern(identity("next")).id().unwrap();
    assert_eq!(next.index(), id.index(), "the slot is used again");
    assert_ne!(next, id, "under another name");
}

#[test]
fn a_held_series_keeps_its_slot() {
    let table = table(SHORT);
    let held = table.intern(identity("held"));
    sweep(&table, 100);
    assert!(table.series(held.id().unwrap()).is_some());
}

#[test]
fn no_slot_that_a_living_batch_names_is_recycled() {
    let table = table(SHORT);
    let mut batch = Metrics::new(table.pin());
    let id = batch.adopt(&table.intern(identity("in flight")));
    sweep(&table, 100);
    assert_eq!(batch.series(id).attributes().get("tenant").unwrap().as_str(), Some("in flight"));
    drop(batch);
    sweep(&table, 10);
    assert!(table.series(id).is_none());
}

#[test]
fn asking_for_a_retired_series_revives_it() {
    let table = table(SHORT);
    let pin = table.pin();
    let id = table.intern(identity("revived")).id().unwrap();
    sweep(&table, 5);
    assert!(table.series(id).is_some(), "retired, but an old pin keeps it");
    drop(pin);
    sweep(&table, 2);
    assert!(table.series(id).is_some(), "its last use is two epochs ago");
}

#[test]
fn inline_identities_travel_with_their_batch() {
    let table = table(SHORT);
    let mut batch = Metrics::new(table.pin());
    let ids = ["x", "y"].map(|tenant| batch.adopt(&table.sight(identity(tenant))));
    assert!(ids.iter().all(|id| id.is_inline()));
    assert_eq!(batch.series(ids[1]).attributes().get("tenant").unwrap().as_str(), Some("y"));
    let changed = batch.change_inline(|series| (*series.identity() != identity("x")).then(|| series.clone()));
    assert_eq!(changed[0], None);
    assert_eq!(batch.series(changed[1].unwrap()).attributes().get("tenant").unwrap().as_str(), Some("y"));
}
