//! One query at work: what it holds between reads, and how its results are sent.

use std::sync::Arc;

use pdata::{Metrics, Point};
use pipeline::budget::Permit;
use pipeline::collection::Collected;
use pipeline::{Batch, Collection, OnFailure, Page as End, SourceId, Stop};
use tokio::time::Instant;

use super::check::CheckedQuery;
use super::counting::Counting;
use super::courier::Courier;
use super::health::Health;
use super::intake::{Cells, Intake};
use super::pages::Page;
use super::schedule::Around;
use super::source::{Done, ReadError, Reason, Work};
use super::track::keeper::{Beginning, CursorKeeper};
use super::track::progress::Progress;

/// One query between and during its reads.
pub(crate) struct QueryAtWork {
    pub(crate) plan: CheckedQuery,
    pub(crate) health: Health,
    source: SourceId,
    sequence: u64,
    on_failure: OnFailure,
    log_sql: bool,
    pub(crate) around: Arc<Around>,
    /// The columns of the loop's row in whose turn it is read; none without a loop.
    row: Cells,
    parameters: Cells,
    /// `None` while it is with the driver.
    intake: Option<Box<Intake>>,
    /// Keeps the cursor of a tracked query; with the courier while it is read.
    keeper: Option<Box<CursorKeeper>>,
    /// Whether it has a part in the read at hand.
    pub(crate) fit: bool,
}

/// A turn of a loop, as its queries know it.
pub(crate) struct Turn {
    /// For people.
    pub(crate) name: String,
    /// What tells the loop's row from others, for cursors.
    pub(crate) key: String,
    pub(crate) row: Cells,
}

impl QueryAtWork {
    pub(crate) fn new(
        index: usize,
        plan: CheckedQuery,
        on_failure: OnFailure,
        log_sql: bool,
        around: Arc<Around>,
        turn: Option<&Turn>,
    ) -> Self {
        let at = around.target.as_ref().map_or(String::new(), |target| format!("@{target}"));
        let mut health =
            Health::new(&around.receiver, &format!("{}{at}", plan.label), around.database.clone(), &around.meters);
        let mut source = index.to_string();
        let mut cursor = plan.label.clone();
        if let Some(Turn { name, key, .. }) = turn {
            health.call(format!("{}[{name}]", plan.label));
            source += &format!("[{name}]");
            cursor += key;
        }
        cursor += &at;
        let row = turn.map_or_else(Cells::default, |turn| turn.row.clone());
        let keep = |tracking| Box::new(CursorKeeper::new(&cursor, tracking, around.ledger.clone()));
        let keeper = plan.tracking.clone().map(keep);
        let mut query = Self {
            source: SourceId(around.named(&source).into()),
            sequence: around.first_sequence(),
            plan,
            health,
            on_failure,
            log_sql,
            parameters: row.clone(),
            row,
            intake: None,
            keeper,
            fit: true,
            around,
        };
        query.intake = Some(query.new_intake());
        query
    }

    /// What it reads is gone: ends all of its series.
    pub(crate) async fn end(&mut self, deadline: Instant) -> Option<Collected> {
        let mut intake = self.intake.take()?;
        if !self.has_metrics() || !intake.begin_empty(self.around.clock.wall()) {
            return None;
        }
        self.sequence += 1;
        if let Err(error) = self.send_points(&mut intake, deadline).await {
            self.fail().await;
            self.health.failed(&error, &Default::default(), 0);
        }
        self.collected()
    }

    fn new_intake(&self) -> Box<Intake> {
        let Around { table, clock, .. } = &*self.around;
        let (metrics, logs) = (self.plan.metrics.clone(), self.plan.logs.clone());
        let mut intake = Intake::new(metrics, logs, table.clone(), clock.wall());
        if let (Some(tracking), Some(keeper)) = (&self.plan.tracking, &self.keeper) {
            let (seen, seed) = keeper.seen();
            let progress = Progress::new(tracking.clone(), seed, seen);
            intake.pages = intake.pages.tracking(progress, self.counting());
        }
        Box::new(intake)
    }

    fn counting(&self) -> Option<Counting> {
        let CheckedQuery { counted, metrics, label, .. } = &self.plan;
        let Around { receiver, ledger, meters, .. } = &*self.around;
        let ledger = ledger.clone().filter(|_| !counted.is_empty())?;
        let labels = [receiver.to_string(), label.clone()];
        Some(Counting::new(counted.clone(), &metrics.resource, ledger, meters.clone(), labels))
    }

    /// Finds out where its next read begins, in the term with this number.
    pub(crate) fn begin(&mut self, term: u64) -> Result<(), ReadError> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let Beginning { parameters, types } = keeper.begin(term)?;
        self.parameters = parameters.iter().chain(&*self.row).cloned().collect();
        let mut intake = self.intake.take().unwrap_or_else(|| self.new_intake());
        if let Some(progress) = &mut intake.pages.progress {
            progress.know(types);
        }
        self.intake = Some(intake);
        Ok(())
    }

    /// What the driver needs to read it until `deadline`, and who carries its rows meanwhile.
    pub(crate) fn work(&mut self, deadline: Instant) -> (Work, Courier) {
        if self.log_sql {
            tracing::debug!(receiver = %self.around.receiver, query = %self.plan.label, sql = %self.plan.sql, "reading");
        }
        let mut intake = self.intake.take().unwrap_or_else(|| self.new_intake());
        let (courier, to) = Courier::new(self.around.clone(), self.keeper.take(), deadline);
        intake.pages.open(to);
        let Self { plan: CheckedQuery { sql, timeout, .. }, parameters, .. } = self;
        (Work { sql: sql.clone(), timeout: *timeout, parameters: parameters.clone(), intake }, courier)
    }

    /// A read was given up; what of it is under way still counts.
    pub(crate) async fn give_up(&mut self, mut courier: Courier, stop: &Stop) {
        if let Some(keeper) = courier.land(stop.clone()).await {
            self.keeper = Some(keeper);
        }
    }

    /// Takes the intake back from a read that came too late to count.
    pub(crate) fn take_back(&mut self, done: Done) {
        self.intake = Some(done.intake);
    }

    /// A read has ended: sends what came of it. `deadline`: until when a page may wait for its share of the byte budget.
    pub(crate) async fn finish(
        &mut self,
        done: Done,
        mut courier: Courier,
        deadline: Instant,
        stop: &Stop,
    ) -> Option<Collected> {
        let Done { mut intake, result, began, took } = done;
        self.sequence += 1;
        self.health.last.took = took;
        let points = intake.mapper.points();
        let (rest, held) = intake.pages.close();
        self.health.unread(intake.pages.take_unread());
        let disorder = self.tell_progress(&intake);
        let result = match (courier.trouble(), result) {
            (Some(error), _) => Err(error.clone()),
            (None, Err(error)) if held && error.reason == Reason::Timeout => Err(too_slow(&courier)),
            (None, Err(error)) => Err(error),
            (None, Ok(())) if self.plan.expect_rows && intake.mapper.counts().records == 0 => Err(no_rows()),
            (None, Ok(())) => self.send(&mut intake, rest, &mut courier, deadline).await,
        };
        self.keeper = courier.land(stop.clone()).await.or_else(|| self.keeper.take());
        if let Some(keeper) = &mut self.keeper {
            self.health.keys(keeper.keys());
        }
        let result = match (result, courier.trouble()) {
            (Ok(_), Some(error)) => Err(error.clone()),
            (result, _) => result,
        };
        match result {
            Ok(records) => {
                self.health.last.success = began;
                self.health.succeeded(intake.mapper.counts(), points, records);
            }
            Err(error) => {
                self.fail().await;
                self.health.failed(&error, intake.mapper.counts(), points);
                if disorder {
                    self.stop_reading(&error).await;
                }
            }
        }
        self.intake = Some(intake);
        self.collected()
    }

    /// The read did not even come back.
    pub(crate) async fn missed(&mut self, error: &ReadError) -> Option<Collected> {
        self.sequence += 1;
        self.fail().await;
        self.health.failed(error, &Default::default(), 0);
        self.collected()
    }

    /// The read that it has just made. A query without metrics is no source: its rows are events, not a state.
    fn collected(&self) -> Option<Collected> {
        self.has_metrics().then(|| (self.source.clone(), self.sequence))
    }

    fn has_metrics(&self) -> bool {
        !self.plan.metrics.metrics.is_empty()
    }

    /// Sends the rest of the log records and all pages of points; gives the number of log records.
    async fn send(
        &mut self,
        intake: &mut Intake,
        rest: Page,
        courier: &mut Courier,
        deadline: Instant,
    ) -> Result<usize, ReadError> {
        courier.send(rest).await;
        if let Some(error) = courier.trouble() {
            return Err(error.clone());
        }
        let records = courier.records;
        self.send_points(intake, deadline).await.map(|()| records)
    }

    /// Counts what became of the rows of a tracked query; whether they were out of order.
    fn tell_progress(&mut self, intake: &Intake) -> bool {
        let Some(progress) = &intake.pages.progress else { return false };
        self.health.progress(&progress.tally);
        progress.disorder
    }

    /// Rows were out of order: reading on would pass them over.
    async fn stop_reading(&mut self, error: &ReadError) {
        let counts = !self.plan.counted.is_empty();
        let Some(keeper) = &mut self.keeper else { return };
        if let Err(error) = keeper.stop(&error.why, counts).await {
            self.health.failed(&error, &Default::default(), 0);
        }
    }

    async fn send_points(&mut self, intake: &mut Intake, deadline: Instant) -> Result<(), ReadError> {
        if !self.has_metrics() {
            intake.mapper.commit();
            return Ok(());
        }
        let bytes = intake.mapper.finish();
        loop {
            let permit = self.around.permit(bytes.max(size_of::<Point>()), deadline).await?;
            let (metrics, last) = intake.mapper.next_page();
            let page = if last { End::Last } else { End::More };
            self.send_page(metrics, permit, page).await;
            if last {
                intake.mapper.commit();
                return Ok(());
            }
        }
    }

    /// Says that the collection failed: pages of it that were sent are void.
    async fn fail(&self) {
        if self.has_metrics() {
            let nothing = Metrics::new(self.around.table.pin());
            self.send_page(nothing, Permit::none(), End::Failed(self.on_failure)).await;
        }
    }

    async fn send_page(&self, metrics: Metrics, permit: Permit, page: End) {
        let collection = Collection { source: self.source.clone(), sequence: self.sequence, page };
        let batch = Batch::new(metrics, self.around.clock.wall()).with_permit(permit).with_collection(collection);
        self.around.outlet.send(batch).await;
    }
}

fn no_rows() -> ReadError {
    let why =
        "no rows came (expect_rows); is the table empty, or does row-level security hide its rows from this role?";
    ReadError::new(Reason::Data, why)
}

fn too_slow(courier: &Courier) -> ReadError {
    let why = format!(
        "the destinations did not take the rows in time: {} log records were sent, the rest was not read (timeout)",
        courier.records
    );
    ReadError::new(Reason::Timeout, why)
}
