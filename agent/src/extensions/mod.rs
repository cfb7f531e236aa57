//! What is neither source nor destination. One file an extension, one line in [`ALL`].

#[cfg(feature = "extension-file-storage")]
mod file_storage;
#[cfg(feature = "extension-health-check")]
mod health_check;

use pipeline::{BoxFuture, Factory, Fault, Stop};

use crate::vitals::Vitals;

/// A component beside the pipelines. Unlike those of the pipelines it may look at the agent itself, so its trait stands here.
pub trait Extension: Send {
    /// Runs until asked to stop; the stop comes last, when all pipelines are drained.
    ///
    /// # Errors
    /// A fault when it cannot go on.
    fn run(self: Box<Self>, vitals: Vitals, stop: Stop) -> BoxFuture<'static, Result<(), Fault>>;
}

/// The extensions of this build.
pub const ALL: &[Factory<dyn Extension>] = &[
    #[cfg(feature = "extension-file-storage")]
    file_storage::FACTORY,
    #[cfg(feature = "extension-health-check")]
    health_check::FACTORY,
];

/// Kind and cargo feature (without `extension-`) of every extension that exists.
pub const KNOWN: &[(&str, &str)] = &[("file_storage", "file-storage"), ("health_check", "health-check")];
