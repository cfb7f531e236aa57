//! Queries that are read together: one alone, or all of one snapshot.

use std::sync::Arc;

use futures_util::FutureExt;
use pipeline::collection::Collected;
use pipeline::{BoxFuture, Stop};
use tokio::time::Instant;

use super::health::Last;
use super::query::QueryAtWork;
use super::schedule::Around;
use super::source::{Done, Job, ReadError, Reason};

/// Queries of one collection.
pub(crate) struct Group {
    pub(crate) queries: Vec<QueryAtWork>,
    snapshot: bool,
    around: Arc<Around>,
    /// A read that did not come back in time. Its queries' series are with it, so nothing else is read before it is back.
    away: Option<BoxFuture<'static, Vec<Done>>>,
}

/// How long after its deadline a read may come back. Drivers keep deadlines themselves; this is for those that hang, such as in a
/// system call on a dead network drive.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

impl Group {
    pub(crate) fn new(queries: Vec<QueryAtWork>, snapshot: bool, around: Arc<Around>) -> Self {
        Self { queries, snapshot, around, away: None }
    }

    /// How its queries fare.
    pub(crate) fn fare(&self) -> impl Iterator<Item = Last> + '_ {
        self.queries.iter().map(|query| query.health.last)
    }

    /// Reads all queries once and sends what comes of it. `until`: when nobody wants the results any more. A request to stop
    /// interrupts the reading, not the sending.
    pub(crate) async fn collect(&mut self, until: Option<Instant>, stop: &mut Stop) -> Vec<Collected> {
        if let Some(away) = &mut self.away {
            match away.now_or_never() {
                None => {
                    let why = "the last read of this query has not come back yet";
                    return self.miss(&ReadError::new(Reason::Timeout, why)).await;
                }
                Some(done) => self.queries.iter_mut().zip(done).for_each(|(query, done)| query.take_back(done)),
            }
            self.away = None;
        }
        let deadline = until.unwrap_or_else(|| self.deadline());
        let works = self.queries.iter_mut().map(QueryAtWork::work).collect();
        let mut reading = self.around.source.read(Job { works, snapshot: self.snapshot, deadline });
        let done = tokio::select! {
            done = tokio::time::timeout_at(deadline + GRACE, &mut reading) => done,
            () = stop.requested() => return self.miss(&ReadError::new(Reason::Stopped, "the receiver is stopping")).await,
        };
        let Ok(done) = done else {
            self.away = Some(reading);
            let why = "the read did not come back at its deadline; the file may be on a drive that hangs";
            return self.miss(&ReadError::new(Reason::Timeout, why)).await;
        };
        self.finish(done, deadline).await
    }

    /// With no one waiting, queries may first wait as long for a connection as they may then take.
    fn deadline(&self) -> Instant {
        let together: std::time::Duration = self.queries.iter().map(|query| query.plan.timeout).sum();
        self.around.clock.now() + 2 * together
    }

    async fn finish(&mut self, done: Vec<Done>, deadline: Instant) -> Vec<Collected> {
        let mut collected = Vec::with_capacity(self.queries.len());
        let mut done = done.into_iter();
        for query in &mut self.queries {
            collected.extend(match done.next() {
                Some(done) => query.finish(done, deadline).await,
                None => query.missed(&ReadError::new(Reason::Unavailable, "the thread that read it has ended")).await,
            });
        }
        collected
    }

    async fn miss(&mut self, error: &ReadError) -> Vec<Collected> {
        let mut collected = Vec::with_capacity(self.queries.len());
        for query in &mut self.queries {
            collected.extend(query.missed(error).await);
        }
        collected
    }
}
