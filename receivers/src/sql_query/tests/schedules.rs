//! When the receiver reads, and what it sends when reading goes wrong. Time is stepped: nothing here waits.

use std::collections::VecDeque;
use std::sync::Mutex;

use pdata::UnixNanos;
use pipeline::mapping::Cell;
use pipeline::{Budget, Clock};
use tokio::time::Instant;

use super::super::describe::{Answers, Description};
use super::super::source::{Done, Job, ReadError, Reason, Source, Work};
use super::*;

/// A source that does what the test says: how long each read takes, and what it finds.
#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<(u64, Option<i64>)>>,
    began: Mutex<Vec<u64>>,
}

impl Script {
    /// Milliseconds and value of each read, one after another; without a value the read fails. When they are used up: 0 ms and 0.
    fn new(steps: &[(u64, Option<i64>)]) -> Arc<Self> {
        Arc::new(Self { steps: Mutex::new(steps.iter().copied().collect()), began: Mutex::default() })
    }
}

impl Source for Arc<Script> {
    fn read(&self, job: Job) -> BoxFuture<'static, Vec<Done>> {
        let this = self.clone();
        Box::pin(async move {
            let mut done = Vec::new();
            for work in job.works {
                done.push(this.step(work).await);
            }
            done
        })
    }

    fn describe(&self, _: Vec<Arc<str>>, _: Duration) -> BoxFuture<'static, Description> {
        Box::pin(async { Ok(Answers::default()) })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Script {
    async fn step(&self, Work { mut intake, .. }: Work) -> Done {
        let now = Clock::system().wall();
        self.began.lock().unwrap().push(u64::try_from(start().elapsed().as_millis()).unwrap());
        let (millis, value) = self.steps.lock().unwrap().pop_front().unwrap_or((0, Some(0)));
        let took = Duration::from_millis(millis);
        tokio::time::sleep(took).await;
        let result = match value {
            None => Err(ReadError::new(Reason::Unavailable, "it is not there")),
            Some(value) => intake
                .begin(&["name", "v"], now)
                .and_then(|()| intake.row(&[Cell::Text(b"a"), Cell::Int(value)][..]))
                .map_err(ReadError::from),
        };
        Done { intake, result, began: now, took }
    }
}

fn start() -> Instant {
    thread_local!(static START: Instant = Instant::now());
    START.with(|start| *start)
}

fn run_on(yaml: &str, script: &Arc<Script>) -> Running {
    start();
    Running::start(checked(yaml), vec![Arc::new(script.clone())], |context| {
        context.clock = Clock::stepped(UnixNanos(1_000_000_000));
    })
}

fn quiet(extra: &str) -> String {
    format!("{ONE}self_metrics: false\n{extra}")
}

fn demand(extra: &str) -> String {
    quiet(&format!("collection: on_scrape\n{extra}"))
}

#[tokio::test(start_paused = true)]
async fn the_first_read_comes_at_once_and_the_others_on_a_phase() {
    let script = Script::new(&[]);
    let running = run_on(&quiet(""), &script);
    tokio::time::sleep(Duration::from_secs(36)).await;
    let began = script.began.lock().unwrap().clone();
    assert_eq!((began[0], began.len()), (0, 4), "{began:?}");
    assert!((5_000..=10_000).contains(&began[1]), "{began:?}");
    assert_eq!(began[2] - began[1], 10_000, "{began:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_read_skips_ticks_and_never_overlaps() {
    let script = Script::new(&[(0, Some(1)), (25_000, Some(2))]);
    let mut running = run_on(ONE, &script);
    let skipped = |batch: &Batch| lines(batch).iter().find(|line| line.starts_with("weir_sql_skipped")).cloned();
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(skipped(&running.batch().await));
    }
    let began = script.began.lock().unwrap().clone();
    assert_eq!(began[2] - began[1], 30_000, "{began:?}");
    assert!(told[1].ends_with("Int(2)") && told[2].ends_with("Int(2)"), "{told:?}");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_initial_delay_is_kept() {
    let script = Script::new(&[]);
    let mut running = run_on(&quiet("initial_delay: 3s\n"), &script);
    running.batch().await;
    assert_eq!(script.began.lock().unwrap().clone(), [3_000]);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_is_told_where_the_data_is_and_ends_nothing() {
    let script = Script::new(&[(0, Some(7)), (0, None), (0, Some(8))]);
    let mut running = run_on(&format!("{ONE}on_failure: last\n"), &script);
    let mut shown = Vec::new();
    for _ in 0..6 {
        shown.push(running.shown().await);
    }
    assert_eq!(
        shown,
        [
            "#0 last: m{name=\"a\"} Int(7)",
            "#up/0 last: weir_sql_up{query=\"0\"} Int(1) | weir_sql_rows{query=\"0\"} Int(1)",
            "#0 failed Last: ",
            "#up/0 last: weir_sql_up{query=\"0\"} Int(0) | weir_sql_rows{query=\"0\"} Int(1)",
            "#0 last: m{name=\"a\"} Int(8)",
            "#up/0 last: weir_sql_up{query=\"0\"} Int(1) | weir_sql_rows{query=\"0\"} Int(1)",
        ]
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_round_is_told_even_when_it_failed() {
    let script = Script::new(&[(0, None)]);
    let mut running = run_on(ONE, &script);
    let collected = running.port.wait_first_round().await.unwrap();
    let sources: Vec<_> = collected.iter().map(|(source, _)| source.to_string()).collect();
    assert_eq!(sources, ["sql_query/x#0", "sql_query/x#up/0"]);
    let batch = running.batch().await;
    assert_eq!(batch.collection.as_ref().unwrap().sequence, collected[0].1);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn scrapes_that_wait_share_a_read_and_a_later_one_gets_its_own() {
    let script = Script::new(&[(100, Some(1)), (100, Some(2))]);
    let running = run_on(&demand(""), &script);
    let scrape = || async {
        let collected = running.scrape().await;
        (start().elapsed().as_millis(), collected[0].1)
    };
    let late = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scrape().await
    };
    let late_too = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        scrape().await
    };
    let (first, second, third) = tokio::join!(scrape(), late, late_too);
    assert!(first.0 < second.0 && second == third, "{first:?} {second:?} {third:?}");
    assert_eq!(script.began.lock().unwrap().len(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn min_interval_bounds_how_often_scrapes_read() {
    let script = Script::new(&[]);
    let running = run_on(&demand("min_interval: 5s\n"), &script);
    let first = running.scrape().await;
    assert_eq!(running.scrape().await, first);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_ne!(running.scrape().await, first);
    assert_eq!(script.began.lock().unwrap().len(), 2);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scrape_sees_the_vitals_of_its_own_read() {
    let script = Script::new(&[(0, None)]);
    let mut running = run_on(&format!("{ONE}collection: on_scrape\n"), &script);
    let collected = running.scrape().await;
    assert_eq!(collected.iter().map(|(source, _)| &*source.0).collect::<Vec<_>>(), ["sql_query/x#0", "sql_query/x#up"]);
    assert_eq!(running.shown().await, "#0 failed Omit: ");
    let batch = running.batch().await;
    assert_eq!(batch.collection.as_ref().unwrap().sequence, collected[1].1);
    assert!(show(&batch).contains("weir_sql_up{query=\"0\"} Int(0)"));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_hangs_is_told_at_its_deadline_and_not_read_again_before_it_is_back() {
    let script = Script::new(&[(0, Some(1)), (60_000, Some(2)), (0, Some(3))]);
    let mut running = run_on(&quiet("timeout: 1s\n"), &script);
    let mut shown = Vec::new();
    while shown.last().is_none_or(|last: &String| !last.contains("Int(3)")) {
        shown.push(running.shown().await);
    }
    assert_eq!(shown.first().unwrap(), "#0 last: m{name=\"a\"} Int(1)");
    assert!(shown[1..shown.len() - 1].iter().all(|page| page == "#0 failed Omit: "), "{shown:?}");
    assert_eq!(script.began.lock().unwrap().len(), 3);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_share_of_the_byte_budget_the_collection_fails() {
    let script = Script::new(&[]);
    let budget = Budget::new(1000);
    let taken = budget.take(1000).unwrap();
    let mut running = Running::start(checked(&quiet("")), vec![Arc::new(script.clone())], |context| {
        context.budget = budget.clone();
    });
    assert_eq!(running.shown().await, "#0 failed Omit: ");
    drop(taken);
    assert_eq!(running.shown().await, "#0 last: m{name=\"a\"} Int(0)");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_interrupts_the_read() {
    let script = Script::new(&[(3_600_000, Some(1))]);
    let mut running = run_on(&quiet(""), &script);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = Instant::now();
    running.stopper.stop();
    (&mut running.task).await.unwrap().unwrap();
    assert!(before.elapsed() < Duration::from_millis(10));
    assert_eq!(running.shown().await, "#0 failed Omit: ");
}

#[tokio::test(start_paused = true)]
async fn queries_of_one_snapshot_are_read_together_and_others_apart() {
    let two = "
driver: sqlite
datasource: x.db
self_metrics: false
queries:
  - {sql: a, metrics: [{metric_name: m, value_column: v}]}
  - {sql: b, metrics: [{metric_name: n, value_column: v}], collection_interval: 20s}
  - {sql: c, metrics: [{metric_name: o, value_column: v}]}
";
    let groups = |extra: &str| {
        let context = context(ID);
        let source: Arc<dyn Source> = Arc::new(Script::new(&[]));
        let around = Around {
            receiver: ID.into(),
            clock: context.clock,
            table: context.table,
            meters: context.meters,
            budget: context.budget,
            outlet: outlet(Inbox::new(InboxLimits { batches: 1, bytes: 1, ..InboxLimits::default() }).0),
            source,
            database: health::DatabaseHealth::default(),
            target: None,
            seat: Seat::default(),
            ledger: None,
        };
        Schedule::new(checked(&format!("{two}{extra}")), vec![around]).sizes()
    };
    assert_eq!(groups(""), [1, 1, 1]);
    assert_eq!(groups("consistency: snapshot\n"), [2, 1]);
    let on_scrape = two.replace(", collection_interval: 20s", "");
    assert_eq!(checked(&on_scrape).queries.len(), 3);
}
