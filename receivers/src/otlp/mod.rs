//! Receiver `otlp`: metrics, logs and traces as OpenTelemetry SDKs and Collectors push them, over gRPC and HTTP.
//!
//! ```yaml
//! otlp:
//!   protocols:
//!     grpc:
//!     http:
//! ```
//!
//! Spec: <https://opentelemetry.io/docs/specs/otlp/>. A request goes through a [`door`] into [`grpc`] or [`http`], which know the
//! protocol; [`body`] reads it within cap and budget; [`intake`] decodes it, hands it to the pipelines and waits for the verdict;
//! [`answer`] has the words for what came of it.
//!
//! The gRPC side is written on the doors' HTTP/2 with tonic's codes, not on tonic's server: that one collects a message before
//! anybody can refuse it, answers one that is too large with a code which OTLP's senders try again for ever, and brings a server of
//! its own where ours has the deadlines, the gates and both protocols on one port.

mod answer;
mod body;
mod door;
mod grpc;
mod http;
mod intake;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use config::{Problems, Section};
use pdata::otlp::MetricsDecoder;
use pipeline::net::{Gates, Server};
use pipeline::{BoxFuture, BuildContext, Claim, Factory, Fault, Outlet, Plan, Planned, Receiver, Signals, Stop};

use self::intake::Intake;
use self::settings::{Checked, DoorPlan, Settings};

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "otlp",
    aliases: &[],
    about: "Takes metrics, logs and traces that OpenTelemetry SDKs and Collectors push",
    plan,
    schema: || schemars::schema_for!(Settings),
};

/// glibc gives memory back to the system as soon as twice the largest block is free that it ever had to ask for alone, and bodies of some
/// hundred KiB that come and go fault their pages in again each time: a tenth of what a request costs. A block of this size, asked for and
/// never touched, tells it what to expect; a body this large would do the same.
const EXPECTED: usize = 2 << 20;

/// How often series are forgotten that no request names; two turns later they are gone.
const TURN: Duration = Duration::from_secs(300);

fn plan(section: &Section) -> Planned<dyn Receiver> {
    Ok(Box::new(OtlpPlan(Checked::of(section)?)))
}

/// A checked section.
struct OtlpPlan(Checked);

/// The receiver.
struct Otlp {
    checked: Checked,
    context: BuildContext,
}

impl Plan<dyn Receiver> for OtlpPlan {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn claims(&self) -> Vec<Claim> {
        self.0.doors.iter().map(|door| Claim::Listen(door.address.clone())).collect()
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        Ok(Box::new(Otlp { checked: self.0, context }))
    }
}

impl Receiver for Otlp {
    fn run(self: Box<Self>, outlet: Outlet, mut stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let id = self.context.id.to_string();
            if self.context.once {
                tracing::warn!(receiver = %id, "telemetry is pushed and not read: run once, this receiver has none");
                stop.requested().await;
                return Ok(());
            }
            self.serve(outlet, stop).await.map_err(|fault| fault.of(id))
        })
    }
}

impl Otlp {
    async fn serve(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { checked, context } = self;
        drop(std::hint::black_box(Vec::<u8>::with_capacity(EXPECTED)));
        let decoder = Arc::new(MetricsDecoder::new(context.table.clone()));
        let intake = Arc::new(Intake::new(decoder.clone(), outlet, &context, checked.reply));
        let mut serving = Vec::new();
        for door in checked.doors {
            serving.push(open(door, &intake, &context, stop.clone()).await?);
        }
        let remembered = context.meters.level(
            "weir_receiver_remembered_series",
            "Series that the receiver finds by the bytes they come as.",
            "{series}",
            vec![("receiver", context.id.to_string())],
        );
        let forgetting = async {
            loop {
                context.clock.sleep(TURN).await;
                decoder.turn();
                remembered.set(i64::try_from(decoder.remembered()).unwrap_or(i64::MAX));
            }
        };
        tokio::select! {
            _ = futures_util::future::join_all(serving) => {}
            () = forgetting => unreachable!("forgetting never ends"),
        }
        Ok(())
    }
}

/// One port, with one protocol or both behind it.
async fn open(
    door: DoorPlan,
    intake: &Arc<Intake>,
    context: &BuildContext,
    stop: Stop,
) -> Result<BoxFuture<'static, ()>, Fault> {
    let id = context.id.to_string();
    let gates: Gates = door.gates.clone().watched(&door.limits, &context.meters, "receiver", &id);
    let lent = context.listeners.lend(&door.address).await?;
    let mut server = Server::new(lent)
        .limits(&door.limits)
        .timeouts(door.timeouts)
        .max_body(door.largest_body())
        .meters(&context.meters, "receiver", &id);
    if let Some(tls) = &door.tls {
        server = server.tls(tls, &gates)?;
    }
    let speaks = door.words();
    tracing::info!(receiver = %id, address = %server.local_addr(), protocols = speaks, "taking telemetry");
    let service = door::service(intake.clone(), door.grpc, door.http, &gates);
    Ok(Box::pin(server.serve(service, stop)))
}

#[cfg(test)]
mod tests;
