//! What every receiver with a ledger does when it begins.

use std::path::PathBuf;

use pipeline::state::{Durability, Ledger, LedgerOptions};
use pipeline::{BuildContext, Fault};

/// Opens the ledger of a receiver where blocking is allowed: a large one takes half a second. One in memory needs no folder.
///
/// # Errors
/// When its folder cannot be used, or another process uses it.
pub(crate) async fn open_ledger(
    folder: Option<PathBuf>,
    options: LedgerOptions,
    context: &BuildContext,
) -> Result<Ledger, Fault> {
    if options.durability == Durability::Memory {
        let BuildContext { id, clock, table, meters, .. } = context;
        return Ok(Ledger::in_memory(&id.to_string(), &options, clock, table, meters));
    }
    let folder = folder.ok_or_else(|| Fault::new("there is no folder for the ledger"))?;
    let (id, clock) = (context.id.to_string(), context.clock.clone());
    let (table, meters, health) = (context.table.clone(), context.meters.clone(), context.health.clone());
    let open = move || Ledger::open(&folder, &id, options, &clock, &table, &meters, &health);
    let opening = tokio::task::spawn_blocking(open);
    opening.await.map_err(|error| Fault::new("opening the ledger broke off").caused_by(error))?
}
