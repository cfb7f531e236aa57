//! Exporters `otlp_http` and `otlp_grpc`: OTLP pushed to another agent or a backend.
//!
//! A batch is encoded and compressed once; tries only send. Queue, retries, breaker and time-outs are the [`delivery`](crate::delivery)
//! stack's. What leaves is OTLP 1.x in protobuf, or over HTTP in JSON; what comes back is held to the retry table of the specification
//! (<https://opentelemetry.io/docs/specs/otlp/>), with additions from the configuration.

mod dress;
mod fold;
mod grpc;
mod http;
mod pack;
mod split;

use std::sync::Arc;
use std::time::Duration;

use config::{Problem, Problems, Section};
use pipeline::net::client::is_guarded;
use pipeline::spool;
use pipeline::{BoxFuture, BuildContext, Clock, Exporter, Factory, Fault, Intake, Refusal, Stop};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::delivery::{Delivery, DeliverySettings, DiskQueue, Fold, Packed, Parcel};
use dress::Dresser;
use fold::Folding;
use pack::Packer;
pub use pack::{json_of, unpacked};

/// OTLP over HTTP.
pub const HTTP: Factory<dyn Exporter> = Factory {
    kind: "otlp_http",
    aliases: &[],
    about: "Pushes metrics, logs and traces as OTLP over HTTP, in protobuf or JSON.",
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
    way: Way,
    intake: Intake,
    clock: Clock,
}

/// How batches leave.
enum Way {
    /// From memory: its sender is told how it ended.
    Direct(Box<Delivery>),
    /// By the disk: its sender is told when it is there.
    Disk {
        queue: Box<DiskQueue>,
        /// The attribute that decides of the partition.
        by: Option<String>,
        folding: Option<Arc<Folding>>,
    },
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
            let (signal, encoding) = (batch.payload.signal(), self.packer.encoding());
            match &self.way {
                Way::Direct(delivery) => {
                    let body = self.packer.pack(&batch.payload)?;
                    let items = batch.items() as u64;
                    delivery
                        .deliver(Parcel {
                            signal,
                            body,
                            encoding,
                            items,
                            began: self.clock.now(),
                            withdrawal: batch.withdrawal(),
                        })
                        .await
                }
                Way::Disk { queue, by, .. } => {
                    let parts = match by {
                        Some(by) => split::split(&batch.payload, by),
                        None => vec![(String::new(), batch.payload.clone())],
                    };
                    queue.keep(self.packed(parts)?).await
                }
            }
        })
    }

    fn intake(&self) -> Intake {
        self.intake
    }

    fn run(&self, mut stop: Stop) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let turning = async {
                loop {
                    self.clock.sleep(TURN).await;
                    self.packer.turn();
                    if let Way::Disk { folding: Some(folding), .. } = &self.way {
                        folding.turn();
                    }
                }
            };
            match &self.way {
                Way::Direct(_) => tokio::select! {
                    () = stop.requested() => Ok(()),
                    () = turning => Ok(()),
                },
                Way::Disk { queue, .. } => tokio::select! {
                    ended = queue.run(stop) => ended,
                    () = turning => Ok(()),
                },
            }
        })
    }
}

impl Otlp {
    fn new(
        packer: Packer,
        delivery: Delivery,
        settings: &DeliverySettings,
        context: &BuildContext,
    ) -> Result<Self, Fault> {
        let packer = Arc::new(packer);
        let way = match &settings.spool {
            None => Way::Direct(Box::new(delivery)),
            Some(options) => {
                let folder = context.state.clone().ok_or_else(|| Fault::new("there is no folder for the queue"))?;
                let dresser = Dresser::new(&packer).map_err(no_compression)?;
                let by = settings.queue.partition.as_ref().map(|partition| partition.by.clone());
                let folding = if settings.queue.fold_superseded {
                    Some(Arc::new(Folding::new(packer.twin().map_err(no_compression)?, context)))
                } else {
                    None
                };
                let fold = folding.clone().map(|folding| folding as Arc<dyn Fold>);
                let queue =
                    DiskQueue::new(folder, settings, options.clone(), delivery, Box::new(dresser), fold, context);
                Way::Disk { queue: Box::new(queue), by, folding }
            }
        };
        Ok(Self { packer, way, intake: settings.intake(), clock: context.clock.clone() })
    }

    fn packed(&self, parts: Vec<split::Part>) -> Result<Vec<Packed>, Refusal> {
        let pack = |(key, payload): split::Part| {
            let parcel = spool::Parcel {
                signal: payload.signal(),
                encoding: self.packer.encoding(),
                items: payload.items() as u64,
                body: self.packer.pack_bare(&payload)?,
                ..spool::Parcel::default()
            };
            Ok(Packed { key, parcel })
        };
        parts.into_iter().map(pack).collect()
    }
}

fn no_compression(error: std::io::Error) -> Fault {
    Fault::new("cannot set up compression").caused_by(error)
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
