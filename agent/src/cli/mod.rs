//! The command line: `weir run | validate | print-config | components | schema | healthcheck | ledger | queue | version | completions`.
//!
//! Without a verb it runs, as `otelcol` does. [`Exit`] lists the exit codes; `docs/cli.md` is for users.

mod arguments;
mod connect;
mod gates;
mod healthcheck;
#[cfg(feature = "ledger")]
mod ledger;
#[cfg(feature = "queue")]
mod queue;
mod run;
mod schema;
mod show;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser};

use self::arguments::{Cli, ConfigArgs, Verb};
use crate::agent::Source;
use crate::registry::Registry;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Success = 0,
    /// The configuration has errors, a component cannot go on, or the agent is not healthy.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `run --once`: a read failed.
    ReadFailed = 3,
    /// The agent was stopped, and not everything was handed over within the drain timeout.
    DataLost = 4,
}

/// Runs the command line and gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = dispatch(arguments, Registry::builtin(), &mut std::io::stdout(), &mut std::io::stderr());
    ExitCode::from(exit as u8)
}

/// Does what the arguments say. Writing may fail because the reader has gone away; then there is nobody to tell.
fn dispatch(
    arguments: impl IntoIterator<Item = OsString>,
    registry: Registry,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come as errors too.
            let text = error.render().to_string() + &hint(&error).unwrap_or_default();
            return if error.use_stderr() {
                err.write_all(text.as_bytes()).ok();
                Exit::Usage
            } else {
                print(out, &text)
            };
        }
    };
    let verb = cli.verb.unwrap_or(Verb::Run(cli.run));
    match verb {
        Verb::Run(args) => run::run(&args, registry, out, err),
        Verb::Validate(args) => show::validate(&args, registry, out, err),
        Verb::PrintConfig(args) => show::print_config(&args, registry, out, err),
        Verb::Components => print(out, &show::components(registry)),
        Verb::Schema => print(out, &schema::render(registry)),
        Verb::Healthcheck(args) => healthcheck::healthcheck(&args, err),
        #[cfg(feature = "ledger")]
        Verb::Ledger { verb } => ledger::ledger(&verb, out, err),
        #[cfg(feature = "queue")]
        Verb::Queue { verb } => queue::queue(&verb, out, err),
        Verb::Version => print(out, concat!("weir version ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "weir", &mut &mut *out);
            Exit::Success
        }
    }
}

/// For who names a configuration without its flag.
fn hint(error: &clap::Error) -> Option<String> {
    let named = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter().find_map(|kind| error.get(kind));
    let Some(ContextValue::String(named)) = named else { return None };
    Path::new(named).is_file().then(|| format!("\n  tip: a configuration is named with --config {named}\n"))
}

/// For who names a whole storage where the folder of one component is wanted: what there is in it, of `receivers` or `exporters`.
#[cfg(any(feature = "ledger", feature = "queue"))]
fn folders(storage: &Path, class: &str) -> Option<String> {
    let found = std::fs::read_dir(storage.join(class)).ok()?.flatten().map(|entry| entry.path().display().to_string());
    let mut found: Vec<String> = found.collect();
    found.sort();
    (!found.is_empty()).then(|| format!("  = help: name one of the folders in it: {}\n", found.join(", ")))
}

fn print(out: &mut dyn Write, text: &str) -> Exit {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_or(Exit::Failure, |()| Exit::Success)
}

/// Where the configuration comes from; tells what is wrong with the feature gates.
fn source(args: &ConfigArgs, registry: Registry, err: &mut dyn Write) -> Result<Source, Exit> {
    gates::check(&args.feature_gates, err)?;
    Ok(Source { sources: args.sources(), env: std::sync::Arc::new(config::ProcessEnvironment), registry })
}

#[cfg(test)]
mod tests;
