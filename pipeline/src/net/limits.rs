//! How many, and how long.

use std::time::Duration;

use config::{Problems, Section};
use schemars::JsonSchema;
use serde::Deserialize;

/// The key `limits` of a component that listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Most connections at once, 1024 by default. When it is met, the oldest connection that has not yet sent a whole request
    /// head is closed to make room; when there is none, the new one is refused.
    pub connections: usize,
    /// The same for one client address (IPv4) or one /64 network (IPv6), 64 by default. Raise it where many clients come through
    /// one proxy.
    pub connections_per_address: usize,
    /// How many wrong tokens per second one client address may show before it is answered 429, whatever it shows; 10 by default,
    /// with a burst of five times as many. 0 is no limit.
    pub auth_failures_per_second: u32,
}

/// How long a connection may take for each of its steps. Components fill it from their own keys, which have the Collector's
/// names. A zero, which is "for ever" to the Collector, means the default: nothing here waits for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TLS handshake, 5 s.
    pub tls_handshake: Duration,
    /// From the acceptance (or the end of the TLS handshake) to the whole head of the first request, protocol detection included,
    /// and from the first byte to the whole head of each later one: 5 s.
    pub read_header_timeout: Duration,
    /// For a request's whole body, 10 s. Whatever it is, a body must come at 1 KiB/s at least.
    pub read_timeout: Duration,
    /// How long a client may take nothing of an answer that waits for it, 30 s.
    pub write_timeout: Duration,
    /// How long a connection may stay open between two requests, 60 s.
    pub idle_timeout: Duration,
    /// After how long a connection is asked to end, 10 min, shortened by up to a tenth at random so that clients that came
    /// together do not come back together.
    pub connection_age: Duration,
    /// How long requests that run may go on when the server stops or the connection's age is reached, 5 s.
    pub drain: Duration,
}

impl LimitsConfig {
    /// What is wrong with the limits that stand at `path` of a section.
    #[must_use]
    pub fn problems(&self, section: &Section, path: &str) -> Problems {
        [("connections", self.connections), ("connections_per_address", self.connections_per_address)]
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| {
                section
                    .error(&format!("{path}.{key}"), format!("'{key}' must be at least 1: nobody could connect"))
                    .with_help("remove the endpoint's component instead")
            })
            .collect()
    }
}

impl Timeouts {
    pub(super) fn or_defaults(self) -> Self {
        let or = |given: Duration, default| if given.is_zero() { default } else { given };
        let default = Self::default();
        Self {
            tls_handshake: or(self.tls_handshake, default.tls_handshake),
            read_header_timeout: or(self.read_header_timeout, default.read_header_timeout),
            read_timeout: or(self.read_timeout, default.read_timeout),
            write_timeout: or(self.write_timeout, default.write_timeout),
            idle_timeout: or(self.idle_timeout, default.idle_timeout),
            connection_age: or(self.connection_age, default.connection_age),
            drain: or(self.drain, default.drain),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { connections: 1_024, connections_per_address: 64, auth_failures_per_second: 10 }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(5),
            read_header_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            connection_age: Duration::from_secs(600),
            drain: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_zero_is_the_default_and_not_for_ever() {
        let zero = Duration::ZERO;
        let second = Duration::from_secs(1);
        let given = Timeouts {
            tls_handshake: zero,
            read_header_timeout: zero,
            read_timeout: zero,
            write_timeout: zero,
            idle_timeout: second,
            connection_age: zero,
            drain: zero,
        };
        assert_eq!(given.or_defaults(), Timeouts { idle_timeout: second, ..Timeouts::default() });
    }

    #[test]
    fn a_cap_of_zero_is_a_problem_at_its_key() {
        let section = Section::from_yaml("prometheus", "limits:\n  connections: 0").unwrap();
        let limits = LimitsConfig { connections: 0, ..LimitsConfig::default() };
        let problems = limits.problems(&section, "limits").to_string();
        assert!(
            problems.starts_with("2:16: error: prometheus::limits::connections: 'connections' must be"),
            "{problems}"
        );
    }
}
