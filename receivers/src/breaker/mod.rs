//! Receiver `breaker`: signals of circuit breakers, POSTed over HTTP and counted exactly once; and the states of those that do not send.
//!
//! ```yaml
//! breaker:
//!   endpoint: 127.0.0.1:9464
//!   storage: file_storage
//! ```
//!
//! A request goes through [`door`] (who may send, what a body is), [`signal`] (what it says), [`counter`] (what it does to which
//! series) into the ledger, and is answered after the commit. What the ledger holds goes out by [`Emission`]. [`pull`] asks targets.

mod chain;
mod check;
mod counter;
mod desks;
mod door;
mod kin;
mod life;
mod preset;
mod pull;
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

use self::check::Checked;
use self::counter::{Counter, SignalCounts, SignalMetrics};
use self::desks::Desks;
use self::life::{All, Lives};
use self::pull::{Books, Puller};
use self::settings::Settings;
use crate::events::settings::Place;
use crate::events::{self, Chore, Emission, Ways, open_ledger};

/// The registry's entry.
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "breaker",
    aliases: &[],
    about: "Takes signals of circuit breakers over HTTP, counts each of them exactly once, and asks for the states of others",
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
    /// Where something is counted.
    folder: Option<PathBuf>,
    context: BuildContext,
}

impl Plan<dyn Receiver> for BreakerPlan {
    fn signals(&self) -> Signals {
        Signals::METRICS
    }

    fn claims(&self) -> Vec<Claim> {
        if self.0.door.is_some() { vec![Claim::Listen(self.0.settings.endpoint.clone())] } else { Vec::new() }
    }

    fn collects(&self) -> Collects {
        self.0.collects()
    }

    fn storage(&self) -> Option<ComponentId> {
        self.0.place.as_ref().and_then(Place::extension)
    }

    fn warnings(&self) -> Problems {
        self.0.warnings.clone()
    }

    fn build(self: Box<Self>, mut context: BuildContext) -> Result<Box<dyn Receiver>, Fault> {
        let folder = context.state.take();
        Ok(Box::new(Breaker { checked: self.0, folder, context }))
    }
}

impl Receiver for Breaker {
    fn run(self: Box<Self>, outlet: Outlet, stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            let id = self.context.id.to_string();
            if self.context.once {
                return self.run_once(outlet, stop).await.map_err(|fault| fault.of(id));
            }
            self.serve(outlet, stop).await.map_err(|fault| fault.of(id))
        })
    }
}

impl Breaker {
    async fn serve(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { checked, folder, context } = self;
        let ledger = match &checked.place {
            Some(_) => Some(open_ledger(folder, checked.ledger_options(), &context).await?),
            None => None,
        };
        let id = context.id.to_string();
        let house = House { id: &id, checked: &checked, ledger: ledger.as_ref(), context: &context, outlet };
        let mut lives = Vec::new();
        let door = house.door(&mut lives).await?;
        let puller = house.puller()?;
        lives.extend(puller.iter().flat_map(Puller::lives).cloned());
        let (ways, every) = (house.ways(), checked.settings.flush_interval.get());
        let mut emission = ledger.map(|ledger| {
            let chore = (!lives.is_empty()).then(|| Arc::new(All(lives)) as Arc<dyn Chore>);
            Emission::new(&id, ledger, ways, every).after(chore)
        });
        let asked = checked.pull.as_ref().is_some_and(|pull| pull.on_demand());
        let Desks { pull, emission: desk, relay } = Desks::of(context.desk, &id, asked, emission.is_some());
        let pulling = async {
            match puller {
                Some(puller) => puller.run(pull, asked, stop.clone()).await,
                None => stop.clone().requested().await,
            }
        };
        let emitting = async {
            match &mut emission {
                Some(emission) => emission.run(desk).await,
                None => std::future::pending().await,
            }
        };
        let serving = async {
            // Both end when they are asked to, each with its work in hand.
            tokio::join!(serve(door, stop.clone()), pulling);
        };
        tokio::select! {
            () = serving => {}
            () = emitting => unreachable!("emission never ends"),
            () = relay.run() => unreachable!("a relay never ends"),
        }
        // What the last requests brought, for destinations that do not ask.
        if let Some(mut emission) = emission {
            emission.flush().await;
        }
        Ok(())
    }

    /// A run that remembers nothing has nothing to count with: targets are asked for their states, and no door is opened.
    async fn run_once(self, outlet: Outlet, stop: Stop) -> Result<(), Fault> {
        let Self { checked, context, .. } = self;
        let id = context.id.to_string();
        if checked.pull.is_none() {
            events::run_once(context, stop).await;
            return Ok(());
        }
        let on_demand = checked.collects() == Collects::OnDemand;
        let house = House { id: &id, checked: &checked, ledger: None, context: &context, outlet };
        if let Some(puller) = house.puller()? {
            puller.run(context.desk, on_demand, stop).await;
        }
        Ok(())
    }
}

/// What the parts of a receiver are made of.
struct House<'a> {
    id: &'a str,
    checked: &'a Checked,
    ledger: Option<&'a Ledger>,
    context: &'a BuildContext,
    outlet: Outlet,
}

impl House<'_> {
    fn ways(&self) -> Ways {
        let BuildContext { clock, table, budget, .. } = self.context;
        Ways { clock: clock.clone(), table: table.clone(), budget: budget.clone(), outlet: self.outlet.clone() }
    }

    /// Who counts signals that are sent.
    fn counter(&self, ledger: &Ledger, lives: &mut Vec<Lives>) -> Counter {
        let Checked { settings, kin, .. } = self.checked;
        let metrics = SignalMetrics::new(ledger, &settings.metrics, settings.last_transition);
        let own = self.checked.wanted().map(|wanted| {
            let clock = &self.context.clock;
            Lives::resume(ledger, clock, kin, wanted, &settings.metrics.state)
        });
        lives.extend(own.clone());
        let counts = SignalCounts::new(&self.context.meters, self.id);
        Counter::new(ledger.clone(), kin.clone(), metrics, own, counts)
    }

    /// Where signals are sent to, and its service.
    async fn door(&self, lives: &mut Vec<Lives>) -> Result<Option<(Server, pipeline::net::Service)>, Fault> {
        let (Some(gates), Some(ledger)) = (&self.checked.door, self.ledger) else { return Ok(None) };
        let (settings, BuildContext { meters, listeners, .. }) = (&self.checked.settings, self.context);
        let counter = Arc::new(self.counter(ledger, lives));
        let lent = listeners.lend(&settings.endpoint).await?;
        let gates = gates.clone().watched(&settings.limits, meters, "receiver", self.id);
        let mut server = Server::new(lent)
            .finishing()
            .limits(&settings.limits)
            .max_body(settings.max_request_body_size.get())
            .meters(meters, "receiver", self.id);
        if let Some(tls) = settings.tls.as_ref() {
            server = server.tls(tls, &gates)?;
        }
        tracing::info!(receiver = %self.id, address = %server.local_addr(), path = %settings.path, "taking signals");
        Ok(Some((server, door::service(counter, settings.path.clone(), &gates))))
    }

    /// Who asks targets.
    fn puller(&self) -> Result<Option<Puller>, Fault> {
        let Checked { settings, pull, .. } = self.checked;
        let Some(pull) = pull.clone() else { return Ok(None) };
        let (ways, meters) = (self.ways(), &self.context.meters);
        let books = self.ledger.map(|ledger| Books {
            ledger: ledger.clone(),
            metrics: SignalMetrics::new(ledger, &settings.metrics, settings.last_transition),
            wanted: self.checked.wanted(),
            counts: SignalCounts::new(meters, self.id),
        });
        let state = counter::state_metric(&settings.metrics);
        Puller::new(self.id, pull, &state, (&ways, meters), books.as_ref()).map(Some)
    }
}

async fn serve(door: Option<(Server, pipeline::net::Service)>, mut stop: Stop) {
    match door {
        Some((server, service)) => server.serve(service, stop).await,
        None => stop.requested().await,
    }
}

#[cfg(test)]
mod tests;
