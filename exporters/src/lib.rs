//! Where telemetry goes. One file or folder an exporter, one line in [`ALL`].

#[cfg(feature = "debug")]
pub mod debug;
#[cfg(feature = "push")]
mod delivery;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "prometheus")]
pub mod prometheus;

#[cfg(feature = "otlp")]
pub use otlp::{json_of, unpacked};
use pipeline::{Exporter, Factory};

/// The exporters of this build.
pub const ALL: &[Factory<dyn Exporter>] = &[
    #[cfg(feature = "debug")]
    debug::FACTORY,
    #[cfg(feature = "otlp")]
    otlp::GRPC,
    #[cfg(feature = "otlp")]
    otlp::HTTP,
    #[cfg(feature = "prometheus")]
    prometheus::FACTORY,
];

/// Kind and cargo feature of every exporter there is, built or not.
pub const KNOWN: &[(&str, &str)] =
    &[("debug", "debug"), ("otlp_grpc", "otlp"), ("otlp_http", "otlp"), ("prometheus", "prometheus")];

#[cfg(test)]
mod tests {
    #[test]
    fn every_exporter_of_this_build_is_known() {
        for factory in super::ALL {
            assert!(super::KNOWN.iter().any(|known| known.0 == factory.kind), "{}", factory.kind);
        }
    }
}
