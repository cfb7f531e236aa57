//! All components of this build, and the names of those that it could have.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use config::{KindInfo, Known, fold_kind};
use pipeline::{Exporter, Factory, Processor, Receiver};

use crate::extensions::{self, Extension};
use crate::once::Print;

/// The slices of the component crates, joined. Plain data, so tests put together their own.
#[derive(Clone, Copy, Debug)]
pub struct Registry {
    /// Where telemetry comes from.
    pub receivers: Class<dyn Receiver>,
    /// What happens on the way.
    pub processors: Class<dyn Processor>,
    /// Where telemetry goes.
    pub exporters: Class<dyn Exporter>,
    /// What stands beside the pipelines.
    pub extensions: Class<dyn Extension>,
    /// How `weir run --once` shows metrics; none when this build cannot.
    pub print: Option<Print>,
}

/// The components of one class.
pub struct Class<C: ?Sized + 'static> {
    /// What this build has.
    pub built: &'static [Factory<C>],
    /// Kind and cargo feature (of its crate) of everything that exists, built or not.
    pub known: &'static [(&'static str, &'static str)],
    /// What stands before a feature of the crate in the agent's own features, such as `receiver-`.
    pub prefix: &'static str,
}

#[cfg(feature = "exporter-prometheus")]
const PRINT: Option<Print> = Some(|batches| exporters::prometheus::render_once(batches));
#[cfg(not(feature = "exporter-prometheus"))]
const PRINT: Option<Print> = None;

impl Registry {
    /// What this build has.
    #[must_use]
    pub const fn builtin() -> Self {
        Self {
            receivers: Class { built: receivers::ALL, known: receivers::KNOWN, prefix: "receiver-" },
            processors: Class { built: processors::ALL, known: processors::KNOWN, prefix: "processor-" },
            exporters: Class { built: exporters::ALL, known: exporters::KNOWN, prefix: "exporter-" },
            extensions: Class { built: extensions::ALL, known: extensions::KNOWN, prefix: "extension-" },
            print: PRINT,
        }
    }

    /// The names, for checking a document.
    #[must_use]
    pub fn known(&self) -> Known {
        Known {
            receivers: self.receivers.infos(),
            processors: self.processors.infos(),
            exporters: self.exporters.infos(),
            connectors: Vec::new(),
            extensions: self.extensions.infos(),
        }
    }
}

impl<C: ?Sized> Class<C> {
    /// The factory of a kind, under its name, an older name, or either without `_`.
    #[must_use]
    pub fn find(&self, kind: &str) -> Option<&'static Factory<C>> {
        let folded = fold_kind(kind);
        self.built.iter().find(|factory| spellings(factory).any(|name| fold_kind(name) == folded))
    }

    /// The agent's cargo feature that builds a kind; empty when it is always built.
    #[must_use]
    pub fn feature(&self, kind: &str) -> &'static str {
        let known = self.known.iter().find(|(known, _)| *known == kind);
        known.map_or("", |(_, feature)| lasting(format!("{}{feature}", self.prefix)))
    }

    fn infos(&self) -> Vec<KindInfo> {
        let built = self.built.iter().map(|factory| KindInfo {
            kind: factory.kind,
            aliases: factory.aliases,
            built: true,
            feature: self.feature(factory.kind),
        });
        let absent = self.known.iter().filter(|(kind, _)| self.find(kind).is_none());
        let absent = absent.map(|(kind, _)| KindInfo { kind, aliases: &[], built: false, feature: self.feature(kind) });
        built.chain(absent).collect()
    }
}

/// The same text for the life of the process. There are no more of them than kinds of components, however often they are asked for.
fn lasting(text: String) -> &'static str {
    static LASTING: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut lasting = LASTING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = lasting.get(&*text) {
        return known;
    }
    let new: &'static str = text.leak();
    lasting.insert(new);
    new
}

fn spellings<C: ?Sized>(factory: &Factory<C>) -> impl Iterator<Item = &'static str> {
    std::iter::once(factory.kind).chain(factory.aliases.iter().copied())
}

impl<C: ?Sized> std::fmt::Debug for Class<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.built.iter().map(|factory| factory.kind)).finish()
    }
}

impl<C: ?Sized> Clone for Class<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ?Sized> Copy for Class<C> {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn all_spellings_differ<C: ?Sized>(class: Class<C>) {
        let mut seen = HashSet::new();
        for factory in class.built {
            // A kind and its alias may be the same word but for `_`; two factories may not.
            let own: HashSet<_> = spellings(factory).map(fold_kind).collect();
            for name in own {
                assert!(seen.insert(name.clone()), "two components are called {name}");
            }
        }
    }

    #[test]
    fn no_two_components_of_a_class_share_a_spelling() {
        let registry = Registry::builtin();
        all_spellings_differ(registry.receivers);
        all_spellings_differ(registry.processors);
        all_spellings_differ(registry.exporters);
        all_spellings_differ(registry.extensions);
    }

    #[test]
    fn every_built_component_is_known_with_its_feature() {
        fn check<C: ?Sized>(class: Class<C>) {
            for factory in class.built {
                assert!(class.known.iter().any(|(kind, _)| *kind == factory.kind), "{} is not in KNOWN", factory.kind);
                assert!(!factory.about.is_empty() && !factory.about.contains('\n'), "{}", factory.kind);
            }
        }
        let registry = Registry::builtin();
        check(registry.receivers);
        check(registry.processors);
        check(registry.exporters);
        check(registry.extensions);
    }
}
