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
use super::intake::Cells;
use super::query::QueryAtWork;
use super::schedule::Around;
use super::singleton::Standing;
use super::source::{Done, Job, ReadError, Reason};

/// Queries of one collection.
pub(crate) struct Group {
    pub(crate) queries: Vec<QueryAtWork>,
    snapshot: bool,
    /// The loop's row in whose turn they are read.
    row: Cells,
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
        Self { queries, snapshot, row: Cells::default(), around, away: None, each: None }
    }

    /// The same in the turn of this row of a loop.
    pub(crate) fn in_turn_of(self, row: Cells) -> Self {
        Self { row, ..self }
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
                Some(done) => self.fit().zip(done).for_each(|(query, done)| query.take_back(done)),
            }
            self.away = None;
        }
        let term = match self.lead().await {
            Ok(term) => term,
            Err(standing) => return self.stand_by(standing).await,
        };
        let mut collected = self.begin(term).await;
        if self.fit().next().is_none() {
            return collected;
        }
        let deadline = until.unwrap_or_else(|| self.deadline());
        let work = |query: &mut QueryAtWork| query.work(deadline);
        let (works, couriers): (Vec<_>, Vec<_>) = self.fit().map(work).unzip();
        let job = Job { works, row: self.row.clone(), snapshot: self.snapshot, deadline };
        let mut reading = self.around.source.read(job);
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
                self.give_up(couriers, stop).await;
                if error.reason == Reason::Timeout {
                    self.away = Some(reading);
                }
                for query in self.fit() {
                    collected.extend(query.missed(&error).await);
                }
                return collected;
            }
        };
        // Who was frozen in the middle of it may have been replaced since, and must not send what the other has sent.
        match self.lead().await {
            Ok(still) if still == term => collected.extend(self.finish(done, couriers, deadline, stop).await),
            other => {
                self.fit().zip(done).for_each(|(query, done)| query.take_back(done));
                self.give_up(couriers, stop).await;
                collected.extend(self.stand_by(other.err().unwrap_or(Standing::StandsBy)).await);
            }
        }
        collected
    }

    /// The queries that have a part in the read at hand.
    fn fit(&mut self) -> impl Iterator<Item = &mut QueryAtWork> {
        self.queries.iter_mut().filter(|query| query.fit)
    }

    /// Has all queries find out where they begin. One that cannot is told, and not read; the others are.
    async fn begin(&mut self, term: u64) -> Vec<Collected> {
        let mut collected = Vec::new();
        for query in &mut self.queries {
            let begun = query.begin(term);
            query.fit = begun.is_ok();
            if let Err(error) = begun {
                collected.extend(query.missed(&error).await);
            }
        }
        collected
    }

    /// What is under way of a read that is given up still counts.
    async fn give_up(&mut self, couriers: Vec<Courier>, stop: &Stop) {
        for (query, courier) in self.fit().zip(couriers) {
            query.give_up(courier, stop).await;
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
        let mut done = done.into_iter();
        // Side by side: one that waits for its destinations keeps no other from sending what it has.
        let finishing = self.fit().zip(couriers).map(|(query, courier)| {
            let done = done.next();
            async move {
                match done {
                    Some(done) => query.finish(done, courier, deadline, stop).await,
                    None => {
                        let error = ReadError::new(Reason::Unavailable, "the thread that read it has ended");
                        query.missed(&error).await
                    }
                }
            }
        });
        let finishing: Vec<_> = finishing.collect();
        join_all(finishing).await.into_iter().flatten().collect()
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
