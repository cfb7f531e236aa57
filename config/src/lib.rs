//! What the user wrote: YAML with places, substitution, merging, problems.
//!
//! [`load`] reads every `--config` and `--set`, merges them, replaces `${…}` in the leaves and gives a [`Document`]
//! whose parts are [`Section`]s. A component decodes its own section into its own type. Whatever is wrong comes back
//! as [`Problems`], all of them at once, each with the place where it stands.
//!
//! The meaning of a file is that of the OpenTelemetry Collector's `confmap` package, with two differences: a key that
//! is written twice is refused, and a duration without a unit is refused. Nothing here starts a task, opens a socket
//! or logs.

mod check;
mod decode;
mod document;
mod environment;
mod expand;
mod files;
mod id;
mod load;
mod merge;
mod node;
mod place;
mod print;
mod problem;
mod redact;
mod render;
mod scalar;
mod section;
mod service;
mod source;
mod suggest;
mod values;
mod yaml;

pub use check::{KindInfo, Known, check};
pub use document::{Document, Pipeline, Reference, Service};
pub use environment::{Environment, MapEnvironment, ProcessEnvironment};
pub use files::Files;
pub use id::{ComponentId, PipelineId, Signal, fold_kind};
pub use load::{Loaded, Sources, load};
pub use node::Tree;
pub use place::Place;
pub use print::print;
pub use problem::{Problem, Problems, Related, Severity};
pub use section::Section;
pub use values::{ByteSize, Duration, Optional, Secret, StringList, Unsupported};

/// The most bytes one file, variable or argument may have (1 MiB); configurations of large fleets are below 100 KiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// How deep maps and lists may nest; the deepest published Collector configuration nests 14.
pub const MAX_DEPTH: usize = 32;

/// How many nodes (scalars, lists, maps) the whole configuration may have after aliases and references are put in.
pub const MAX_NODES: usize = 50_000;
