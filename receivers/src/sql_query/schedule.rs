//! When queries are read: each group by its own interval, or all when a scrape asks.

use std::hash::{DefaultHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use pdata::SeriesTable;
use pipeline::budget::Permit;
use pipeline::collection::{Collected, CollectionDesk, Demand};
use pipeline::state::Ledger;
use pipeline::{Budget, Clock, Meters, Outlet, Stop};
use tokio::time::Instant;

use super::check::{Checked, Pace};
use super::each::Each;
use super::group::Group;
use super::health::DatabaseHealth;
use super::query::QueryAtWork;
use super::singleton::Seat;
use super::source::{ReadError, Reason, Source};
use super::vitals::Vitals;

/// What all queries of a receiver that read one database share.
pub(crate) struct Around {
    /// The receiver's id.
    pub(crate) receiver: Arc<str>,
    /// The name of the database among several.
    pub(crate) target: Option<Arc<str>>,
    pub(crate) clock: Clock,
    pub(crate) table: Arc<SeriesTable>,
    pub(crate) meters: Meters,
    pub(crate) budget: Budget,
    pub(crate) outlet: Outlet,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) database: DatabaseHealth,
    /// Whether this agent may read it.
    pub(crate) seat: Seat,
    /// Keeps cursors, and what new rows add up to.
    pub(crate) ledger: Option<Ledger>,
}

/// The groups of a receiver and their pace.
pub(crate) struct Schedule {
    receiver: Arc<str>,
    clock: Clock,
    pace: Pace,
    groups: Vec<Group>,
    /// One for each group that is read by interval, one for all that are read on demand; none when switched off.
    vitals: Vec<Vitals>,
}

/// Tells the desk when every group has been read once.
struct FirstRound {
    desk: Option<CollectionDesk>,
    open: Mutex<(usize, Vec<Collected>)>,
}

/// A scrape needs the results a little before it gives up, to hand them out: a tenth of what it waits, at most this.
const HAND_OUT: Duration = Duration::from_millis(500);

/// Between attempts to get a share of the byte budget: from, and at most.
const BUDGET_WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

impl Around {
    /// What this is called among its likes of the receiver: `sql_query/x#0`, or `sql_query/x@target#0` where there are targets.
    pub(crate) fn named(&self, what: &str) -> String {
        match &self.target {
            Some(target) => format!("{}@{target}#{what}", self.receiver),
            None => format!("{}#{what}", self.receiver),
        }
    }

    /// Where the sequence of a source begins: above that of any earlier receiver with the same name, in this process or before
    /// a reload, because reads are slower than nanoseconds.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.clock.wall().0
    }

    /// A share of the byte budget, waited for until the deadline.
    pub(crate) async fn permit(&self, bytes: usize, deadline: Instant) -> Result<Permit, ReadError> {
        let mut wait = BUDGET_WAIT.0;
        loop {
            match self.budget.take(bytes) {
                Ok(permit) => return Ok(permit),
                Err(refusal) if self.clock.now() + wait >= deadline => {
                    return Err(ReadError::new(Reason::Limit, refusal.to_string()));
                }
                Err(_) => self.clock.sleep(wait).await,
            }
            wait = (wait * 2).min(BUDGET_WAIT.1);
        }
    }
}

impl Schedule {
    /// For each of `arounds`, in the order of the targets, all queries.
    pub(crate) fn new(checked: Checked, arounds: Vec<Around>) -> Self {
        let Checked { pace, snapshot, on_failure, self_metrics, log_sql, queries, targets, for_each, .. } = checked;
        let mut groups: Vec<Vec<(usize, QueryAtWork)>> = Vec::new();
        for (around, target) in arounds.into_iter().map(Arc::new).zip(&targets) {
            // Only the groups of this database are looked through: a snapshot is one of one database.
            let others = groups.len();
            for (index, plan) in queries.iter().enumerate() {
                let plan = plan.at(target);
                let together = |group: &&mut Vec<(usize, QueryAtWork)>| {
                    // By interval, one snapshot holds the queries that are due together: those of one interval. So does a turn of
                    // a loop.
                    (snapshot || for_each.is_some())
                        && (matches!(pace, Pace::OnScrape { .. }) || group[0].1.plan.interval == plan.interval)
                };
                let known = groups[others..].iter_mut().find(together);
                let query = (index, QueryAtWork::new(index, plan, on_failure, log_sql, around.clone(), None));
                match known {
                    Some(group) => group.push(query),
                    None => groups.push(vec![query]),
                }
            }
        }
        let (receiver, clock) = match groups.first().and_then(|group| group.first()) {
            Some((_, query)) => (query.around.receiver.clone(), query.around.clock.clone()),
            // A section without queries or targets is a problem, so this is never run.
            None => (Arc::from(""), Clock::system()),
        };
        let vitals = |suffix: &str, groups: &[Vec<(usize, QueryAtWork)>]| {
            let around = groups[0][0].1.around.clone();
            let queries = groups.iter().flatten().map(|(_, query)| query);
            // All queries of one source share its name, whichever databases they read.
            let name = if suffix.is_empty() { format!("{receiver}#up") } else { around.named(&format!("up/{suffix}")) };
            Vitals::new(name, queries, around)
        };
        let vitals = match pace {
            _ if !self_metrics || groups.is_empty() => Vec::new(),
            Pace::OnScrape { .. } => vec![vitals("", &groups)],
            Pace::Interval { .. } => groups.chunks(1).map(|group| vitals(&group[0][0].0.to_string(), group)).collect(),
        };
        let group = |queries: Vec<(usize, QueryAtWork)>| {
            let around = queries[0].1.around.clone();
            let plans = queries.iter().map(|(index, query)| (*index, query.plan.clone())).collect();
            let each = for_each.clone();
            let each = each.map(|each| Each::new(each, plans, snapshot, on_failure, log_sql, around.clone()));
            let group = Group::new(queries.into_iter().map(|(_, query)| query).collect(), snapshot, around);
            match each {
                Some(each) => group.looping(each),
                None => group,
            }
        };
        let groups = groups.into_iter().map(group).collect();
        Self { receiver, clock, pace, groups, vitals }
    }

    /// Reads until asked to stop.
    pub(crate) async fn run(self, desk: Option<CollectionDesk>, stop: Stop) {
        match self.pace {
            Pace::Interval { initial_delay } => self.by_interval(initial_delay, desk, stop).await,
            Pace::OnScrape { min_interval } => self.on_demand(min_interval, desk, stop).await,
        }
    }

    async fn by_interval(self, initial_delay: Duration, desk: Option<CollectionDesk>, stop: Stop) {
        if self.groups.is_empty() {
            // Run once, without the queries that track.
            if let Some(desk) = &desk {
                desk.first_round_done(Vec::new());
            }
            let mut stop = stop;
            return stop.requested().await;
        }
        let first = FirstRound { desk, open: Mutex::new((self.groups.len(), Vec::new())) };
        let first = &first;
        let mut vitals = self.vitals.into_iter().map(Some).collect::<Vec<_>>();
        vitals.resize_with(self.groups.len(), || None);
        let tasks = self.groups.into_iter().zip(vitals).enumerate().map(|(index, (group, vitals))| {
            let interval = group.queries[0].plan.interval;
            // The place among all groups, targets included: the same query of many databases is not read at one moment.
            let pace = Ticks::new(&self.receiver, index, interval);
            every(group, vitals, pace, initial_delay, self.clock.clone(), first, stop.clone())
        });
        // One task for all of them: reading happens on the driver's threads, and what is left is small.
        join_all(tasks).await;
    }

    async fn on_demand(mut self, min_interval: Duration, desk: Option<CollectionDesk>, mut stop: Stop) {
        let Some(mut desk) = desk else { return stop.requested().await };
        let mut last: Option<(Instant, Vec<Collected>)> = None;
        loop {
            let demands = tokio::select! {
                demands = desk.demanded() => demands,
                () = stop.requested() => return,
            };
            if demands.is_empty() {
                tracing::warn!(receiver = %self.receiver, "no endpoint asks for collections: this receiver will not read");
                return stop.requested().await;
            }
            let began = self.clock.now();
            if let Some((last, collected)) = &last
                && began.duration_since(*last) < min_interval
            {
                demands.into_iter().for_each(|demand| demand.answer(collected.clone()));
                continue;
            }
            let collected = self.collect(&demands, began, &mut stop).await;
            desk.first_round_done(collected.clone());
            last = Some((began, collected.clone()));
            demands.into_iter().for_each(|demand| demand.answer(collected.clone()));
        }
    }

    /// One read of everything for all who wait.
    async fn collect(&mut self, demands: &[Demand], now: Instant, stop: &mut Stop) -> Vec<Collected> {
        // The most patient one sets the deadline: the others have given up by then and lose nothing.
        let patience = demands.iter().map(|demand| demand.remaining(now)).max().unwrap_or_default();
        let until = now + (patience - (patience / 10).min(HAND_OUT));
        let reads = self.groups.iter_mut().map(|group| {
            let mut stop = stop.clone();
            async move { group.collect(Some(until), &mut stop).await }
        });
        let mut collected: Vec<_> = join_all(reads).await.into_iter().flatten().collect();
        if let Some(vitals) = self.vitals.first_mut() {
            collected.extend(vitals.send(self.groups.iter().flat_map(Group::fare).collect()).await);
        }
        collected
    }
}

/// Reads one group at every tick of its interval.
async fn every(
    mut group: Group,
    mut vitals: Option<Vitals>,
    mut ticks: Ticks,
    initial_delay: Duration,
    clock: Clock,
    first: &FirstRound,
    mut stop: Stop,
) {
    if !wait_until(clock.now() + initial_delay, &mut stop).await {
        return;
    }
    ticks.begin(clock.now());
    let mut told = false;
    loop {
        let mut collected = group.collect(None, &mut stop).await;
        let (next, skipped) = ticks.next(clock.now());
        group.queries.iter_mut().for_each(|query| query.health.skipped(skipped));
        if let Some(vitals) = &mut vitals {
            collected.extend(vitals.send(group.fare().collect()).await);
        }
        if !std::mem::replace(&mut told, true) {
            first.done(collected);
        }
        if !wait_until(next, &mut stop).await {
            return;
        }
    }
}

/// Whether the time came before the request to stop.
async fn wait_until(time: Instant, stop: &mut Stop) -> bool {
    tokio::select! {
        biased;
        () = stop.requested() => false,
        () = tokio::time::sleep_until(time) => true,
    }
}

/// The ticks of an interval. The first read comes at once, so that the endpoint has something to show; the ticks after it stand on a
/// phase of their own, so that many queries with one interval do not all read at the same moment.
struct Ticks {
    interval: Duration,
    phase: Duration,
    next: Option<Instant>,
}

impl Ticks {
    fn new(receiver: &str, index: usize, interval: Duration) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(receiver.as_bytes());
        hasher.write_usize(index);
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        // Never less than half an interval after the first read: two reads in a row would help nobody.
        let phase = Duration::from_nanos(nanos / 2 + hasher.finish() % nanos.div_ceil(2));
        Self { interval, phase, next: None }
    }

    fn begin(&mut self, now: Instant) {
        self.next = Some(now + self.phase);
    }

    /// The next tick after `now`, and how many have passed since the last one that was given.
    fn next(&mut self, now: Instant) -> (Instant, u64) {
        let due = self.next.unwrap_or(now + self.phase);
        let late = now.saturating_duration_since(due).as_nanos();
        let passed = if now < due { 0 } else { late / self.interval.as_nanos().max(1) + 1 };
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let next = due + self.interval * passed;
        self.next = Some(next + self.interval);
        (next, u64::from(passed))
    }
}

impl FirstRound {
    /// One group has been read for the first time.
    fn done(&self, collected: Vec<Collected>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        open.1.extend(collected);
        if let (0, Some(desk)) = (open.0, &self.desk) {
            desk.first_round_done(std::mem::take(&mut open.1));
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sql-sqlite")]
impl Schedule {
    /// How many queries each group has.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.queries.len()).collect()
    }
}
