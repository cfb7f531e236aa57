//! Who is in: the connections of one server, and who must leave when the house is full.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use super::limits::LimitsConfig;
use crate::meter::{Count, Level, Meters};

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
}

#[derive(Debug)]
struct Guest {
    home: IpAddr,
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
        let mut table = self.table();
        if table.homes.get(&home).is_some_and(|home| home.guests >= self.limits.connections_per_address.max(1)) {
            let oldest = table.homes.get(&home).and_then(|home| home.half_open.first().copied());
            if !self.evict(&mut table, oldest) {
                self.counts.refused_address.add(1);
                return None;
            }
        }
        if table.guests.len() >= self.limits.connections.max(1) {
            let oldest = table.half_open.first().copied();
            if !self.evict(&mut table, oldest) {
                self.counts.refused_total.add(1);
                return None;
            }
        }
        let id = table.next;
        table.next += 1;
        table.guests.insert(id, Guest { home, task: None });
        table.half_open.insert(id);
        let home = table.homes.entry(home).or_default();
        home.guests += 1;
        home.half_open.insert(id);
        self.counts.open.set(i64::try_from(table.guests.len()).unwrap_or(i64::MAX));
        Some(Seat { roster: self.clone(), id })
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

    /// The first head is complete: this connection is not half-open any more.
    pub(super) fn head_complete(&self) {
        self.roster.table().head_complete(self.id);
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
    fn head_complete(&mut self, id: u64) {
        self.half_open.remove(&id);
        if let Some(guest) = self.guests.get(&id)
            && let Some(home) = self.homes.get_mut(&guest.home)
        {
            home.half_open.remove(&id);
        }
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

    #[test]
    fn the_oldest_half_open_connection_of_a_full_address_makes_room() {
        let (meters, roster) = roster(100, 2);
        let busy = roster.enter(ip("10.0.0.1")).unwrap();
        busy.head_complete();
        let half = roster.enter(ip("10.0.0.1")).unwrap();
        let new = roster.enter(ip("::ffff:10.0.0.1")).unwrap();
        drop(half);
        new.head_complete();
        assert!(roster.enter(ip("10.0.0.1")).is_none());
        assert!(roster.enter(ip("10.0.0.2")).is_some());
        assert_eq!((count(&meters, "half_open"), count(&meters, "connections_per_address")), (1, 1));
    }

    #[test]
    fn the_oldest_half_open_connection_of_a_full_house_makes_room() {
        let (meters, roster) = roster(2, 2);
        let _half = roster.enter(ip("10.0.0.1")).unwrap();
        let busy = roster.enter(ip("10.0.0.2")).unwrap();
        busy.head_complete();
        let other = roster.enter(ip("10.0.0.3")).unwrap();
        other.head_complete();
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
        seat.head_complete();
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
