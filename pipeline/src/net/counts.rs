//! What the doors count.

use crate::meter::{Count, Level, Meters};

/// What one server counts. Labels come from the configuration and from [`Closed`], never from requests.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) open: Level,
    pub(super) accepted: Count,
    pub(super) accept_errors: Count,
    pub(super) panics: Count,
    pub(super) refused_total: Count,
    pub(super) refused_address: Count,
    closed: [Count; Closed::ALL.len()],
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_own_place() {
        for (place, (why, _)) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
        }
    }
}
