//! The agent's own log: one line an event, in the Collector's console format or as JSON.
//!
//! ```text
//! 2026-11-21T09:30:00.123Z<TAB>info<TAB>agent/agent.rs:80<TAB>Everything is ready.<TAB>{"otelcol.component.id": "debug"}
//! ```
//!
//! Control characters are escaped wherever they come from, so that no one who can put text into a log line can forge another.
//! Events of libraries are shown from `warn` on, whatever the level: their chatter is not about the user's pipelines.

mod fields;
mod line;
mod sampling;
mod sink;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pipeline::{Clock, Fault};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use self::fields::Fields;
use self::line::Style;
use self::sampling::Sampler;
use self::sink::Sinks;
use super::settings::LogSettings;

/// A log that is in use: changes its level, tells what it left out. Clones are the same log.
#[derive(Clone, Debug)]
pub struct LogHandle {
    level: Arc<AtomicU8>,
    left_out: Arc<AtomicU64>,
}

/// Writes events as lines.
struct Lines {
    handle: LogHandle,
    style: Style,
    sampler: Option<Mutex<Sampler>>,
    sinks: Sinks,
    clock: Clock,
}

/// Crates of the house: their events are shown at the level of the configuration.
const HOUSE: &[&str] = &["agent", "config", "exporters", "pdata", "pipeline", "processors", "receivers", "weir"];

/// A subscriber that writes as the settings say.
///
/// # Errors
/// When an output cannot be opened.
pub fn subscriber(settings: &LogSettings, clock: Clock) -> Result<(impl Subscriber + use<>, LogHandle), Fault> {
    let sinks = Sinks::open(&settings.outputs)?;
    Ok(subscriber_to(settings, clock, sinks))
}

/// Makes the log of the process.
///
/// # Errors
/// When an output cannot be opened, or the process has a log already.
pub fn install(settings: &LogSettings) -> Result<LogHandle, Fault> {
    let (subscriber, handle) = subscriber(settings, Clock::system())?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Fault::new("cannot install the log").caused_by(error))?;
    Ok(handle)
}

fn subscriber_to(settings: &LogSettings, clock: Clock, sinks: Sinks) -> (impl Subscriber + use<>, LogHandle) {
    let handle = LogHandle { level: Arc::new(AtomicU8::new(rank(settings.level))), left_out: Arc::default() };
    let lines = Lines {
        handle: handle.clone(),
        style: Style::new(settings.encoding, settings.caller, &settings.fields),
        sampler: settings.sampling.enabled.then(|| Mutex::new(Sampler::new(settings.sampling))),
        sinks,
        clock,
    };
    (Registry::default().with(lines), handle)
}

impl LogHandle {
    /// Shows events from `level` on; none shows nothing.
    pub fn set(&self, level: Option<Level>) {
        if self.level.swap(rank(level), Ordering::Relaxed) != rank(level) {
            tracing::callsite::rebuild_interest_cache();
        }
    }

    /// Lines that were left out because the same line was shown often enough, since the start.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let rank = rank(Some(*metadata.level()));
        rank <= self.level.load(Ordering::Relaxed) && (is_house(metadata) || *metadata.level() <= Level::WARN)
    }
}

/// Whether the house speaks, and no library.
fn is_house(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target().split("::").next().unwrap_or_default();
    HOUSE.contains(&target)
}

/// Levels as numbers, the most severe first.
fn rank(level: Option<Level>) -> u8 {
    match level {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Spans of the house name the component that speaks: they are needed whatever the level. Those of libraries name nothing that a
        // line would show, and h2 opens dozens for each request.
        if metadata.is_span() { is_house(metadata) } else { self.handle.shows(metadata) }
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.append(of_span);
            }
        }
        let speaker = fields.digest();
        event.record(&mut fields);
        let now = self.clock.wall();
        if let Some(sampler) = &self.sampler {
            let mut sampler = sampler.lock().unwrap_or_else(PoisonError::into_inner);
            if !sampler.shows(event.metadata().callsite(), speaker, now) {
                self.handle.left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.sinks.write(&self.style.line(now, event.metadata(), &fields));
    }
}

#[cfg(test)]
mod tests;
