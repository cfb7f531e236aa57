//! For whom a proxy asks: `X-Forwarded-For`, believed only from trusted proxies.
//!
//! A client can write anything into that header; each proxy appends the address it saw. So the list is read from the right:
//! what trusted proxies appended is true, and the first address that is not theirs is the client.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::network::Networks;

/// The most addresses of one request; more are no chain of proxies but an attempt to keep us busy.
const MAX_HOPS: usize = 32;
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Who is believed.
#[derive(Clone, Debug, Default)]
pub(super) struct TrustedProxies(Networks);

impl TrustedProxies {
    pub(super) fn new(networks: Option<Networks>) -> Self {
        Self(networks.unwrap_or_default())
    }

    /// The client's address. None when a trusted proxy sent no list, a malformed one, one with too many hops, or one that names
    /// only proxies.
    pub(super) fn client(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        if !self.0.contain(peer) {
            return Some(peer);
        }
        // All lines of the header are one list, in their order.
        let mut hops = Vec::new();
        for line in headers.get_all(X_FORWARDED_FOR) {
            for entry in line.to_str().ok()?.split(',') {
                if hops.len() == MAX_HOPS {
                    return None;
                }
                hops.push(address(entry.trim_matches([' ', '\t']))?);
            }
        }
        hops.into_iter().rev().find(|hop| !self.0.contain(*hop))
    }
}

/// An address with or without port and zone: `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`, `fe80::1%eth0`.
fn address(text: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        if !after.is_empty() {
            after.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok())?;
        }
        without_zone(inside)?.parse::<std::net::Ipv6Addr>().ok()?.into()
    } else if let Ok(with_port) = text.parse::<SocketAddr>() {
        with_port.ip()
    } else {
        without_zone(text)?.parse::<IpAddr>().ok()?
    };
    Some(address.to_canonical())
}

/// A zone only means something on the machine that wrote it; only IPv6 has one.
fn without_zone(text: &str) -> Option<&str> {
    match text.split_once('%') {
        None => Some(text),
        Some((address, zone)) => (!zone.is_empty() && address.contains(':')).then_some(address),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&str]) -> Option<String> {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
        let trusted = TrustedProxies::new(Some(Networks::new(trusted.to_vec())));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        trusted.client(&headers, peer.parse().unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy() {
        for (peer, lines, expected) in [
            // An untrusted peer speaks for itself, whatever it says.
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("192.0.2.1", &["nonsense"], "192.0.2.1"),
            ("192.0.2.1", &[], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            // A trusted one is believed as far as trust goes.
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("2001:db8::1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.1.1.1,127.0.0.1"], "198.51.100.1"),
            // A forged address on the left changes nothing, nor does a forged line.
            ("10.0.0.1", &["10.9.9.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["10.9.9.9", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.1", "10.1.1.1"], "198.51.100.1"),
            // Ports, brackets, zones, mapped addresses.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db9::1]:4711"], "2001:db9::1"),
            ("10.0.0.1", &["[2001:db9::1]"], "2001:db9::1"),
            ("10.0.0.1", &["2001:db9::1"], "2001:db9::1"),
            ("10.0.0.1", &["fe80::1%eth0"], "fe80::1"),
            ("10.0.0.1", &["[fe80::1%25eth0]:80"], "fe80::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1, ::ffff:10.1.1.1"], "198.51.100.1"),
            ("10.0.0.1", &["  198.51.100.1\t"], "198.51.100.1"),
        ] {
            assert_eq!(client(peer, lines).as_deref(), Some(expected), "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_proxy_that_does_not_say_for_whom_it_asks_is_refused() {
        for lines in [
            &[][..],
            &[""],
            &[" "],
            &[","],
            &["198.51.100.1,"],
            &["198.51.100.1,,10.1.1.1"],
            &["198.51.100.1", ""],
            &["unknown"],
            &["_hidden"],
            &["198.51.100.1, unknown"],
            // Malformed anywhere, even where it would not be looked at.
            &["unknown, 198.51.100.1"],
            &["198.51.100"],
            &["198.51.100.1:port"],
            &["198.51.100.1:"],
            &["198.51.100.1%eth0"],
            &["[198.51.100.1]"],
            &["[::1"],
            &["[::1]x"],
            &["[::1]:65536"],
            &["::1%"],
            &["198.51.100.1 198.51.100.2"],
            &["198.51.100.1;10.1.1.1"],
            &["\u{e9}"],
            // Only proxies.
            &["10.1.1.1"],
        ] {
            assert_eq!(client("10.0.0.1", lines), None, "{lines:?}");
        }
    }

    #[test]
    fn more_than_thirty_two_hops_are_refused() {
        let hops = |n: usize| vec!["198.51.100.1"; n].join(",");
        assert_eq!(client("10.0.0.1", &[&hops(32)]).as_deref(), Some("198.51.100.1"));
        assert_eq!(client("10.0.0.1", &[&hops(33)]), None);
        assert_eq!(client("10.0.0.1", &[&hops(20), &hops(20)]), None);
    }
}
