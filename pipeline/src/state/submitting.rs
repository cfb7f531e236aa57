//! The answer of a ledger, while it is awaited.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::entry::Committed;
use super::worker;
use crate::BoxFuture;
use crate::fault::Refusal;

/// An entry on its way, from [`Ledger::submit`](super::Ledger::submit). A few words in size: a receiver has one for each request that
/// waits. Must not be polled again after it has answered.
#[derive(Debug)]
#[must_use = "only the answer tells whether the entry is counted"]
pub struct Submitting(Stage);

type Outcome = Result<Committed, Refusal>;

enum Stage {
    /// There was nothing to wait for.
    Told(Ready<Outcome>),
    /// In line for a commit.
    InLine(oneshot::Receiver<Outcome>),
    /// Outside, as the queue is full.
    Outside(BoxFuture<'static, Outcome>),
}

impl Submitting {
    pub(super) fn told(outcome: Outcome) -> Self {
        Self(Stage::Told(ready(outcome)))
    }

    pub(super) fn in_line(answer: oneshot::Receiver<Outcome>) -> Self {
        Self(Stage::InLine(answer))
    }

    pub(super) fn outside(waiting: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Stage::Outside(Box::pin(waiting)))
    }

    /// The answer, when it was there before anybody waited; else what is to be waited for. Who is told at once needs no deadline.
    ///
    /// # Errors
    /// The awaited itself.
    pub fn at_once(self) -> Result<Outcome, Self> {
        match self.0 {
            Stage::Told(outcome) => Ok(outcome.into_inner()),
            waits => Err(Self(waits)),
        }
    }
}

impl Future for Submitting {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.get_mut().0 {
            Stage::Told(outcome) => Pin::new(outcome).poll(cx),
            Stage::InLine(answer) => Pin::new(answer).poll(cx).map(|told| told.unwrap_or_else(|_| Err(closed()))),
            Stage::Outside(waiting) => waiting.as_mut().poll(cx),
        }
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Told(_) => "told",
            Self::InLine(_) => "in line",
            Self::Outside(_) => "outside",
        })
    }
}

/// What is said of a ledger that ends.
pub(super) fn closed() -> Refusal {
    worker::retry("it is closed")
}
