//! Running once, for receivers that are sent to.

use pipeline::{BuildContext, Stop};

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
