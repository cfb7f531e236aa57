//! The threads of one receiver, and who gets which.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use pipeline::{BoxFuture, Clock};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::connection::{Connection, Settings};
use super::describe;
use super::watch::Watch;
use crate::sql_query::describe::Description;
use crate::sql_query::source::{Done, Job, ReadError, Reason, Source, Work, refuse};

/// The driver: at most `max` threads, each with a connection.
pub(crate) struct Sqlite(Arc<Pool>);

struct Pool {
    settings: Arc<Settings>,
    clock: Clock,
    max: usize,
    started: AtomicUsize,
    jobs: AtomicU64,
    /// Workers that have nothing to do; `free` counts them.
    idle: Mutex<Vec<Worker>>,
    free: Semaphore,
    /// Each thread holds a sender and never sends: the receiver hears when the last is gone.
    ended: Mutex<Option<tokio::sync::mpsc::Receiver<()>>>,
    ending: Mutex<Option<tokio::sync::mpsc::Sender<()>>>,
}

/// One thread.
struct Worker {
    jobs: mpsc::SyncSender<Order>,
    watch: Watch,
}

struct Order {
    number: u64,
    job: Job,
    reply: oneshot::Sender<Vec<Done>>,
}

/// A worker on loan. Giving it back cancels what it was asked for, which is nothing when it has answered.
struct Loan {
    pool: Arc<Pool>,
    worker: Option<Worker>,
    number: u64,
}

/// How long a read waits for a busy connection before it opens another: longer than a quick query takes, so that twenty quick
/// queries share one connection's memory, and shorter than anybody notices behind a slow one.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long stopping waits for threads whose query has just been interrupted.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

impl Sqlite {
    /// A driver that opens the database when it is first read.
    pub(crate) fn new(path: std::path::PathBuf, max_cell_bytes: u64, queries: usize, max: usize, clock: Clock) -> Self {
        let (ending, ended) = tokio::sync::mpsc::channel(1);
        Self(Arc::new(Pool {
            settings: Arc::new(Settings { path, max_cell_bytes, statements: queries }),
            clock,
            max,
            started: AtomicUsize::new(0),
            jobs: AtomicU64::new(0),
            idle: Mutex::default(),
            free: Semaphore::new(0),
            ended: Mutex::new(Some(ended)),
            ending: Mutex::new(Some(ending)),
        }))
    }
}

#[cfg(test)]
impl Sqlite {
    /// Threads that were started.
    pub(super) fn started(&self) -> usize {
        self.0.started.load(Ordering::Acquire)
    }
}

impl Source for Sqlite {
    fn read(&self, job: Job) -> BoxFuture<'static, Vec<Done>> {
        let pool = self.0.clone();
        Box::pin(async move { pool.read(job).await })
    }

    fn describe(&self, statements: Vec<Arc<str>>, time: Duration) -> BoxFuture<'static, Description> {
        let (settings, clock) = (self.0.settings.clone(), self.0.clock.clone());
        Box::pin(async move { describe::describe(settings, &clock, statements, time).await })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let pool = self.0.clone();
        Box::pin(async move {
            pool.free.close();
            lock(&pool.idle).clear();
            lock(&pool.ending).take();
            let ended = lock(&pool.ended).take();
            if let Some(mut ended) = ended {
                // A thread that hangs in a system call cannot be joined; it goes with the process.
                tokio::time::timeout(JOIN_TIMEOUT, ended.recv()).await.ok();
            }
        })
    }
}

impl Pool {
    async fn read(self: Arc<Self>, job: Job) -> Vec<Done> {
        let asked = self.clock.wall();
        let deadline = job.deadline;
        let worker = match tokio::time::timeout_at(deadline, self.worker()).await {
            Ok(Ok(worker)) => worker,
            Ok(Err(error)) => return refuse(job, asked, &error),
            Err(_) => {
                let why = format!("no connection became free in time; all {} are reading (max_open_conn)", self.max);
                return refuse(job, asked, &ReadError::new(Reason::Timeout, why));
            }
        };
        let number = self.jobs.fetch_add(1, Ordering::Relaxed) + 1;
        let (reply, answer) = oneshot::channel();
        let loan = Loan { pool: self.clone(), worker: Some(worker), number };
        let order = Order { number, job, reply };
        let sent = loan.worker.as_ref().map(|worker| worker.jobs.try_send(order));
        if let Some(Err(mpsc::TrySendError::Full(order) | mpsc::TrySendError::Disconnected(order))) = sent {
            let error = ReadError::new(
                Reason::Unavailable,
                "the thread of this connection has not come back from its last read",
            );
            return refuse(order.job, asked, &error);
        }
        // The thread answers every order; only the end of the process could keep it from that.
        answer.await.unwrap_or_default()
    }

    /// A worker that is idle, or soon will be, or a new one.
    async fn worker(&self) -> Result<Worker, ReadError> {
        let stopped = |_| ReadError::new(Reason::Stopped, "the receiver is stopping");
        if let Ok(permit) = self.free.try_acquire() {
            permit.forget();
        } else if self.started.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return self.start();
        } else {
            match tokio::time::timeout(PATIENCE, self.free.acquire()).await {
                Ok(permit) => permit.map_err(stopped)?.forget(),
                Err(_) if self.reserve() => return self.start(),
                Err(_) => self.free.acquire().await.map_err(stopped)?.forget(),
            }
        }
        Ok(lock(&self.idle).pop().expect("as many workers are idle as permits are free"))
    }

    /// Whether another thread may be started; counts it.
    fn reserve(&self) -> bool {
        let more = |started: usize| (started < self.max).then_some(started + 1);
        self.started.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn start(&self) -> Result<Worker, ReadError> {
        let (jobs, orders) = mpsc::sync_channel(1);
        let watch = Watch::new(self.clock.now());
        let ending = lock(&self.ending).clone();
        let (settings, clock, watching) = (self.settings.clone(), self.clock.clone(), watch.clone());
        let thread = std::thread::Builder::new().name("weir-sqlite".to_owned()).spawn(move || {
            let _ending = ending;
            serve(&orders, &settings, &clock, &watching);
        });
        match thread {
            Ok(_) => Ok(Worker { jobs, watch }),
            Err(error) => {
                self.started.fetch_sub(1, Ordering::AcqRel);
                Err(ReadError::new(Reason::Unavailable, format!("no thread can be started: {error}")))
            }
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(worker) = self.worker.take() else { return };
        worker.watch.cancel(self.number);
        lock(&self.pool.idle).push(worker);
        self.pool.free.add_permits(1);
    }
}

/// What a thread does: its orders, one after another, until nobody can give any.
fn serve(orders: &mpsc::Receiver<Order>, settings: &Settings, clock: &Clock, watch: &Watch) {
    let mut connection = None;
    while let Ok(Order { number, job, reply }) = orders.recv() {
        watch.begin_job(number);
        // Nobody waiting means that the read was given up.
        reply.send(serve_job(&mut connection, job, settings, clock, watch)).ok();
    }
}

fn serve_job(
    connection: &mut Option<Connection>,
    job: Job,
    settings: &Settings,
    clock: &Clock,
    watch: &Watch,
) -> Vec<Done> {
    let asked = clock.wall();
    watch.begin_query(job.deadline);
    let open = match ready(connection, settings, watch) {
        Ok(open) => open,
        Err(error) => return refuse(job, asked, &error),
    };
    if job.snapshot {
        open.begin();
    }
    let mut broken = None;
    let mut done = Vec::with_capacity(job.works.len());
    for work in job.works {
        let lost = broken.clone().or_else(|| {
            // Some errors end the transaction; what comes after them would see another state of the database.
            (job.snapshot && !open.in_transaction())
                .then(|| ReadError::new(Reason::Unavailable, "the transaction of this collection ended early"))
        });
        let one = match lost {
            Some(error) => Done { intake: work.intake, result: Err(error), began: clock.wall(), took: Duration::ZERO },
            None => read(open, job.deadline, work, settings, clock, watch),
        };
        if let Err(error @ ReadError { reason: Reason::Unavailable | Reason::Corrupt, .. }) = &one.result {
            broken = Some(error.clone());
        }
        done.push(one);
    }
    if job.snapshot {
        open.end();
    }
    if broken.is_some() {
        *connection = None;
    }
    done
}

fn read(open: &Connection, deadline: Instant, work: Work, settings: &Settings, clock: &Clock, watch: &Watch) -> Done {
    let Work { sql, timeout, mut intake, parameters } = work;
    let (began, start) = (clock.wall(), clock.now());
    watch.begin_query((start + timeout).min(deadline));
    // rusqlite panics where SQLite has no memory left for a text and where a column's name is no UTF-8: the end of a read, not of
    // the agent.
    let attempt = std::panic::AssertUnwindSafe(|| open.read((&sql, &parameters), &mut intake, began, settings, watch));
    let result = std::panic::catch_unwind(attempt).unwrap_or_else(|_| {
        Err(ReadError::new(Reason::Limit, "a cell took more memory than there is, or a column's name is no UTF-8"))
    });
    Done { intake, result, began, took: clock.now().duration_since(start) }
}

/// An open connection to the file that is there now. A replaced file is looked for once a job: within it the file must not change.
fn ready<'a>(
    connection: &'a mut Option<Connection>,
    settings: &Settings,
    watch: &Watch,
) -> Result<&'a Connection, ReadError> {
    let current = match connection.as_ref().map(|open| open.is_current(settings)) {
        Some(Ok(current)) => current,
        Some(Err(error)) => {
            // Given up at once, so that a deleted file does not keep its blocks.
            *connection = None;
            return Err(error);
        }
        None => false,
    };
    if !current {
        *connection = None;
        *connection = Some(Connection::open(settings, watch)?);
    }
    Ok(connection.as_ref().expect("it was opened just now"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing that holds one of these locks can panic between two writes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
