//! What can be written on the command line.

use std::num::NonZeroUsize;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::{Duration, Sources};

/// A pipeline agent for metrics: receivers, processors, exporters, one YAML file.
#[derive(Debug, Parser)]
#[command(name = "weir", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the pipelines until SIGTERM or SIGINT; SIGHUP reads the configuration again.
    Run(RunArgs),
    /// Find everything in the configuration that start-up would refuse.
    Validate(ValidateArgs),
    /// Print the effective configuration: merged, with references replaced.
    #[command(alias = "print-initial-config")]
    PrintConfig(PrintArgs),
    /// List the components of this build, as YAML.
    Components,
    /// Print a JSON Schema of the configuration.
    Schema,
    /// Ask a running agent whether it is ready; for the HEALTHCHECK of a container.
    Healthcheck(HealthArgs),
    /// Look into a ledger on disk: the state of receivers that count events.
    #[cfg(feature = "ledger")]
    Ledger {
        /// What to do with it.
        #[command(subcommand)]
        verb: super::ledger::LedgerVerb,
    },
    /// Look into an exporter's queue on disk: what waits, dead letters.
    #[cfg(feature = "queue")]
    Queue {
        /// What to do with it.
        #[command(subcommand)]
        verb: super::queue::QueueVerb,
    },
    /// Print the version.
    Version,
    /// Print a completion script.
    Completions {
        /// The shell it is for.
        shell: clap_complete::Shell,
    },
}

/// Where the configuration comes from.
#[derive(Debug, Default, Args)]
pub(super) struct ConfigArgs {
    /// A file, or `yaml:TEXT`, or `env:NAME`; several are merged in their order. Without it, $WEIR_CONFIG names them, with commas between.
    #[arg(long, value_name = "URI")]
    config: Vec<String>,
    /// Set one value after all files, such as `processors.relabel.scope=[datapoint]`; the value is YAML.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Accepted for command lines of the Collector: `+gate,-gate`. weir has no gates.
    #[arg(long, value_name = "GATES", value_delimiter = ',', allow_hyphen_values = true)]
    pub(super) feature_gates: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Collect each receiver once, print the metrics, export nothing, end.
    #[arg(long)]
    pub(super) once: bool,
    /// How long a stop may take; what is not handed over by then is lost. With --once: how long the reads may take.
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    pub(super) drain_timeout: Duration,
    /// Threads that run the pipelines. Default: one for each core, at most four.
    #[arg(long, value_name = "N", env = "WEIR_WORKERS")]
    pub(super) workers: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// When the configuration is sound, ask the databases it names too whether they take its queries. Nothing is read or moved.
    #[arg(long)]
    pub(super) connect: bool,
    /// With --connect: how long each database may take.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) connect_timeout: Duration,
    /// How problems are told: text on standard error, or JSON on standard output.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ProblemFormat,
}

#[derive(Debug, Args)]
pub(super) struct PrintArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Hide secrets (the default).
    #[arg(long)]
    redacted: bool,
    /// Show secrets, and what came from the environment and files.
    #[arg(long, conflicts_with = "redacted")]
    pub(super) unredacted: bool,
    /// The Collector's way to say the same.
    #[arg(long, value_enum, conflicts_with_all = ["redacted", "unredacted"])]
    pub(super) mode: Option<Mode>,
    /// The language to print.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ConfigFormat,
}

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// What to ask: an http:// URL of the agent's health_check extension.
    #[arg(long, value_name = "URL", default_value = "http://localhost:13133/readyz")]
    pub(super) url: String,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    pub(super) timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ProblemFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ConfigFormat {
    #[default]
    Yaml,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Redacted,
    Unredacted,
}

impl ConfigArgs {
    /// What was named, or else what `$WEIR_CONFIG` names.
    pub(super) fn sources(&self) -> Sources {
        let configs = match std::env::var("WEIR_CONFIG") {
            Ok(list) if self.config.is_empty() => {
                list.split(',').map(str::trim).filter(|uri| !uri.is_empty()).map(str::to_owned).collect()
            }
            _ => self.config.clone(),
        };
        Sources { configs, sets: self.sets.clone() }
    }
}

impl PrintArgs {
    pub(super) fn shows_secrets(&self) -> bool {
        self.unredacted || self.mode == Some(Mode::Unredacted)
    }
}
