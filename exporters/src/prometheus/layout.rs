//! Which families stand on the endpoint, under which names, in which order: worked out after escaping, once per format and
//! scheme, and again only when the families change.
//!
//! Two families may not share a name, nor a name that one of them makes by a suffix (`x_count` beside the histogram `x`): one such
//! pair costs a strict scraper the whole scrape. Of those that cannot stand together the one that came first is shown.

use std::sync::Arc;

use hashbrown::HashMap;
use pdata::prom::{Escaping, is_legal_label};

use super::family::{Families, Family};
use super::kind::{Exposed, Format};

/// Layouts worked out so far.
#[derive(Default)]
pub(super) struct Layouts(HashMap<(Format, Escaping), Known>);

struct Known {
    version: u64,
    targets: bool,
    layout: Arc<Layout>,
}

/// The families of one format and scheme, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) sections: Vec<Section>,
    /// Families that cannot be shown beside others.
    pub(super) hidden: Vec<Hidden>,
}

/// One family's place.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) family: u32,
    /// Tells the family from a later one in the same slot.
    pub(super) serial: u64,
    /// How it is shown.
    pub(super) shown: Shown,
    /// Whether it goes on with the family of the section before, because escaping has made their names one.
    pub(super) continues: bool,
    /// Whether label names have to be escaped, so that labels and then series may fall together.
    pub(super) transcode: bool,
}

/// Name and type of a family in one format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The name after `# TYPE`.
    pub(super) family: Box<str>,
    /// What is added to it to name samples: `_total`, `_info`, or nothing.
    pub(super) suffix: &'static str,
    pub(super) kind: Exposed,
}

/// A family that is not shown, and the one that stands in its way.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) family: u32,
    pub(super) because_of: Option<u32>,
}

impl Layouts {
    /// The layout of a format and scheme, and whether it was worked out anew.
    pub(super) fn get(
        &mut self,
        families: &Families,
        targets: bool,
        format: Format,
        escaping: Escaping,
    ) -> (Arc<Layout>, bool) {
        let version = families.version;
        if let Some(known) = self.0.get(&(format, escaping)).filter(|k| k.version == version && k.targets == targets) {
            return (known.layout.clone(), false);
        }
        let layout = Arc::new(Layout::new(families, targets, format, escaping));
        self.0.insert((format, escaping), Known { version, targets, layout: layout.clone() });
        (layout, true)
    }
}

/// Who claims a name: a family, or nobody in particular for `target_info`.
type Claims = HashMap<String, Option<u32>>;

impl Layout {
    fn new(families: &Families, targets: bool, format: Format, escaping: Escaping) -> Self {
        let mut living: Vec<(u32, &Family)> = families.slots().iter().filter(|(_, family)| family.live > 0).collect();
        living.sort_unstable_by_key(|(_, family)| family.serial);
        let mut claims = Claims::new();
        if targets {
            claims.insert("target_info".to_owned(), None);
            if format == Format::OpenMetrics {
                claims.insert("target".to_owned(), None);
            }
        }
        let mut layout = Self::default();
        let mut groups: HashMap<(Box<str>, Exposed), u64> = HashMap::new();
        let mut placed: Vec<(u64, Section)> = Vec::new();
        for (number, family) in living {
            let shown = Shown::of(family, format, escaping);
            let key = (shown.family.clone(), family.kind);
            let group = match groups.get(&key) {
                Some(group) => *group,
                None => match claim(&mut claims, &shown, format, number) {
                    Ok(()) => *groups.entry(key).insert(family.serial).get(),
                    Err(because_of) => {
                        layout.hidden.push(Hidden { family: number, because_of });
                        continue;
                    }
                },
            };
            let transcode = escaping != Escaping::Utf8 && (family.is_foreign() || family.foreign_labels);
            let section = Section { family: number, serial: family.serial, shown, continues: false, transcode };
            placed.push((group, section));
        }
        placed.sort_by(|(g1, a), (g2, b)| (&a.shown.family, g1, a.serial).cmp(&(&b.shown.family, g2, b.serial)));
        let mut before = None;
        for (group, mut section) in placed {
            section.continues = before == Some(group);
            before = Some(group);
            layout.sections.push(section);
        }
        layout
    }
}

impl Shown {
    fn of(family: &Family, format: Format, escaping: Escaping) -> Self {
        let mut name = String::with_capacity(family.name.len());
        escaping.push_metric(&mut name, &family.name);
        let plain = |kind, name: String| Self { family: name.into(), suffix: "", kind };
        let stripped = |suffix: &'static str, kind, otherwise| match name.strip_suffix(suffix) {
            Some(stem) if !stem.is_empty() => Self { family: stem.into(), suffix, kind },
            _ => plain(otherwise, name.clone()),
        };
        match (family.kind, format) {
            (Exposed::Info | Exposed::StateSet, Format::Text) => plain(Exposed::Gauge, name),
            // A name does not depend on the format. Where OpenMetrics would need another one, the type gives way.
            (Exposed::Counter, Format::OpenMetrics) => stripped("_total", Exposed::Counter, Exposed::Unknown),
            (Exposed::Info, Format::OpenMetrics) => stripped("_info", Exposed::Info, Exposed::Gauge),
            (Exposed::StateSet, Format::OpenMetrics) if family.stateless || !is_legal_label(&family.name) => {
                plain(Exposed::Gauge, name)
            }
            (kind, _) => plain(kind, name),
        }
    }

    /// The same as a gauge: for info and state sets whose values are not what the format allows.
    pub(super) fn as_gauge(&self) -> Self {
        Self { family: self.sample("").into(), suffix: "", kind: Exposed::Gauge }
    }

    /// The name of its samples, with something after it.
    pub(super) fn sample(&self, more: &str) -> String {
        [&*self.family, self.suffix, more].concat()
    }
}

/// Takes all names that a family may write, or none, and tells who has one of them.
fn claim(claims: &mut Claims, shown: &Shown, format: Format, family: u32) -> Result<(), Option<u32>> {
    let suffixes = std::iter::once("").chain(shown.kind.suffixes(format).iter().copied());
    let names: Vec<String> = suffixes.map(|suffix| format!("{}{suffix}", shown.family)).collect();
    match names.iter().find_map(|name| claims.get(name)) {
        Some(other) => Err(*other),
        None => {
            claims.extend(names.into_iter().map(|name| (name, Some(family))));
            Ok(())
        }
    }
}
