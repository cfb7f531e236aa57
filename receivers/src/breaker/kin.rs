//! The breakers of one sender, and how their series are named and labelled.

use std::sync::Arc;

use pdata::{Attributes, Identity, Metric, Origin};
use pipeline::state::{Ledger, Tracked};

/// Breakers whose series are alike: all that send to the door, or all that one target tells of.
#[derive(Clone, Debug, Default)]
pub(super) struct Kin {
    /// The states as breakers name them.
    pub(super) states: Vec<String>,
    /// The same states as labels show them.
    pub(super) shown: Vec<String>,
    /// The circuit of signals that name none.
    pub(super) circuit: Option<String>,
    /// Whether series carry `instance`.
    pub(super) instance_label: bool,
    /// Attributes of all series.
    pub(super) attributes: Vec<(String, String)>,
    /// The target's name, so that equal signals of two targets are two; empty at the door.
    pub(super) target: String,
    pub(super) origin: Arc<Origin>,
}

impl Kin {
    /// The value of `instance` for a signal's series, if they have one.
    pub(super) fn instance<'a>(&self, instance: &'a str) -> &'a str {
        if self.instance_label { instance } else { "" }
    }

    /// A series of a circuit, with further labels.
    ///
    /// # Errors
    /// When the ledger cannot keep such a metric.
    pub(super) fn track(
        &self,
        ledger: &Ledger,
        metric: &Arc<Metric>,
        (instance, circuit): (&str, &str),
        labels: &[(&str, &str)],
    ) -> Result<Tracked, String> {
        let own = self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let instance = (!instance.is_empty()).then_some(("instance", instance));
        let named = [("circuit_name", circuit)].into_iter().chain(instance).chain(labels.iter().copied());
        let attributes = Attributes::from_pairs(own.chain(named));
        let identity = Identity { origin: self.origin.clone(), metric: metric.clone(), attributes };
        ledger.track(identity).map_err(|fault| fault.to_string())
    }

    /// The place of a state by the name that labels show.
    pub(super) fn place(&self, shown: &str) -> Option<usize> {
        self.shown.iter().position(|state| state == shown)
    }
}
