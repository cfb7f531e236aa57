//! One query at work: what it holds between reads, and how its results are sent.

use std::sync::Arc;
use std::time::Duration;

use pdata::{Metrics, Point};
use pipeline::budget::Permit;
use pipeline::collection::Collected;
use pipeline::{Batch, Collection, OnFailure, Page, SourceId};
use tokio::time::Instant;

use super::check::CheckedQuery;
use super::health::Health;
use super::intake::Intake;
use super::schedule::Around;
use super::source::{Done, ReadError, Reason, Work};

/// One query between and during its reads.
pub(crate) struct QueryAtWork {
    pub(crate) plan: CheckedQuery,
    pub(crate) health: Health,
    source: SourceId,
    sequence: u64,
    on_failure: OnFailure,
    log_sql: bool,
    pub(crate) around: Arc<Around>,
    parameters: Arc<[Option<Box<str>>]>,
    /// `None` while it is with the driver.
    intake: Option<Box<Intake>>,
}

/// Between attempts to get a share of the byte budget: from, and at most.
const BUDGET_WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

impl QueryAtWork {
    pub(crate) fn new(
        index: usize,
        plan: CheckedQuery,
        on_failure: OnFailure,
        log_sql: bool,
        around: Arc<Around>,
    ) -> Self {
        let name = around.target.as_ref().map(|target| format!("{}@{target}", plan.label));
        let name = name.as_deref().unwrap_or(&plan.label);
        let health = Health::new(&around.receiver, name, around.database.clone(), &around.meters);
        let source = SourceId(around.named(&index.to_string()).into());
        let sequence = around.first_sequence();
        let parameters = Arc::new([]);
        let mut query = Self { source, sequence, plan, health, on_failure, log_sql, parameters, intake: None, around };
        query.intake = Some(query.new_intake());
        query
    }

    fn new_intake(&self) -> Box<Intake> {
        let Around { table, budget, clock, .. } = &*self.around;
        let (metrics, logs) = (self.plan.metrics.clone(), self.plan.logs.clone());
        Box::new(Intake::new(metrics, logs, table.clone(), budget.clone(), clock.wall()))
    }

    /// What the driver needs to read it.
    pub(crate) fn work(&mut self) -> Work {
        if self.log_sql {
            tracing::debug!(receiver = %self.around.receiver, query = %self.plan.label, sql = %self.plan.sql, "reading");
        }
        let intake = self.intake.take().unwrap_or_else(|| self.new_intake());
        let Self { plan: CheckedQuery { sql, timeout, .. }, parameters, .. } = self;
        Work { sql: sql.clone(), timeout: *timeout, parameters: parameters.clone(), intake }
    }

    /// Takes the intake back from a read that came too late to count.
    pub(crate) fn take_back(&mut self, done: Done) {
        self.intake = Some(done.intake);
    }

    /// A read has ended: sends what came of it. `deadline`: until when a page may wait for its share of the byte budget.
    pub(crate) async fn finish(&mut self, done: Done, deadline: Instant) -> Option<Collected> {
        let Done { mut intake, result, began, took } = done;
        self.sequence += 1;
        self.health.last.took = took;
        let points = intake.mapper.points();
        let result = match result {
            Ok(()) if self.plan.expect_rows && intake.mapper.counts().records == 0 => Err(no_rows()),
            Ok(()) => self.send(&mut intake, deadline).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(records) => {
                self.health.last.success = began;
                self.health.succeeded(intake.mapper.counts(), points, records);
            }
            Err(error) => {
                self.fail().await;
                self.health.failed(&error, intake.mapper.counts(), points);
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

    /// Sends log records and all pages; gives the number of log records.
    async fn send(&mut self, intake: &mut Intake, deadline: Instant) -> Result<usize, ReadError> {
        let mut records = 0;
        for batch in intake.take_logs()? {
            records += batch.items();
            self.around.outlet.send(batch).await;
        }
        if !self.has_metrics() {
            intake.mapper.commit();
            return Ok(records);
        }
        let bytes = intake.mapper.finish();
        loop {
            let permit = self.permit(bytes, deadline).await?;
            let (metrics, last) = intake.mapper.next_page();
            let page = if last { Page::Last } else { Page::More };
            self.send_page(metrics, permit, page).await;
            if last {
                intake.mapper.commit();
                return Ok(records);
            }
        }
    }

    /// A share of the byte budget, waited for until the deadline.
    async fn permit(&self, bytes: usize, deadline: Instant) -> Result<Permit, ReadError> {
        let clock = &self.around.clock;
        let mut wait = BUDGET_WAIT.0;
        loop {
            match self.around.budget.take(bytes.max(size_of::<Point>())) {
                Ok(permit) => return Ok(permit),
                Err(refusal) if clock.now() + wait >= deadline => {
                    return Err(ReadError::new(Reason::Limit, refusal.to_string()));
                }
                Err(_) => clock.sleep(wait).await,
            }
            wait = (wait * 2).min(BUDGET_WAIT.1);
        }
    }

    /// Says that the collection failed: pages of it that were sent are void.
    async fn fail(&self) {
        if self.has_metrics() {
            let nothing = Metrics::new(self.around.table.pin());
            self.send_page(nothing, Permit::none(), Page::Failed(self.on_failure)).await;
        }
    }

    async fn send_page(&self, metrics: Metrics, permit: Permit, page: Page) {
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
