//! A loop: the rows of one query, and for each of them a collection of its own, such as one for each tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use pipeline::collection::Collected;
use pipeline::{BoxFuture, OnFailure, Stop};
use tokio::time::Instant;

use super::check::{CheckedEach, CheckedQuery};
use super::group::Group;
use super::health::Last;
use super::intake::{Cells, Intake, Rows};
use super::query::QueryAtWork;
use super::schedule::Around;
use super::source::{Job, ReadError, Reason, Work};

/// A loop and its turns.
pub(crate) struct Each {
    plan: Arc<CheckedEach>,
    /// What every turn reads.
    queries: Vec<(usize, CheckedQuery)>,
    snapshot: bool,
    on_failure: OnFailure,
    log_sql: bool,
    around: Arc<Around>,
    /// The turns, by the cells of their rows. As many as the loop's query gave rows the last time.
    turns: BTreeMap<Cells, Group>,
}

impl Each {
    pub(crate) fn new(
        plan: Arc<CheckedEach>,
        queries: Vec<(usize, CheckedQuery)>,
        snapshot: bool,
        on_failure: OnFailure,
        log_sql: bool,
        around: Arc<Around>,
    ) -> Self {
        Self { plan, queries, snapshot, on_failure, log_sql, around, turns: BTreeMap::new() }
    }

    /// Reads the rows, and for each of them all queries. Gives what was collected and how each query fared in all turns together,
    /// or why there was no loop.
    pub(crate) async fn collect(
        &mut self,
        until: Option<Instant>,
        stop: &mut Stop,
    ) -> (Vec<Collected>, Result<Vec<Last>, ReadError>) {
        let deadline = until.unwrap_or_else(|| self.around.clock.now() + 2 * self.plan.timeout);
        let rows = tokio::select! {
            rows = self.rows(deadline) => rows,
            () = stop.requested() => Err(ReadError::new(Reason::Stopped, "the receiver is stopping")),
        };
        let mut collected = Vec::new();
        let known = rows.and_then(|rows| self.turn_to(rows));
        let gone = match known {
            Ok(gone) => gone,
            Err(error) => {
                for turn in self.turns.values_mut() {
                    collected.extend(turn.miss(&error).await);
                }
                return (collected, Err(error));
            }
        };
        for mut turn in gone {
            collected.extend(turn.end(deadline).await);
        }
        let mut reads: Vec<BoxFuture<'_, Vec<Collected>>> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.values_mut() {
            let mut stop = stop.clone();
            reads.push(Box::pin(async move { turn.read(until, &mut stop).await }));
        }
        let mut reads = stream::iter(reads).buffer_unordered(self.plan.concurrency);
        while let Some(one) = reads.next().await {
            collected.extend(one);
        }
        drop(reads);
        (collected, Ok((0..self.queries.len()).map(|query| self.fare(query)).collect()))
    }

    /// The rows of the loop's query.
    async fn rows(&mut self, deadline: Instant) -> Result<Rows, ReadError> {
        let CheckedEach { sql, timeout, max_rows, .. } = &*self.plan;
        let Around { table, clock, source, .. } = &*self.around;
        let intake = Box::new(Intake::rows(*max_rows, table.clone(), clock.wall()));
        let work = Work { sql: sql.clone(), timeout: *timeout, parameters: Arc::new([]), intake };
        let done = source.read(Job { works: vec![work], snapshot: false, deadline }).await.pop();
        let done = done.ok_or_else(|| ReadError::new(Reason::Unavailable, "the driver gave nothing back"))?;
        let told = |error: ReadError| ReadError::new(error.reason, format!("for_each: {error}"));
        match done.result {
            // What is wrong with the database is the same for all of its queries.
            Err(error) if matches!(error.reason, Reason::Unavailable | Reason::Corrupt | Reason::Stopped) => Err(error),
            Err(error) => Err(told(error)),
            Ok(()) => Ok(done.intake.into_rows()),
        }
    }

    /// Makes the turns those of these rows; gives those that are no longer among them.
    fn turn_to(&mut self, rows: Rows) -> Result<Vec<Group>, ReadError> {
        let mut attributes = Vec::with_capacity(self.plan.attributes.len());
        for wanted in &self.plan.attributes {
            let Some(column) = rows.columns.iter().position(|column| column == wanted) else {
                let why = format!("for_each: column '{wanted}' not found; it has {}", rows.columns.join(", "));
                return Err(ReadError::new(Reason::Column, why));
            };
            attributes.push((wanted.clone(), column));
        }
        let mut before = std::mem::take(&mut self.turns);
        for cells in rows.cells {
            let turn = before.remove(&cells);
            let turn = turn.unwrap_or_else(|| self.turn(&cells, &attributes));
            self.turns.insert(cells, turn);
        }
        Ok(before.into_values().collect())
    }

    fn turn(&self, cells: &Cells, attributes: &[(Box<str>, usize)]) -> Group {
        let with = attributes.iter().filter_map(|(name, column)| Some((name.clone(), cells.get(*column)?.clone()?)));
        let with: Vec<(Box<str>, Box<str>)> = with.collect();
        let name: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
        let name = name.join(",");
        let queries = self.queries.iter().map(|(index, plan)| {
            let plan = plan.with_attributes(&with);
            let query = QueryAtWork::new(*index, plan, self.on_failure, self.log_sql, self.around.clone());
            query.in_turn(*index, &name, cells.clone())
        });
        Group::new(queries.collect(), self.snapshot, self.around.clone())
    }

    /// All turns of a query together: up when all were, as fresh as the oldest.
    fn fare(&self, query: usize) -> Last {
        let all = self.turns.values().filter_map(|turn| turn.queries.get(query)).map(|query| query.health.last);
        let none = Last { up: true, success: self.around.clock.wall(), ..Last::default() };
        all.fold(none, |sum, last| Last {
            up: sum.up && last.up,
            took: sum.took.max(last.took),
            rows: sum.rows + last.rows,
            success: sum.success.min(last.success),
            skipped: 0,
            part: sum.part,
        })
    }

    /// Ends what all turns hold: another agent reads.
    pub(crate) async fn stand_by(&mut self, deadline: Instant) -> Vec<Collected> {
        let mut collected = Vec::new();
        for mut turn in std::mem::take(&mut self.turns).into_values() {
            collected.extend(turn.end(deadline).await);
        }
        collected
    }
}
