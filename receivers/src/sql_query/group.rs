//! Queries that are read together: one alone, or all of one snapshot.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{join, join_all};
use pipeline::collection::Collected;
use pipeline::{BoxFuture, Stop};
use tokio::time::Instant;

use super::courier::Courier;
use super::each::Each;
use super::health::{Last, Part};
use super::query::QueryAtWork;
use super::schedule::Around;
use super::singleton::Standing;
use super::source::{Done, Job, ReadError, Reason};

/// Queries of one collection.
pub(crate) struct Group {
    pub(crate) queries: Vec<QueryAtWork>,
    snapshot: bool,
    around: Arc<Around>,
    /// A read that did not come back in time. Its queries' series are with it, so nothing else is read before it is back.
    away: Option<BoxFuture<'static, Vec<Done>>>,
    /// When there is a loop, its turns are read, and the queries here stand for all of them.
    each: Option<Each>,
}

/// How long after its deadline a read may come back. Drivers keep deadlines themselves; this is for those that hang, such as in a
/// system call on a dead network drive.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

impl Group {
    pub(crate) fn new(queries: Vec<QueryAtWork>, snapshot: bool, around: Arc<Around>) -> Self {
        Self { queries, snapshot, around, away: None, each: None }
    }

    /// A group whose queries are read once for each row of a loop.
    pub(crate) fn looping(self, each: Each) -> Self {
        Self { each: Some(each), ..self }
    }

    /// How its queries fare.
    pub(crate) fn fare(&self) -> impl Iterator<Item = Last> + '_ {
        self.queries.iter().map(|query| query.health.last)
    }

    /// Reads all queries once and sends what comes of it. `until`: when nobody wants the results any more. A request to stop
    /// interrupts the reading, not the sending.
    pub(crate) async fn collect(&mut self, until: Option<Instant>, stop: &mut Stop) -> Vec<Collected> {
        if self.each.is_some()
            && let Err(standing) = self.lead().await
        {
            return self.stand_by(standing).await;
        }
        if let Some(each) = &mut self.each {
            let (collected, fare) = each.collect(until, stop).await;
            self.judge(fare);
            return collected;
        }
        self.read(until, stop).await
    }

    /// The same for a group without a loop, such as a turn of one.
    pub(crate) async fn read(&mut self, until: Option<Instant>, stop: &mut Stop) -> Vec<Collected> {
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
        let term = match self.lead().await {
            Ok(term) => term,
            Err(standing) => return self.stand_by(standing).await,
        };
        if let Some(Err(error)) = self.queries.iter_mut().map(|query| query.begin(term)).find(Result::is_err) {
            return self.miss(&error).await;
        }
        let deadline = until.unwrap_or_else(|| self.deadline());
        let work = |query: &mut QueryAtWork| query.work(deadline);
        let (works, couriers): (Vec<_>, Vec<_>) = self.queries.iter_mut().map(work).unzip();
        let mut reading = self.around.source.read(Job { works, snapshot: self.snapshot, deadline });
        let (over, ended) = Stop::pair();
        let carrying = couriers.into_iter().map(|courier| courier.carry(ended.clone(), stop.clone()));
        let carrying = join_all(carrying.collect::<Vec<_>>());
        let mut stopping = stop.clone();
        let read = async {
            let read = tokio::select! {
                done = tokio::time::timeout_at(deadline + GRACE, &mut reading) => done.map_err(|_| hangs()),
                () = stopping.requested() => Err(ReadError::new(Reason::Stopped, "the receiver is stopping")),
            };
            over.stop();
            read
        };
        let (done, couriers) = match join(read, carrying).await {
            (Ok(done), couriers) => (done, couriers),
            (Err(error), couriers) => {
                for (query, courier) in self.queries.iter_mut().zip(couriers) {
                    query.give_up(courier, stop).await;
                }
                if error.reason == Reason::Timeout {
                    self.away = Some(reading);
                }
                return self.miss(&error).await;
            }
        };
        // Who was frozen in the middle of it may have been replaced since, and must not send what the other has sent.
        match self.lead().await {
            Ok(still) if still == term => self.finish(done, couriers, deadline, stop).await,
            other => {
                self.queries.iter_mut().zip(done).for_each(|(query, done)| query.take_back(done));
                for (query, courier) in self.queries.iter_mut().zip(couriers) {
                    query.give_up(courier, stop).await;
                }
                self.stand_by(other.err().unwrap_or(Standing::StandsBy)).await
            }
        }
    }

    /// The number of the term in which this agent reads, when it does.
    async fn lead(&mut self) -> Result<u64, Standing> {
        let standing = self.around.seat.standing().await;
        let part = match &standing {
            Standing::Leads(0) => Part::Alone,
            Standing::Leads(_) => Part::Leads,
            Standing::StandsBy => Part::StandsBy,
            Standing::Unknown(_) => Part::Unknown,
        };
        self.queries.iter_mut().for_each(|query| query.health.last.part = part);
        match standing {
            Standing::Leads(term) => Ok(term),
            other => Err(other),
        }
    }

    /// This agent does not read. Another one does: what this one showed of its last read would be stale, so it ends.
    async fn stand_by(&mut self, standing: Standing) -> Vec<Collected> {
        if let Standing::Unknown(error) = standing {
            return self.miss(&error).await;
        }
        let deadline = self.deadline();
        let mut collected = self.end(deadline).await;
        if let Some(each) = &mut self.each {
            collected.extend(each.stand_by(deadline).await);
        }
        collected
    }

    /// With no one waiting, queries may first wait as long for a connection as they may then take.
    fn deadline(&self) -> Instant {
        let together: std::time::Duration = self.queries.iter().map(|query| query.plan.timeout).sum();
        self.around.clock.now() + 2 * together
    }

    async fn finish(
        &mut self,
        done: Vec<Done>,
        couriers: Vec<Courier>,
        deadline: Instant,
        stop: &Stop,
    ) -> Vec<Collected> {
        let mut collected = Vec::with_capacity(self.queries.len());
        let mut done = done.into_iter();
        for (query, courier) in self.queries.iter_mut().zip(couriers) {
            collected.extend(match done.next() {
                Some(done) => query.finish(done, courier, deadline, stop).await,
                None => query.missed(&ReadError::new(Reason::Unavailable, "the thread that read it has ended")).await,
            });
        }
        collected
    }

    /// How the turns of the loop fared.
    fn judge(&mut self, fare: Result<Vec<Last>, ReadError>) {
        match fare {
            Ok(fare) => self.queries.iter_mut().zip(fare).for_each(|(query, last)| {
                let skipped = query.health.last.skipped;
                query.health.last = Last { skipped, part: query.health.last.part, ..last };
                query.health.loop_works();
            }),
            Err(error) => {
                self.queries.iter_mut().for_each(|query| query.health.failed(&error, &Default::default(), 0));
            }
        }
    }

    /// Ends all series of its queries.
    pub(crate) async fn end(&mut self, deadline: Instant) -> Vec<Collected> {
        let mut collected = Vec::with_capacity(self.queries.len());
        for query in &mut self.queries {
            collected.extend(query.end(deadline).await);
        }
        collected
    }

    /// Tells all queries that this kept them from being read.
    pub(crate) async fn miss(&mut self, error: &ReadError) -> Vec<Collected> {
        let mut collected = Vec::with_capacity(self.queries.len());
        for query in &mut self.queries {
            collected.extend(query.missed(error).await);
        }
        collected
    }
}

fn hangs() -> ReadError {
    ReadError::new(Reason::Timeout, "the read did not come back at its deadline; the file may be on a drive that hangs")
}
