//! What flows between components.

use std::sync::Arc;

use config::Signal;
use pdata::{Logs, Metrics, Traces, UnixNanos};

use crate::budget::Permit;
use crate::collection::Collection;
use crate::receipt::{Receipt, Verdict, Withdrawal};

/// Telemetry of one signal, with the promise that follows it. Not `Clone`: [`fork`](Self::fork) splits the promise too.
#[derive(Debug)]
pub struct Batch {
    /// The telemetry.
    pub payload: Payload,
    /// Which read of a pull receiver it is a page of, if it is one.
    pub collection: Option<Collection>,
    /// When the agent took it in.
    pub received: UnixNanos,
    receipt: Receipt,
    permit: Permit,
}

/// Telemetry behind a shared pointer: forks share it, and who writes while others read gets a copy.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Metric points.
    Metrics(Arc<Metrics>),
    /// Log records.
    Logs(Arc<Logs>),
    /// Spans.
    Traces(Arc<Traces>),
}

impl Batch {
    /// A batch that nobody waits for and that takes nothing from the budget.
    #[must_use]
    pub fn new(payload: impl Into<Payload>, received: UnixNanos) -> Self {
        Self { payload: payload.into(), collection: None, received, receipt: Receipt::none(), permit: Permit::none() }
    }

    /// With a promise.
    #[must_use]
    pub fn with_receipt(self, receipt: Receipt) -> Self {
        Self { receipt, ..self }
    }

    /// With its share of the byte budget.
    #[must_use]
    pub fn with_permit(self, permit: Permit) -> Self {
        Self { permit, ..self }
    }

    /// As a page of a collection.
    #[must_use]
    pub fn with_collection(self, collection: Collection) -> Self {
        Self { collection: Some(collection), ..self }
    }

    /// A second batch with the same telemetry and a share of the promise.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.copy_with(self.receipt.fork())
    }

    /// A second batch with the same telemetry and no promise: for destinations that may not hold the sender back.
    #[must_use]
    pub fn fork_without_promise(&self) -> Self {
        self.copy_with(Receipt::none())
    }

    fn copy_with(&self, receipt: Receipt) -> Self {
        Self {
            payload: self.payload.clone(),
            collection: self.collection.clone(),
            received: self.received,
            receipt,
            permit: self.permit.clone(),
        }
    }

    /// Tells whether it is still wanted.
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        self.receipt.withdrawal()
    }

    /// Ends the promise.
    pub fn settle(self, verdict: Verdict) {
        self.receipt.settle(verdict);
    }

    /// Carries these points instead, which are fewer: what the others took of the budget is given back if no fork holds it.
    pub(crate) fn shrink(&mut self, metrics: Metrics) {
        self.payload = metrics.into();
        self.permit.shrink(self.heap_bytes());
    }

    /// Answers for what another batch carried too, since a part of it is said here: see [`Receipt::stand_for`].
    pub(crate) fn stand_for(&mut self, other: &Self) {
        self.receipt.stand_for(other.receipt.fork());
    }

    /// The points, when it carries metrics.
    #[must_use]
    pub fn metrics(&self) -> Option<&Metrics> {
        match &self.payload {
            Payload::Metrics(metrics) => Some(metrics),
            Payload::Logs(_) | Payload::Traces(_) => None,
        }
    }

    /// The points, for writing: copied first when a fork still reads them.
    #[must_use]
    pub fn metrics_mut(&mut self) -> Option<&mut Metrics> {
        match &mut self.payload {
            Payload::Metrics(metrics) => Some(Arc::make_mut(metrics)),
            Payload::Logs(_) | Payload::Traces(_) => None,
        }
    }

    /// The records, when it carries logs.
    #[must_use]
    pub fn logs(&self) -> Option<&Logs> {
        match &self.payload {
            Payload::Logs(logs) => Some(logs),
            Payload::Metrics(_) | Payload::Traces(_) => None,
        }
    }

    /// The spans, when it carries traces.
    #[must_use]
    pub fn traces(&self) -> Option<&Traces> {
        match &self.payload {
            Payload::Traces(traces) => Some(traces),
            Payload::Metrics(_) | Payload::Logs(_) => None,
        }
    }

    /// Points, records or spans.
    #[must_use]
    pub fn items(&self) -> usize {
        self.payload.items()
    }

    /// Bytes it keeps alive.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.payload.heap_bytes()
    }
}

impl Payload {
    /// Points, records or spans.
    #[must_use]
    pub fn items(&self) -> usize {
        match self {
            Self::Metrics(metrics) => metrics.points.len(),
            Self::Logs(logs) => logs.records.len(),
            Self::Traces(traces) => traces.spans(),
        }
    }

    /// Bytes it keeps alive.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Metrics(metrics) => metrics.heap_bytes(),
            Self::Logs(logs) => logs.heap_bytes(),
            Self::Traces(traces) => traces.heap_bytes(),
        }
    }

    /// The one signal it carries.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        match self {
            Self::Metrics(_) => Signal::Metrics,
            Self::Logs(_) => Signal::Logs,
            Self::Traces(_) => Signal::Traces,
        }
    }
}

impl From<Metrics> for Payload {
    fn from(metrics: Metrics) -> Self {
        Self::Metrics(Arc::new(metrics))
    }
}

impl From<Logs> for Payload {
    fn from(logs: Logs) -> Self {
        Self::Logs(Arc::new(logs))
    }
}

impl From<Traces> for Payload {
    fn from(traces: Traces) -> Self {
        Self::Traces(Arc::new(traces))
    }
}
