//! Where telemetry goes. One file or folder an exporter, one line in [`ALL`].

#[cfg(feature = "debug")]
pub mod debug;
#[cfg(feature = "prometheus")]
pub mod prometheus;

use config::KindInfo;
use pipeline::{Exporter, Factory};

/// The exporters of this build.
pub const ALL: &[Factory<dyn Exporter>] = &[
    #[cfg(feature = "debug")]
    debug::FACTORY,
    #[cfg(feature = "prometheus")]
    prometheus::FACTORY,
];

/// Every exporter there is, in this build or not.
pub const KNOWN: &[KindInfo] = &[
    KindInfo { kind: "debug", aliases: &[], built: cfg!(feature = "debug"), feature: "debug" },
    KindInfo { kind: "prometheus", aliases: &[], built: cfg!(feature = "prometheus"), feature: "prometheus" },
];

#[cfg(test)]
mod tests {
    #[test]
    fn every_exporter_of_this_build_is_known() {
        for factory in super::ALL {
            assert!(super::KNOWN.iter().any(|known| known.kind == factory.kind && known.built), "{}", factory.kind);
        }
    }
}
