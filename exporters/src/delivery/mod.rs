//! Delivery: what stands between a batch and a destination that may be slow, full, down or ill. One stack for all exporters that push.
//!
//! An exporter gives a [`Delivery`] one tower service that makes a single try. The stack around it, from the outside in:
//!
//! 1. *concurrency*: no more than `num_consumers` batches are out of the queue;
//! 2. *retry*: exponential back-off with jitter; a delay that the server asked for is kept when it is longer;
//! 3. *breaker*: after some failures in a row one batch at a time probes, and the others wait;
//! 4. *time-out*: per try.
//!
//! The queue itself is the exporter's inbox, whose bounds and policy [`QueueSettings`] sets; or with `storage` a [`DiskQueue`], which
//! makes its tries below the first two layers: what waits on disk needs no place.

mod backoff;
mod breaker;
mod counts;
mod disk;
mod retry;
mod settings;
mod throttle;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::Signal;
use pipeline::net::client::Broken;
use pipeline::spool::Encoding;
use pipeline::{BoxFuture, Clock, Level, Meters, Refusal, Withdrawal};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt as _};

use breaker::{Breaker, BreakerLayer};
pub(crate) use counts::Counts;
pub(crate) use disk::{Bundle, DiskQueue, Dress, Dressed, Fold, Packed};
use retry::Retries;
pub(crate) use settings::{BreakerSettings, DeliverySettings, QueueSettings, RetrySettings};

/// What one try carries: a request that is encoded and compressed, so that a second try costs nothing but the sending.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// What it carries; decides the address.
    pub(crate) signal: Signal,
    /// The body as it goes on the wire.
    pub(crate) body: Bytes,
    /// How the body is compressed.
    pub(crate) encoding: Encoding,
    /// Points or records in it.
    pub(crate) items: u64,
    /// Since when trying counts against `max_elapsed_time`.
    pub(crate) began: Instant,
    /// Whether it is still wanted: asked before each try, so that what waits for its next one is not sent after its sender was
    /// told to send it again.
    pub(crate) withdrawal: Withdrawal,
}

/// What the destination said of a parcel that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Points or records that it will never take.
    pub(crate) rejected: u64,
    /// In its words; may be a warning when nothing was rejected.
    pub(crate) message: String,
}

/// Why a try did not deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Trying again may help.
    Retry {
        /// What kind of failure it was.
        reason: Reason,
        /// How long the destination asked to wait.
        after: Option<Duration>,
        /// One line, for logs.
        why: String,
    },
    /// We may not enter. A human has to mend that, and the data is as good as before: it is held.
    Held {
        /// One line, for logs.
        why: String,
    },
    /// The breaker is open: nothing was tried.
    Shut {
        /// When the next probe is due.
        after: Duration,
    },
    /// It will never be taken.
    Reject {
        /// One line, for logs.
        why: String,
    },
    /// Whoever made it has withdrawn it: nothing was tried.
    Withdrawn,
}

/// Kinds of failures, for counters: a closed set of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// The destination said that it cannot now.
    Unavailable,
    /// The destination asked to go slower.
    Throttled,
}

/// One exporter's way to its destination.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    stack: BoxCloneSyncService<Parcel, Taken, Miss>,
    /// The stack from the breaker down.
    tries: BoxCloneSyncService<Parcel, Taken, Miss>,
    retries: Retries,
    counts: Counts,
}

impl Delivery {
    /// The stack around `send`, which makes one try and keeps no time. `name` is the exporter's id.
    pub(crate) fn new<S>(settings: &DeliverySettings, send: S, meters: &Meters, clock: &Clock, name: &str) -> Self
    where
        S: Service<Parcel, Response = Taken, Error = Miss> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let counts = Counts::new(meters, name);
        let breaker = Breaker::new(settings, meters, clock, name);
        let retries = Retries::new(&settings.retry, breaker.clone(), counts.clone(), clock.clone());
        let timeout = settings.timeout;
        let tries = ServiceBuilder::new()
            // Above the time-out, because a destination that does not answer is as ill as one that says so.
            .layer(BreakerLayer::new(breaker))
            .map_err(move |error| Miss::of_try(error, timeout))
            // Innermost: it drops the try, which closes or resets what the try had open.
            .timeout(timeout)
            .service(Counted { send, in_flight: counts.in_flight.clone() });
        let tries = BoxCloneSyncService::new(tries);
        let stack = ServiceBuilder::new()
            // Outermost, so that a batch which waits for its next try keeps its place: the others wait in the queue, where they
            // are counted and bounded, and not here.
            .concurrency_limit(settings.queue.num_consumers)
            // Above the breaker, because what the breaker turns away is to be tried later; above the time-out, because each try
            // has all of it.
            .retry(retries.clone())
            .service(tries.clone());
        Self { stack: BoxCloneSyncService::new(stack), tries, retries, counts }
    }

    /// Brings a parcel to its destination, however many tries that takes within `max_elapsed_time`. Safe to drop.
    ///
    /// # Errors
    /// Why it was not taken, or what part of it was not.
    pub(crate) async fn deliver(&self, parcel: Parcel) -> Result<(), Refusal> {
        let items = parcel.items;
        let outcome = self.stack.clone().oneshot(parcel).await;
        match outcome {
            Ok(taken) => match self.told(&taken, items) {
                0 => Ok(()),
                rejected => Err(Refusal::Partial { rejected, why: short(&taken.message) }),
            },
            Err(miss) => Err(self.give_up(miss, items)),
        }
    }

    /// Logs and counts what a destination said of a parcel that it took, and gives how many items it rejected.
    fn told(&self, taken: &Taken, items: u64) -> u64 {
        let rejected = taken.rejected.min(items);
        self.counts.rejected.add(rejected);
        if (rejected > 0 || !taken.message.is_empty())
            && let Some(more) = self.counts.told.rejected()
        {
            let what = if rejected > 0 { "Partial success response" } else { "Partial success response: a warning" };
            tracing::warn!(rejected, items, reason = %short(&taken.message), unsaid = more, "{what}");
        }
        taken.rejected
    }

    fn give_up(&self, miss: Miss, items: u64) -> Refusal {
        if miss != Miss::Withdrawn
            && let Some(more) = self.counts.told.dropping()
        {
            tracing::error!(error = %miss, dropped_items = items, unsaid = more, "Exporting failed. Dropping data.");
        }
        match miss {
            Miss::Reject { why } => Refusal::Reject { why },
            Miss::Retry { after, ref why, .. } => Refusal::Retry { after, why: why.clone() },
            Miss::Held { ref why } => Refusal::Retry { after: None, why: why.clone() },
            Miss::Shut { after } => Refusal::Retry { after: Some(after), why: miss.to_string() },
            Miss::Withdrawn => Refusal::Retry { after: None, why: miss.to_string() },
        }
    }
}

/// Counts tries on their way. A service of its own and not part of `send`, so that no exporter can forget it.
#[derive(Clone, Debug)]
struct Counted<S> {
    send: S,
    in_flight: Level,
}

/// One try on its way.
struct Flight(Level);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl<S> Service<Parcel> for Counted<S>
where
    S: Service<Parcel, Response = Taken, Error = Miss>,
    S::Future: Send + 'static,
{
    type Response = Taken;
    type Error = Miss;
    type Future = BoxFuture<'static, Result<Taken, Miss>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        self.send.poll_ready(context)
    }

    fn call(&mut self, parcel: Parcel) -> Self::Future {
        if parcel.withdrawal.is_withdrawn() {
            return Box::pin(std::future::ready(Err(Miss::Withdrawn)));
        }
        self.in_flight.add(1);
        let flight = Flight(self.in_flight.clone());
        let trying = self.send.call(parcel);
        Box::pin(async move {
            let outcome = trying.await;
            drop(flight);
            outcome
        })
    }
}

impl Miss {
    /// Trying again may help. A delay that the destination asked for is kept up to an hour.
    pub(crate) fn retry(reason: Reason, after: Option<Duration>, why: impl Into<String>) -> Self {
        Self::Retry { reason, after: after.map(|after| after.min(ASKED_MAX)), why: why.into() }
    }

    /// A connection that broke: what was sent may or may not have arrived, so it is sent again.
    pub(crate) fn broken(broken: Broken) -> Self {
        Self::retry(Reason::Connection, None, broken.0)
    }

    /// The error of one try, out of the box that the time-out puts it in.
    fn of_try(error: tower::BoxError, timeout: Duration) -> Self {
        match error.downcast::<Self>() {
            Ok(miss) => *miss,
            Err(other) if other.is::<tower::timeout::error::Elapsed>() => {
                Self::retry(Reason::Timeout, None, format!("no answer within {timeout:?}"))
            }
            Err(other) => Self::retry(Reason::Connection, None, other.to_string()),
        }
    }
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Retry { why, .. } | Self::Held { why } | Self::Reject { why } => f.write_str(why),
            Self::Shut { after } => write!(f, "the circuit breaker is open, next probe in {after:?}"),
            Self::Withdrawn => f.write_str("its sender was told to send it again"),
        }
    }
}

impl std::error::Error for Miss {}

impl Reason {
    const ALL: [Self; 4] = [Self::Connection, Self::Timeout, Self::Unavailable, Self::Throttled];

    const fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Throttled => "throttled",
        }
    }
}

/// The longest delay that a destination may ask for: a slip in a server's unit must not silence an exporter for good.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// The most of a server's text that goes into logs and errors (rule S2 of the project's security rules).
const TEXT_MAX: usize = 1024;

/// A server's text for a log: short, and without control characters, which could forge lines.
pub(crate) fn short(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(TEXT_MAX));
    for character in text.trim().chars() {
        let width = if character.is_control() { character.escape_default().count() } else { character.len_utf8() };
        if out.len() + width > TEXT_MAX {
            out.push('…');
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests;
