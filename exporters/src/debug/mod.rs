//! Exporter `debug`: tells what arrives, for first steps.
//!
//! ```yaml
//! exporters:
//!   debug:
//!     verbosity: detailed
//! ```

mod render;
mod sampler;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use config::{Problems, Section};
use pipeline::{
    Batch, BoxFuture, BuildContext, Claim, Clock, Exporter, Factory, Fault, Plan, Planned, Refusal, Signals,
};
use schemars::JsonSchema;
use serde::Deserialize;

use self::sampler::Sampler;

/// The registry's line.
pub const FACTORY: Factory<dyn Exporter> = Factory {
    kind: "debug",
    aliases: &[],
    about: "tells what arrives, in the agent's log or in a file",
    plan,
    schema: || schemars::schema_for!(Config),
};

/// Exporter `debug`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `basic` (default) counts, `normal` adds a line for each point or record, `detailed` says everything.
    pub verbosity: Verbosity,
    /// Batches that are told each second before sampling begins, 2 by default.
    pub sampling_initial: u32,
    /// After that every so many-th batch of the second is told, 1 by default: all of them. 0 tells none.
    pub sampling_thereafter: u32,
    /// Whether to tell it through the agent's own log, at level info. On by default; off writes plain text to `output_paths`.
    pub use_internal_logger: bool,
    /// Where plain text goes, when `use_internal_logger` is off: `stdout` (default), `stderr`, or files that are appended to.
    pub output_paths: Vec<String>,
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// One line a batch.
    #[default]
    Basic,
    /// And one line a point or record.
    Normal,
    /// And all that is known of each.
    Detailed,
}

struct DebugPlan(Config, Problems);

struct Debug {
    id: String,
    verbosity: Verbosity,
    clock: Clock,
    told: Mutex<Told>,
}

/// What is written by one batch after another.
struct Told {
    sampler: Sampler,
    outputs: Vec<Output>,
}

enum Output {
    Log,
    Stdout,
    Stderr,
    File(std::fs::File),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verbosity: Verbosity::default(),
            sampling_initial: 2,
            sampling_thereafter: 1,
            use_internal_logger: true,
            output_paths: vec!["stdout".to_owned()],
        }
    }
}

fn plan(section: &Section) -> Planned<dyn Exporter> {
    let config: Config = section.decode()?;
    let mut problems = Problems::new();
    if config.output_paths.is_empty() && !config.use_internal_logger {
        problems.push(
            section
                .error("output_paths", "'output_paths' is empty: nothing could be written")
                .with_help("write stdout, stderr or a file, or set use_internal_logger: true"),
        );
    }
    for (index, path) in config.output_paths.iter().enumerate().filter(|(_, path)| path.is_empty()) {
        problems.push(section.error(&format!("output_paths[{index}]"), format!("{path:?} is not a path")));
    }
    if config.use_internal_logger && section.has("output_paths") {
        problems.push(
            section
                .warning("output_paths", "'output_paths' is not used, because 'use_internal_logger' is on")
                .with_help("set use_internal_logger: false"),
        );
    }
    if problems.has_errors() {
        return Err(problems);
    }
    Ok(Box::new(DebugPlan(config, problems)))
}

impl Plan<dyn Exporter> for DebugPlan {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn claims(&self) -> Vec<Claim> {
        if self.0.use_internal_logger {
            return Vec::new();
        }
        let files = self.0.output_paths.iter().filter(|path| !matches!(path.as_str(), "stdout" | "stderr"));
        files.map(|path| Claim::Path(PathBuf::from(path))).collect()
    }

    fn warnings(&self) -> Problems {
        self.1.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Exporter>, Fault> {
        let Config { verbosity, sampling_initial, sampling_thereafter, use_internal_logger, output_paths } = self.0;
        let outputs = if use_internal_logger {
            vec![Output::Log]
        } else {
            output_paths.iter().map(|path| Output::open(path)).collect::<Result<_, _>>()?
        };
        let sampler = Sampler::new(sampling_initial, sampling_thereafter);
        let id = context.id.to_string();
        Ok(Box::new(Debug { id, verbosity, clock: context.clock, told: Mutex::new(Told { sampler, outputs }) }))
    }
}

impl Exporter for Debug {
    fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        let second = self.clock.wall().0 / 1_000_000_000;
        // A poisoned lock guards a counter and open files: nothing that a panic could have left half done.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.sampler.takes(second) {
            let text = render::batch(batch, self.verbosity);
            told.outputs.iter_mut().for_each(|output| output.write(&self.id, &text));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Output {
    fn open(path: &str) -> Result<Self, Fault> {
        match path {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            path => {
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                file.map(Self::File).map_err(|error| Fault::new(format!("cannot append to {path}")).caused_by(error))
            }
        }
    }

    fn write(&mut self, id: &str, text: &str) {
        let written = match self {
            Self::Log => {
                tracing::info!(exporter = %id, "{}", text.trim_end());
                Ok(())
            }
            Self::Stdout => std::io::stdout().lock().write_all(text.as_bytes()),
            Self::Stderr => std::io::stderr().lock().write_all(text.as_bytes()),
            Self::File(file) => file.write_all(text.as_bytes()),
        };
        if let Err(error) = written {
            tracing::warn!(exporter = %id, %error, "what arrived could not be written");
        }
    }
}

#[cfg(test)]
mod tests;
