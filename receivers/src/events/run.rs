//! What every receiver with a ledger does when it begins.

use std::path::PathBuf;

use pipeline::state::{Ledger, LedgerOptions};
use pipeline::{BuildContext, Fault, Stop};

/// Opens the ledger of a receiver where blocking is allowed: a large one takes half a second.
///
/// # Errors
/// When its folder cannot be used, or another process uses it.
pub(crate) async fn open_ledger(
    folder: PathBuf,
    options: LedgerOptions,
    context: &BuildContext,
) -> Result<Ledger, Fault> {
    let (id, clock) = (context.id.to_string(), context.clock.clone());
    let (table, meters) = (context.table.clone(), context.meters.clone());
    let opening = tokio::task::spawn_blocking(move || Ledger::open(&folder, &id, options, &clock, &table, &meters));
    opening.await.map_err(|error| Fault::new("opening the ledger broke off").caused_by(error))?
}

/// A run that remembers nothing has nothing to count with: it answers that there is nothing to read, and opens no door.
pub(crate) async fn run_once(context: BuildContext, mut stop: Stop) {
    tracing::warn!(receiver = %context.id, "events are sent and not read: run once, this receiver has none");
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
