//! Who is in: the connections of one server, and who must leave when the house is full.
//!
//! A connection is *half-open* until its first whole request head has come; then it is *settled*. A full house makes room by
//! closing the oldest half-open connection. An address may for a moment have more half-open connections than its cap, within
//! the cap of the house: who has just come gets [`GRACE`] to speak, so that a flood cannot push out an honest client of the
//! same address between its connect and its first byte.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::counts::{Closed, Counts};
use super::limits::LimitsConfig;

/// How long a new connection is not counted against its address's cap: time for a client on a busy machine to send its head.
/// With the default caps it holds up to 10,000 connections a second; past that, a client has the time of 1,024 arrivals.
const GRACE: Duration = Duration::from_millis(100);

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Roster {
    limits: LimitsConfig,
    counts: Counts,
    /// Never held over an await.
    table: Mutex<Table>,
}

/// One connection's place. Dropping it gives the place free.
#[derive(Debug)]
pub(super) struct Seat {
    roster: Arc<Roster>,
    id: u64,
    settled: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    guests: HashMap<u64, Guest>,
    /// In the order of their arrival, since ids rise.
    half_open: BTreeSet<u64>,
    homes: HashMap<IpAddr, Home>,
    /// When to look for addresses that are still over their cap.
    sweep_at: Option<Instant>,
}

#[derive(Debug)]
struct Guest {
    home: IpAddr,
    since: Instant,
    task: Option<AbortHandle>,
}

/// One client address.
#[derive(Debug, Default)]
struct Home {
    guests: usize,
    half_open: BTreeSet<u64>,
}

impl Roster {
    pub(super) fn new(limits: LimitsConfig, counts: Counts) -> Arc<Self> {
        Arc::new(Self { limits, counts, table: Mutex::default() })
    }

    /// A place for a new connection. When a cap is met, the oldest half-open connection it counts is closed; when there is none,
    /// there is no place.
    ///
    /// The oldest goes first because an honest client sends its head at once: it is out of reach long before its turn comes.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let home = home_of(address);
        let now = Instant::now();
        let mut table = self.table();
        self.trim(&mut table, home, self.per_address() - 1, now);
        if table.homes.get(&home).is_some_and(|home| home.settled() >= self.per_address()) {
            self.counts.refused_address.add(1);
            return None;
        }
        if table.guests.len() >= self.limits.connections.max(1) {
            let oldest = table.half_open.first().copied();
            if !self.evict(&mut table, oldest) {
                self.counts.refused_total.add(1);
                return None;
            }
        }
        let (id, crowded) = table.add(home, now, self.per_address());
        if crowded {
            table.sweep_at.get_or_insert(now + GRACE);
        }
        self.counts.open.add(1);
        Some(Seat { roster: self.clone(), id, settled: AtomicBool::new(false) })
    }

    /// When to call [`Roster::sweep`].
    pub(super) fn sweep_at(&self) -> Option<Instant> {
        self.table().sweep_at
    }

    /// Closes what is half-open past its grace where an address is over its cap.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut table = self.table();
        let crowded = |table: &Table| -> Vec<IpAddr> {
            let over = table.homes.iter().filter(|(_, home)| home.guests > self.per_address());
            over.map(|(address, _)| *address).collect()
        };
        for home in crowded(&table) {
            self.trim(&mut table, home, self.per_address(), now);
        }
        table.sweep_at = (!crowded(&table).is_empty()).then(|| now + GRACE / 4);
    }

    /// Tells which task serves a connection, so that it can be ended when its place is needed.
    pub(super) fn served_by(&self, id: u64, task: AbortHandle) {
        if let Some(guest) = self.table().guests.get_mut(&id) {
            guest.task = Some(task);
        }
    }

    /// Closes the oldest half-open connection, when the process has run out of files. Says whether there was one.
    pub(super) fn make_room(&self) -> bool {
        let mut table = self.table();
        let oldest = table.half_open.first().copied();
        self.evict(&mut table, oldest)
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Closes half-open connections of an address, the oldest first, down to a number; none that is within its grace.
    fn trim(&self, table: &mut Table, home: IpAddr, most: usize, now: Instant) {
        loop {
            let Some(known) = table.homes.get(&home).filter(|home| home.guests > most) else { return };
            let oldest = known.half_open.first().copied();
            let since = oldest.and_then(|id| table.guests.get(&id)).map(|guest| guest.since);
            if since.is_none_or(|since| now.duration_since(since) < GRACE) {
                return;
            }
            self.evict(table, oldest);
        }
    }

    /// Does nothing the second time, as for a connection that was told to leave and now has left.
    fn remove(&self, table: &mut Table, id: u64) -> Option<Guest> {
        let guest = table.remove(id)?;
        // Added up, not set: after a reload the predecessor's last connections count under the same name.
        self.counts.open.add(-1);
        Some(guest)
    }

    fn per_address(&self) -> usize {
        self.limits.connections_per_address.max(1)
    }

    fn evict(&self, table: &mut Table, id: Option<u64>) -> bool {
        let Some(id) = id else { return false };
        if let Some(task) = self.remove(table, id).and_then(|guest| guest.task) {
            task.abort();
        }
        self.counts.closed(Closed::HalfOpen);
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// A whole head has come. Says whether the connection is settled; it is not while its address has as many settled ones as
    /// it may have.
    pub(super) fn settle(&self) -> bool {
        if self.settled.load(Ordering::Relaxed) {
            return true;
        }
        let settled = self.roster.table().settle(self.id, self.roster.per_address());
        if !settled {
            self.roster.counts.refused_address.add(1);
        }
        self.settled.store(settled, Ordering::Relaxed);
        settled
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.roster.counts
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.remove(&mut self.roster.table(), self.id);
    }
}

impl Table {
    /// A new half-open connection; says whether its address is now over its cap.
    fn add(&mut self, home: IpAddr, since: Instant, cap: usize) -> (u64, bool) {
        let id = self.next;
        self.next += 1;
        self.guests.insert(id, Guest { home, since, task: None });
        self.half_open.insert(id);
        let home = self.homes.entry(home).or_default();
        home.guests += 1;
        home.half_open.insert(id);
        (id, home.guests > cap)
    }

    fn settle(&mut self, id: u64, cap: usize) -> bool {
        // Who has been told to leave has no home any more.
        let Some(home) = self.guests.get(&id).and_then(|guest| self.homes.get_mut(&guest.home)) else { return false };
        if home.settled() >= cap {
            return false;
        }
        home.half_open.remove(&id);
        self.half_open.remove(&id);
        true
    }

    fn remove(&mut self, id: u64) -> Option<Guest> {
        let guest = self.guests.remove(&id)?;
        self.half_open.remove(&id);
        if let Some(home) = self.homes.get_mut(&guest.home) {
            home.half_open.remove(&id);
            home.guests -= 1;
            if home.guests == 0 {
                self.homes.remove(&guest.home);
            }
        }
        Some(guest)
    }
}

impl Home {
    fn settled(&self) -> usize {
        self.guests - self.half_open.len()
    }
}

/// Whose connections count together: an IPv4 address, or an IPv6 /64, which is the least that one customer is given.
pub(super) fn home_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests;
