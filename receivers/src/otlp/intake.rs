//! From the bytes of a request to the verdict on its data.

use std::sync::Arc;
use std::time::Duration;

use config::Signal;
use pdata::Metrics;
use pdata::otlp::{
    Decoded, Malformed, MetricsDecoder, NotJson, PartialSuccess, decode_logs, decode_traces, logs_from_json,
    metrics_from_json, traces_from_json,
};
use pipeline::budget::Permit;
use pipeline::{Batch, Budget, BuildContext, Clock, Count, Outlet, Payload, Receipt, Signals, Verdict, Waiter};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{Form, No, RETRY_AFTER};
use super::body::{Body, Whole};
use super::settings::{Reply, ReplyWord};

/// Takes requests in, whatever protocol they came by.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) budget: Budget,
    decoder: Arc<MetricsDecoder>,
    outlet: Outlet,
    clock: Clock,
    reply: Reply,
    /// Places for requests that are decoded beside the tasks that serve.
    aside: Semaphore,
    counts: Counts,
}

#[derive(Debug)]
struct Counts {
    /// Points, records and spans of requests that were not taken, and those that were rejected for their data.
    points: Count,
    records: Count,
    spans: Count,
    /// Requests that were not taken, in the order of [`No::WORDS`].
    requests: [Count; No::WORDS.len()],
}

/// A request that was understood.
struct Understood {
    payload: Payload,
    partial: PartialSuccess,
    permit: Permit,
}

/// A promise that is taken back unless its end was heard: a sender that went away, or was told to, sends the same again.
struct Promise {
    waiter: Waiter,
    kept: bool,
}

/// From this size on a request is decoded on a thread where blocking is allowed: 256 KiB may take ten milliseconds when nothing in it
/// was seen before.
const LARGE: usize = 256 << 10;
/// Points that were seen before take a millisecond for this size: so far they are decoded where they came in, since another thread
/// costs a switch and finds none of the bytes in its cache.
const LARGE_KNOWN: usize = 1 << 20;
/// Series that may be new in such a request; at some four microseconds each they take another two milliseconds.
const FIRST_SIGHTS: usize = 512;
/// Large requests that are decoded at the same time: each may unfold to twice the largest request.
const ASIDE: usize = 4;

impl Intake {
    pub(super) fn new(decoder: Arc<MetricsDecoder>, outlet: Outlet, context: &BuildContext, reply: Reply) -> Self {
        let BuildContext { id, clock, meters, budget, .. } = context;
        let refused = |name, about, unit| meters.count(name, about, unit, vec![("receiver", id.to_string())]);
        let requests = |word: &str| {
            let labels = vec![("receiver", id.to_string()), ("reason", word.to_owned())];
            meters.count("weir_receiver_refused_requests", "Requests of which nothing was taken.", "{requests}", labels)
        };
        let counts = Counts {
            points: refused("otelcol_receiver_refused_metric_points", "Metric points not taken in.", "{datapoints}"),
            records: refused("otelcol_receiver_refused_log_records", "Log records not taken in.", "{records}"),
            spans: refused("otelcol_receiver_refused_spans", "Spans not taken in.", "{spans}"),
            requests: No::WORDS.map(requests),
        };
        let aside = Semaphore::new(ASIDE);
        Self { budget: budget.clone(), decoder, outlet, clock: clock.clone(), reply, aside, counts }
    }

    /// Whether a pipeline carries the signal.
    pub(super) fn carries(&self, signal: Signal) -> Result<(), No> {
        let carried = self.outlet.ports().iter().any(|port| port.takes(Signals::from(signal)));
        if carried { Ok(()) } else { Err(No::NotCarried(signal)) }
    }

    /// Until when the sender of a request that came now is to be answered; `patience` is what it said itself.
    pub(super) fn deadline(&self, patience: Option<Duration>) -> Instant {
        // A fifth less than the sender's own time, so that the answer is there before it gives up.
        let within = patience.map_or(self.reply.within, |patience| self.reply.within.min(patience * 4 / 5));
        self.clock.now() + within
    }

    /// Decodes a request and brings its data to where the sender wants to know it.
    pub(super) async fn take(
        self: &Arc<Self>,
        signal: Signal,
        form: Form,
        whole: Whole,
        deadline: Instant,
    ) -> Result<PartialSuccess, No> {
        let Understood { payload, partial, permit } = self.understand(signal, form, whole).await?;
        let refused = self.counts.refused(signal);
        refused.add(partial.rejected);
        let batch = Batch::new(payload, self.clock.wall()).with_permit(permit);
        let items = batch.items() as u64;
        if items == 0 {
            return Ok(partial);
        }
        match self.deliver(batch, deadline).await {
            Ok(()) => Ok(partial),
            Err(no) => {
                refused.add(items);
                Err(no)
            }
        }
    }

    /// Counts a request that ends with a no.
    pub(super) fn count(&self, no: &No) {
        let at = No::WORDS.iter().position(|word| *word == no.word()).expect("every no has a word");
        self.counts.requests[at].add(1);
    }

    async fn understand(self: &Arc<Self>, signal: Signal, form: Form, whole: Whole) -> Result<Understood, No> {
        let size = whole.0.len();
        if size < LARGE {
            return understand(&self.decoder, signal, form, whole);
        }
        if size < LARGE_KNOWN
            && (signal, form) == (Signal::Metrics, Form::Protobuf)
            && let Some(decoded) = self.decoder.decode_known(&whole.0, FIRST_SIGHTS)?
        {
            return Understood::metrics(decoded, whole.1);
        }
        let place = self.aside.acquire().await.expect("it is never closed");
        let decoder = self.decoder.clone();
        let understood = tokio::task::spawn_blocking(move || understand(&decoder, signal, form, whole)).await;
        drop(place);
        // A panic in there has been told by the panic hook.
        understood.unwrap_or_else(|_| Err(No::Busy { after: RETRY_AFTER, why: "decoding broke off".to_owned() }))
    }

    async fn deliver(&self, batch: Batch, deadline: Instant) -> Result<(), No> {
        let (receipt, waiter) = Receipt::pair();
        let mut promise = Promise { waiter, kept: false };
        let batch = batch.with_receipt(receipt);
        let delivering = async {
            self.outlet.send(batch).await;
            match self.reply.word {
                ReplyWord::OnDelivery => promise.waiter.ended().await,
                ReplyWord::OnEnqueue => Verdict::Delivered,
            }
        };
        let verdict = tokio::time::timeout_at(deadline, delivering).await;
        promise.kept = verdict.is_ok();
        match verdict {
            Ok(Verdict::Delivered | Verdict::Discarded) => Ok(()),
            Ok(Verdict::Rejected) => Err(No::Refused),
            Ok(Verdict::Lost) => Err(busy("a destination does not take it now")),
            Err(_) => Err(busy("it is not delivered in time, and withdrawn where it is not on its way")),
        }
    }
}

fn busy(why: &str) -> No {
    No::Busy { after: RETRY_AFTER, why: why.to_owned() }
}

impl Counts {
    fn refused(&self, signal: Signal) -> &Count {
        match signal {
            Signal::Metrics => &self.points,
            Signal::Logs => &self.records,
            Signal::Traces => &self.spans,
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if !self.kept {
            self.waiter.withdraw();
        }
    }
}

impl Understood {
    fn metrics(decoded: Decoded<Metrics>, permit: Permit) -> Result<Self, No> {
        Self::new(decoded.data.into(), decoded.rejected, decoded.why, permit)
    }

    fn new(payload: Payload, rejected: u64, why: Option<&str>, mut permit: Permit) -> Result<Self, No> {
        permit.resize(payload.heap_bytes()).map_err(No::busy)?;
        let partial = PartialSuccess { rejected, message: why.unwrap_or_default().to_owned() };
        Ok(Self { payload, partial, permit })
    }
}

fn understand(decoder: &MetricsDecoder, signal: Signal, form: Form, whole: Whole) -> Result<Understood, No> {
    let (bytes, mut permit) = whole;
    let bytes = match form {
        Form::Protobuf => bytes,
        Form::Json => {
            let protobuf = match signal {
                Signal::Metrics => metrics_from_json(&bytes),
                Signal::Logs => logs_from_json(&bytes),
                Signal::Traces => traces_from_json(&bytes),
            }?;
            // For a moment there are both.
            permit.resize(bytes.len() + protobuf.capacity()).map_err(No::busy)?;
            Body::Made(protobuf)
        }
    };
    match signal {
        Signal::Metrics => Understood::metrics(decoder.decode(&bytes)?, permit),
        Signal::Logs => {
            let decoded = decode_logs(&bytes)?;
            Understood::new(decoded.data.into(), decoded.rejected, decoded.why, permit)
        }
        Signal::Traces => Understood::new(decode_traces(bytes.kept())?.into(), 0, None, permit),
    }
}

impl From<Malformed> for No {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooMuch => Self::TooLarge(malformed.to_string()),
            _ => Self::bad(format!("not a request of OTLP: {malformed}")),
        }
    }
}

impl From<NotJson> for No {
    fn from(error: NotJson) -> Self {
        Self::bad(format!("not a request of OTLP in JSON: {error}"))
    }
}
