//! What stands around processors: counts of what goes in and comes out, under the Collector's names.

use config::{ComponentId, Signal};
use pipeline::{Batch, Count, Meters, Processor};
use tokio::time::Instant;

/// A processor whose batches are counted.
pub(crate) struct Counted {
    inner: Box<dyn Processor>,
    incoming: Count,
    outgoing: Count,
}

/// Stands first in a lane: counts what the lane has taken.
pub(crate) struct Taken(pub(crate) Count);

impl Counted {
    pub(crate) fn new(inner: Box<dyn Processor>, meters: &Meters, id: &ComponentId, signal: Signal) -> Self {
        let labels = || vec![("processor", id.to_string()), ("otel.signal", signal.as_str().to_owned())];
        let count = |name, about| meters.count(name, about, "{items}", labels());
        Self {
            inner,
            incoming: count("otelcol_processor_incoming_items", "Points or records given to the processor."),
            outgoing: count("otelcol_processor_outgoing_items", "Points or records that came out of the processor."),
        }
    }

    /// Calls the processor and counts what it gives.
    fn call(&mut self, out: &mut dyn FnMut(Batch), call: impl FnOnce(&mut dyn Processor, &mut dyn FnMut(Batch))) {
        let outgoing = &self.outgoing;
        call(&mut *self.inner, &mut |batch| {
            outgoing.add(batch.items() as u64);
            out(batch);
        });
    }
}

impl Processor for Counted {
    fn process(&mut self, batch: Batch, out: &mut dyn FnMut(Batch)) {
        self.incoming.add(batch.items() as u64);
        self.call(out, |inner, out| inner.process(batch, out));
    }

    fn wake_at(&self) -> Option<Instant> {
        self.inner.wake_at()
    }

    fn wake(&mut self, now: Instant, out: &mut dyn FnMut(Batch)) {
        self.call(out, |inner, out| inner.wake(now, out));
    }

    fn finish(&mut self, out: &mut dyn FnMut(Batch)) {
        self.call(out, |inner, out| inner.finish(out));
    }
}

impl Processor for Taken {
    fn process(&mut self, batch: Batch, out: &mut dyn FnMut(Batch)) {
        self.0.add(batch.items() as u64);
        out(batch);
    }
}
