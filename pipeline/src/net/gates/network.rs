//! Networks in CIDR notation.

use std::net::IpAddr;
use std::str::FromStr;

/// A network, such as `10.0.0.0/8`; a bare address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// IPv4 as such, never mapped into IPv6; bits past the prefix are kept as written and not compared.
    address: IpAddr,
    prefix: u8,
}

/// A list of networks.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks(Vec<Network>);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                // A shift by all 32 bits is no shift to Rust: /0 holds everything.
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differ = network.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid CIDR address: {text}");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // `+8` and `08` are numbers to Rust and mistakes in a network.
            Some(digits) if digits.starts_with(['+', '0']) && digits != "0" => return Err(invalid()),
            Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(invalid)?,
        };
        let canonical = address.to_canonical();
        if address.is_ipv6() && canonical.is_ipv4() {
            // ::ffff:10.0.0.0/104 is 10.0.0.0/8; a shorter prefix would hold addresses that are not IPv4.
            let prefix = prefix.checked_sub(96).ok_or_else(invalid)?;
            return Ok(Self { address: canonical, prefix });
        }
        Ok(Self { address, prefix })
    }
}

impl Networks {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, address, holds) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "::10.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1/32", "127.0.0.2", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/33", "2001:db8:ffff::1", false),
            ("::1/128", "::1", true),
        ] {
            assert_eq!(
                network.parse::<Network>().unwrap().contains(address.parse().unwrap()),
                holds,
                "{network} {address}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "fe80::1%eth0/64",
            "010.0.0.0/8",
            "::ffff:10.0.0.0/95",
            "localhost",
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err(), format!("invalid CIDR address: {text}"));
        }
    }
}
