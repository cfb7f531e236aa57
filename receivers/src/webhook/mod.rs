//! Receiver `webhook`: events that other systems send over HTTP, verified and counted exactly once.
//!
//! ```yaml
//! webhook:
//!   endpoint: 127.0.0.1:9466
//!   storage: file_storage
//!   sources:
//!     - name: orders
//!       id: event_id
//!       metrics:
//!         - metric_name: orders
//!           attributes: [{name: status}]
//! ```
//!
//! A request goes through [`door`] (which source), [`source`] (the way of a request), [`verify`] (who signed it), [`body`] and
//! [`document`] (which events are in it), the rules of [`metric`] and [`logs`] (what an event does) into the ledger, and is answered
//! after the commit. What the ledger holds goes out by [`Emission`] and [`Spool`].

pub(crate) mod body;
mod check;
mod commit;
mod counts;
pub(crate) mod document;
mod door;
mod field;
mod logs;
#[doc(hidden)]
pub mod measure;
mod metric;
mod once;
mod pace;
pub(crate) mod reason;
mod settings;
mod source;
mod term;
pub(crate) mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use config::{ComponentId, Problems, Section};
use pipeline::net::Server;
use pipeline::state::Ledger;
use pipeline::{
    BoxFuture, BuildContext, Claim, Collects, Factory, Fault, Outlet, Plan, Planned, Receiver, Signals, Stop,
};
use tokio::sync::Semaphore;

use self::check::Checked;
use self::door::Routes;
use self::settings::Settings;
use self::source::{BODIES_KIB, Shared, Source};
use crate::events::spool::{Backlog, Spool};
use crate::events::{Emission, Ways, open_ledger, run_once};

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "webhook",
    aliases: &[],
    about: "Takes signed events of other systems over HTTP and counts each of them exactly once",
    plan,
    schema: || schemars::schema_for!(Settings),
};

fn plan(section: &Section) -> Planned<dyn Receiver> {
    Ok(Box::new(WebhookPlan(Checked::of(section)?)))
}

/// A checked section.
struct WebhookPlan(Checked);

/// The receiver.
struct Webhook {
    checked: Checked,
    /// Unless the ledger is in memory.
    folder: Option<PathBuf>,
    context: BuildContext,
}

/// The parts of a receiver that runs, but for its server.
struct Parts {
    routes: Routes,
    emission: Emission,
    spool: Spool,
}

impl Plan<dyn Receiver> for WebhookPlan {
    fn signals(&self) -> Signals {
        match (self.0.has_metrics(), self.0.has_logs()) {
            (true, true) => Signals::METRICS.with(Signals::LOGS),
            (false, true) => Signals::LOGS,
            _ => Signals::METRICS,
        }
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Listen(self.0.settings.endpoint.clone())]
    }

    fn collects(&self) -> Collects {
        Collects::OnDemand
    }

    fn storage(&self) -> Option<ComponentId> {
        self.0.place.extension()
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, mut context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        let folder = context.state.take();
        Ok(Box::new(Webhook { checked: self.0, folder, context }))
    }
}

impl Receiver for Webhook {
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

impl Webhook {
    async fn serve(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { mut checked, folder, mut context } = self;
        let ledger = open_ledger(folder, checked.ledger_options(), &context).await?;
        let id = context.id.to_string();
        let (max_body, desk) = (checked.max_body(), context.desk.take());
        let Parts { routes, mut emission, spool } = assemble(&mut checked, ledger, outlet, &context)?;
        let lent = context.listeners.lend(&checked.settings.endpoint).await?;
        let Checked { settings, gates, .. } = checked;
        let gates = gates.watched(&settings.limits, &context.meters, "receiver", &id);
        let mut server = Server::new(lent).finishing().limits(&settings.limits).max_body(max_body).meters(
            &context.meters,
            "receiver",
            &id,
        );
        if let Some(tls) = settings.tls.as_ref() {
            server = server.tls(tls, &gates)?;
        }
        // Before the door opens: what is written meanwhile would be added twice.
        if let Err(refusal) = spool.measure().await {
            return Err(Fault::new("cannot read the records that wait in the ledger").caused_by(refusal.to_string()));
        }
        tracing::info!(receiver = %id, address = %server.local_addr(), sources = routes.len(), "taking events");
        let serving = server.serve(door::service(routes, context.clock.clone(), &gates), stop);
        tokio::select! {
            () = serving => {}
            () = emission.run(desk) => unreachable!("emission never ends"),
            () = spool.run() => unreachable!("the spool never ends"),
        }
        // What the last requests brought, for destinations that do not ask.
        emission.flush().await;
        Ok(())
    }
}

/// Makes the parts of a receiver.
fn assemble(checked: &mut Checked, ledger: Ledger, outlet: Outlet, context: &BuildContext) -> Result<Parts, Fault> {
    let BuildContext { id, clock, table, meters, budget, .. } = context;
    let id = id.to_string();
    let backlog = Arc::new(Backlog::new(checked.settings.spool.max_bytes.get(), meters, &id));
    let bodies = Arc::new(Semaphore::new(BODIES_KIB));
    let shared = Shared { ledger: ledger.clone(), backlog: backlog.clone(), clock: clock.clone(), bodies };
    let sources = std::mem::take(&mut checked.sources);
    let sources = sources.into_iter().map(|plan| Source::new(plan, shared.clone(), meters, &id).map(Arc::new));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let ways = Ways { clock: clock.clone(), table: table.clone(), budget: budget.clone(), outlet };
    let spool = Spool::new(&id, ledger.clone(), backlog, &ways, meters);
    let mut emission = Emission::new(&id, ledger, ways, checked.settings.flush_interval.get());
    if let Some(name) = &checked.settings.refused_metric {
        let counts = sources.iter().map(|source| (source.plan.settings.name.as_str(), &source.counts));
        emission = emission.with_live(counts::live(name, &checked.origin, counts, table, clock.wall()));
    }
    let routes = sources.into_iter().map(|source| (source.plan.path.clone(), source)).collect();
    Ok(Parts { routes, emission, spool })
}

#[cfg(test)]
mod tests;
