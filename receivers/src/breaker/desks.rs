//! Who is asked when a scrape asks this receiver: its targets, its ledger, or one after the other.

use std::time::Duration;

use pipeline::Collects;
use pipeline::collection::{CollectionDesk, CollectionPort};
use tokio::time::Instant;

/// The desks of both, and who stands between them and the receiver's own.
#[derive(Debug)]
pub(super) struct Desks {
    pub(super) pull: Option<CollectionDesk>,
    pub(super) emission: Option<CollectionDesk>,
    pub(super) relay: Relay,
}

/// Passes demands on to two desks.
#[derive(Debug)]
pub(super) struct Relay(Option<(CollectionDesk, [CollectionPort; 2])>);

/// What is left of a scrape's time for the ledger when a target takes all it can: reading the ledger takes a few milliseconds.
const FOR_THE_SECOND: Duration = Duration::from_millis(100);

impl Desks {
    /// `asked`: whether targets are asked when a scrape asks. `emits`: whether there is a ledger.
    pub(super) fn of(desk: Option<CollectionDesk>, receiver: &str, asked: bool, emits: bool) -> Self {
        let nobody = Relay(None);
        match (asked, emits) {
            (true, true) => {
                let (pull, pull_port) = CollectionDesk::pair(receiver, Collects::OnDemand);
                let (emission, emission_port) = CollectionDesk::pair(receiver, Collects::OnDemand);
                let relay = Relay(desk.map(|desk| (desk, [pull_port, emission_port])));
                Self { pull: Some(pull), emission: Some(emission), relay }
            }
            (false, true) => Self { pull: None, emission: desk, relay: nobody },
            (_, false) => Self { pull: desk, emission: None, relay: nobody },
        }
    }
}

impl Relay {
    /// Passes demands on for ever. The targets come first, so that the ledger shows what they were found to have changed. Safe to
    /// drop: the demands in hand are then not met.
    pub(super) async fn run(self) {
        let Some((mut desk, ports)) = self.0 else { return std::future::pending().await };
        loop {
            let demands = desk.demanded().await;
            if demands.is_empty() {
                return std::future::pending().await;
            }
            let now = Instant::now();
            let patience = demands.iter().map(|demand| demand.remaining(now)).max().unwrap_or_default();
            let [pull, emission] = &ports;
            // Who does not answer in time shows what it has.
            let mut collected = pull.collect(now + patience.saturating_sub(FOR_THE_SECOND)).await.unwrap_or_default();
            collected.extend(emission.collect(now + patience).await.unwrap_or_default());
            desk.first_round_done(collected.clone());
            demands.into_iter().for_each(|demand| demand.answer(collected.clone()));
        }
    }
}
