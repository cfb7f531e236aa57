//! What a component is given when it is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::ComponentId;
use pdata::SeriesTable;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::collection::{CollectionDesk, CollectionPort};
use crate::health::Health;
use crate::meter::Meters;
use crate::net::Listeners;

/// All that a component may use of its surroundings.
#[derive(Debug)]
pub struct BuildContext {
    /// Who it is.
    pub id: ComponentId,
    /// Time.
    pub clock: Clock,
    /// The agent's series table.
    pub table: Arc<SeriesTable>,
    /// The agent's own telemetry.
    pub meters: Meters,
    /// The byte budget of batches in flight.
    pub budget: Budget,
    /// Where a component says that it cannot do its work now.
    pub health: Health,
    /// Sockets, lent by the agent.
    pub listeners: Arc<Listeners>,
    /// A folder of its own for state, when the component asked for one.
    pub state: Option<PathBuf>,
    /// For a receiver that collects: demands come here.
    pub desk: Option<CollectionDesk>,
    /// For an exporter: the receivers that feed it and collect.
    pub upstream: Vec<CollectionPort>,
    /// Whether the agent runs once: nothing is remembered, no cursor moves.
    pub once: bool,
}

/// A thing that only one component may hold. Equal claims of two components are a problem that `weir validate` finds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Claim {
    /// A TCP address to listen on, as written, such as `127.0.0.1:9464`.
    Listen(String),
    /// A path that only one may write.
    Path(PathBuf),
}

impl Claim {
    /// Whether two claims cannot both be held. A wildcard address clashes with every address of the same port.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Listen(one), Self::Listen(two)) => listen_clashes(one, two),
            (Self::Path(one), Self::Path(two)) => one == two || real(one) == real(two),
            _ => false,
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(address) => write!(f, "the address {address}"),
            Self::Path(path) => write!(f, "the path {}", path.display()),
        }
    }
}

/// The path without links and detours, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let real = |there: &Path| Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?));
    path.ancestors().find_map(real).unwrap_or_else(|| path.clone())
}

fn listen_clashes(one: &str, two: &str) -> bool {
    let (Some((host, port)), Some((other_host, other_port))) = (one.rsplit_once(':'), two.rsplit_once(':')) else {
        return one == two;
    };
    // Port 0 asks for any free port: two of them never clash.
    port == other_port && port != "0" && (hosts_overlap(host, other_host))
}

fn hosts_overlap(one: &str, two: &str) -> bool {
    let plain = |host: &str| match host.trim_start_matches('[').trim_end_matches(']') {
        "localhost" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    };
    let wildcard = |host: &str| matches!(host, "" | "0.0.0.0" | "::" | "*");
    let (one, two) = (plain(one), plain(two));
    wildcard(&one) || wildcard(&two) || one == two
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_clashes_with_every_address_of_its_port() {
        let clash = |one: &str, two: &str| Claim::Listen(one.into()).clashes(&Claim::Listen(two.into()));
        assert!(clash("0.0.0.0:9464", "127.0.0.1:9464"));
        assert!(clash("localhost:9464", "127.0.0.1:9464"));
        assert!(clash(":9464", "[::1]:9464"));
        assert!(!clash("127.0.0.1:9464", "127.0.0.1:9465"));
        assert!(!clash("127.0.0.2:9464", "127.0.0.1:9464"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }

    #[test]
    fn one_folder_by_two_names_is_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| Claim::Path(folder.path().join(path));
        std::fs::create_dir(folder.path().join("state")).unwrap();
        std::os::unix::fs::symlink("state", folder.path().join("link")).unwrap();
        for other in ["state/", "./state", "state/../state", "link"] {
            assert!(at("state").clashes(&at(other)), "{other}");
            assert!(at("state/not/yet").clashes(&at(&format!("{other}/not/yet"))), "{other}");
        }
        assert!(!at("state").clashes(&at("state/not")));
    }
}
