//! How often an address may fail: one token bucket an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// A burst is this many seconds' worth of failures: 50 with the default of 10 a second.
const BURST_SECONDS: f64 = 5.0;
/// The most addresses that are remembered, at 64 bytes each. Past it the longest quiet are forgotten: an attacker with so
/// many addresses is not held up by buckets anyway.
const MAX_ADDRESSES: usize = 4_096;

/// Failures by address.
#[derive(Debug)]
pub(super) struct Buckets {
    /// Failures a second; 0 is no limit.
    rate: f64,
    /// Never held over an await.
    by_address: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Buckets {
    pub(super) fn new(per_second: u32) -> Self {
        Self { rate: f64::from(per_second), by_address: Mutex::default() }
    }

    /// Whether an address has no failure left.
    pub(super) fn is_empty(&self, address: IpAddr) -> bool {
        self.rate > 0.0
            && self.table().get(&address).is_some_and(|bucket| self.refilled(*bucket, Instant::now()).left < 1.0)
    }

    /// An address has failed.
    pub(super) fn take(&self, address: IpAddr) {
        if self.rate == 0.0 {
            return;
        }
        let now = Instant::now();
        let mut table = self.table();
        if table.len() >= MAX_ADDRESSES && !table.contains_key(&address) {
            self.make_room(&mut table, now);
        }
        let full = Bucket { left: self.burst(), at: now };
        let bucket = table.entry(address).or_insert(full);
        *bucket = self.refilled(*bucket, now);
        bucket.left = (bucket.left - 1.0).max(0.0);
    }

    fn make_room(&self, table: &mut HashMap<IpAddr, Bucket>, now: Instant) {
        // A full bucket says the same as none.
        table.retain(|_, bucket| self.refilled(*bucket, now).left < self.burst());
        if table.len() >= MAX_ADDRESSES {
            // A quarter at once, so that a flood of addresses does not pay for a walk each.
            let mut ages: Vec<_> = table.values().map(|bucket| bucket.at).collect();
            let (_, quarter, _) = ages.select_nth_unstable(MAX_ADDRESSES / 4);
            let quarter = *quarter;
            let mut most = MAX_ADDRESSES / 4;
            table.retain(|_, bucket| {
                let goes = most > 0 && bucket.at <= quarter;
                most -= usize::from(goes);
                !goes
            });
        }
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate;
        Bucket { left: (bucket.left + gained).min(self.burst()), at: now }
    }

    fn burst(&self) -> f64 {
        self.rate * BURST_SECONDS
    }

    fn table(&self) -> MutexGuard<'_, HashMap<IpAddr, Bucket>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn ip(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_five_seconds_worth_and_then_the_rate_holds() {
        let buckets = Buckets::new(10);
        for _ in 0..50 {
            assert!(!buckets.is_empty(ip(1)));
            buckets.take(ip(1));
        }
        assert!(buckets.is_empty(ip(1)));
        assert!(!buckets.is_empty(ip(2)));
        tokio::time::advance(Duration::from_millis(101)).await;
        assert!(!buckets.is_empty(ip(1)));
        buckets.take(ip(1));
        assert!(buckets.is_empty(ip(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit() {
        let buckets = Buckets::new(0);
        (0..1_000).for_each(|_| buckets.take(ip(1)));
        assert!(!buckets.is_empty(ip(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_addresses_are_remembered_than_fit() {
        let buckets = Buckets::new(1);
        for n in 0..3 * MAX_ADDRESSES {
            buckets.take(ip(u32::try_from(n).unwrap()));
        }
        let len = buckets.table().len();
        assert!((MAX_ADDRESSES * 3 / 4..=MAX_ADDRESSES).contains(&len), "{len}");
    }
}
