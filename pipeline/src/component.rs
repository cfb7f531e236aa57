//! What a component is: a factory that checks, a plan that builds, and the running thing.

use std::path::PathBuf;

use config::{ComponentId, Problems, Section};

use crate::BoxFuture;
use crate::batch::Batch;
use crate::context::{BuildContext, Claim};
use crate::drive::Intake;
use crate::fault::{Fault, Refusal};
use crate::outlet::Outlet;
use crate::stop::Stop;

/// How a section of the configuration becomes a component. Plain data: one `const` and one line in its crate's registry.
#[derive(Debug)]
pub struct Factory<C: ?Sized> {
    /// The word that users write before the slash, in snake_case.
    pub kind: &'static str,
    /// Other spellings that are no mere run-together of `kind` (those are accepted anyway). Deprecated names of the Collector.
    pub aliases: &'static [&'static str],
    /// One sentence for `weir components`.
    pub about: &'static str,
    /// Checks a section. All problems that can be found, not only the first.
    pub plan: fn(&Section) -> Planned<C>,
    /// JSON Schema of the section, for `weir schema`.
    pub schema: fn() -> schemars::Schema,
}

/// What checking a section gives: a plan, or all its problems.
pub type Planned<C> = Result<Box<dyn Plan<C>>, Problems>;

/// A section that has been checked. Only a plan can be built, so `weir validate` and start-up cannot differ.
pub trait Plan<C: ?Sized>: Send {
    /// What the component can carry.
    fn signals(&self) -> Signals;

    /// What only one component may hold: ports, files.
    fn claims(&self) -> Vec<Claim> {
        Vec::new()
    }

    /// When a receiver reads; means nothing for other components.
    fn collects(&self) -> Collects {
        Collects::Never
    }

    /// The extension that keeps its state, as the key `storage` names it. The agent makes sure that it is there, and gives the
    /// component a folder of its own in it ([`BuildContext::state`]).
    fn storage(&self) -> Option<ComponentId> {
        None
    }

    /// For an extension that keeps the state of others: the folder it keeps it in.
    fn folder(&self) -> Option<PathBuf> {
        None
    }

    /// What is odd and not wrong.
    fn warnings(&self) -> Problems {
        Problems::default()
    }

    /// Asks what it would connect to whether it can work with it as planned: databases whether its statements would run. `None`
    /// when it does not connect, or connecting tells nothing. Reads no data and moves nothing; each single thing that is asked gets `time`.
    fn connect(&self, _time: std::time::Duration) -> Option<BoxFuture<'static, Problems>> {
        None
    }

    /// Makes the component. May open sockets through the context and allocate; must not spawn, and must not touch the network.
    ///
    /// # Errors
    /// When something outside the configuration is in the way.
    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<C>, Fault>;
}

/// Where telemetry comes from.
pub trait Receiver: Send {
    /// Runs until asked to stop *and* the work in hand is finished. Must be safe to drop at any await.
    ///
    /// # Errors
    /// A fault when it cannot go on for reasons that a restart might mend; a source that is down is not one of them.
    fn run(self: Box<Self>, outlet: Outlet, stop: Stop) -> BoxFuture<'static, Result<(), Fault>>;
}

/// What happens on the way. Never awaits: who needs a look-up keeps a snapshot that its own task refreshes.
pub trait Processor: Send {
    /// Takes a batch and gives what becomes of it to `out`: nothing, itself, or several. It owns the batch, so it may write. A batch
    /// that it drops on purpose it settles as discarded and counts. Pages of a collection must all be passed on, even when
    /// nothing is left in them: exporters wait for the last page.
    fn process(&mut self, batch: Batch, out: &mut dyn FnMut(Batch));

    /// When it wants to be woken, if at all.
    fn wake_at(&self) -> Option<tokio::time::Instant> {
        None
    }

    /// The time it asked for has come.
    fn wake(&mut self, _now: tokio::time::Instant, _out: &mut dyn FnMut(Batch)) {}

    /// No more batches come: give what is held back.
    fn finish(&mut self, _out: &mut dyn FnMut(Batch)) {}
}

/// Where telemetry goes. Queue, retry and time-out stand around it, not in it.
pub trait Exporter: Send + Sync {
    /// Hands one batch over. `Ok` means delivered as far as this exporter promises.
    ///
    /// # Errors
    /// Why it was not taken, and whether trying again may help.
    fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>>;

    /// How it wants to be fed: bounds of its inbox, what happens when that is full, how many batches at once.
    fn intake(&self) -> Intake {
        Intake::default()
    }

    /// What it does besides taking batches (an endpoint serves from here). Ends when asked to stop.
    ///
    /// # Errors
    /// A fault when it cannot go on.
    fn run(&self, mut stop: Stop) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            stop.requested().await;
            Ok(())
        })
    }
}

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals(u8);

/// When a receiver reads its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collects {
    /// It does not: telemetry is sent to it.
    Never,
    /// By its own clock. Endpoints answer 503 until each such receiver has collected once, or the grace is over.
    Interval,
    /// When a scrape asks.
    OnDemand,
}

impl Signals {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Metric points.
    pub const METRICS: Self = Self(1);
    /// Log records.
    pub const LOGS: Self = Self(2);
    /// Spans.
    pub const TRACES: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl From<config::Signal> for Signals {
    fn from(signal: config::Signal) -> Self {
        match signal {
            config::Signal::Metrics => Self::METRICS,
            config::Signal::Logs => Self::LOGS,
            config::Signal::Traces => Self::TRACES,
        }
    }
}
