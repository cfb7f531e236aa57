//! What can be said about a document without looking into a component: types, references, lists.

mod graph;

use crate::document::{Document, Pipeline, Reference};
use crate::id::fold_kind;
use crate::problem::{Problem, Problems};
use crate::section::Section;
use crate::suggest;

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
    let extensions: Vec<&Section> = document.extensions.iter().collect();
    references("service::extensions", "extension", &document.service.extensions, &extensions, &mut problems);
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
    let article = if word.starts_with('e') { "an" } else { "a" };
    Some(format!("{kind:?} is {article} {word}: put it under `{other}`"))
}

/// What every configuration needs.
fn required(document: &Document, problems: &mut Problems) {
    if document.incomplete {
        return;
    }
    let connected = !document.connectors.is_empty();
    if document.receivers.is_empty() && !connected {
        problems.push(Problem::error("no receiver configuration specified in config"));
    }
    if document.exporters.is_empty() && !connected {
        problems.push(Problem::error("no exporter configuration specified in config"));
    }
    if document.service.pipelines.is_empty() {
        problems.push(
            Problem::error("service::pipelines: service must have at least one pipeline")
                .with_path("service::pipelines")
                .with_help("add service: {pipelines: {metrics: {receivers: […], exporters: […]}}}"),
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
    let with_connectors =
        |sections: &'_ [Section]| -> Vec<Section> { sections.iter().chain(&document.connectors).cloned().collect() };
    let path = &pipeline.path;
    let receivers = with_connectors(&document.receivers);
    let exporters = with_connectors(&document.exporters);
    references(path, "receiver", &pipeline.receivers, &receivers.iter().collect::<Vec<_>>(), problems);
    let processors: Vec<&Section> = document.processors.iter().collect();
    references(path, "processor", &pipeline.processors, &processors, problems);
    references(path, "exporter", &pipeline.exporters, &exporters.iter().collect::<Vec<_>>(), problems);
}

/// Finds references that lead nowhere and references that are written twice.
fn references(path: &str, word: &str, list: &[Reference], sections: &[&Section], problems: &mut Problems) {
    for (index, reference) in list.iter().enumerate() {
        let id = reference.id.to_string();
        let at = |problem: Problem| problem.at(reference.place).with_path(&*reference.path);
        if !sections.iter().any(|section| *section.id() == reference.id) {
            let ids: Vec<String> = sections.iter().map(|section| section.id().to_string()).collect();
            let names: Vec<&str> = ids.iter().map(String::as_str).collect();
            let mut problem = at(Problem::error(format!("{path}: references {word} {id:?} which is not configured")));
            problem.help = suggest::help(&id, &names).map(|help| help.replace("known here", "configured"));
            problems.push(problem);
        }
        if let Some(first) = list[..index].iter().find(|first| first.id == reference.id) {
            problems.push(
                at(Problem::error(format!("{path}: references {word} {id:?} multiple times")))
                    .with_related("first named", first.place)
                    .with_help("name it once"),
            );
        }
    }
}

#[cfg(test)]
mod tests;
