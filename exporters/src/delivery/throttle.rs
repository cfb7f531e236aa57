//! Log lines that a sick destination could make by the thousand, told now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// At most one line of each kind in this span: enough for who looks, little enough for a disk.
const EVERY: Duration = Duration::from_secs(10);

/// What was told when, per kind of line. Clones of its owner share it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    retries: Kind,
    holds: Kind,
    drops: Kind,
    rejections: Kind,
}

#[derive(Debug, Default)]
struct Kind(Mutex<(Option<Instant>, u64)>);

impl Told {
    /// Whether to tell of a retry now: how many were not told of since the last line.
    pub(crate) fn retrying(&self) -> Option<u64> {
        self.retries.tell()
    }

    /// The same for data that is held because we may not enter.
    pub(crate) fn holding(&self) -> Option<u64> {
        self.holds.tell()
    }

    /// The same for data that is dropped.
    pub(crate) fn dropping(&self) -> Option<u64> {
        self.drops.tell()
    }

    /// The same for data that the destination rejected.
    pub(crate) fn rejected(&self) -> Option<u64> {
        self.rejections.tell()
    }
}

impl Kind {
    fn tell(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < EVERY) {
            *unsaid += 1;
            return None;
        }
        *last = Some(Instant::now());
        Some(std::mem::take(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_that_were_not_told_are_counted() {
        let told = Told::default();
        assert_eq!((told.retrying(), told.retrying(), told.retrying()), (Some(0), None, None));
        assert_eq!(told.holding(), Some(0), "each kind by itself");
        tokio::time::advance(EVERY).await;
        assert_eq!(told.retrying(), Some(2));
    }
}
