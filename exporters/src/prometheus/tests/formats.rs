//! What stands on the page, to the byte.

use pdata::prom::{MetricNamer, Strategy};
use pdata::{Buckets, Exemplar, ExponentialHistogram, Hint, Histogram, Quantile, Summary};

use super::super::labels::LabelRules;
use super::parser::parse;
use super::*;

fn hinted(name: &str, hint: Hint) -> Metric {
    Metric { hint, ..Metric::new(name, Kind::Gauge) }
}

/// One of each type.
fn zoo() -> Bench {
    let bench = bench();
    let histogram = Histogram {
        count: 6,
        sum: Some(7.5),
        bounds: vec![0.5, 1.0, 1e6],
        counts: vec![1, 2, 3, 0],
        ..Histogram::default()
    };
    let exponential = ExponentialHistogram {
        count: 3,
        sum: Some(4.0),
        positive: Buckets { offset: 0, counts: vec![1, 2] },
        ..ExponentialHistogram::default()
    };
    let quantiles = vec![Quantile { quantile: 0.5, value: 0.25 }, Quantile { quantile: 1.0, value: 3.0 }];
    let summary = Summary { count: 2, sum: 3.25, quantiles };
    bench
        .feed()
        .put(
            metric("http.requests", Kind::COUNTER, "", "Requests \"served\"\nso far"),
            &[("code", "200")],
            Number::Int(1 << 62),
        )
        .put(metric("cpu.load", Kind::Gauge, "1", "Load"), &[], Number::Double(0.5))
        .put(metric("temp", Kind::UP_DOWN_COUNTER, "Cel", ""), &[("room", "a")], Number::Double(-1.0))
        .gauge("things_total", &[], 3)
        .put(metric("latency", HISTOGRAM, "s", "Latency"), &[("path", "/")], PointValue::Histogram(Box::new(histogram)))
        .put(
            Metric::new("sizes", Kind::ExponentialHistogram { temporality: Temporality::Cumulative }),
            &[],
            PointValue::Exponential(Box::new(exponential)),
        )
        .put(Metric::new("rpc", Kind::Summary), &[("m", "x")], PointValue::Summary(Box::new(summary)))
        .put(hinted("app_info", Hint::Info), &[("version", "1.2")], Number::Int(1))
        .put(hinted("door", Hint::StateSet), &[("door", "open")], Number::Int(1))
        .put(hinted("door", Hint::StateSet), &[("door", "shut")], Number::Int(0))
        .put(hinted("lamp", Hint::StateSet), &[("state", "on")], Number::Int(1))
        .put(hinted("who_knows", Hint::Unknown), &[], Number::Double(f64::NAN))
        .apply();
    bench
}

#[test]
fn text_is_written_as_prometheus_reads_it() {
    let text = zoo().text();
    assert_eq!(text, include_str!("zoo.txt"));
    parse(&text, false);
}

#[test]
fn openmetrics_is_written_as_strict_readers_want_it() {
    let text = zoo().open();
    assert_eq!(text, include_str!("zoo.openmetrics"));
    parse(&text, true);
}

#[test]
fn an_empty_table_is_a_valid_page() {
    assert_eq!((bench().text().as_str(), bench().open().as_str()), ("", "# EOF\n"));
}

#[test]
fn what_openmetrics_would_have_to_rename_keeps_its_name_and_loses_its_type() {
    let rules = TableRules {
        namer: MetricNamer::new(Strategy::UnderscoreEscapingWithoutSuffixes, ""),
        ..TableRules::default()
    };
    let bench = Bench::with(rules);
    bench
        .feed()
        .put(Metric::new("hits", Kind::COUNTER), &[], Number::Int(1))
        .put(hinted("build", Hint::Info), &[("v", "1")], Number::Int(1))
        .apply();
    assert_eq!(bench.text(), "# TYPE build gauge\nbuild{v=\"1\"} 1\n# TYPE hits counter\nhits 1\n");
    assert_eq!(bench.open(), "# TYPE build gauge\nbuild{v=\"1\"} 1\n# TYPE hits unknown\nhits 1\n# EOF\n");
}

#[test]
fn states_and_infos_with_other_values_are_gauges() {
    let bench = bench();
    bench
        .feed()
        .put(hinted("app_info", Hint::Info), &[("v", "1")], Number::Int(2))
        .put(hinted("door", Hint::StateSet), &[("door", "open")], Number::Double(0.5))
        .apply();
    let expected = "# TYPE app_info gauge\napp_info{v=\"1\"} 2\n# TYPE door gauge\ndoor{door=\"open\"} 0.5\n# EOF\n";
    assert_eq!(bench.open(), expected);
}

#[test]
fn sums_that_openmetrics_forbids_are_left_out_there_and_only_there() {
    let bench = bench();
    let with = |sum, bounds: Vec<f64>| {
        let counts = vec![1; bounds.len() + 1];
        PointValue::Histogram(Box::new(Histogram { sum, bounds, counts, ..Histogram::default() }))
    };
    bench
        .feed()
        .put(Metric::new("a", HISTOGRAM), &[], with(Some(-1.0), vec![1.0]))
        .put(Metric::new("b", HISTOGRAM), &[], with(None, vec![1.0]))
        .put(Metric::new("c", HISTOGRAM), &[], with(Some(1.0), vec![-1.0]))
        .apply();
    let open = bench.open();
    assert!(!open.contains("_sum") && !open.contains("_count"), "{open}");
    let text = bench.text();
    for line in ["a_sum -1\na_count 2\n", "b_count 2\n", "c_sum 1\nc_count 2\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("b_sum"));
}

#[test]
fn exemplars_stand_after_counters_and_buckets_in_openmetrics_alone() {
    let bench = bench();
    let histogram = Histogram { bounds: vec![1.0], counts: vec![1, 1], sum: Some(5.0), ..Histogram::default() };
    let mut feed = bench
        .feed()
        .put(Metric::new("hits", Kind::COUNTER), &[], Number::Int(1))
        .put(Metric::new("load", Kind::Gauge), &[], Number::Int(1))
        .put(Metric::new("took", HISTOGRAM), &[], PointValue::Histogram(Box::new(histogram)));
    for (point, value) in [(0, 1.0), (1, 1.0), (2, 0.5), (2, 4.0)] {
        feed.metrics.exemplars.push(Exemplar {
            point,
            time: UnixNanos(1_500_000_000),
            value: Number::Double(value),
            trace_id: [0; 16],
            span_id: [1; 8],
            filtered_attributes: Attributes::empty(),
        });
    }
    feed.apply();
    let id = r#"{span_id="0101010101010101"}"#;
    let expected = format!(
        "# TYPE hits counter\nhits_total 1 # {id} 1 1.500\n# TYPE load gauge\nload 1\n# TYPE took histogram\n\
         took_bucket{{le=\"1.0\"}} 1 # {id} 0.5 1.500\ntook_bucket{{le=\"+Inf\"}} 2 # {id} 4 1.500\n\
         took_sum 5\ntook_count 2\n# EOF\n"
    );
    assert_eq!(bench.open(), expected);
    assert!(!bench.text().contains("span_id"));
    parse(&bench.open(), true);
}

#[test]
fn times_are_milliseconds_in_text_and_seconds_in_openmetrics() {
    let bench = bench();
    let metric = Metric::new("m", Kind::Gauge);
    bench.feed().point(identity(metric, &[]), Number::Int(1), 1_700_000_000_123_000_000, PointFlags::empty()).apply();
    for (format, line) in [(Format::Text, "m 1 1700000000123\n"), (Format::OpenMetrics, "m 1 1700000000.123\n")] {
        let mut out = Vec::new();
        let mut stream = bench.shared.stream(View { format, escaping: Escaping::Underscores, timestamps: true });
        while stream.fill(&mut out, usize::MAX) {}
        assert!(String::from_utf8(out).unwrap().contains(line));
    }
}

#[test]
fn a_target_is_told_once_and_stands_first() {
    let bench = bench();
    let origin = |version: &str| {
        let resource = Attributes::from_pairs([("service.name", "shop"), ("service.version", version)]);
        Arc::new(Origin { resource, ..Origin::default() })
    };
    let mut feed = bench.feed();
    for (name, version) in [("a", "1"), ("b", "2")] {
        let identity = Identity { origin: origin(version), ..identity(Metric::new(name, Kind::Gauge), &[]) };
        feed = feed.point(identity, Number::Int(1), 0, PointFlags::empty());
    }
    feed.apply();
    let samples = "a{job=\"shop\"} 1\n";
    assert!(bench.text().starts_with(
        "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{job=\"shop\",service_version=\"1\"} 1\n# TYPE a"
    ));
    let open = bench.open();
    assert!(
        open.starts_with("# TYPE target info\n# HELP target Target metadata\ntarget_info{job=\"shop\",")
            && open.contains(samples)
    );
    parse(&open, true);
}

#[test]
fn names_beyond_the_classic_grammar_are_told_to_each_scraper_in_its_own_way() {
    let rules = TableRules {
        namer: MetricNamer::new(Strategy::NoUtf8EscapingWithSuffixes, ""),
        labels: LabelRules { strategy: Strategy::NoUtf8EscapingWithSuffixes, ..LabelRules::default() },
        ..TableRules::default()
    };
    let bench = Bench::with(rules);
    bench
        .feed()
        .put(metric("foo.bar", Kind::COUNTER, "By", ""), &[("a.b", "1"), ("c", "2")], Number::Int(7))
        .put(metric("foo.bar", Kind::COUNTER, "By", ""), &[], Number::Int(8))
        .put(Metric::new("plain", Kind::Gauge), &[("x", "1")], Number::Int(9))
        .apply();
    let plain = "# TYPE plain gauge\nplain{x=\"1\"} 9\n";
    let utf8 = "# TYPE \"foo.bar_bytes\" counter\n# UNIT \"foo.bar_bytes\" bytes\n{\"foo.bar_bytes_total\"} 8\n\
         {\"foo.bar_bytes_total\",\"a.b\"=\"1\",c=\"2\"} 7\n";
    assert_eq!(bench.view(Format::OpenMetrics, Escaping::Utf8), format!("{utf8}{plain}# EOF\n"));
    for (escaping, name, label) in [
        (Escaping::Underscores, "foo_bar_bytes_total", "a_b"),
        (Escaping::Dots, "foo_dot_bar__bytes__total", "a_dot_b"),
        (Escaping::Values, "U__foo_2e_bar__bytes__total", "U__a_2e_b"),
    ] {
        let expected = format!("# TYPE {name} counter\n{name} 8\n{name}{{{label}=\"1\",c=\"2\"}} 7\n{plain}");
        let text = bench.view(Format::Text, escaping);
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&text), sorted(&expected));
        parse(&text, false);
        parse(&bench.view(Format::OpenMetrics, escaping), true);
    }
}

#[test]
fn series_that_escaping_makes_one_are_written_once() {
    let rules = TableRules {
        namer: MetricNamer::new(Strategy::NoTranslation, ""),
        labels: LabelRules { strategy: Strategy::NoTranslation, ..LabelRules::default() },
        ..TableRules::default()
    };
    let bench = Bench::with(rules);
    bench
        .feed()
        .gauge("a_b", &[("x", "1")], 1)
        .gauge("a.b", &[("x", "1")], 2)
        .gauge("a.b", &[("x.y", "2")], 3)
        .gauge("a.b", &[("x_y", "2")], 4)
        .gauge("a.b", &[("x.y", "1"), ("x_y", "2")], 5)
        .apply();
    let text = bench.text();
    let samples = parse(&text, false);
    assert_eq!(samples.len(), 3, "{text}");
    assert!(text.contains("a_b{x_y=\"1;2\"} 5"), "{text}");
    assert!(text.contains("a_b{x=\"1\"} 1"), "the first family wins: {text}");
    assert_eq!(parse(&bench.view(Format::Text, Escaping::Utf8), false).len(), 5);
}
