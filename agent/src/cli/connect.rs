//! `weir validate --connect`: what the world says of a sound configuration.

use std::time::Duration;

use config::{Problem, Problems};
use futures_util::{StreamExt, stream};
use pipeline::{BoxFuture, Fault};

use crate::plan::{GraphPlan, Node};

/// Components that are asked at the same time. Each of them may ask several databases.
const AT_ONCE: usize = 4;

/// Asks all components that connect. Each thing that is asked gets `time`.
pub(super) fn ask(plan: &GraphPlan, time: Duration) -> Result<Problems, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::new("cannot start to connect").caused_by(error))?;
    let mut asking = Vec::new();
    plan.receivers.iter().for_each(|node| asking.extend(one(node, time)));
    plan.exporters.iter().for_each(|node| asking.extend(one(node, time)));
    let told =
        runtime.block_on(async { stream::iter(asking).buffer_unordered(AT_ONCE).collect::<Vec<Problems>>().await });
    // A thread may hang in a system call on a dead drive; nobody waits for it.
    runtime.shutdown_background();
    Ok(told.into_iter().flatten().collect())
}

fn one<C: ?Sized>(node: &Node<C>, time: Duration) -> Option<BoxFuture<'static, Problems>> {
    let id = node.id.to_string();
    let asked = node.plan.connect(time)?;
    // A component that panics would hide what the others have to say.
    Some(Box::pin(async move {
        match tokio::spawn(asked).await {
            Ok(problems) => problems,
            Err(_) => Problem::error(format!("{id:?} ended before it told what its databases say")).into(),
        }
    }))
}
