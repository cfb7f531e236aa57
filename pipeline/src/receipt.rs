//! The promise that follows a batch.
//!
//! A receipt is a counted slip. Forking a batch forks its receipt; merging batches joins receipts. Every holder ends with a
//! verdict, the worst wins, and when the last holder lets go the waiter is told. A receipt that is dropped without a word counts
//! as [`Verdict::Lost`]: a forgotten path shows in the first test instead of passing for success.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use smallvec::SmallVec;
use tokio::sync::oneshot;

/// How a promise ended, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// It is where it was to go.
    Delivered = 0,
    /// It was dropped on purpose, by a rule, and counted.
    Discarded = 1,
    /// The destination will never take it.
    Rejected = 2,
    /// It is gone, or nobody knows: whoever can should send it again.
    Lost = 3,
}

/// One holder's share of the promise. Not `Clone`: see [`fork`](Self::fork).
#[derive(Debug)]
pub struct Receipt {
    /// One slip, or several after a merge; none for those who do not care.
    slips: SmallVec<[Arc<Slip>; 1]>,
    /// Of those that it stands for; see [`stand_for`](Self::stand_for).
    behind: Vec<Arc<Slip>>,
    verdict: Verdict,
}

/// Waits for the verdict of a receipt.
#[derive(Debug)]
pub struct Waiter {
    wait: oneshot::Receiver<Verdict>,
    withdrawn: Arc<AtomicBool>,
}

/// Whether a batch is still wanted. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Withdrawal(SmallVec<[Arc<AtomicBool>; 1]>);

#[derive(Debug)]
struct Slip {
    withdrawn: Arc<AtomicBool>,
    worst: AtomicU8,
    tell: std::sync::Mutex<Option<oneshot::Sender<Verdict>>>,
}

impl Receipt {
    /// A promise and the one who waits for it.
    #[must_use]
    pub fn pair() -> (Self, Waiter) {
        let (tell, wait) = oneshot::channel();
        let withdrawn = Arc::new(AtomicBool::new(false));
        let tell = std::sync::Mutex::new(Some(tell));
        let slip = Slip { withdrawn: withdrawn.clone(), worst: AtomicU8::new(0), tell };
        let slips = SmallVec::from_elem(Arc::new(slip), 1);
        (Self { slips, behind: Vec::new(), verdict: Verdict::Lost }, Waiter { wait, withdrawn })
    }

    /// A promise to nobody.
    #[must_use]
    pub fn none() -> Self {
        Self { slips: SmallVec::new(), behind: Vec::new(), verdict: Verdict::Lost }
    }

    /// A second holder of the same promise.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { slips: self.slips.clone(), behind: self.behind.clone(), verdict: Verdict::Lost }
    }

    /// Takes over another promise: whatever ends this one ends both.
    pub fn join(&mut self, mut other: Self) {
        self.slips.append(&mut other.slips);
        self.behind.append(&mut other.behind);
    }

    /// Whatever ends this one ends the other too; but whether this batch is still wanted is not the other's to say. For what is said here
    /// and need not be said there. Promises that nobody waits for any more are forgotten now and then, so that those of a long outage
    /// are not kept.
    pub fn stand_for(&mut self, mut other: Self) {
        let full = self.behind.capacity();
        self.behind.extend(other.slips.drain(..).chain(other.behind.drain(..)));
        if self.behind.len() > full.max(BEHIND_FEW) {
            self.behind.retain(|slip| slip.is_awaited());
            self.behind.sort_unstable_by_key(Arc::as_ptr);
            self.behind.dedup_by(|one, two| Arc::ptr_eq(one, two));
            // The next look is due when as many again have come.
            self.behind.shrink_to(self.behind.len() * 2);
        }
    }

    /// Tells whether the batch is still wanted.
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        Withdrawal(self.slips.iter().map(|slip| slip.withdrawn.clone()).collect())
    }

    /// Ends this holder's share.
    pub fn settle(mut self, verdict: Verdict) {
        self.verdict = verdict;
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        for slip in self.slips.iter().chain(&self.behind) {
            slip.worst.fetch_max(self.verdict as u8, Ordering::AcqRel);
        }
    }
}

/// So many promises are kept without a look at who still waits.
const BEHIND_FEW: usize = 64;

impl Slip {
    fn is_awaited(&self) -> bool {
        let tell = self.tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tell.as_ref().is_some_and(|tell| !tell.is_closed())
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        let verdict = match *self.worst.get_mut() {
            0 => Verdict::Delivered,
            1 => Verdict::Discarded,
            2 => Verdict::Rejected,
            _ => Verdict::Lost,
        };
        let tell = self.tell.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(tell) = tell {
            // Nobody waiting any more is not an error: the sender may have gone away.
            tell.send(verdict).ok();
        }
    }
}

impl Waiter {
    /// The verdict, when the last holder has let go.
    pub async fn verdict(mut self) -> Verdict {
        self.ended().await
    }

    /// The same for who may want to [`withdraw`](Self::withdraw) in between. Safe to drop and, until it has ended, to call again.
    pub async fn ended(&mut self) -> Verdict {
        (&mut self.wait).await.unwrap_or(Verdict::Lost)
    }

    /// Takes the batch back, wherever it still waits: whoever made it will send it again, and what is on its way to a destination
    /// already cannot be held. Who drops it settles it as lost.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }
}

impl Withdrawal {
    /// Whether nobody wants it any more. What nobody waits for is wanted for ever; what several made, until the last of them has
    /// withdrawn it.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|withdrawn| withdrawn.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_worst_verdict_wins() {
        let (receipt, waiter) = Receipt::pair();
        let fork = receipt.fork();
        receipt.settle(Verdict::Delivered);
        fork.settle(Verdict::Rejected);
        assert_eq!(waiter.verdict().await, Verdict::Rejected);
    }

    #[tokio::test]
    async fn a_silent_drop_counts_as_lost() {
        let (receipt, waiter) = Receipt::pair();
        let fork = receipt.fork();
        receipt.settle(Verdict::Delivered);
        drop(fork);
        assert_eq!(waiter.verdict().await, Verdict::Lost);
    }

    #[tokio::test]
    async fn nobody_is_told_before_the_last_holder_lets_go() {
        let (receipt, mut waiter) = Receipt::pair();
        let fork = receipt.fork();
        receipt.settle(Verdict::Discarded);
        assert!(waiter.wait.try_recv().is_err());
        fork.settle(Verdict::Delivered);
        assert_eq!(waiter.verdict().await, Verdict::Discarded);
    }

    #[tokio::test]
    async fn a_batch_is_wanted_until_all_its_makers_have_withdrawn_it() {
        assert!(!Receipt::none().withdrawal().is_withdrawn());
        let (mut merged, first) = Receipt::pair();
        let (other, second) = Receipt::pair();
        merged.join(other);
        let fork = merged.fork();
        first.withdraw();
        assert!(!merged.withdrawal().is_withdrawn());
        second.withdraw();
        assert!(merged.withdrawal().is_withdrawn() && fork.withdrawal().is_withdrawn());
    }

    #[tokio::test]
    async fn who_stands_for_others_ends_them_and_is_wanted_by_its_own_maker_alone() {
        let (mut newer, newer_waits) = Receipt::pair();
        let (older, older_waits) = Receipt::pair();
        newer.stand_for(older.fork());
        older.settle(Verdict::Delivered);
        newer_waits.withdraw();
        assert!(newer.withdrawal().is_withdrawn(), "its maker sends it again");
        newer.settle(Verdict::Lost);
        assert_eq!((newer_waits.verdict().await, older_waits.verdict().await), (Verdict::Lost, Verdict::Lost));
    }

    #[test]
    fn promises_that_nobody_waits_for_are_not_kept() {
        let (mut newest, _waits) = Receipt::pair();
        let (older, waits) = Receipt::pair();
        for _ in 0..10_000 {
            newest.stand_for(Receipt::pair().0);
            newest.stand_for(older.fork());
        }
        assert!(newest.behind.len() <= 4 * BEHIND_FEW, "{}", newest.behind.len());
        drop((older, waits));
    }

    #[tokio::test]
    async fn a_merged_batch_settles_all_its_makers() {
        let (mut merged, first) = Receipt::pair();
        let (other, second) = Receipt::pair();
        merged.join(other);
        merged.settle(Verdict::Delivered);
        assert_eq!((first.verdict().await, second.verdict().await), (Verdict::Delivered, Verdict::Delivered));
    }
}
