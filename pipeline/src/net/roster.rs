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

use super::limits::LimitsConfig;
use crate::meter::{Count, Level, Meters};

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

/// Why connections were closed by us, as a closed set of words for the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It had sent no whole head when its place was needed.
    HalfOpen,
    /// The TLS handshake failed.
    Tls,
    /// The TLS handshake took too long.
    TlsTimeout,
    /// The head took too long.
    Head,
    /// It was idle for too long.
    Idle,
    /// The client did not take its answer.
    Write,
    /// It had not ended in time after its age was reached or the server was stopped.
    Drain,
}

/// What one server counts. Labels come from the configuration and from [`Closed`], never from requests.
#[derive(Debug)]
pub(super) struct Counts {
    open: Level,
    pub(super) accepted: Count,
    pub(super) accept_errors: Count,
    pub(super) panics: Count,
    refused_total: Count,
    refused_address: Count,
    closed: [Count; Closed::ALL.len()],
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
        self.counts.open.set(i64::try_from(table.guests.len()).unwrap_or(i64::MAX));
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

    fn per_address(&self) -> usize {
        self.limits.connections_per_address.max(1)
    }

    fn evict(&self, table: &mut Table, id: Option<u64>) -> bool {
        let Some(id) = id else { return false };
        if let Some(task) = table.remove(id).and_then(|guest| guest.task) {
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
        let mut table = self.roster.table();
        table.remove(self.id);
        self.roster.counts.open.set(i64::try_from(table.guests.len()).unwrap_or(i64::MAX));
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

    /// Does nothing the second time, as for a connection that was told to leave and now has left.
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

impl Closed {
    const ALL: [(Self, &'static str); 7] = [
        (Self::HalfOpen, "half_open"),
        (Self::Tls, "tls_handshake"),
        (Self::TlsTimeout, "tls_handshake_timeout"),
        (Self::Head, "read_header_timeout"),
        (Self::Idle, "idle_timeout"),
        (Self::Write, "write_timeout"),
        (Self::Drain, "drain"),
    ];
}

impl Counts {
    /// The counts of the component `id` of a class such as `exporter`.
    pub(super) fn new(meters: &Meters, class: &'static str, id: &str) -> Self {
        let labels = |reason: Option<&str>| {
            let reason = reason.map(|reason| ("reason", reason.to_owned()));
            std::iter::once((class, id.to_owned())).chain(reason).collect()
        };
        let count = |name, about, reason| meters.count(name, about, "{connections}", labels(reason));
        let refused = "weir_listener_connections_refused";
        let about = "Connections closed at once because a cap was met and no half-open connection could make room.";
        Self {
            open: meters.level("weir_listener_connections", "Open connections.", "{connections}", labels(None)),
            accepted: count("weir_listener_connections_accepted", "Connections accepted.", None),
            accept_errors: count("weir_listener_accept_errors", "Errors of accept, retried.", None),
            panics: count("weir_listener_panics", "Panics of the service, answered with 500.", None),
            refused_total: count(refused, about, Some("connections")),
            refused_address: count(refused, about, Some("connections_per_address")),
            closed: Closed::ALL.map(|(_, reason)| {
                count("weir_listener_connections_closed", "Connections closed by this side, by reason.", Some(reason))
            }),
        }
    }

    pub(super) fn closed(&self, why: Closed) {
        self.closed[why as usize].add(1);
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
mod tests {
    use super::*;

    fn roster(connections: usize, connections_per_address: usize) -> (Meters, Arc<Roster>) {
        let meters = Meters::unread();
        let limits = LimitsConfig { connections, connections_per_address, ..LimitsConfig::default() };
        let counts = Counts::new(&meters, "exporter", "a");
        (meters, Roster::new(limits, counts))
    }

    fn count(meters: &Meters, reason: &str) -> u64 {
        let is = |labels: &crate::meter::Labels| labels.iter().any(|(_, value)| value == reason);
        meters.counts().iter().filter(|(_, labels, _)| is(labels)).map(|(.., value)| value).sum()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_half_open_connection_of_a_full_address_makes_room() {
        let (meters, roster) = roster(100, 2);
        let busy = roster.enter(ip("10.0.0.1")).unwrap();
        assert!(busy.settle());
        let half = roster.enter(ip("10.0.0.1")).unwrap();
        tokio::time::advance(GRACE).await;
        let new = roster.enter(ip("::ffff:10.0.0.1")).unwrap();
        assert!(!half.settle() && new.settle());
        assert!(roster.enter(ip("10.0.0.1")).is_none());
        assert!(roster.enter(ip("10.0.0.2")).is_some());
        assert_eq!((count(&meters, "half_open"), count(&meters, "connections_per_address")), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_not_pushed_out_by_its_address_but_does_not_stay_past_its_grace() {
        let (meters, roster) = roster(100, 2);
        let seats: Vec<_> = (0..10).map(|_| roster.enter(ip("10.0.0.1")).unwrap()).collect();
        assert_eq!((count(&meters, "half_open"), roster.counts.open.value()), (0, 10));
        let settled: Vec<_> = seats.iter().map(Seat::settle).collect();
        assert_eq!(settled.iter().filter(|settled| **settled).count(), 2);
        let at = roster.sweep_at().unwrap();
        tokio::time::advance(at - Instant::now()).await;
        roster.sweep();
        assert_eq!((count(&meters, "half_open"), roster.sweep_at()), (8, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_half_open_connection_of_a_full_house_makes_room() {
        let (meters, roster) = roster(2, 2);
        let _half = roster.enter(ip("10.0.0.1")).unwrap();
        let busy = roster.enter(ip("10.0.0.2")).unwrap();
        assert!(busy.settle());
        let other = roster.enter(ip("10.0.0.3")).unwrap();
        assert!(other.settle());
        assert!(roster.enter(ip("10.0.0.4")).is_none());
        assert_eq!((count(&meters, "half_open"), count(&meters, "connections")), (1, 1));
        assert_eq!(roster.counts.open.value(), 2);
        drop((busy, other));
        assert_eq!(roster.counts.open.value(), 0);
        assert!(roster.table().homes.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (_, roster) = roster(10, 1);
        let seat = roster.enter(ip("2001:db8::1")).unwrap();
        assert!(seat.settle());
        assert!(roster.enter(ip("2001:db8::2:1")).is_none());
        assert!(roster.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[tokio::test]
    async fn who_makes_room_is_ended() {
        let (_, roster) = roster(1, 1);
        let seat = roster.enter(ip("10.0.0.1")).unwrap();
        let id = seat.id();
        let task = tokio::spawn(async move {
            let _seat = seat;
            std::future::pending::<()>().await;
        });
        roster.served_by(id, task.abort_handle());
        let _new = roster.enter(ip("10.0.0.1")).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}
