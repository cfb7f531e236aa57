//! Exporters `otlp_http` and `otlp_grpc`: OTLP pushed to another agent or a backend.
//!
//! A batch is encoded and compressed once; tries only send. Queue, retries, breaker and time-outs are the [`delivery`](crate::delivery)
//! stack's. What leaves is OTLP 1.x in protobuf; what comes back is held to the retry table of the specification
//! (<https://opentelemetry.io/docs/specs/otlp/>), with additions from the configuration.

mod grpc;
mod http;
mod pack;

use std::sync::Arc;
use std::time::Duration;

use config::{Problem, Problems, Section, Signal};
use pipeline::net::client::is_guarded;
use pipeline::{BoxFuture, Clock, Exporter, Factory, Fault, Intake, Payload, Refusal, Stop};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::delivery::{Delivery, Parcel};
use pack::Packer;

/// OTLP over HTTP.
pub const HTTP: Factory<dyn Exporter> = Factory {
    kind: "otlp_http",
    aliases: &[],
    about: "Pushes metrics, logs and traces as OTLP over HTTP, in protobuf.",
    plan: http::plan,
    schema: || schemars::schema_for!(http::Config),
};

/// OTLP over gRPC.
pub const GRPC: Factory<dyn Exporter> = Factory {
    kind: "otlp_grpc",
    aliases: &["otlp"],
    about: "Pushes metrics, logs and traces as OTLP over gRPC.",
    plan: grpc::plan,
    schema: || schemars::schema_for!(grpc::Config),
};

/// The most of an answer that is read (OTLP: responses are at most 4 MiB), and kept: a status or a partial success with its text.
const READ_MAX: usize = 4 << 20;
const KEEP_MAX: usize = 64 << 10;

/// An exporter that is ready: packs batches and hands them to delivery.
struct Otlp {
    packer: Arc<Packer>,
    delivery: Delivery,
    intake: Intake,
    clock: Clock,
}

/// The key `auth_errors`: what becomes of data when the destination refuses our credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AuthErrors {
    /// It is kept and tried again every minute, for as long as it takes.
    #[default]
    Hold,
    /// It is dropped, as the Collector does.
    Drop,
}

/// How often the bytes of series that left are forgotten; two turns later they are gone.
const TURN: Duration = Duration::from_secs(300);

/// What we are called towards servers.
const USER_AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

impl Exporter for Otlp {
    fn export<'a>(&'a self, batch: &'a pipeline::Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            // OTLP: senders should not create empty requests. Pages of a collection may be empty.
            if batch.items() == 0 {
                return Ok(());
            }
            let signal = match &batch.payload {
                Payload::Metrics(_) => Signal::Metrics,
                Payload::Logs(_) => Signal::Logs,
                Payload::Traces(_) => Signal::Traces,
            };
            let body = self.packer.pack(&batch.payload)?;
            let parcel = Parcel { signal, body, items: batch.items() as u64, began: self.clock.now() };
            self.delivery.deliver(parcel).await
        })
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    fn run(&self, mut stop: Stop) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = stop.requested() => return Ok(()),
                    () = self.clock.sleep(TURN) => self.packer.turn(),
                }
            }
        })
    }
}

/// A problem for an endpoint that is written as an address that exporters refuse.
fn guarded(section: &Section, key: &str, host: &str, allowed: bool) -> Option<Problem> {
    let address = host.trim_matches(['[', ']']).parse().ok()?;
    let refused = !allowed && is_guarded(address);
    refused.then(|| {
        let what = format!("{address} is an address on which clouds answer the host itself, with its credentials");
        section.error(key, what).with_help("if telemetry is really to go there, set `allow_link_local: true`")
    })
}

/// Warnings about TLS settings that weaken it.
fn tls_warnings(section: &Section, skip_verify: bool) -> Problems {
    let what = "`insecure_skip_verify` takes any certificate: whoever is on the way can read and change the telemetry";
    skip_verify.then(|| section.warning("tls.insecure_skip_verify", what)).into_iter().collect()
}

#[cfg(test)]
mod tests;
