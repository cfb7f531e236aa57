//! Addresses to listen on, as they are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A `host:port` to listen on, with Go's reading of it: `localhost:9464`, `127.0.0.1:0` (any free port), `[::1]:9464`, and
/// `:9464` for all addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    All,
    Address(IpAddr),
    Name(String),
}

impl Endpoint {
    /// The port; 0 asks for any free one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can connect. A name is loopback when it is `localhost`: other names are not looked up.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::All => false,
            Host::Address(address) => address.to_canonical().is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The addresses to try, the preferred one first: IPv4 before IPv6 for a name, as Go does; for all addresses an IPv6 socket,
    /// which takes IPv4 too, before an IPv4 one.
    pub(super) async fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let port = self.port;
        match &self.host {
            Host::All => Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()]),
            Host::Address(address) => Ok(vec![(*address, port).into()]),
            Host::Name(name) => {
                let mut found: Vec<_> = tokio::net::lookup_host((name.as_str(), port)).await?.collect();
                found.sort_by_key(SocketAddr::is_ipv6);
                found.dedup();
                Ok(found)
            }
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: Host::Address(address.ip()), port: address.port() });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("address {text}: missing port in address: write host:port, such as localhost:9464"));
        };
        let port = port.parse().map_err(|_| format!("address {text}: the port {port:?} is not between 0 and 65535"))?;
        let host = match host {
            "" => Host::All,
            host if host.contains(|c: char| c.is_whitespace() || c == '/') => {
                return Err(format!("address {text}: want host:port, without a scheme or a path"));
            }
            host if host.contains([':', '[', ']']) => {
                return Err(format!("address {text}: an IPv6 address stands in brackets, such as [::1]:{port}"));
            }
            host if is_past_all_addresses(host) => {
                return Err(format!("address {text}: the parts of an IPv4 address go from 0 to 255"));
            }
            host => Host::Name(host.to_owned()),
        };
        Ok(Self { host, port })
    }
}

/// Four numbers that are no address: no resolver knows such a name either.
fn is_past_all_addresses(host: &str) -> bool {
    let parts: Vec<_> = host.split('.').map(str::parse::<u64>).collect();
    parts.len() == 4 && parts.iter().all(Result::is_ok) && parts.iter().flatten().any(|part| *part > 255)
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port;
        match &self.host {
            Host::All => write!(f, ":{port}"),
            Host::Address(address) => SocketAddr::new(*address, port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_listened_on_reads_back_as_written() {
        for (text, loopback) in [
            ("localhost:9464", true),
            ("127.0.0.1:0", true),
            ("127.8.0.1:80", true),
            ("[::1]:9464", true),
            ("[::ffff:127.0.0.1]:9464", true),
            (":9464", false),
            ("0.0.0.0:9464", false),
            ("[::]:9464", false),
            ("weir.example.com:9464", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.is_loopback()), (text, loopback));
        }
    }

    #[test]
    fn a_wrong_address_is_told_what_would_be_right() {
        for (text, part) in [
            ("localhost", "missing port"),
            ("", "missing port"),
            ("localhost:", "port \"\" is not between"),
            ("localhost:65536", "port \"65536\" is not between"),
            ("127.0.0.256:80", "from 0 to 255"),
            ("::1:9464", "brackets, such as [::1]:9464"),
            ("http://localhost:80", "without a scheme"),
            ("local host:80", "without a scheme"),
            ("/metrics:80", "without a scheme"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
