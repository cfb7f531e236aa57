//! State on disk: the [`Ledger`] counts events exactly once, whatever is killed, unplugged, sent again or full.
//!
//! One ledger serves one receiver and is one SQLite database in a folder of its own. Seen ids, counters, cursors and records
//! that wait for export change in one transaction; `synchronous=FULL` makes a commit an fsync, and many events share one
//! (group commit). [`Ledger::submit`] answers after that fsync: only then may a receiver say 2xx.
//!
//! Who holds what:
//! - the *committer*, one thread, owns the database. It alone writes;
//! - the *image* holds all series in memory and is what scrapes read. It changes after the commit, never before it, so an
//!   answered event shows in the next [`Snapshot`], and a failed group leaves no trace;
//! - on disk each row carries a check of its bytes, and its table's letter, so damage is found and what is sound can be
//!   picked from the pages of a file that SQLite itself refuses.
//!
//! A ledger [in memory](Ledger::in_memory) has the image alone and changes it at once.
//!
//! `docs/state.md` says what is promised, and what to do when the disk fails.

mod books;
mod codec;
mod commit;
mod entry;
mod error;
mod files;
mod held;
mod ids;
mod image;
mod ledger;
mod load;
mod memory;
mod offline;
mod pages;
mod queue;
mod salvage;
mod sieve;
mod store;
mod submitting;
mod telemetry;
mod wal;
mod window;
mod worker;

pub use entry::{Committed, Cursor, Entry, EventId, Tracked};
pub use held::{Standing, Tally};
pub use image::Snapshot;
pub use ledger::{Durability, Ledger, LedgerOptions, State};
pub use offline::{Findings, Listed, Offline};
pub use submitting::Submitting;

#[cfg(test)]
mod tests;
