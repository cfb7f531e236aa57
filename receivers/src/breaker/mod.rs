//! Receiver `breaker`: signals of circuit breakers, POSTed over HTTP and counted exactly once.
//!
//! ```yaml
//! breaker:
//!   endpoint: 127.0.0.1:9464
//!   storage: file_storage
//! ```
//!
//! A request goes through [`door`] (who may send, what a body is), [`signal`] (what it says), [`counter`] (what it does to which
//! series) into the ledger, and is answered after the commit. What the ledger holds goes out by [`Emission`].

mod chain;
mod counter;
mod door;
mod preset;
mod settings;
mod signal;

use std::path::PathBuf;
use std::sync::Arc;

use config::{ComponentId, Problems, Section};
use pipeline::net::Server;
use pipeline::state::Ledger;
use pipeline::{
    BoxFuture, BuildContext, Claim, Collects, Factory, Fault, Outlet, Plan, Planned, Receiver, Signals, Stop,
};

use self::counter::Counter;
use self::settings::{Checked, Settings};
use crate::events::{Emission, Ways};

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "breaker",
    aliases: &[],
    about: "Takes signals of circuit breakers over HTTP and counts each of them exactly once",
    plan,
    schema: || schemars::schema_for!(Settings),
};

fn plan(section: &Section) -> Planned<dyn Receiver> {
    Ok(Box::new(BreakerPlan(Checked::of(section)?)))
}

/// A checked section.
struct BreakerPlan(Checked);

/// The receiver.
struct Breaker {
    checked: Checked,
    folder: PathBuf,
    context: BuildContext,
}

impl Plan<dyn Receiver> for BreakerPlan {
    fn signals(&self) -> Signals {
        Signals::METRICS
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.0.settings.endpoint.clone())]
    }

    fn collects(&self) -> Collects {
        Collects::OnDemand
    }

    fn storage(&self) -> Option<ComponentId> {
        Some(self.0.storage.clone())
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, mut context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        let folder = context.state.take();
        let folder = folder.ok_or_else(|| Fault::new("there is no folder for the ledger").of(&context.id))?;
        Ok(Box::new(Breaker { checked: self.0, folder, context }))
    }
}

impl Receiver for Breaker {
    fn run(self: Box<Self>, outlet: Outlet, stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let id = self.context.id.to_string();
            if self.context.once {
                run_once(self.context, stop).await;
                return Ok(());
            }
            self.serve(outlet, stop).await.map_err(|fault| fault.of(id))
        })
    }
}

impl Breaker {
    async fn serve(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { checked, folder, context } = self;
        let ledger = open(&checked, folder, &context).await?;
        let BuildContext { id, clock, table, meters, budget, listeners, desk, .. } = context;
        let id = id.to_string();
        let counter = Arc::new(Counter::new(ledger.clone(), &checked, &meters, &id));
        let lent = listeners.lend(&checked.settings.endpoint).await?;
        let Checked { settings, gates, .. } = checked;
        let gates = gates.watched(&settings.limits, &meters, "receiver", &id);
        let mut server = Server::new(lent)
            .limits(&settings.limits)
            .max_body(settings.max_request_body_size.get())
            .meters(&meters, "receiver", &id);
        if let Some(tls) = settings.tls.as_ref() {
            server = server.tls(tls, &gates)?;
        }
        tracing::info!(receiver = %id, address = %server.local_addr(), path = %settings.path, "taking signals");
        let ways = Ways { clock, table, budget, outlet };
        let mut emission = Emission::new(&id, ledger, ways, settings.flush_interval.get());
        let serving = server.serve(door::service(counter, settings.path, &gates), stop);
        tokio::select! {
            () = serving => {}
            () = emission.run(desk) => unreachable!("emission never ends"),
        }
        // What the last requests brought, for destinations that do not ask.
        emission.flush().await;
        Ok(())
    }
}

/// Opens the ledger where blocking is allowed: a large one takes half a second.
async fn open(checked: &Checked, folder: PathBuf, context: &BuildContext) -> Result<Ledger, Fault> {
    let options = checked.ledger_options();
    let (id, clock) = (context.id.to_string(), context.clock.clone());
    let (table, meters) = (context.table.clone(), context.meters.clone());
    let opening = tokio::task::spawn_blocking(move || Ledger::open(&folder, &id, options, &clock, &table, &meters));
    opening.await.map_err(|error| Fault::new("opening the ledger broke off").caused_by(error))?
}

/// A run that remembers nothing has nothing to count with: it answers that there is nothing to read, and opens no door.
async fn run_once(context: BuildContext, mut stop: Stop) {
    tracing::warn!(receiver = %context.id, "signals are sent and not read: run once, this receiver has none");
    let Some(mut desk) = context.desk else { return stop.requested().await };
    loop {
        let demands = tokio::select! {
            demands = desk.demanded() => demands,
            () = stop.requested() => return,
        };
        if demands.is_empty() {
            return stop.requested().await;
        }
        desk.first_round_done(Vec::new());
        demands.into_iter().for_each(|demand| demand.answer(Vec::new()));
    }
}

#[cfg(test)]
mod tests;
