//! Whatever comes in, the page can be read.

use pdata::prom::{MetricNamer, Strategy as Names};
use proptest::prelude::*;

use super::super::labels::LabelRules;
use super::parser::parse;
use super::*;

/// Text of every kind of character, those that have a meaning in the formats above all.
fn any_text() -> impl Strategy<Value = String> {
    let char = prop_oneof![
        4 => prop::sample::select(vec!['"', '\\', '\n', '\r', '{', '}', ',', '=', '#', ' ', '\t', '\0', ';', '.', '_', ':']),
        4 => proptest::char::range('a', 'c'),
        1 => any::<char>(),
    ];
    prop::collection::vec(char, 0..8).prop_map(String::from_iter)
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Gauge, Kind::COUNTER, HISTOGRAM, Kind::Summary])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_label_value_reads_back_as_it_came(value in any_text()) {
        let bench = bench();
        bench.feed().gauge("m", &[("x", &value)], 1).apply();
        for (text, open) in [(bench.text(), false), (bench.open(), true)] {
            let samples = parse(&text, open);
            prop_assert_eq!(samples.len(), 1);
            prop_assert_eq!(samples[0].labels.get("x").map_or("", String::as_str), &value);
        }
    }

    #[test]
    fn no_input_makes_a_page_that_cannot_be_read(
        series in prop::collection::vec((any_text(), kinds(), prop::collection::vec((any_text(), any_text()), 0..4)), 1..12),
        strategy in prop::sample::select(vec![Names::UnderscoreEscapingWithSuffixes, Names::UnderscoreEscapingWithoutSuffixes, Names::NoUtf8EscapingWithSuffixes, Names::NoTranslation]),
    ) {
        let rules = TableRules {
            namer: MetricNamer::new(strategy, ""),
            labels: LabelRules { strategy, scope: true, ..LabelRules::default() },
            ..TableRules::default()
        };
        let bench = Bench::with(rules);
        let mut feed = bench.feed();
        for (name, kind, labels) in &series {
            let value = match kind {
                Kind::Summary => PointValue::Summary(Box::default()),
                Kind::Histogram { .. } => PointValue::Histogram(Box::default()),
                _ => PointValue::Int(1),
            };
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            feed = feed.put(Metric::new(name.as_str(), *kind), &labels, value);
        }
        feed.apply();
        for escaping in Escaping::ALL {
            parse(&bench.view(Format::Text, escaping), false);
            parse(&bench.view(Format::OpenMetrics, escaping), true);
        }
    }

    #[test]
    fn a_page_in_pieces_is_the_page(count in 1usize..700, piece in 1usize..5000) {
        let bench = bench();
        let mut feed = bench.feed();
        for n in 0..count {
            feed = feed.gauge(["a", "b"][n % 2], &[("n", &n.to_string())], n as i64);
        }
        feed.apply();
        let mut stream = bench.shared.stream(View { format: Format::Text, escaping: Escaping::Underscores, timestamps: false });
        let (mut whole, mut more) = (Vec::new(), true);
        while more {
            let mut part = Vec::new();
            more = stream.fill(&mut part, piece);
            whole.extend_from_slice(&part);
        }
        prop_assert_eq!(String::from_utf8(whole).unwrap(), bench.text());
    }
}
