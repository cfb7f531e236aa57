//! What can be said about a document without looking into a component: types, references, lists.

mod graph;

use std::collections::{HashMap, HashSet};

use crate::document::{Document, Pipeline, Reference};
use crate::id::{ComponentId, fold_kind};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::section::Section;
use crate::{redact, suggest};

/// A type of component that the agent knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindInfo {
    /// Its name, such as `sql_query`.
    pub kind: &'static str,
    /// Older names that are not the same word without `_`, such as `otlp` for `otlp_grpc`.
    pub aliases: &'static [&'static str],
    /// Whether this build has it.
    pub built: bool,
    /// The cargo feature that builds it.
    pub feature: &'static str,
}

/// The types that the agent knows, by class.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Types of receivers.
    pub receivers: Vec<KindInfo>,
    /// Types of processors.
    pub processors: Vec<KindInfo>,
    /// Types of exporters.
    pub exporters: Vec<KindInfo>,
    /// Types of connectors.
    pub connectors: Vec<KindInfo>,
    /// Types of extensions.
    pub extensions: Vec<KindInfo>,
}

impl Known {
    /// The type a word names in one class (`receivers`, …), by its name, an older name, or either without `_`.
    pub fn find(&self, class: &str, kind: &str) -> Option<&KindInfo> {
        let folded = fold_kind(kind);
        let names = |info: &&KindInfo| {
            fold_kind(info.kind) == folded || info.aliases.iter().any(|alias| fold_kind(alias) == folded)
        };
        let exact = self.class(class).iter().find(|info| info.kind == kind);
        exact.or_else(|| self.class(class).iter().find(names))
    }

    fn class(&self, class: &str) -> &[KindInfo] {
        match class {
            "receivers" => &self.receivers,
            "processors" => &self.processors,
            "exporters" => &self.exporters,
            "connectors" => &self.connectors,
            "extensions" => &self.extensions,
            _ => &[],
        }
    }
}

/// After how many problems references that lead nowhere get no help.
const MAX_HELPED: usize = 50;

/// The classes, each with the word for one of its components.
const CLASSES: &[(&str, &str)] = &[
    ("receivers", "receiver"),
    ("processors", "processor"),
    ("exporters", "exporter"),
    ("connectors", "connector"),
    ("extensions", "extension"),
];

/// Finds everything that is wrong with types, references and lists, sorted by place.
pub fn check(document: &Document, known: &Known) -> Problems {
    let mut problems = Problems::new();
    for (class, word) in CLASSES {
        for section in document.class(class) {
            problems.extend(kind(section, class, word, known));
        }
    }
    required(document, &mut problems);
    for pipeline in &document.service.pipelines {
        check_pipeline(pipeline, document, &mut problems);
    }
    let extensions = &document.service.extensions;
    references("service::extensions", "extensions", "extension", extensions, document, &mut problems);
    graph::check(document, &mut problems);
    problems.sort();
    problems
}

/// What is wrong with a section's type.
fn kind(section: &Section, class: &str, word: &str, known: &Known) -> Option<Problem> {
    let (id, kind) = (section.id(), section.id().kind());
    match known.find(class, kind) {
        Some(info) if !info.built => Some(
            section
                .error("", format!("this build has no {word} {:?}", info.kind))
                .with_help(format!("build weir with the feature `{}`, or remove the {word}", info.feature)),
        ),
        Some(info) if info.kind != kind => {
            Some(section.warning("", format!("{kind:?} alias is deprecated; use {:?} instead", info.kind)))
        }
        Some(_) => None,
        None if class == "exporters" && kind == "logging" => Some(
            section
                .error("", "the logging exporter has been deprecated, use the debug exporter instead")
                .with_help("write `debug` here and in the pipelines; its key for more detail is `verbosity`"),
        ),
        None => {
            let mut names: Vec<&str> =
                known.class(class).iter().filter(|info| info.built).map(|info| info.kind).collect();
            names.sort_unstable();
            let message =
                format!("unknown type: {kind:?} for id: {:?} (valid values: [{}])", id.to_string(), names.join(" "));
            let mut problem = section.error("", message);
            problem.help = match suggest::nearest(kind, names.iter().copied()) {
                Some(name) => Some(format!("did you mean `{name}`?")),
                None => other_class(kind, class, known),
            };
            Some(problem)
        }
    }
}

/// The help for a component under the wrong class.
fn other_class(kind: &str, class: &str, known: &Known) -> Option<String> {
    let (other, word) = CLASSES.iter().find(|(other, _)| *other != class && known.find(other, kind).is_some())?;
    Some(format!("{kind:?} is {} {word}: put it under `{other}`", article(word)))
}

/// What every configuration needs.
fn required(document: &Document, problems: &mut Problems) {
    let gaps = &document.gaps;
    let classes = [("receivers", "receiver", &document.receivers), ("exporters", "exporter", &document.exporters)];
    for (class, word, sections) in classes {
        if !sections.is_empty() || !document.connectors.is_empty() || gaps.lacks(class) {
            continue;
        }
        let problem = Problem::error(format!("no {word} configuration specified in config"));
        problems.push(match gaps.wiped(class) {
            Some(place) => problem.at(place).with_path(class).with_help(format!(
                "`{class}:` with nothing in it wipes what earlier files have there; `{class}: {{}}` leaves it"
            )),
            None => problem.with_help(format!("add `{class}:` with a {word} in it")),
        });
    }
    if document.service.pipelines.is_empty() && !gaps.service {
        problems.push(
            Problem::error("service::pipelines: service must have at least one pipeline")
                .with_path("service::pipelines")
                .with_help("add service: {pipelines: {metrics: {receivers: [...], exporters: [...]}}}"),
        );
    }
}

fn check_pipeline(pipeline: &Pipeline, document: &Document, problems: &mut Problems) {
    let missing = |word: &str| {
        Problem::error(format!("{}: must have at least one {word}", pipeline.path))
            .at(pipeline.place)
            .with_path(&*pipeline.path)
    };
    if !pipeline.incomplete && pipeline.receivers.is_empty() {
        problems.push(missing("receiver"));
    }
    if !pipeline.incomplete && pipeline.exporters.is_empty() {
        problems.push(missing("exporter"));
    }
    for (class, word, list) in [
        ("receivers", "receiver", &pipeline.receivers),
        ("processors", "processor", &pipeline.processors),
        ("exporters", "exporter", &pipeline.exporters),
    ] {
        references(&pipeline.path, class, word, list, document, problems);
    }
}

/// Finds references that lead nowhere and references that are written twice.
fn references(path: &str, class: &str, word: &str, list: &[Reference], document: &Document, problems: &mut Problems) {
    // A connector is an exporter of one pipeline and a receiver of another.
    let connectors = matches!(class, "receivers" | "exporters");
    let lacking = document.gaps.lacks(class) || (connectors && document.gaps.lacks("connectors"));
    let others = if connectors { document.connectors.as_slice() } else { &[] };
    let ids: HashSet<&ComponentId> = document.class(class).iter().chain(others).map(Section::id).collect();
    let mut first: HashMap<&ComponentId, Place> = HashMap::new();
    for reference in list {
        let id = if reference.hidden { redact::REDACTED.to_owned() } else { reference.id.to_string() };
        let at = |problem: Problem| problem.at(reference.place).with_path(&*reference.path);
        if !lacking && !problems.is_full() && !ids.contains(&reference.id) {
            let problem = at(Problem::error(format!("{path}: references {word} {id:?} which is not configured")));
            // Whoever has more wrong ids than this has another mistake, and looking for words costs ids times ids.
            let help =
                if problems.len() < MAX_HELPED { not_configured(&reference.id, class, &ids, document) } else { None };
            problems.push(match help {
                Some(help) => problem.with_help(help),
                None => problem,
            });
        }
        if let Some(first) = first.insert(&reference.id, reference.place) {
            problems.push(
                at(Problem::error(format!("{path}: references {word} {id:?} multiple times")))
                    .with_related("first named", first)
                    .with_help("name it once"),
            );
        }
    }
}

/// The help for a reference that leads nowhere.
fn not_configured(id: &ComponentId, class: &str, ids: &HashSet<&ComponentId>, document: &Document) -> Option<String> {
    let written = id.to_string();
    let configured = |class: &str| document.class(class).iter().any(|section| section.id() == id);
    if let Some((_, word)) = CLASSES.iter().find(|(other, _)| *other != class && configured(other)) {
        return Some(format!("{written:?} is configured as {} {word}", article(word)));
    }
    let mut names: Vec<String> = ids.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    suggest::help(&written, &names).map(|help| help.replace("known here", "configured"))
}

fn article(word: &str) -> &'static str {
    if word.starts_with('e') { "an" } else { "a" }
}

#[cfg(test)]
mod tests;
