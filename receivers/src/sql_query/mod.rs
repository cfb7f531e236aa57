//! Receiver `sql_query`: reads databases with SQL and makes points and log records of the rows.
//!
//! ```yaml
//! driver: sqlite
//! datasource: /data/inventory.db
//! queries:
//!   - sql: select name, count(*) as n from services group by name
//!     metrics:
//!       - metric_name: services
//!         value_column: n
//!         attribute_columns: [name]
//! ```
//!
//! Keys, defaults and messages are those of the OpenTelemetry Collector's `sqlquery` receiver; `docs/receivers/sql_query.md` lists
//! what weir adds. One query of one receiver is one source: each read of it is a collection with a sequence number.

pub(crate) mod check;
mod check_connected;
mod check_counted;
mod check_database;
mod check_metric;
mod check_singleton;
mod check_track;
mod counting;
mod courier;
mod describe;
pub(crate) mod driver;
mod each;
mod group;
mod health;
pub(crate) mod intake;
#[cfg(feature = "sql-mysql")]
mod mysql;
mod pages;
#[cfg(feature = "sql-postgres")]
mod postgres;
mod query;
mod schedule;
#[cfg(feature = "sql-server")]
mod server;
mod settings;
mod singleton;
pub(crate) mod source;
#[cfg(feature = "sql-sqlite")]
pub(crate) mod sqlite;
mod track;
mod vitals;
#[cfg(feature = "sql-server")]
mod want;

use std::sync::Arc;
use std::time::Duration;

use config::{ComponentId, Problems, Section};
use futures_util::future::{join, join_all};
use pipeline::state::{Ledger, LedgerOptions};
use pipeline::{
    BoxFuture, BuildContext, Claim, Collects, Factory, Fault, Outlet, Plan, Planned, Receiver, Signals, Stop,
};

use self::check::{Checked, CheckedQuery, Pace};
use self::check_singleton::{Contest, LockPlace};
use self::schedule::{Around, Schedule};
use self::singleton::{FileLock, Keeper, Lock, Seat};
use crate::events::{self, Emission, Ways};

/// How often changes of what new rows add up to are sent.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "sql_query",
    aliases: &[],
    about: "Reads databases with SQL (SQLite, PostgreSQL, MySQL, MariaDB) by interval or on every scrape",
    plan,
    schema: || schemars::schema_for!(settings::Settings),
};

fn plan(section: &Section) -> Planned<dyn Receiver> {
    Ok(Box::new(SqlPlan { checked: check::check(section)?, section: section.clone() }))
}

struct SqlPlan {
    checked: Checked,
    /// Where things stand, for what only the databases can tell.
    section: Section,
}

impl Plan<dyn Receiver> for SqlPlan {
    fn signals(&self) -> Signals {
        let has_logs = self.checked.queries.iter().any(|query| !query.logs.is_empty());
        let makes_points = |query: &CheckedQuery| !query.metrics.metrics.is_empty() || !query.counted.is_empty();
        let has_metrics = self.checked.self_metrics || self.checked.queries.iter().any(makes_points);
        match (has_metrics, has_logs) {
            (true, true) => Signals::METRICS.with(Signals::LOGS),
            (false, true) => Signals::LOGS,
            _ => Signals::METRICS,
        }
    }

    fn collects(&self) -> Collects {
        match self.checked.pace {
            Pace::Interval { .. } => Collects::Interval,
            Pace::OnScrape { .. } => Collects::OnDemand,
        }
    }

    fn claims(&self) -> Vec<Claim> {
        let locks = self.checked.contest.iter().flat_map(|contest| &contest.locks);
        let file = |lock: &LockPlace| match lock {
            LockPlace::File(path) => Some(Claim::Path(path.clone())),
            LockPlace::Database(_) => None,
        };
        locks.filter_map(file).collect()
    }

    fn storage(&self) -> Option<ComponentId> {
        self.checked.storage.clone()
    }

    fn warnings(&self) -> Problems {
        self.checked.warnings.clone()
    }

    fn connect(&self, time: Duration) -> Option<BoxFuture<'static, Problems>> {
        Some(Box::pin(check_connected::check(self.section.clone(), self.checked.clone(), time)))
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        Ok(Box::new(SqlQuery { checked: self.checked, context }))
    }
}

/// How often opening a ledger may fail that no other process seems to hold.
const OPEN_TRIES: u32 = 3;

/// The receiver.
struct SqlQuery {
    checked: Checked,
    context: BuildContext,
}

impl Receiver for SqlQuery {
    fn run(self: Box<Self>, outlet: Outlet, stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        let Self { checked, context } = *self;
        Box::pin(async move {
            let open = |target| driver::open(&checked, target, context.clock.clone());
            let sources = checked.targets.iter().map(open).collect();
            run(checked, context, sources, outlet, stop).await
        })
    }
}

/// Runs a receiver on any sources, one for each of its targets.
async fn run(
    checked: Checked,
    context: BuildContext,
    sources: Vec<Arc<dyn source::Source>>,
    outlet: Outlet,
    stop: Stop,
) -> Result<(), Fault> {
    let checked = if context.once { without_tracking(checked, &context.id.to_string()) } else { checked };
    let Some(ledger) = ledger_in_turn(&checked, &context, &mut stop.clone()).await? else { return Ok(()) };
    let (keepers, seats): (Vec<_>, Vec<_>) = contend(&checked, &context, &sources).into_iter().unzip();
    let BuildContext { id, clock, table, meters, budget, desk, .. } = context;
    let seats = seats.into_iter().chain(std::iter::repeat_with(Seat::default));
    let around = |((source, target), seat): ((&Arc<dyn source::Source>, &check::Target), Seat)| Around {
        receiver: id.to_string().into(),
        target: target.name.clone(),
        clock: clock.clone(),
        table: table.clone(),
        meters: meters.clone(),
        budget: budget.clone(),
        outlet: outlet.clone(),
        source: source.clone(),
        database: health::DatabaseHealth::default(),
        seat,
        ledger: ledger.clone(),
    };
    let arounds = sources.iter().zip(&checked.targets).zip(seats).map(around).collect();
    let counts = checked.queries.iter().any(|query| !query.counted.is_empty());
    let emission = ledger.clone().filter(|_| counts).map(|ledger| {
        let ways = Ways { clock: clock.clone(), table: table.clone(), budget: budget.clone(), outlet: outlet.clone() };
        Emission::new(&id.to_string(), ledger, ways, FLUSH_INTERVAL)
    });
    let (stopper, read) = Stop::pair();
    let reading = async {
        emitting(Schedule::new(checked, arounds).run(desk, stop), emission).await;
        // Only now: what is read to its end is still covered by the lock.
        stopper.stop();
    };
    join(reading, join_all(keepers.into_iter().map(|keeper| keeper.keep(read.clone())))).await;
    join_all(sources.iter().map(|source| source.close())).await;
    Ok(())
}

/// A keeper and a seat for each target, in order; none when this agent reads whoever else does.
fn contend(checked: &Checked, context: &BuildContext, sources: &[Arc<dyn source::Source>]) -> Vec<(Keeper, Seat)> {
    // A single look changes nothing and is sent nowhere.
    let contest = checked.contest.as_ref().filter(|_| !context.once);
    let Some(Contest { lease, locks }) = contest else { return Vec::new() };
    let BuildContext { id, clock, meters, .. } = context;
    let keeper = |((source, target), place): ((&Arc<dyn source::Source>, &check::Target), &LockPlace)| {
        let lock: Box<dyn Lock> = match place {
            LockPlace::File(path) => Box::new(FileLock::new(path.clone())),
            LockPlace::Database(name) => source.lock(name, *lease)?,
        };
        Some(Keeper::new(lock, *lease, clock.clone(), meters, id.to_string().into(), target.name.clone()))
    };
    sources.iter().zip(&checked.targets).zip(locks).filter_map(keeper).collect()
}

/// Reads to the end, and meanwhile tells what new rows add up to.
async fn emitting(reading: impl Future<Output = ()>, emission: Option<Emission>) {
    let Some(mut emission) = emission else { return reading.await };
    tokio::select! {
        () = reading => {}
        () = emission.run(None) => unreachable!("emission never ends"),
    }
    emission.flush().await;
}

/// The ledger, if there is a folder for it. Of several agents that share the folder one has it, and the others wait before they contend
/// for the databases: who led without it would read again what has been read. `None`: asked to stop meanwhile.
async fn ledger_in_turn(
    checked: &Checked,
    context: &BuildContext,
    stop: &mut Stop,
) -> Result<Option<Option<Ledger>>, Fault> {
    let shared = context.state.as_deref().filter(|_| checked.contest.is_some() && !context.once);
    let Some(folder) = shared else { return open_ledger(context).await.map(Some) };
    let mut told = false;
    // An agent that only looks may be in the way of one that opens, for a moment.
    let mut tries = OPEN_TRIES;
    loop {
        if !Ledger::is_held(folder) {
            match open_ledger(context).await {
                Err(_) if tries > 0 => tries -= 1,
                opened => return opened.map(Some),
            }
        } else {
            // Who opened it a moment before this agent is no failure.
            tries = OPEN_TRIES;
            if !std::mem::replace(&mut told, true) {
                let (receiver, folder) = (&context.id, folder.display());
                tracing::info!(%receiver, "another agent has the ledger in {folder}; this one stands by (singleton)");
            }
        }
        tokio::select! {
            () = context.clock.sleep(singleton::TRY) => {}
            () = stop.requested() => return Ok(None),
        }
    }
}

/// Opens the ledger when there is a folder for it. Run once, nothing is remembered.
async fn open_ledger(context: &BuildContext) -> Result<Option<Ledger>, Fault> {
    let Some(folder) = context.state.clone().filter(|_| !context.once) else { return Ok(None) };
    events::open_ledger(Some(folder), LedgerOptions::default(), context).await.map(Some)
}

/// Queries that track have nowhere to begin in a run that remembers nothing: all of their rows would be new.
fn without_tracking(mut checked: Checked, id: &str) -> Checked {
    let all = checked.queries.len();
    checked.queries.retain(|query| query.tracking.is_none());
    if checked.queries.len() < all {
        tracing::warn!(receiver = id, "queries with 'tracking_column' are not read: run once, no cursor moves");
    }
    checked
}

#[cfg(test)]
#[cfg(feature = "sql-sqlite")]
mod tests;
