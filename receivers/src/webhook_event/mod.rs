//! Receiver `webhook_event`: bodies that are sent over HTTP as log records, with the keys of the Collector's receiver of that name.
//!
//! ```yaml
//! webhook_event:
//!   endpoint: localhost:8088
//! ```
//!
//! Nothing is kept here: a sender hears 200 when its records are where they were to go, and is told to come again when not. Who wants
//! events counted, each once, takes the receiver `webhook`.

mod door;
mod record;
mod settings;

use config::{Problems, Section};
use pipeline::net::Server;
use pipeline::{BoxFuture, BuildContext, Claim, Factory, Fault, Outlet, Plan, Planned, Receiver, Signals, Stop};

use self::door::Door;
use self::settings::{Checked, Settings};

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "webhook_event",
    aliases: &[],
    about: "Takes bodies over HTTP as log records, with the Collector's keys",
    plan,
    schema: || schemars::schema_for!(Settings),
};

fn plan(section: &Section) -> Planned<dyn Receiver> {
    Ok(Box::new(WebhookEventPlan(Checked::of(section)?)))
}

/// A checked section.
struct WebhookEventPlan(Checked);

/// The receiver.
struct WebhookEvent {
    checked: Checked,
    context: BuildContext,
}

impl Plan<dyn Receiver> for WebhookEventPlan {
    fn signals(&self) -> Signals {
        Signals::LOGS
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.0.settings.endpoint.clone())]
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        Ok(Box::new(WebhookEvent { checked: self.0, context }))
    }
}

impl Receiver for WebhookEvent {
    fn run(self: Box<Self>, outlet: Outlet, mut stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            if self.context.once {
                tracing::warn!(receiver = %self.context.id, "events are sent and not read: run once, this receiver has none");
                stop.requested().await;
                return Ok(());
            }
            let id = self.context.id.to_string();
            self.serve(outlet, stop).await.map_err(|fault| fault.of(id))
        })
    }
}

impl WebhookEvent {
    async fn serve(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { mut checked, context } = self;
        let BuildContext { id, clock, budget, meters, listeners, .. } = context;
        let id = id.to_string();
        let lent = listeners.lend(&checked.settings.endpoint).await?;
        checked.gates = checked.gates.watched(&checked.settings.limits, &meters, "receiver", &id);
        let mut server = Server::new(lent)
            .limits(&checked.settings.limits)
            .timeouts(checked.timeouts)
            .max_body(checked.settings.max_request_body_size.get())
            .meters(&meters, "receiver", &id);
        if let Some(tls) = checked.settings.tls.as_ref() {
            server = server.tls(tls, &checked.gates)?;
        }
        tracing::info!(receiver = %id, address = %server.local_addr(), path = %checked.settings.path, "taking events");
        checked.verifier = checked.verifier.take().map(|verifier| verifier.watched(&meters, &id, ""));
        let service = Door::new(checked, id, outlet, (clock, budget), &meters).service();
        server.serve(service, stop).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
