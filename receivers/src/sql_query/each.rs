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
use super::query::{QueryAtWork, Turn};
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
        let done = source.read(Job { works: vec![work], row: Arc::default(), snapshot: false, deadline }).await.pop();
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
        let attributes = places(&self.plan.attributes, &rows.columns)?;
        let key = places(&self.plan.key, &rows.columns)?;
        let tracks = self.queries.iter().any(|(_, query)| query.tracking.is_some());
        let mut keys = BTreeMap::new();
        for cells in rows.cells.iter().filter(|_| tracks) {
            let key = written_key(cells, &key);
            // Two readers of one cursor would take rows from each other.
            if keys.insert(key.clone(), cells).is_some_and(|other| other != cells) {
                let why = format!("for_each: two rows have the key {key} (key_columns)");
                return Err(ReadError::new(Reason::Data, why));
            }
        }
        let mut before = std::mem::take(&mut self.turns);
        for cells in rows.cells {
            let turn = before.remove(&cells);
            let turn = turn.unwrap_or_else(|| self.turn(&cells, &attributes, written_key(&cells, &key)));
            self.turns.insert(cells, turn);
        }
        Ok(before.into_values().collect())
    }

    fn turn(&self, cells: &Cells, attributes: &[(Box<str>, usize)], key: String) -> Group {
        let with = attributes.iter().filter_map(|(name, column)| Some((name.clone(), cells.get(*column)?.clone()?)));
        let with: Vec<(Box<str>, Box<str>)> = with.collect();
        let name: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
        let turn = Turn { name: name.join(","), key, row: cells.clone() };
        let queries = self.queries.iter().map(|(index, plan)| {
            let plan = plan.with_attributes(&with);
            QueryAtWork::new(*index, plan, self.on_failure, self.log_sql, self.around.clone(), Some(&turn))
        });
        Group::new(queries.collect(), self.snapshot, self.around.clone()).in_turn_of(cells.clone())
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

/// Where columns stand in the rows of a loop.
fn places(wanted: &[Box<str>], columns: &[Box<str>]) -> Result<Vec<(Box<str>, usize)>, ReadError> {
    let mut places = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let Some(place) = columns.iter().position(|column| column == wanted) else {
            let why = format!("for_each: column '{wanted}' not found; it has {}", columns.join(", "));
            return Err(ReadError::new(Reason::Column, why));
        };
        places.push((wanted.clone(), place));
    }
    Ok(places)
}

/// What a cursor is called after, such as `["7","acme"]`: as JSON, because no two rows are written alike. A long one by its beginning and
/// a digest, since a ledger bounds the names of cursors.
fn written_key(cells: &Cells, key: &[(Box<str>, usize)]) -> String {
    let named: Vec<_> = key.iter().map(|(_, column)| cells.get(*column)).collect();
    let key: Vec<_> = if named.is_empty() { cells.iter().map(Some).collect() } else { named };
    let key: Vec<Option<&str>> = key.into_iter().map(|cell| cell.and_then(|cell| cell.as_deref())).collect();
    let written = serde_json::to_string(&key).unwrap_or_default();
    if written.len() <= KEY_BYTES {
        return written;
    }
    let [high, low] = KEYS.fingerprint(written.as_bytes()).0;
    let begin: String = written.chars().take(KEY_BYTES / 8).collect();
    format!("{begin}…{high:016x}{low:016x}]")
}

/// A cursor's name has at most 256 bytes: this, the query's and the target's.
const KEY_BYTES: usize = 128;

/// The same in every process: cursors outlive it.
const KEYS: pdata::Seed = pdata::Seed::from_bytes(*b"weir loop rows  ");

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Cells {
        cells.iter().map(|cell| cell.map(Box::from)).collect()
    }

    #[test]
    fn no_two_rows_have_one_key_and_none_is_too_long() {
        let first = [("id".into(), 0)];
        assert_eq!(written_key(&row(&[Some("7"), Some("a,b"), None]), &[]), r#"["7","a,b",null]"#);
        assert_eq!(written_key(&row(&[Some("7"), Some("renamed")]), &first), r#"["7"]"#);
        let long = |end: &str| written_key(&row(&[Some(&("日".repeat(1000) + end))]), &[]);
        assert!(long("a").len() <= KEY_BYTES && long("a") != long("b"), "{}", long("a"));
        assert_eq!(long("a"), long("a"));
        let rows = [vec![Some("a,b")], vec![Some("a"), Some("b")], vec![Some("null")], vec![None], vec![Some("")]];
        let keys: std::collections::BTreeSet<_> = rows.iter().map(|cells| written_key(&row(cells), &[])).collect();
        assert_eq!(keys.len(), rows.len());
    }
}
