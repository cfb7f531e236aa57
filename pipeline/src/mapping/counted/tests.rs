use std::collections::BTreeMap;

use pdata::{Hint, Kind, Metric, SeriesTable, Temporality};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::health::Health;
use crate::mapping::{CellType, TimeUnit};
use crate::state::{Committed, LedgerOptions, Standing};
use crate::testing::lines;

const SECOND: u64 = 1_000_000_000;
const NOW: UnixNanos = UnixNanos(1_800_000_000 * SECOND);
const HISTOGRAM: Kind = Kind::Histogram { temporality: Temporality::Cumulative };

struct Bench {
    counted: Counted,
    ledger: Ledger,
    meters: Meters,
    _folder: TempDir,
}

impl Bench {
    fn new(metrics: Vec<CountRule>) -> Self {
        Self::with(metrics, LedgerOptions::default())
    }

    fn with(metrics: Vec<CountRule>, options: LedgerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let meters = Meters::unread();
        let table = SeriesTable::with_defaults();
        let ledger =
            Ledger::open(folder.path(), "test", options, &Clock::system(), &table, &meters, &Health::default())
                .unwrap();
        let rules = Arc::new(CountRules { metrics, ..CountRules::default() });
        let counted = Counted::new(rules, ledger.clone(), &meters, vec![("source", "s".to_owned())]).unwrap();
        Self { counted, ledger, meters, _folder: folder }
    }

    async fn take(&mut self, cells: &[Cell<'_>]) -> Applied {
        self.take_at(cells, NOW, None).await
    }

    async fn take_at(&mut self, cells: &[Cell<'_>], received: UnixNanos, stated: Option<UnixNanos>) -> Applied {
        let mut entry = Entry::new();
        let applied = self.counted.apply(cells, When { received, stated }, &mut entry);
        assert_eq!(self.ledger.submit(entry).await, Ok(Committed::New));
        self.counted.note(&applied);
        applied
    }

    /// All series, sorted.
    fn shown(&self) -> Vec<String> {
        let mut shown: Vec<_> = self
            .ledger
            .snapshot()
            .points(NOW, 4096)
            .flat_map(|metrics| lines(&crate::Batch::new(metrics, NOW)))
            .map(|line| line.replace("Int(", "").replace("Double(", "").replace(')', ""))
            .collect();
        shown.sort();
        shown
    }

    fn skipped(&self) -> BTreeMap<String, u64> {
        let counts = self.meters.counts();
        let skipped = counts.iter().filter(|(name, ..)| *name == "weir_mapping_skipped");
        skipped.map(|(_, labels, value)| (format!("{}:{}", labels[1].1, labels[2].1), *value)).collect()
    }
}

fn rule(name: &str, kind: Kind, value: CountValue) -> CountRule {
    let metric = Arc::new(Metric::new(name, kind));
    CountRule { metric, value, when: Vec::new(), attributes: Vec::new(), static_attributes: Vec::new(), time: None }
}

fn counter(name: &str) -> CountRule {
    rule(name, Kind::COUNTER, CountValue::Add { cell: None, scale: None })
}

fn text(text: &str) -> Cell<'_> {
    Cell::Text(text.as_bytes())
}

fn one_of(words: &[&str]) -> Test {
    Test::In(words.iter().map(|word| (*word).into()).collect())
}

#[tokio::test]
async fn a_record_counts_into_every_metric_whose_conditions_hold() {
    let mut paid = rule("paid", Kind::COUNTER, CountValue::Add { cell: Some(1), scale: None });
    paid.when = vec![Condition { cell: 0, test: one_of(&["paid", "settled"]), not: false }];
    paid.static_attributes = vec![("currency".into(), "eur".into())];
    let mut other = counter("other");
    other.when = vec![
        Condition { cell: 0, test: Test::StartsWith("p".into()), not: true },
        Condition { cell: 2, test: Test::Exists, not: true },
        Condition { cell: 1, test: Test::Matches(regex::Regex::new("^[0-9]+$").unwrap()), not: false },
    ];
    let mut typed = counter("typed");
    typed.when = vec![Condition { cell: 1, test: Test::Is(CellType::String), not: true }];
    let mut bench = Bench::new(vec![counter("events"), paid, other, typed]);
    bench.take(&[text("paid"), Cell::Int(5), Cell::Null]).await;
    bench.take(&[text("settled"), text("7"), Cell::Int(1)]).await;
    bench.take(&[text("lost"), Cell::Int(9), Cell::Null]).await;
    bench.take(&[text("lost"), text("x"), Cell::Null]).await;
    assert_eq!(bench.shown(), ["events{} 4", "other{} 1", "paid{currency=\"eur\"} 12", "typed{} 2"]);
}

#[tokio::test]
async fn attributes_are_made_fit_before_they_name_a_series() {
    let mut events = counter("e");
    events.attributes = vec![
        CountAttribute { null: Some("UNKNOWN".into()), ..CountAttribute::new("tenant", 0) },
        CountAttribute {
            lower_case: true,
            allow: Some(AllowList::new(["get".into(), "put".into()], "other")),
            ..CountAttribute::new("method", 1)
        },
        CountAttribute { max_bytes: 4, ..CountAttribute::new("name", 2) },
    ];
    let mut bench = Bench::new(vec![events]);
    bench.take(&[text(""), text("GET"), text("abcdef")]).await;
    bench.take(&[Cell::Null, text("get"), text("abcd")]).await;
    bench.take(&[text("acme"), text("BREW"), text("abc\u{e9}")]).await;
    bench.take(&[Cell::Int(7), text("pour"), Cell::Null]).await;
    let shown = [
        "e{method=\"get\",name=\"abcd\",tenant=\"UNKNOWN\"} 2",
        "e{method=\"other\",name=\"abc\",tenant=\"acme\"} 1",
        "e{method=\"other\",tenant=\"7\"} 1",
    ];
    assert_eq!(bench.shown(), shown);
    assert_eq!(bench.skipped(), BTreeMap::from([("e:truncated".to_owned(), 2)]));
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_passed_over_and_the_other_metrics_still_count() {
    let amount = |name, kind| rule(name, kind, CountValue::Add { cell: Some(0), scale: None });
    let gauge = rule("g", Kind::Gauge, CountValue::Set { cell: 0, scale: Some(0.5) });
    let mut bench =
        Bench::new(vec![counter("n"), amount("up", Kind::COUNTER), amount("both", Kind::UP_DOWN_COUNTER), gauge]);
    for cell in [Cell::Int(4), Cell::Int(-1), Cell::Null, text("much"), Cell::Double(f64::INFINITY), text("nan")] {
        bench.take(&[cell]).await;
    }
    assert_eq!(bench.shown(), ["both{} 3", "g{} -0.5", "n{} 6", "up{} 4"]);
    let skipped = [("both", 3, 1), ("g", 3, 1), ("up", 3, 1)];
    let mut expected = BTreeMap::from([("up:negative".to_owned(), 1)]);
    for (metric, numbers, nulls) in skipped {
        expected.insert(format!("{metric}:not_a_number"), numbers);
        expected.insert(format!("{metric}:null"), nulls);
    }
    assert_eq!(bench.skipped(), expected);
}

#[tokio::test]
async fn the_newest_time_sets_a_gauge_and_a_clock_far_ahead_does_not_keep_it() {
    let time = Some(TimeCell { cell: 1, unit: TimeUnit::Seconds });
    let own = CountRule { time, ..rule("own", Kind::Gauge, CountValue::Set { cell: 0, scale: None }) };
    let mut bench = Bench::new(vec![own]);
    let at = |seconds: u64| Some(UnixNanos(seconds * SECOND));
    bench.take_at(&[Cell::Int(1), Cell::Int(1_700_000_010)], NOW, at(5)).await;
    bench.take_at(&[Cell::Int(2), Cell::Int(1_700_000_009)], NOW, at(9)).await;
    assert_eq!(bench.shown(), ["own{} 1"], "an older one comes late");
    bench.take_at(&[Cell::Int(3), Cell::Int(1_700_000_010)], NOW, None).await;
    assert_eq!(bench.shown(), ["own{} 3"], "of equal times the later arrival");
    bench.take_at(&[Cell::Int(4), Cell::Int(9_000_000_000)], NOW, None).await;
    bench.take_at(&[Cell::Int(5), Cell::Null], NOW.plus(std::time::Duration::from_secs(1)), None).await;
    assert_eq!(bench.shown(), ["own{} 5"], "the year 2255 is taken for now");
    let applied = bench.take_at(&[Cell::Int(6), text("soon")], NOW, None).await;
    assert_eq!(applied.skipped.to_vec(), [(0, Skip::NotATime)]);
}

#[tokio::test]
async fn a_histogram_observes_a_field_or_the_time_between_two() {
    let bounds: Arc<[f64]> = [1.0, 5.0].into();
    let cell = |cell| TimeCell { cell, unit: TimeUnit::Millis };
    let between = Observed::Between { from: cell(0), to: cell(1) };
    let observe = |observed| CountValue::Observe { observed, bounds: bounds.clone() };
    let mut bench = Bench::new(vec![
        rule("took", HISTOGRAM, observe(between)),
        rule("size", HISTOGRAM, observe(Observed::Cell { cell: 2, scale: Some(0.001) })),
    ]);
    bench.take(&[Cell::Int(1_000), Cell::Int(3_500), Cell::Int(500)]).await;
    bench.take(&[text("1970-01-01T00:00:10Z"), Cell::Int(11_000), Cell::Null]).await;
    bench.take(&[Cell::Int(2_000), Cell::Int(1_000), Cell::Int(9_000)]).await;
    let standing = |name: &str| {
        let identity = crate::testing::identity(name, HISTOGRAM, &[]);
        match bench.ledger.standing(&identity) {
            Some(Standing::Histogram(bins)) => (bins.histogram().counts, bins.histogram().sum),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(standing("took"), (vec![1, 1, 0], Some(3.5)));
    assert_eq!(standing("size"), (vec![1, 0, 1], Some(9.5)));
    assert_eq!(bench.skipped(), BTreeMap::from([("took:negative".to_owned(), 1), ("size:null".to_owned(), 1)]));
}

#[tokio::test]
async fn a_state_is_one_series_each_and_an_unknown_one_changes_none() {
    let states = ["up".into(), "down".into()].into();
    let value = CountValue::State { cell: 0, label: "state".into(), states };
    let metric = Arc::new(Metric { hint: Hint::StateSet, ..Metric::new("s", Kind::Gauge) });
    let mut info = rule("i", Kind::Gauge, CountValue::Info);
    info.attributes = vec![CountAttribute::new("version", 1)];
    let mut bench = Bench::new(vec![CountRule { metric, ..rule("s", Kind::Gauge, value) }, info]);
    bench.take(&[text("up"), text("1")]).await;
    bench.take(&[text("down"), text("1")]).await;
    bench.take(&[text("sideways"), Cell::Null]).await;
    let shown = ["i{version=\"1\"} 1", "i{} 1", "s{state=\"down\"} 1", "s{state=\"up\"} 0"];
    assert_eq!(bench.shown(), shown);
    assert_eq!(bench.skipped(), BTreeMap::from([("s:unknown_state".to_owned(), 1)]));
}

#[tokio::test]
async fn a_hostile_field_grows_neither_the_ledger_nor_the_memo() {
    let mut events = counter("e");
    events.attributes = vec![CountAttribute::new("who", 0)];
    let mut bench = Bench::with(vec![events], LedgerOptions { max_series: 10, ..LedgerOptions::default() });
    bench.take(&[text("known")]).await;
    let long = "x".repeat(300);
    for n in 0..40_000 {
        let mut entry = Entry::new();
        let hostile = format!("{n}{long}");
        bench.counted.apply(&[text(&hostile)][..], When { received: NOW, stated: None }, &mut entry);
        bench.counted.apply(&[text("known")][..], When { received: NOW, stated: None }, &mut entry);
        if n % 4_000 == 0 {
            bench.ledger.submit(entry).await.unwrap();
        }
    }
    assert!(bench.counted.memo.rotations() > 1, "the memo was full");
    assert!(bench.counted.memo.len() < 25_000, "{}", bench.counted.memo.len());
    let shown = bench.shown();
    assert_eq!(shown.len(), 11, "ten and the overflow");
    assert!(shown.contains(&"e{who=\"known\"} 11".to_owned()), "{shown:?}");
}

#[test]
fn a_metric_that_no_ledger_keeps_is_refused_at_once() {
    let bench = Bench::new(Vec::new());
    let metrics = vec![rule("x", Kind::Summary, CountValue::Info)];
    let rules = Arc::new(CountRules { metrics, ..CountRules::default() });
    assert!(Counted::new(rules, bench.ledger.clone(), &bench.meters, Vec::new()).is_err());
}
