//! Asking about statements, on a connection of its own that is closed again.

use std::sync::Arc;
use std::time::Duration;

use pipeline::Clock;
use tokio::sync::oneshot;

use super::connection::{Connection, Settings};
use super::watch::Watch;
use crate::sql_query::describe::{Answers, Description};
use crate::sql_query::source::{ReadError, Reason};

/// A thread that hangs in a system call, such as on a dead network drive, is left behind after this.
const GRACE: Duration = Duration::from_millis(500);

/// What the database says of these statements, within `time`.
pub(super) async fn describe(
    settings: Arc<Settings>,
    clock: &Clock,
    statements: Vec<Arc<str>>,
    time: Duration,
) -> Description {
    let watch = Watch::new(clock.now());
    watch.begin_job(1);
    watch.begin_query(clock.now() + time);
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("weir-sqlite".to_owned()).spawn(move || {
        // Nobody waiting means that the time was up.
        reply.send(ask(&settings, &statements, &watch)).ok();
    });
    if let Err(error) = thread {
        return Err(ReadError::new(Reason::Unavailable, format!("no thread can be started: {error}")));
    }
    match tokio::time::timeout(time + GRACE, answer).await {
        Ok(Ok(description)) => description,
        _ => Err(ReadError::new(Reason::Timeout, "the file did not answer in time; it may be on a drive that hangs")),
    }
}

fn ask(settings: &Settings, statements: &[Arc<str>], watch: &Watch) -> Description {
    let open = Connection::open(settings, watch)?;
    let statements = statements.iter().map(|sql| open.describe(sql, settings, watch)).collect();
    Ok(Answers { session: Vec::new(), statements })
}
