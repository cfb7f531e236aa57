//! The connections of one receiver to one database, and who gets which.

mod describe;
mod lock;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipeline::{BoxFuture, Clock};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::trouble::{Asked, TIME_UP, Trouble};
use super::{Connection, Limits, Server};
use crate::sql_query::describe::Description;
use crate::sql_query::singleton::Lock;
use crate::sql_query::source::{Done, Job, ReadError, Reason, Source, Work, refuse};

/// The driver: at most so many connections, opened when they are needed and kept.
pub(crate) struct Pooled<S: Server>(Arc<Pool<S>>);

struct Pool<S: Server> {
    server: S,
    clock: Clock,
    /// How many there are.
    connections: usize,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<S::Connection>>,
    outage: Mutex<Outage>,
    /// Each task that cancels holds a sender and never sends: who stops hears when the last is gone.
    cancelling: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

/// Failures to connect, one after another.
#[derive(Default)]
struct Outage {
    failures: u32,
    /// When to try again, and what to say until then.
    wait: Option<(Instant, ReadError)>,
}

/// A connection at work. Dropped in the middle of it, the server is told to stop.
struct Flight<S: Server> {
    pool: Arc<Pool<S>>,
    connection: Option<S::Connection>,
}

/// An attempt to connect. One that its deadline cuts short is a failure too.
struct Attempt<'a, S: Server> {
    pool: &'a Pool<S>,
    ended: bool,
}

/// Waits between attempts to connect: from, and at most. A database is back for at most so long before it is seen.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// A connection is renewed after this, so that fail-over, new addresses and new passwords are noticed.
const LONGEST_LIFE: Duration = Duration::from_secs(1800);

/// How long it may take to tell a server to stop, and how long stopping waits for that.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

impl<S: Server> Pooled<S> {
    /// A driver that connects when it is first asked to read.
    pub(crate) fn new(server: S, connections: usize, clock: Clock) -> Self {
        Self(Arc::new(Pool {
            server,
            clock,
            connections,
            slots: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
            outage: Mutex::default(),
            cancelling: Mutex::new(Some(mpsc::channel(1))),
        }))
    }
}

impl<S: Server> Source for Pooled<S> {
    fn read(&self, job: Job) -> BoxFuture<'static, Vec<Done>> {
        let pool = self.0.clone();
        Box::pin(async move { pool.read(job).await })
    }

    fn describe(&self, statements: Vec<Arc<str>>, time: Duration) -> BoxFuture<'static, Description> {
        let pool = self.0.clone();
        Box::pin(async move { pool.describe(statements, time).await })
    }

    fn lock(&self, name: &str, lease: Duration) -> Option<Box<dyn Lock>> {
        Some(Box::new(lock::ServerLock::new(self.0.clone(), name, lease)))
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let pool = self.0.clone();
        Box::pin(async move {
            pool.slots.close();
            let idle = std::mem::take(&mut *lock(&pool.idle));
            let cancelling = lock(&pool.cancelling).take();
            let ended = async {
                for connection in idle {
                    connection.close().await;
                }
                if let Some((sender, mut receiver)) = cancelling {
                    drop(sender);
                    receiver.recv().await;
                }
            };
            timeout(CANCEL_TIMEOUT, ended).await.ok();
        })
    }
}

impl<S: Server> Pool<S> {
    async fn read(self: Arc<Self>, mut job: Job) -> Vec<Done> {
        let asked = self.clock.wall();
        let slot = match timeout_at(job.deadline, self.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => slot,
            Ok(Err(_)) => return refuse(job, asked, &ReadError::new(Reason::Stopped, "the receiver is stopping")),
            Err(_) => {
                let all = self.connections;
                let why = format!("no connection became free in time; all {all} are reading (max_open_conn)");
                return refuse(job, asked, &ReadError::new(Reason::Timeout, why));
            }
        };
        let mut flight = Flight { pool: self.clone(), connection: None };
        let start = self.clock.now();
        let first = job.works.first().map_or(Duration::ZERO, |work| work.timeout);
        let session = self.server.session(&job.row);
        let session: Vec<String> = session.into_iter().flatten().collect();
        let until = self.until(start, first, job.deadline);
        let began = timeout_at(until, flight.begin(job.snapshot, &session, start + first, job.deadline)).await;
        let began = began.unwrap_or_else(|_| Err(self.slow_start(flight.connection.is_some())));
        if let Err(error) = began {
            return refuse(job, asked, &error);
        }
        let mut done = Vec::with_capacity(job.works.len());
        let mut broken = None;
        // The first query's time began with the connection.
        let mut start = start;
        for work in job.works.drain(..) {
            let error = broken.clone();
            let one = match error {
                Some(error) => {
                    Done { intake: work.intake, result: Err(error), began: self.clock.wall(), took: Duration::ZERO }
                }
                None => flight.query(work, start, job.deadline, &mut broken).await,
            };
            start = self.clock.now();
            done.push(one);
        }
        flight.land().await;
        drop(slot);
        done
    }

    /// What the server is told: until `end`, and a little before nobody wants the results any more.
    fn limits(&self, now: Instant, end: Instant, deadline: Instant) -> Limits {
        let deadline = deadline - slack(deadline.saturating_duration_since(now));
        Limits::within(end.min(deadline).saturating_duration_since(now))
    }

    /// When we give up ourselves: a little after the server should have, so that it can say why and the connection lives on.
    fn until(&self, start: Instant, time: Duration, deadline: Instant) -> Instant {
        (start + time + slack(time)).min(deadline)
    }

    fn slow_start(&self, connected: bool) -> ReadError {
        let what = if connected { "began no transaction" } else { "let nobody in" };
        ReadError::new(Reason::Timeout, format!("{} {what} before the time was up (timeout)", self.server.shown()))
    }

    /// A connection that was used before, or a new one.
    async fn connection(&self) -> Result<(S::Connection, bool), ReadError> {
        let now = self.clock.now();
        // Bound by statements of their own, so that no lock is held at an await.
        let old = lock(&self.idle).pop();
        match old {
            Some(old) if now.duration_since(old.opened()) < LONGEST_LIFE => return Ok((old, true)),
            Some(old) => old.close().await,
            None => {}
        }
        self.open().await.map(|connection| (connection, false))
    }

    async fn open(&self) -> Result<S::Connection, ReadError> {
        let now = self.clock.now();
        if let Some((until, error)) = &lock(&self.outage).wait
            && now < *until
        {
            return Err(error.clone());
        }
        let mut attempt = Attempt { pool: self, ended: false };
        let opened = self.server.connect(now).await;
        attempt.ended = true;
        let mut outage = lock(&self.outage);
        match opened {
            Ok(connection) => {
                *outage = Outage::default();
                Ok(connection)
            }
            Err(trouble) => {
                let error = trouble.tell(self.asked(""));
                outage.failed(self.clock.now(), error.clone());
                Err(error)
            }
        }
    }

    fn asked<'a>(&'a self, sql: &'a str) -> Asked<'a> {
        Asked { database: self.server.shown(), max_cell_bytes: self.server.max_cell_bytes(), sql }
    }
}

impl Outage {
    /// Doubles the wait, up to a bound, and takes a random half off: agents that lost a database together come back apart.
    fn failed(&mut self, now: Instant, error: ReadError) {
        if self.wait.as_ref().is_some_and(|(until, _)| now < *until) {
            // Attempts that ran side by side are one failure.
            return;
        }
        let most = BACK_OFF.0.saturating_mul(1 << self.failures.min(16)).min(BACK_OFF.1);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(nanos / 2 + RandomState::new().hash_one(self.failures) % (nanos / 2).max(1));
        self.failures = self.failures.saturating_add(1);
        self.wait = Some((now + wait, error));
    }
}

impl<S: Server> Flight<S> {
    /// Connects if need be, and begins. A connection that was lost while it was idle is no failure: a new one is opened.
    async fn begin(
        &mut self,
        snapshot: bool,
        session: &[String],
        end: Instant,
        deadline: Instant,
    ) -> Result<(), ReadError> {
        let pool = self.pool.clone();
        let (connection, used) = pool.connection().await?;
        let limits = pool.limits(pool.clock.now(), end, deadline);
        let begun = self.connection.insert(connection).begin(snapshot, limits, session).await;
        let begun = match begun {
            Err(trouble) if used && trouble.is_lost_connection() => {
                self.connection = None;
                // The others that were idle have most likely been lost with it.
                lock(&pool.idle).clear();
                self.connection.insert(pool.open().await?).begin(snapshot, limits, session).await
            }
            other => other,
        };
        let Err(trouble) = begun else { return Ok(()) };
        let mut error = trouble.tell(pool.asked(""));
        if !session.is_empty() && matches!(trouble, Trouble::Server(_)) && !trouble.breaks() {
            error.why = format!("the transaction could not be begun (session): {}", error.why);
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        Err(error)
    }

    async fn query(&mut self, work: Work, start: Instant, deadline: Instant, broken: &mut Option<ReadError>) -> Done {
        let Work { sql, timeout, mut intake, parameters } = work;
        let pool = self.pool.clone();
        let began = pool.clock.wall();
        let limits = || pool.limits(pool.clock.now(), start + timeout, deadline);
        let until = pool.until(start, timeout, deadline);
        let attempt = async {
            let Some(connection) = &mut self.connection else { return Err(Trouble::Closed) };
            connection.read(&sql, &parameters, &mut intake, began, &limits).await
        };
        let outcome = timeout_at(until, attempt).await;
        let error = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(trouble)) => {
                let recovered = !trouble.breaks() && self.recover(until).await;
                if !recovered {
                    self.abandon();
                    *broken = Some(early_end());
                }
                Some(trouble.tell(pool.asked(&sql)))
            }
            Err(_) => {
                self.abandon();
                *broken = Some(early_end());
                Some(ReadError::new(Reason::Timeout, TIME_UP))
            }
        };
        let took = pool.clock.now().duration_since(start);
        Done { intake, result: error.map_or(Ok(()), Err), began, took }
    }

    async fn recover(&mut self, until: Instant) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let until = until.max(self.pool.clock.now() + Duration::from_millis(100));
        matches!(timeout_at(until, connection.recover()).await, Ok(Ok(())))
    }

    /// Ends the transaction and gives the connection back.
    async fn land(mut self) {
        let Some(connection) = &mut self.connection else { return };
        if matches!(timeout(CANCEL_TIMEOUT, connection.end()).await, Ok(Ok(())))
            && let Some(connection) = self.connection.take()
            && !self.pool.slots.is_closed()
        {
            lock(&self.pool.idle).push(connection);
        }
    }

    /// Gives up whatever the connection is doing. The server hears of it on another connection, because it reads nothing from this
    /// one while it works or waits for a lock.
    fn abandon(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let Some(key) = connection.key() else { return };
        let Some(sender) = lock(&self.pool.cancelling).as_ref().map(|(sender, _)| sender.clone()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let pool = self.pool.clone();
        runtime.spawn(async move {
            if let Ok(Err(trouble)) = timeout(CANCEL_TIMEOUT, pool.server.cancel(&key)).await {
                // Its own limit ends the query all the same.
                tracing::debug!("cancelling failed: {}", trouble.tell(pool.asked("")));
            }
            timeout(CANCEL_TIMEOUT, connection.close()).await.ok();
            drop(sender);
        });
    }
}

impl<S: Server> Drop for Attempt<'_, S> {
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.pool.outage).failed(self.pool.clock.now(), self.pool.slow_start(false));
        }
    }
}

impl<S: Server> Drop for Flight<S> {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Between the server's deadline and ours.
fn slack(time: Duration) -> Duration {
    (time / 20).min(Duration::from_millis(250))
}

fn early_end() -> ReadError {
    ReadError::new(Reason::Unavailable, "the transaction of this collection ended early")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds one of these locks can panic between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_attempts_grow_to_a_bound_and_are_not_all_the_same() {
        let mut now = Instant::now();
        let mut outage = Outage::default();
        let waits: Vec<Duration> = (0..40)
            .map(|_| {
                outage.failed(now, early_end());
                let until = outage.wait.as_ref().unwrap().0;
                let wait = until - now;
                outage.failed(now, early_end());
                now = until;
                wait
            })
            .collect();
        assert!(waits[0] >= BACK_OFF.0 / 2 && waits[0] < BACK_OFF.0);
        assert!(waits[10..].iter().all(|wait| *wait >= BACK_OFF.1 / 2 && *wait < BACK_OFF.1));
        assert!(waits[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }
}
