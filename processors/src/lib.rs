//! What happens to telemetry on its way: processors, one file or folder each, one line in [`ALL`].
//!
//! A processor never awaits. It owns the batch it is given, so it writes in place; what it drops on purpose it settles and
//! counts. Pages of a collection pass even when nothing is left in them, because exporters wait for the last.

#[cfg(feature = "relabel")]
mod aggregate;
#[cfg(feature = "relabel")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "relabel")]
pub mod relabel;

use pipeline::{Factory, Processor};

/// Every processor of this build.
pub const ALL: &[Factory<dyn Processor>] = &[
    #[cfg(feature = "relabel")]
    relabel::FACTORY,
];

/// Every processor there is, with the cargo feature that builds it in, whether this build has it or not.
pub const KNOWN: &[(&str, &str)] = &[("relabel", "relabel")];
