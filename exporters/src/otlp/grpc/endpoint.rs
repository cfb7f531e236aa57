//! Where a gRPC exporter connects to, as it is written.

use std::str::FromStr;

/// A `host:port`, with what stands before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// A name or an address; an IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether `https://` stands before it.
    pub(super) forces_tls: bool,
}

impl Endpoint {
    /// As it stands in `:authority`.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forces_tls = text.starts_with("https://");
        let bare = ["https://", "http://", "dns:///", "passthrough:///"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or(text);
        if bare.is_empty() {
            return Err("requires a non-empty \"endpoint\"".to_owned());
        }
        if bare.starts_with("unix:") || bare.contains("://") {
            return Err(format!("the scheme of {bare:?} is not supported: write host:port"));
        }
        let missing = || format!("address {bare}: missing port in address");
        let (host, port) = match bare.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) =
                    rest.split_once(']').ok_or_else(|| format!("address {bare}: missing ']' in address"))?;
                (host, rest.strip_prefix(':').ok_or_else(missing)?)
            }
            None => {
                let (host, port) = bare.rsplit_once(':').ok_or_else(missing)?;
                if host.contains(':') {
                    return Err(format!("address {bare}: too many colons in address"));
                }
                (host, port)
            }
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("invalid port {port:?}"))?;
        // Go reads an empty host as this machine.
        let host = if host.is_empty() { "localhost" } else { host };
        Ok(Self { host: host.to_owned(), port, forces_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_the_collector_reads_them() {
        let read = |text: &str| text.parse::<Endpoint>().map(|endpoint| (endpoint.authority(), endpoint.forces_tls));
        let is = |authority: &str, tls| Ok((authority.to_owned(), tls));
        assert_eq!(read("otel:4317"), is("otel:4317", false));
        assert_eq!(read("http://otel:4317"), is("otel:4317", false));
        assert_eq!(read("https://otel:4317"), is("otel:4317", true));
        assert_eq!(read("dns:///otel:4317"), is("otel:4317", false));
        assert_eq!(read("[::1]:4317"), is("[::1]:4317", false));
        assert_eq!(read(":4317"), is("localhost:4317", false));
        let wrong = |text: &str, part: &str| {
            let what = read(text).unwrap_err();
            assert!(what.contains(part), "{text}: {what}");
        };
        wrong("", "requires a non-empty \"endpoint\"");
        wrong("https://", "requires a non-empty \"endpoint\"");
        wrong("otel", "missing port in address");
        wrong("[::1]", "missing port in address");
        wrong("::1:4317", "too many colons");
        wrong("otel:http", "invalid port \"http\"");
        wrong("otel:4317/v1", "invalid port \"4317/v1\"");
        wrong("otel:70000", "invalid port \"70000\"");
        wrong("unix:///run/otel.sock", "not supported");
    }
}
