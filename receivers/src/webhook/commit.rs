//! Prepared events on their way into the ledger.

use std::time::Duration;

use futures_util::future::join_all;
use pipeline::Refusal;
use pipeline::mapping::counted::Applied;
use pipeline::state::{Committed, Entry, Ledger, Submitting};
use smallvec::{SmallVec, smallvec};

use crate::events::spool::Room;

/// An event, or a thing that it tells of, on its way into the ledger.
pub(super) struct Prepared {
    pub(super) what: What,
    pub(super) entry: Entry,
    pub(super) applied: Applied,
    /// Taken in the spool by its record.
    pub(super) room: Option<Room>,
}

/// What is on its way.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// An event.
    Event,
    /// A thing, by the place of the metric that counts it.
    Thing(usize),
}

/// What was on its way, and how it ended.
pub(super) type Ended = (What, Result<Committed, Refusal>, Applied);

/// The longest that a sender waits for the ledger; Slack gives up after 3 s, GitHub after 10.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// Commits entries, in their order; none when that takes too long.
pub(super) async fn commit(ledger: &Ledger, prepared: Vec<Prepared>) -> Option<SmallVec<[Ended; 1]>> {
    // What is held while a request waits is its memory: the usual case holds a few words, the others a box.
    match only(ledger, prepared) {
        Ok((what, submitting, applied)) => {
            let committed = match submitting.at_once() {
                Ok(committed) => committed,
                Err(submitting) => tokio::time::timeout(COMMIT_WITHIN, submitting).await.ok()?,
            };
            Some(smallvec![(what, committed, applied)])
        }
        Err(prepared) => Box::pin(commit_many(ledger.clone(), prepared)).await,
    }
}

/// Puts an entry that shares its commit with no other of its request, and has no record, in line.
fn only(ledger: &Ledger, prepared: Vec<Prepared>) -> Result<(What, Submitting, Applied), Vec<Prepared>> {
    match <[Prepared; 1]>::try_from(prepared) {
        Ok([Prepared { what, entry, applied, room: None }]) => Ok((what, ledger.submit(entry), applied)),
        Ok([with_record]) => Err(vec![with_record]),
        Err(prepared) => Err(prepared),
    }
}

async fn commit_many(ledger: Ledger, prepared: Vec<Prepared>) -> Option<SmallVec<[Ended; 1]>> {
    let spools = prepared.iter().any(|prepared| prepared.room.is_some());
    let submitted = submit(ledger, prepared);
    // Dropped in the middle, as when its sender hangs up, an entry is counted or not; its next try will tell. A record must be known to
    // be there or not: else its room would be free and taken. So its commit has a task of its own.
    let submitted = async { if spools { tokio::spawn(submitted).await } else { Ok(submitted.await) } };
    tokio::time::timeout(COMMIT_WITHIN, submitted).await.ok()?.ok()
}

/// Puts entries in line one after another before any of them waits, so that they share a commit and keep their order.
async fn submit(ledger: Ledger, prepared: Vec<Prepared>) -> SmallVec<[Ended; 1]> {
    let submit = |Prepared { what, entry, applied, room }| {
        let submitting = ledger.submit(entry);
        async move {
            let committed = submitting.await;
            if let (Some(room), Ok(Committed::New)) = (room, &committed) {
                room.keep();
            }
            (what, committed, applied)
        }
    };
    join_all(prepared.into_iter().map(submit)).await.into()
}
