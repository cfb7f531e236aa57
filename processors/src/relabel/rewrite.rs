//! From an identity to labels, through the rules, and back.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashSet;
use pdata::{Attributes, AttributesBuilder, Identity, Metric, Origin, ValueRef};

use super::Scope;
use super::labels::Labels;
use super::names::NameScheme;
use super::rule::{Fate, Rule};

/// Applies a chain of rules to identities.
#[derive(Debug)]
pub(crate) struct Rewriter {
    rules: Vec<Rule>,
    names: NameScheme,
    datapoint: bool,
    resource: bool,
    builder: AttributesBuilder,
    /// Renamed metrics, so that the series of one share it.
    metrics: HashSet<Arc<Metric>>,
    /// Rewritten origins, latest last.
    origins: Vec<Arc<Origin>>,
}

/// What the rules made of an identity.
#[derive(Debug)]
pub(crate) enum Rewritten {
    /// What it was.
    Same,
    /// Something else.
    Changed(Identity),
    /// A rule dropped it.
    Dropped,
    /// No name is left.
    Nameless,
}

/// The label that is the metric's name.
const NAME: &str = "__name__";

/// Labels of this prefix are for rules to talk to each other; they never leave.
const TEMPORARY: &str = "__tmp";

/// Renamed metrics that are shared; past it sharing begins anew. Far above the metrics of real configurations.
const METRICS_MAX: usize = 4096;

/// Rewritten origins that are looked through. Rules that drop what tells resources apart leave few.
const ORIGINS_MAX: usize = 64;

impl Rewriter {
    pub(crate) fn new(rules: Vec<Rule>, names: NameScheme, scope: &[Scope]) -> Self {
        Self {
            rules,
            names,
            datapoint: scope.contains(&Scope::Datapoint),
            resource: scope.contains(&Scope::Resource),
            builder: AttributesBuilder::default(),
            metrics: HashSet::new(),
            origins: Vec::new(),
        }
    }

    /// What the rules make of `identity`.
    pub(crate) fn rewrite(&mut self, identity: &Identity) -> Rewritten {
        let nothing = Attributes::empty();
        let points = if self.datapoint { &identity.attributes } else { &nothing };
        let resource = if self.resource { &identity.origin.resource } else { &nothing };
        let name = std::iter::once((NAME, Cow::Borrowed(&*identity.metric.name)));
        // Of equal names the first counts: a point's attribute is nearer than its resource's.
        let mut labels = Labels::new(name.chain(texts(points)).chain(texts(resource)));
        for rule in &mut self.rules {
            if rule.apply(&mut labels, self.names) == Fate::Dropped {
                return Rewritten::Dropped;
            }
        }
        let name = labels.get(NAME);
        if name.is_empty() {
            return Rewritten::Nameless;
        }
        let metric =
            if *name == *identity.metric.name { identity.metric.clone() } else { self.renamed(identity, name) };
        let attributes = if self.datapoint {
            // New labels are the point's, unless the resource had them and the point did not.
            let mine = |name: &str| points.get(name).is_some() || resource.get(name).is_none();
            self.pack(points, &labels, mine)
        } else {
            identity.attributes.clone()
        };
        let mut origin = identity.origin.clone();
        if self.resource {
            let datapoint = self.datapoint;
            let mine = |name: &str| !datapoint || (points.get(name).is_none() && resource.get(name).is_some());
            let packed = self.pack(resource, &labels, mine);
            if packed != *resource {
                origin = self.origin(&identity.origin, packed);
            }
        }
        let same = Arc::ptr_eq(&metric, &identity.metric)
            && Arc::ptr_eq(&origin, &identity.origin)
            && attributes == identity.attributes;
        if same { Rewritten::Same } else { Rewritten::Changed(Identity { origin, metric, attributes }) }
    }

    /// The attributes of one bearer after the rules: those that were left alone, with their types, and those that were set and
    /// are `mine`.
    fn pack(&mut self, old: &Attributes, labels: &Labels<'_>, mine: impl Fn(&str) -> bool) -> Attributes {
        for (name, value) in old.iter() {
            let text = text(&value);
            // What is empty is no label to a rule, and stays unless something is put there.
            let stays = if text.is_empty() { labels.get(name).is_empty() } else { labels.get(name) == text };
            // Where a point's attribute hides the resource's, the resource's goes only when the label does.
            let hidden = !mine(name) && !labels.get(name).is_empty();
            if (stays || hidden) && !name.starts_with(TEMPORARY) && name != NAME {
                self.builder.push(name, value);
            }
        }
        for (name, value) in labels.changes() {
            let typed = old.get(name).is_some_and(|old| text(&old) == value);
            if mine(name) && !typed && name != NAME && !name.starts_with(TEMPORARY) {
                self.builder.push(name, value);
            }
        }
        self.builder.finish()
    }

    fn renamed(&mut self, identity: &Identity, name: &str) -> Arc<Metric> {
        let metric = Metric { name: name.into(), ..Metric::clone(&identity.metric) };
        if let Some(known) = self.metrics.get(&metric) {
            return known.clone();
        }
        if self.metrics.len() >= METRICS_MAX {
            self.metrics.clear();
        }
        let metric = Arc::new(metric);
        self.metrics.insert(metric.clone());
        metric
    }

    fn origin(&mut self, old: &Origin, resource: Attributes) -> Arc<Origin> {
        let known = self.origins.iter().rposition(|known| {
            known.resource == resource
                && known.resource_schema_url == old.resource_schema_url
                && known.scope == old.scope
        });
        if let Some(known) = known {
            return self.origins[known].clone();
        }
        if self.origins.len() >= ORIGINS_MAX {
            self.origins.remove(0);
        }
        let origin = Arc::new(Origin { resource, ..old.clone() });
        self.origins.push(origin.clone());
        origin
    }
}

/// Names and values as text.
fn texts(attributes: &Attributes) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    attributes.iter().map(|(name, value)| (name, text(&value)))
}

fn text<'a>(value: &ValueRef<'a>) -> Cow<'a, str> {
    value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed)
}
