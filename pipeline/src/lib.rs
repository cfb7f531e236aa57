//! What one node and one edge of a pipeline are. Names no receiver, processor or exporter.
//!
//! A [`Factory`] turns a checked section of the configuration into a [`Plan`]; only a plan can be built. Receivers send
//! [`Batch`]es through an [`Outlet`] into the [`Inbox`]es of lanes; a [`Lane`] calls its processors one after another and sends
//! on to the inboxes of exporters: two channel hops a batch, and a cycle cannot be written. A [`Receipt`] follows each batch
//! and tells its maker how it ended; what is dropped in silence counts as lost.

pub mod batch;
pub mod budget;
pub mod clock;
pub mod collection;
pub mod component;
pub mod context;
pub mod drive;
pub mod fault;
pub mod health;
pub mod inbox;
pub mod lane;
pub mod mapping;
pub mod meter;
pub mod net;
pub mod outlet;
pub mod receipt;
#[cfg(any(feature = "ledger", feature = "spool"))]
mod seize;
#[cfg(feature = "spool")]
pub mod spool;
#[cfg(feature = "ledger")]
pub mod state;
pub mod stop;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod waiting;

pub use batch::{Batch, Payload};
pub use budget::Budget;
pub use clock::Clock;
pub use collection::{Collection, Demand, OnFailure, Page, SourceId};
pub use component::{Collects, Exporter, Factory, Plan, Planned, Processor, Receiver, Signals};
pub use context::{BuildContext, Claim};
pub use drive::Intake;
pub use fault::{Fault, Refusal};
pub use health::Health;
pub use inbox::{Inbox, Port, PortPolicy};
pub use lane::Lane;
pub use meter::{Count, Level, Meters};
pub use outlet::Outlet;
pub use receipt::{Receipt, Verdict, Waiter, Withdrawal};
pub use stop::{Stop, Stopper};

/// A boxed future, the currency of traits that are kept behind pointers.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;
