//! Reads that become visible as a whole.

use pipeline::OnFailure;

use super::*;

#[test]
fn a_read_becomes_visible_at_its_last_page() {
    let bench = bench();
    bench.feed().gauge("m", &[("x", "1")], 1).apply_as(1, ReadPage::More);
    assert!(bench.samples().is_empty());
    bench.feed().gauge("m", &[("x", "2")], 2).apply_as(1, ReadPage::Last);
    assert_eq!(bench.samples(), ["m{x=\"1\"} 1", "m{x=\"2\"} 2"]);
}

#[test]
fn an_older_read_never_overwrites_a_newer() {
    let bench = bench();
    bench.feed().gauge("m", &[], 2).apply_as(2, ReadPage::Last);
    bench.feed().gauge("m", &[], 1).apply_as(1, ReadPage::More);
    bench.feed().gauge("m", &[], 1).apply_as(1, ReadPage::Last);
    assert_eq!(bench.samples(), ["m 2"]);
    bench.feed().gauge("m", &[], 3).apply_as(3, ReadPage::More);
    bench.feed().gauge("m", &[], 4).apply_as(4, ReadPage::Last);
    bench.feed().gauge("m", &[], 3).apply_as(3, ReadPage::Last);
    assert_eq!(bench.samples(), ["m 4"]);
}

#[test]
fn a_failed_read_hides_its_source_until_the_next_success() {
    let bench = bench();
    bench.feed().gauge("other", &[], 1).apply();
    bench.feed().gauge("m", &[], 1).apply_as(1, ReadPage::Last);
    bench.feed().gauge("m", &[], 2).apply_as(2, ReadPage::More);
    bench.feed().apply_as(2, ReadPage::Failed(OnFailure::Omit));
    assert_eq!(bench.text(), "# TYPE other gauge\nother 1\n");
    bench.feed().gauge("m", &[], 3).apply_as(3, ReadPage::Last);
    assert_eq!(bench.samples(), ["m 3", "other 1"]);
}

#[test]
fn a_failed_read_may_leave_the_last_one_standing_or_fail_the_scrape() {
    let bench = bench();
    let failing = || bench.shared.with(|table| table.failing().map(ToString::to_string));
    bench.feed().gauge("m", &[], 1).apply_as(1, ReadPage::Last);
    bench.feed().apply_as(2, ReadPage::Failed(OnFailure::Last));
    assert_eq!((bench.samples(), failing()), (vec!["m 1".to_owned()], None));
    bench.feed().apply_as(3, ReadPage::Failed(OnFailure::Fail));
    assert_eq!(failing().as_deref(), Some("sql#0"));
    bench.feed().gauge("m", &[], 1).apply_as(4, ReadPage::Last);
    assert_eq!(failing(), None);
}

#[test]
fn in_one_read_what_ends_makes_room_for_what_begins() {
    let bench = bench();
    bench.feed().gauge("m", &[("a.b", "1")], 1).apply_as(1, ReadPage::Last);
    bench.feed().gauge("m", &[("a/b", "1")], 2).end("m", &[("a.b", "1")]).apply_as(2, ReadPage::Last);
    assert_eq!(bench.samples(), ["m{a_b=\"1\"} 2"]);
}

#[test]
fn a_read_of_more_points_than_may_be_staged_is_void_as_a_whole() {
    let bench = Bench::with(TableRules { max_series: 3, ..TableRules::default() });
    bench.feed().gauge("m", &[], 1).apply_as(1, ReadPage::Last);
    for _ in 0..2 {
        bench.feed().gauge("m", &[], 5).gauge("n", &[], 5).apply_as(2, ReadPage::More);
    }
    bench.feed().gauge("m", &[], 6).apply_as(2, ReadPage::Last);
    assert_eq!(bench.samples(), ["m 1"]);
    assert_eq!(bench.dropped("staging"), 5);
    assert!(bench.shared.with(|table| table.is_done(&SourceId("sql#0".into()), 2)));
}
