use std::sync::Arc;

use pdata::{Hint, Kind, Limits, Metric, Seed, SeriesTable, UnixNanos};
use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::testing::lines;

fn attribute(column: &str) -> AttributeRule {
    AttributeRule { column: column.into(), null: None }
}

fn gauge(name: &str, attributes: &[&str]) -> MetricRule {
    MetricRule {
        metric: Arc::new(Metric::new(name, Kind::Gauge)),
        value: ValueRule::Number { column: "v".into(), read: ValueType::Number, null: OnNull::Omit },
        attributes: attributes.iter().map(|column| attribute(column)).collect(),
        static_attributes: Vec::new(),
        start_column: None,
        time_column: None,
        start: StartRule::Unset,
        on_duplicate: OnDuplicate::Last,
    }
}

fn status(encoding: Encoding, unknown: OnUnknown) -> MetricRule {
    let state = StateRule {
        column: "s".into(),
        label: "status".into(),
        states: vec!["up".into(), "down".into()],
        encoding,
        unknown,
        null: None,
    };
    let metric = Metric { hint: Hint::StateSet, ..Metric::new("status", Kind::Gauge) };
    MetricRule { metric: Arc::new(metric), value: ValueRule::State(state), ..gauge("status", &["name"]) }
}

fn mapper(metrics: Vec<MetricRule>) -> Mapper {
    let rules = MapperRules { metrics, ..MapperRules::default() };
    Mapper::new(Arc::new(rules), SeriesTable::with_defaults(), UnixNanos(1))
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.as_bytes())
}

/// One read: what its pages hold, sorted so that tests speak of sets.
fn read(mapper: &mut Mapper, names: &[&str], rows: &[&[Cell<'_>]]) -> Result<Vec<String>, MapError> {
    mapper.begin(names, UnixNanos(7))?;
    rows.iter().try_for_each(|row| mapper.record(*row))?;
    let pages = pages(mapper);
    mapper.commit();
    Ok(pages)
}

fn pages(mapper: &mut Mapper) -> Vec<String> {
    mapper.finish();
    let mut all = Vec::new();
    loop {
        let (metrics, last) = mapper.next_page();
        assert!(metrics.points.iter().all(|point| point.flags.has(pdata::PointFlags::HELD)));
        all.extend(lines(&Batch::new(metrics, UnixNanos(7))));
        if last {
            all.sort();
            return all;
        }
    }
}

#[test]
fn a_row_becomes_a_point_with_its_columns_as_attributes() {
    let mut rule = gauge("x", &["name", "rack"]);
    rule.static_attributes = vec![("env".into(), "prod".into()), ("rack".into(), "none".into())];
    let mut mapper = mapper(vec![rule]);
    let rows: &[&[Cell<'_>]] =
        &[&[Cell::Int(1 << 62), text("a\"b\\c\n"), Cell::Int(3)], &[Cell::Double(0.25), text("日本"), Cell::Null]];
    assert_eq!(
        read(&mut mapper, &["v", "name", "rack"], rows).unwrap(),
        [
            r#"x{env="prod",name="a\"b\\c\n",rack="3"} Int(4611686018427387904)"#,
            r#"x{env="prod",name="日本",rack="none"} Double(0.25)"#
        ]
    );
}

#[test]
fn a_series_that_leaves_gets_one_end_marker_and_may_come_back() {
    let mut mapper = mapper(vec![gauge("x", &["name"])]);
    let names = &["name", "v"];
    let (a, b): (&[Cell<'_>], &[Cell<'_>]) = (&[text("a"), Cell::Int(1)], &[text("b"), Cell::Int(2)]);
    read(&mut mapper, names, &[a, b]).unwrap();
    assert_eq!(read(&mut mapper, names, &[b]).unwrap(), [r#"x{name="a"} end"#, r#"x{name="b"} Int(2)"#]);
    assert_eq!(read(&mut mapper, names, &[b]).unwrap(), [r#"x{name="b"} Int(2)"#]);
    assert_eq!(read(&mut mapper, names, &[a, b]).unwrap(), [r#"x{name="a"} Int(1)"#, r#"x{name="b"} Int(2)"#]);
    assert_eq!(read(&mut mapper, names, &[]).unwrap(), [r#"x{name="a"} end"#, r#"x{name="b"} end"#]);
    assert!(read(&mut mapper, names, &[]).unwrap().is_empty());
}

#[test]
fn an_abandoned_read_ends_nothing() {
    let mut mapper = mapper(vec![gauge("x", &["name"])]);
    let names = &["name", "v"];
    read(&mut mapper, names, &[&[text("a"), Cell::Int(1)]]).unwrap();
    mapper.begin(names, UnixNanos(8)).unwrap();
    mapper.record(&[text("b"), Cell::Int(1)][..]).unwrap();
    pages(&mut mapper);
    // Not committed: `a` is still to be ended, and `b`, which nobody may have seen, needs no end.
    assert_eq!(read(&mut mapper, names, &[]).unwrap(), [r#"x{name="a"} end"#]);
}

#[test]
fn held_series_are_let_go_when_they_leave() {
    let limits = Limits { idle_epochs: 1, ..Limits::default() };
    let table = SeriesTable::new(Seed::random(), limits);
    let rules = MapperRules { metrics: vec![gauge("x", &["name"])], ..MapperRules::default() };
    let mut mapper = Mapper::new(Arc::new(rules), table.clone(), UnixNanos(1));
    let sweep = || (0..4).for_each(|_| table.sweep());
    read(&mut mapper, &["name", "v"], &[&[text("a"), Cell::Int(1)]]).unwrap();
    sweep();
    assert_eq!(table.stats().series, 1);
    read(&mut mapper, &["name", "v"], &[]).unwrap();
    sweep();
    assert_eq!(table.stats().series, 0);
}

#[test]
fn duplicates_are_merged_as_told() {
    let rows: &[&[Cell<'_>]] = &[
        &[text("a"), Cell::Int(1 << 62)],
        &[text("b"), Cell::Int(5)],
        &[text("a"), Cell::Int(1 << 62)],
        &[text("a"), Cell::Int(-1)],
    ];
    for (on_duplicate, value) in [
        (OnDuplicate::Last, "Int(-1)"),
        (OnDuplicate::First, "Int(4611686018427387904)"),
        (OnDuplicate::Sum, "Int(9223372036854775807)"),
    ] {
        let mut mapper = mapper(vec![MetricRule { on_duplicate, ..gauge("x", &["name"]) }]);
        assert_eq!(read(&mut mapper, &["name", "v"], rows).unwrap()[0], format!(r#"x{{name="a"}} {value}"#));
        assert_eq!(mapper.counts().merged, 2);
    }
    let mut strict = mapper(vec![MetricRule { on_duplicate: OnDuplicate::Error, ..gauge("x", &["name"]) }]);
    let error = read(&mut strict, &["name", "v"], rows).unwrap_err().to_string();
    assert_eq!(error, r#"row 3 makes the series x{"name": Str("a")} a second time (on_duplicate: error)"#);
}

#[test]
fn null_empty_and_what_stands_for_them_are_one_group() {
    let mut rule = MetricRule { on_duplicate: OnDuplicate::Sum, ..gauge("x", &[]) };
    rule.attributes = vec![AttributeRule { column: "kind".into(), null: Some("unknown".into()) }];
    let mut mapper = mapper(vec![rule]);
    let rows: &[&[Cell<'_>]] = &[
        &[Cell::Null, Cell::Int(1)],
        &[text(""), Cell::Int(2)],
        &[text("unknown"), Cell::Int(4)],
        &[text("vm"), Cell::Int(8)],
    ];
    for _ in 0..2 {
        assert_eq!(
            read(&mut mapper, &["kind", "v"], rows).unwrap(),
            [r#"x{kind="unknown"} Int(7)"#, r#"x{kind="vm"} Int(8)"#]
        );
    }
}

#[test]
fn cells_that_read_the_same_are_one_series() {
    let mut mapper = mapper(vec![MetricRule { on_duplicate: OnDuplicate::Sum, ..gauge("x", &["n"]) }]);
    let rows: &[&[Cell<'_>]] =
        &[&[Cell::Int(1), Cell::Int(1)], &[text("1"), Cell::Int(1)], &[Cell::Double(1.0), Cell::Int(1)]];
    for _ in 0..3 {
        assert_eq!(read(&mut mapper, &["n", "v"], rows).unwrap(), [r#"x{n="1"} Int(3)"#]);
    }
    // The first of them leaves, the aliases stay good.
    assert_eq!(read(&mut mapper, &["n", "v"], &rows[1..]).unwrap(), [r#"x{n="1"} Int(2)"#]);
    assert_eq!(read(&mut mapper, &["n", "v"], &[]).unwrap(), [r#"x{n="1"} end"#]);
    assert_eq!(read(&mut mapper, &["n", "v"], &rows[1..]).unwrap(), [r#"x{n="1"} Int(2)"#]);
}

#[test]
fn all_states_are_shown_and_an_unknown_one_is_all_zeros() {
    let mut mapper = mapper(vec![status(Encoding::All, OnUnknown::Zeros)]);
    let rows: &[&[Cell<'_>]] = &[&[text("a"), text("down")], &[text("b"), Cell::Null]];
    assert_eq!(
        read(&mut mapper, &["name", "s"], rows).unwrap(),
        [
            r#"status{name="a",status="down"} Int(1)"#,
            r#"status{name="a",status="up"} Int(0)"#,
            r#"status{name="b",status="down"} Int(0)"#,
            r#"status{name="b",status="up"} Int(0)"#,
        ]
    );
    assert_eq!(mapper.counts().unknown_states, 1);
}

#[test]
fn an_active_state_is_shown_alone_and_of_duplicates_the_last_counts() {
    let mut mapper = mapper(vec![status(Encoding::Active, OnUnknown::Drop)]);
    let names = &["name", "s"];
    let rows: &[&[Cell<'_>]] = &[&[text("a"), text("down")], &[text("a"), text("up")], &[text("b"), text("?")]];
    assert_eq!(read(&mut mapper, names, rows).unwrap(), [r#"status{name="a",status="up"} Int(1)"#]);
    let rows: &[&[Cell<'_>]] = &[&[text("a"), text("up")], &[text("a"), text("down")]];
    assert_eq!(
        read(&mut mapper, names, rows).unwrap(),
        [r#"status{name="a",status="down"} Int(1)"#, r#"status{name="a",status="up"} end"#]
    );
}

#[test]
fn what_a_rule_calls_an_error_fails_the_read() {
    let mut null = gauge("x", &[]);
    null.value = ValueRule::Number { column: "v".into(), read: ValueType::Int, null: OnNull::Error };
    let error = read(&mut mapper(vec![null]), &["v"], &[&[Cell::Int(1)], &[Cell::Null]]).unwrap_err();
    assert_eq!(error.to_string(), "x: column 'v' is NULL in row 2 (null: error)");
    let mut mapper = mapper(vec![status(Encoding::All, OnUnknown::Error)]);
    let error = read(&mut mapper, &["name", "s"], &[&[text("a"), text("off")]]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "status: column 's' holds 'off' in row 1, which is none of its states (unknown: error)"
    );
}

#[test]
fn a_cell_that_is_no_number_costs_its_point_only_and_is_told_once() {
    let mut mapper = mapper(vec![gauge("x", &["name"])]);
    let rows: &[&[Cell<'_>]] =
        &[&[text("a"), text("many")], &[text("b"), text("more")], &[text("c"), Cell::Int(1)], &[text("d"), Cell::Null]];
    assert_eq!(read(&mut mapper, &["name", "v"], rows).unwrap(), [r#"x{name="c"} Int(1)"#]);
    let counts = mapper.counts();
    assert_eq!((counts.errors, counts.nulls, counts.records), (2, 1, 4));
    assert_eq!(counts.first_error.as_deref(), Some("x: column 'v': it holds text that is no number (row 1)"));
}

#[test]
fn a_missing_column_is_named_with_what_is_there() {
    let mut mapper = mapper(vec![gauge("x", &["Name"])]);
    let error = |mapper: &mut Mapper, names: &[&str]| mapper.begin(names, UnixNanos(1)).unwrap_err().to_string();
    assert_eq!(error(&mut mapper, &["name"]), "column 'v' (of x) not found in result set; it has name");
    assert_eq!(
        error(&mut mapper, &["name", "v"]),
        "column 'Name' (of x) not found in result set; it has 'name': names are compared exactly"
    );
    assert_eq!(
        error(&mut mapper, &["v", "v"]),
        "column 'v' (of x) stands more than once in the result; name one of them `as`"
    );
    // A result that changes its shape is mapped anew.
    assert!(read(&mut mapper, &["v", "Name"], &[&[Cell::Int(1), text("a")]]).is_ok());
    assert_eq!(read(&mut mapper, &["Name", "v"], &[&[text("a"), Cell::Int(2)]]).unwrap(), [r#"x{Name="a"} Int(2)"#]);
}

#[test]
fn too_many_rows_fail_the_read() {
    let rules = MapperRules { metrics: vec![gauge("x", &["name"])], max_records: 2, ..MapperRules::default() };
    let mut mapper = Mapper::new(Arc::new(rules), SeriesTable::with_defaults(), UnixNanos(1));
    let row: &[Cell<'_>] = &[text("a"), Cell::Int(1)];
    assert!(read(&mut mapper, &["name", "v"], &[row, row]).is_ok());
    assert_eq!(read(&mut mapper, &["name", "v"], &[row, row, row]), Err(MapError::TooMany(2)));
}

#[test]
fn resource_columns_make_resources_and_not_labels() {
    let rules = MapperRules {
        metrics: vec![gauge("x", &[])],
        resource: vec![("service.name".into(), "inventory".into())],
        resource_columns: vec![attribute("tenant")],
        max_records: 0,
    };
    let mut mapper = Mapper::new(Arc::new(rules), SeriesTable::with_defaults(), UnixNanos(1));
    mapper.begin(&["tenant", "v"], UnixNanos(1)).unwrap();
    for tenant in ["a", "b"] {
        mapper.record(&[text(tenant), Cell::Int(1)][..]).unwrap();
    }
    mapper.finish();
    let (metrics, last) = mapper.next_page();
    let resources: Vec<_> = metrics
        .points
        .iter()
        .map(|point| format!("{:?}", metrics.series(point.series).identity().origin.resource))
        .collect();
    assert!(last);
    assert_eq!(
        resources,
        [
            r#"{"service.name": Str("inventory"), "tenant": Str("a")}"#,
            r#"{"service.name": Str("inventory"), "tenant": Str("b")}"#
        ]
    );
}

#[test]
fn cumulative_bucket_columns_make_a_histogram() {
    let mut rule = gauge("h", &[]);
    rule.value = ValueRule::Buckets {
        bounds: vec![(0.5, "b1".into()), (1.0, "b2".into())],
        count: "n".into(),
        sum: Some("s".into()),
        null: OnNull::Omit,
    };
    rule.on_duplicate = OnDuplicate::Sum;
    let mut mapper = mapper(vec![rule]);
    let names = &["b1", "b2", "n", "s"];
    let row: &[Cell<'_>] = &[Cell::Int(2), Cell::Int(5), Cell::Int(6), Cell::Double(4.5)];
    mapper.begin(names, UnixNanos(1)).unwrap();
    mapper.record(row).unwrap();
    mapper.record(row).unwrap();
    mapper.record(&[Cell::Int(2), Cell::Int(1), Cell::Int(6), Cell::Null][..]).unwrap();
    mapper.finish();
    let (metrics, _) = mapper.next_page();
    let pdata::PointValue::Histogram(histogram) = &metrics.points[0].value else { panic!("no histogram") };
    assert_eq!((histogram.count, histogram.sum, &histogram.counts[..]), (12, Some(9.0), &[4, 6, 2][..]));
    assert_eq!(
        mapper.counts().first_error.as_deref(),
        Some("h: column 'b2' counts 1, fewer than the bucket below it (2): buckets are cumulative (row 3)")
    );
}

#[test]
fn times_come_from_columns_or_from_the_read() {
    let mut rule = gauge("x", &[]);
    (rule.time_column, rule.start) = (Some("t".into()), StartRule::LastRead(std::time::Duration::from_nanos(3)));
    let mut mapper = mapper(vec![rule]);
    let mut times = |cell: Cell<'_>, at: u64| {
        mapper.begin(&["v", "t"], UnixNanos(at)).unwrap();
        mapper.record(&[Cell::Int(1), cell][..]).unwrap();
        mapper.finish();
        let (metrics, _) = mapper.next_page();
        mapper.commit();
        (metrics.points[0].start.0, metrics.points[0].time.0)
    };
    assert_eq!(times(Cell::Int(5), 10), (7, 5));
    assert_eq!(times(Cell::Null, 20), (10, 20));
}

#[test]
fn pages_are_bounded_and_the_last_one_is_told() {
    let mut mapper = mapper(vec![gauge("x", &["n"])]);
    mapper.begin(&["n", "v"], UnixNanos(1)).unwrap();
    for n in 0..(PAGE_POINTS as i64 + 1) {
        mapper.record(&[Cell::Int(n), Cell::Int(n)][..]).unwrap();
    }
    mapper.finish();
    let (first, last) = mapper.next_page();
    assert_eq!((first.points.len(), last), (PAGE_POINTS, false));
    let (second, last) = mapper.next_page();
    assert_eq!((second.points.len(), last), (1, true));
}

proptest! {
    /// Whatever comes and goes, the points and end markers of a read turn what was shown into what is now.
    #[test]
    fn shown_series_follow_the_reads(reads in prop::collection::vec((prop::collection::vec((0..12_i64, any::<bool>()), 0..12), any::<bool>()), 1..12)) {
        let mut mapper = mapper(vec![gauge("x", &["n"]), gauge("y", &["n"])]);
        let mut shown = std::collections::BTreeSet::new();
        for (rows, success) in reads {
            mapper.begin(&["n", "v"], UnixNanos(1)).unwrap();
            let mut now = std::collections::BTreeSet::new();
            for (n, as_text) in rows {
                let digits = n.to_string();
                let cell = if as_text { text(&digits) } else { Cell::Int(n) };
                mapper.record(&[cell, Cell::Int(1)][..]).unwrap();
                now.extend([format!("x{{n=\"{n}\"}}"), format!("y{{n=\"{n}\"}}")]);
            }
            let lines = pages(&mut mapper);
            if success {
                mapper.commit();
                for line in lines {
                    let (series, value) = line.split_once(' ').unwrap();
                    if value == "end" { prop_assert!(shown.remove(series)); } else { shown.insert(series.to_owned()); }
                }
                prop_assert_eq!(&shown, &now);
            }
        }
    }
}
