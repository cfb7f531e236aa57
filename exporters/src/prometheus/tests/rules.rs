//! What becomes of points.

use super::*;

#[test]
fn the_newest_value_stands_and_an_older_one_does_not_overwrite_it() {
    let bench = bench();
    let at = |value: i64, time| {
        let feed = bench.feed();
        let metric = Metric::new("m", Kind::Gauge);
        feed.point(identity(metric, &[]), Number::Int(value), time, PointFlags::empty()).apply();
    };
    at(1, 10);
    at(2, 20);
    at(3, 15);
    assert_eq!(bench.samples(), ["m 2"]);
    assert_eq!(bench.dropped("older"), 1);
    at(4, 0);
    assert_eq!(bench.samples(), ["m 4"], "a point without a time is now");
}

#[test]
fn delta_sums_add_up_exactly_and_their_first_point_counts() {
    let bench = bench();
    for _ in 0..3 {
        bench.feed().put(Metric::new("hits", SUM_DELTA), &[], Number::Int((1 << 60) + 1)).apply();
    }
    assert_eq!(bench.samples(), [format!("hits_total {}", 3 * ((1_i64 << 60) + 1))]);
    let level = Kind::Sum { monotonic: false, temporality: Temporality::Delta };
    bench.feed().put(Metric::new("level", level), &[], Number::Int(5)).apply();
    bench.feed().put(Metric::new("level", level), &[], Number::Int(-2)).apply();
    assert!(bench.text().contains("# TYPE level gauge\nlevel 3\n"));
}

#[test]
fn delta_histograms_add_up() {
    let bench = bench();
    let kind = Kind::Histogram { temporality: Temporality::Delta };
    for _ in 0..2 {
        let histogram =
            pdata::Histogram { bounds: vec![1.0], counts: vec![2, 1], sum: Some(4.0), ..Default::default() };
        bench.feed().put(Metric::new("h", kind), &[], PointValue::Histogram(Box::new(histogram))).apply();
    }
    assert_eq!(bench.samples(), ["h_bucket{le=\"1\"} 4", "h_bucket{le=\"+Inf\"} 6", "h_sum 8", "h_count 6"]);
}

#[test]
fn a_counter_that_is_negative_or_no_number_costs_its_point_and_nothing_else() {
    let bench = bench();
    bench
        .feed()
        .put(Metric::new("a", Kind::COUNTER), &[], Number::Int(-1))
        .put(Metric::new("b", Kind::COUNTER), &[], Number::Double(f64::NAN))
        .put(Metric::new("c", Kind::COUNTER), &[], Number::Int(1))
        .apply();
    bench.feed().put(Metric::new("c", Kind::COUNTER), &[], Number::Double(-0.5)).apply();
    assert_eq!(bench.samples(), ["c_total 1"]);
    assert_eq!(bench.dropped("invalid"), 3);
}

#[test]
fn an_end_removes_its_series_and_no_other() {
    let bench = bench();
    bench.feed().gauge("m", &[("x", "1")], 1).gauge("m", &[("x", "2")], 2).gauge("n", &[], 3).apply();
    bench.feed().end("m", &[("x", "1")]).end("n", &[]).end("never", &[]).gauge("m", &[("x", "2")], 4).apply();
    assert_eq!(bench.text(), "# TYPE m gauge\nm{x=\"2\"} 4\n");
    bench.feed().gauge("n", &[], 5).apply();
    assert_eq!(bench.samples(), ["m{x=\"2\"} 4", "n 5"]);
}

#[test]
fn names_that_cannot_stand_together_show_the_first_until_it_goes() {
    let bench = bench();
    bench.feed().gauge("h_count", &[], 1).apply();
    let histogram = || PointValue::Histogram(Box::default());
    bench.feed().put(Metric::new("h", HISTOGRAM), &[], histogram()).apply();
    assert_eq!(bench.text(), "# TYPE h_count gauge\nh_count 1\n");
    bench.feed().end("h_count", &[]).apply();
    assert!(bench.text().starts_with("# TYPE h histogram\n"));
    bench.feed().put(Metric::new("h", Kind::Gauge), &[], Number::Int(1)).apply();
    assert!(!bench.text().contains("# TYPE h gauge"));
}

#[test]
fn a_counter_s_family_and_a_gauge_of_its_name_clash_in_openmetrics_alone() {
    let bench = bench();
    bench.feed().put(Metric::new("x", Kind::COUNTER), &[], Number::Int(1)).gauge("x", &[], 2).apply();
    assert_eq!(bench.samples(), ["x 2", "x_total 1"]);
    assert_eq!(bench.open(), "# TYPE x counter\nx_total 1\n# EOF\n");
}

#[test]
fn of_two_series_with_one_text_the_first_stands_until_it_has_been_silent_for_long() {
    let mut bench = bench();
    bench.feed().gauge("m", &[("a.b", "1")], 1).gauge("m", &[("a/b", "1")], 2).apply();
    assert_eq!(bench.samples(), ["m{a_b=\"1\"} 1"]);
    assert_eq!(bench.dropped("duplicate"), 1);
    bench.now = 91;
    bench.shared.with(Table::tidy);
    bench.feed().gauge("m", &[("a/b", "1")], 3).apply();
    assert_eq!(bench.samples(), ["m{a_b=\"1\"} 3"]);
    bench.feed().gauge("m", &[("a.b", "1")], 4).apply();
    assert_eq!(bench.samples(), ["m{a_b=\"1\"} 3"], "now the first is the stranger");
}

#[test]
fn a_series_takes_the_place_of_one_that_ended() {
    let bench = bench();
    bench.feed().gauge("m", &[("a.b", "1")], 1).gauge("m", &[("a/b", "1")], 2).apply();
    bench.feed().end("m", &[("a.b", "1")]).apply();
    bench.feed().gauge("m", &[("a/b", "1")], 3).apply();
    assert_eq!(bench.samples(), ["m{a_b=\"1\"} 3"]);
}

#[test]
fn past_the_bound_new_series_are_dropped_and_the_living_go_on() {
    let bench = Bench::with(TableRules { max_series: 2, ..TableRules::default() });
    let put = |x: &str, value| bench.feed().gauge("m", &[("x", x)], value).apply();
    put("1", 1);
    put("2", 2);
    put("3", 3);
    put("1", 4);
    assert_eq!(bench.samples(), ["m{x=\"1\"} 4", "m{x=\"2\"} 2"]);
    assert_eq!(bench.dropped("max_series"), 1);
    bench.feed().end("m", &[("x", "2")]).apply();
    put("3", 5);
    assert_eq!(bench.samples(), ["m{x=\"1\"} 4", "m{x=\"3\"} 5"]);
}

#[test]
fn what_nobody_holds_expires_and_what_is_held_stays() {
    let bench = Bench::with(TableRules { expiration: Some(60), ..TableRules::default() });
    let point = |name: &str, flags| {
        bench.feed().point(identity(Metric::new(name, Kind::Gauge), &[]), Number::Int(1), 0, flags).apply();
    };
    point("held", PointFlags::HELD);
    point("idle", PointFlags::empty());
    let expire = |now| {
        bench.shared.with(|table| {
            table.expire(0..u32::MAX, now);
            table.tidy();
        });
    };
    expire(60);
    assert_eq!(bench.samples(), ["held 1", "idle 1"]);
    expire(61);
    assert_eq!(bench.samples(), ["held 1"]);
    point("held", PointFlags::empty());
    expire(200);
    assert!(bench.samples().is_empty(), "no receiver holds it any more");
}

#[test]
fn churn_leaves_nothing_behind() {
    let mut bench = Bench::with(TableRules { expiration: Some(1), ..TableRules::default() });
    let mut sizes = Vec::new();
    for round in 0..20_u32 {
        bench.now = round * 10;
        let mut feed = bench.feed();
        for n in 0..500 {
            feed = feed.gauge("m", &[("pod", &format!("{round}-{n}")), ("env", "prod")], 1);
        }
        feed.apply();
        bench.shared.with(|table| {
            table.expire(0..u32::MAX, round * 10 + 5);
            table.tidy();
            sizes.push((table.cells.live(), table.cells.places().end, table.families.slots().len()));
        });
    }
    assert_eq!(sizes[1], (0, 500, 0));
    assert_eq!(sizes.last(), Some(&(0, 500, 0)), "cells are used again");
}

#[test]
fn a_source_that_replaces_all_its_series_again_and_again_stays_bounded_without_sweeps() {
    let bench = bench();
    for round in 0..40 {
        let mut feed = bench.feed();
        for n in 0..500 {
            feed =
                feed.gauge("m", &[("x", &format!("{round}-{n}"))], 1).end("m", &[("x", &format!("{}-{n}", round - 1))]);
        }
        feed.apply();
    }
    assert_eq!(bench.samples().len(), 500);
    assert!(bench.shared.with(|table| table.cells.places().end) < 12_000);
}

#[test]
fn a_reinterned_series_keeps_its_cell() {
    let bench = bench();
    bench.feed().put(Metric::new("hits", SUM_DELTA), &[], Number::Int(1)).apply();
    (0..100).for_each(|_| bench.series.sweep());
    assert_eq!(bench.series.stats().series, 0);
    bench.feed().gauge("other", &[], 1).apply();
    bench.feed().put(Metric::new("hits", SUM_DELTA), &[], Number::Int(1)).apply();
    assert_eq!(bench.samples(), ["hits_total 2", "other 1"]);
}

#[test]
fn inline_series_are_known_by_their_fingerprints() {
    let bench = bench();
    for value in [1, 2] {
        let mut metrics = Metrics::new(bench.series.pin());
        let identity = identity(Metric::new("m", Kind::Gauge), &[("x", "1")]);
        let fingerprint = identity.fingerprint(bench.series.seed());
        pipeline::testing::push(&mut metrics, &pdata::Series::inline(identity, fingerprint), Number::Int(value), 1);
        let batch = Batch::new(metrics, UnixNanos(1));
        bench.shared.with(|table| table.apply(&batch, 0));
    }
    assert_eq!(bench.samples(), ["m{x=\"1\"} 2"]);
    assert_eq!(bench.shared.with(|table| table.cells.live()), 1);
}

#[test]
fn series_stand_in_the_order_of_their_labels_whatever_order_they_came_in() {
    let bench = bench();
    let mut feed = bench.feed();
    for n in (0..2000).rev() {
        feed = feed.gauge("m", &[("n", &format!("{:04}", n * 7919 % 2000))], n);
    }
    feed.apply();
    let samples = bench.samples();
    assert!(samples.is_sorted() && samples.len() == 2000);
    assert_eq!(samples, bench.samples());
}
