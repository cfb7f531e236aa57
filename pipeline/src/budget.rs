//! The agent's byte budget: what all batches together may keep alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fault::Refusal;

/// A bound on the bytes of all batches in flight. Clones share it.
///
/// Receivers take a [`Permit`] before they make a batch; the permit goes with the batch and its forks and comes back with the last.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicUsize,
}

/// Bytes taken from the budget until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Permit(#[allow(dead_code, reason = "held for its drop")] Option<Arc<Taken>>);

#[derive(Debug)]
struct Taken {
    bytes: AtomicUsize,
    budget: Budget,
}

impl Budget {
    /// A budget of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit, used: AtomicUsize::new(0), refused: AtomicUsize::new(0) }))
    }

    /// Takes `bytes`. One batch larger than the whole budget is let through when nothing else is in flight, so that a budget set
    /// too small slows the agent and does not stop it.
    ///
    /// # Errors
    /// A retryable refusal when the budget is used up.
    pub fn take(&self, bytes: usize) -> Result<Permit, Refusal> {
        self.add(bytes, 0)?;
        Ok(Permit(Some(Arc::new(Taken { bytes: bytes.into(), budget: self.clone() }))))
    }

    /// Takes `bytes` for somebody who holds `held` already.
    fn add(&self, bytes: usize, held: usize) -> Result<(), Refusal> {
        let fits = |used: usize| {
            (used <= held || used.saturating_add(bytes) <= self.0.limit).then(|| used.saturating_add(bytes))
        };
        match self.0.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Ok(_) => Ok(()),
            Err(used) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                let why =
                    format!("byte budget used up: {used} of {} bytes in flight, {bytes} more wanted", self.0.limit);
                Err(Refusal::Retry { after: None, why })
            }
        }
    }

    /// Bytes in flight.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The bound.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// How often it was used up.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.0.refused.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// For what need not be budgeted.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Holds `bytes` from now on, for what grows or shrinks while it is made. Changes nothing for what is not budgeted.
    ///
    /// # Errors
    /// A retryable refusal when the budget has not that much left; what was held is held on.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Some(taken) = &self.0 else { return Ok(()) };
        let held = taken.bytes.load(Ordering::Acquire);
        match bytes.checked_sub(held) {
            Some(more) => taken.budget.add(more, held)?,
            None => {
                taken.budget.0.used.fetch_sub(held - bytes, Ordering::AcqRel);
            }
        }
        taken.bytes.store(bytes, Ordering::Release);
        Ok(())
    }

    /// Gives back what is over `bytes`, when nobody else holds it too.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let Some(taken) = self.0.as_mut().and_then(Arc::get_mut) else { return };
        let more = taken.bytes.get_mut().saturating_sub(bytes);
        *taken.bytes.get_mut() -= more;
        taken.budget.0.used.fetch_sub(more, Ordering::AcqRel);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(*self.bytes.get_mut(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_comes_back_with_the_last_clone() {
        let budget = Budget::new(100);
        let permit = budget.take(60).unwrap();
        let clone = permit.clone();
        assert!(budget.take(50).is_err());
        drop(permit);
        assert_eq!((budget.used(), budget.refused()), (60, 1));
        drop(clone);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_grows_takes_only_what_is_left() {
        let budget = Budget::new(100);
        let (mut growing, other) = (budget.take(0).unwrap(), budget.take(50).unwrap());
        growing.resize(50).unwrap();
        growing.resize(51).unwrap_err();
        assert_eq!(budget.used(), 100, "what was held is held on");
        growing.resize(10).unwrap();
        drop(other);
        growing.resize(500).expect("one alone may be larger than the budget");
        drop(growing);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_batch_larger_than_the_budget_still_passes_alone() {
        let budget = Budget::new(10);
        let large = budget.take(1000).unwrap();
        assert!(budget.take(1).is_err());
        drop(large);
        assert!(budget.take(1).is_ok());
    }
}
