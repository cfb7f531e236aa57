//! `weir run`.

use std::io::Write;
use std::time::Duration;

use pipeline::{Stop, Stopper};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::arguments::RunArgs;
use super::{Exit, print, source};
use crate::agent::{Agent, Reload};
use crate::registry::Registry;
use crate::telemetry::log;

/// More threads than this do not help an agent that mostly waits; whoever knows better says so.
const WORKERS_MAX: usize = 4;

/// Runs until stopped, or once.
pub(super) fn run(args: &RunArgs, registry: Registry, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let source = match source(&args.config, registry, err) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let agent = match Agent::from_source(source) {
        Ok(agent) => agent,
        Err(rejected) => {
            writeln!(err, "{}", rejected.to_string().trim_end()).ok();
            return Exit::Failure;
        }
    };
    let started = log::install(agent.log_settings()).and_then(|level| Ok((level, runtime(args)?)));
    let (level, runtime) = match started {
        Ok(started) => started,
        Err(fault) => {
            writeln!(err, "error: {fault}").ok();
            return Exit::Failure;
        }
    };
    log_panics();
    let exit = if args.once {
        runtime.block_on(once(agent, args.drain_timeout.get(), out))
    } else {
        runtime.block_on(serve(agent.with_drain_timeout(args.drain_timeout.get()).with_log(level)))
    };
    // A query that never ends may hold a thread; the drain timeout is over, so nobody waits for it.
    runtime.shutdown_background();
    exit
}

fn runtime(args: &RunArgs) -> Result<Runtime, pipeline::Fault> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.map_or(cores.min(WORKERS_MAX), usize::from);
    let mut builder = if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let runtime = builder.worker_threads(workers).thread_name("weir").enable_all().build();
    runtime.map_err(|error| pipeline::Fault::new("cannot start threads").caused_by(error))
}

async fn serve(agent: Agent) -> Exit {
    let (stopper, stop) = Stop::pair();
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot hear signals");
            return Exit::Failure;
        }
    };
    let listening = tokio::spawn(signals.obey(stopper, agent.reload()));
    let ended = agent.run(stop).await;
    listening.abort();
    match ended {
        Ok(drained) if drained.lost.is_empty() => Exit::Success,
        Ok(_) => Exit::DataLost,
        Err(fault) => {
            tracing::error!(error = %fault, "The agent has stopped: a component cannot go on.");
            Exit::Failure
        }
    }
}

async fn once(agent: Agent, timeout: Duration, out: &mut dyn Write) -> Exit {
    match agent.run_once(timeout).await {
        Ok(collected) => {
            let exit = print(out, &collected.text);
            for failure in &collected.failures {
                tracing::error!("{failure}");
            }
            if collected.failures.is_empty() { exit } else { Exit::ReadFailed }
        }
        Err(fault) => {
            tracing::error!(error = %fault, "cannot collect");
            Exit::Failure
        }
    }
}

/// The signals that mean something to the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The first request to end drains; the second one ends at once, with the exit code that shells give the signal.
    async fn obey(mut self, stopper: Stopper, reload: Reload) {
        let mut asked = false;
        loop {
            // All arms are safe to drop.
            let kind = tokio::select! {
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.hang_up.recv() => {
                    reload.ask();
                    continue;
                }
            };
            if std::mem::replace(&mut asked, true) {
                tracing::error!("Asked to stop a second time: ending at once, what is in flight is lost.");
                std::process::exit(128 + kind.as_raw_value());
            }
            stopper.stop();
        }
    }
}

/// Panics of components are caught at their tasks; this says where they happened, as one line of the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or_default();
        tracing::error!(at, what, "panic");
    }));
}
