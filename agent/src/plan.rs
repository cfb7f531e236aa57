//! From a document to checked plans and the edges between them.
//!
//! Everything that the file alone can tell is found here, all of it at once: `weir validate` and start-up both end in [`plan`].

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use config::{ComponentId, Document, Pipeline, PipelineId, Place, Problem, Problems, Reference, Section};
use pipeline::{Claim, Exporter, Plan, Processor, Receiver, Signals};

use crate::extensions::Extension;
use crate::registry::{Class, Registry};
use crate::storage::{self, Storages};
use crate::telemetry::Settings;

/// A configuration without errors: plans of all components that are used, and how they are joined.
pub struct GraphPlan {
    pub(crate) receivers: Vec<Node<dyn Receiver>>,
    pub(crate) exporters: Vec<Node<dyn Exporter>>,
    pub(crate) extensions: Vec<Node<dyn Extension>>,
    pub(crate) routes: Vec<Route>,
    /// The agent's own telemetry.
    pub(crate) telemetry: Settings,
    /// Addresses that components listen on, each with the component that does.
    pub(crate) listens: Vec<(String, String)>,
}

/// One component that is to be built.
pub(crate) struct Node<C: ?Sized> {
    pub(crate) id: ComponentId,
    pub(crate) plan: Box<dyn Plan<C>>,
    /// Its folder for state, when it keeps some.
    pub(crate) state: Option<PathBuf>,
}

/// One pipeline. Receivers and exporters are named by their index in the [`GraphPlan`]: they serve several pipelines. Each
/// pipeline has processors of its own.
pub(crate) struct Route {
    pub(crate) id: PipelineId,
    pub(crate) receivers: Vec<usize>,
    pub(crate) processors: Vec<Node<dyn Processor>>,
    pub(crate) exporters: Vec<usize>,
}

/// Checks a document. `problems` are those of reading it; what is found here is added. Gives a plan when there is no error at all, and
/// all problems, sorted by place.
#[must_use]
pub(crate) fn plan(document: &Document, registry: &Registry, mut problems: Problems) -> (Option<GraphPlan>, Problems) {
    problems.extend(config::check(document, &registry.known()));
    let shelves = Shelves {
        receivers: Shelf::fill(registry.receivers, &document.receivers, &mut problems),
        processors: Shelf::fill(registry.processors, &document.processors, &mut problems),
        exporters: Shelf::fill(registry.exporters, &document.exporters, &mut problems),
        extensions: Shelf::fill(registry.extensions, &document.extensions, &mut problems),
    };
    let telemetry = match Settings::plan(&document.service.telemetry) {
        Ok((settings, warnings)) => {
            problems.extend(warnings);
            Some(settings)
        }
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    for pipeline in &document.service.pipelines {
        shelves.receivers.compare_signals("receiver", pipeline, &pipeline.receivers, &mut problems);
        shelves.processors.compare_signals("processor", pipeline, &pipeline.processors, &mut problems);
        shelves.exporters.compare_signals("exporter", pipeline, &pipeline.exporters, &mut problems);
    }
    let mut held = shelves.claims(document);
    let listens = held.iter().filter_map(Held::address).collect();
    held.extend(telemetry.iter().flat_map(|settings| settings.claims(&document.service.telemetry)));
    compare_claims(&held, &mut problems);
    let storages = shelves.storages(document);
    storage::check_all(&storages, shelves.wishes(document), &document.service.extensions, &mut problems);
    let graph = match telemetry {
        Some(telemetry) if !problems.has_errors() && shelves.hold_all(document) => {
            shelves.join(document, telemetry, listens, &storages, &mut problems)
        }
        _ => None,
    };
    problems.sort();
    (graph, problems)
}

/// The sections of all classes.
struct Shelves<'d> {
    receivers: Shelf<'d, dyn Receiver>,
    processors: Shelf<'d, dyn Processor>,
    exporters: Shelf<'d, dyn Exporter>,
    extensions: Shelf<'d, dyn Extension>,
}

/// The sections of one class with the plans made from them. A plan is taken out when the graph takes it in.
struct Shelf<'d, C: ?Sized + 'static> {
    class: Class<C>,
    sections: HashMap<&'d ComponentId, Shelved<'d, C>>,
}

/// A section, and its plan while it is sound and not taken.
type Shelved<'d, C> = (&'d Section, Option<Box<dyn Plan<C>>>);

/// Something that only one may hold, and who holds it where.
pub(crate) struct Held {
    pub(crate) claim: Claim,
    pub(crate) place: Place,
    pub(crate) path: String,
}

impl Shelves<'_> {
    /// What the components that are used hold.
    fn claims(&self, document: &Document) -> Vec<Held> {
        let pipelines = &document.service.pipelines;
        let mut held = self.receivers.claims(pipelines.iter().flat_map(|pipeline| &pipeline.receivers));
        held.extend(self.processors.claims(pipelines.iter().flat_map(|pipeline| &pipeline.processors)));
        held.extend(self.exporters.claims(pipelines.iter().flat_map(|pipeline| &pipeline.exporters)));
        held.extend(self.extensions.claims(&document.service.extensions));
        held
    }

    /// The storages that the service starts.
    fn storages(&self, document: &Document) -> Storages {
        let mut storages = Storages::default();
        for Reference { id, .. } in &document.service.extensions {
            match self.extensions.plan_of(id) {
                Some(plan) => {
                    if let Some(folder) = plan.folder() {
                        storages.add(id, Some(folder));
                    }
                }
                // Not configured, or wrong: told already.
                None => storages.add(id, None),
            }
        }
        storages
    }

    /// The storages that components name.
    fn wishes<'d>(&self, document: &'d Document) -> Vec<(&'static str, &'d Section, ComponentId)> {
        let receivers = self.receivers.wishes("receivers", &document.receivers);
        receivers.chain(self.exporters.wishes("exporters", &document.exporters)).collect()
    }

    /// Whether there is a plan behind every reference. One may be missing without an error here: a section that could not be
    /// loaded was told when it was loaded, and what follows from it is not told again.
    fn hold_all(&self, document: &Document) -> bool {
        let pipelines = &document.service.pipelines;
        pipelines.iter().all(|pipeline| {
            self.receivers.hold(&pipeline.receivers)
                && self.processors.hold(&pipeline.processors)
                && self.exporters.hold(&pipeline.exporters)
        }) && self.extensions.hold(&document.service.extensions)
    }

    /// Joins the plans to a graph. There are no errors so far, and all references lead to plans.
    fn join(
        mut self,
        document: &Document,
        telemetry: Settings,
        listens: Vec<(String, String)>,
        storages: &Storages,
        problems: &mut Problems,
    ) -> Option<GraphPlan> {
        let (mut receivers, mut exporters, mut extensions) = (Vec::new(), Vec::new(), Vec::new());
        self.extensions.place_in(&mut extensions, &document.service.extensions, problems);
        let route = |pipeline: &Pipeline| Route {
            id: pipeline.id.clone(),
            receivers: self.receivers.place_in(&mut receivers, &pipeline.receivers, problems),
            processors: self.processors.copies(&pipeline.processors, problems),
            exporters: self.exporters.place_in(&mut exporters, &pipeline.exporters, problems),
        };
        let routes = document.service.pipelines.iter().map(route).collect();
        receivers.iter_mut().for_each(|node| node.settle_in(storages, "receivers"));
        exporters.iter_mut().for_each(|node| node.settle_in(storages, "exporters"));
        let graph = GraphPlan { receivers, exporters, extensions, routes, telemetry, listens };
        (!problems.has_errors()).then_some(graph)
    }
}

impl<'d, C: ?Sized> Shelf<'d, C> {
    /// Plans every section, used or not: a mistake in an unused one is a mistake too.
    fn fill(class: Class<C>, sections: &'d [Section], problems: &mut Problems) -> Self {
        let mut shelf = Self { class, sections: HashMap::new() };
        for section in sections {
            // An unknown kind was told already.
            let Some(factory) = class.find(section.id().kind()) else { continue };
            let plan = match (factory.plan)(section) {
                Ok(plan) => {
                    problems.extend(plan.warnings());
                    Some(plan)
                }
                Err(found) => {
                    problems.extend(found);
                    None
                }
            };
            shelf.sections.insert(section.id(), (section, plan));
        }
        shelf
    }

    fn wishes<'s>(
        &self,
        class: &'static str,
        sections: &'s [Section],
    ) -> impl Iterator<Item = (&'static str, &'s Section, ComponentId)> {
        let wish = move |section: &'s Section| Some((class, section, self.plan_of(section.id())?.storage()?));
        sections.iter().filter_map(wish)
    }

    fn plan_of(&self, id: &ComponentId) -> Option<&dyn Plan<C>> {
        self.sections.get(id)?.1.as_deref()
    }

    fn compare_signals(&self, word: &str, pipeline: &Pipeline, references: &[Reference], problems: &mut Problems) {
        let wanted = Signals::from(pipeline.id.signal);
        for reference in references {
            let Some(carried) = self.plan_of(&reference.id).map(Plan::signals) else { continue };
            if carried.contains(wanted) {
                continue;
            }
            let signal = pipeline.id.signal.as_str();
            let id = reference.id.to_string();
            let message =
                format!("failed to create {id:?} {word} for data type {signal:?}: telemetry type is not supported");
            let help = format!("{:?} carries {}", reference.id.kind(), words(carried));
            problems.push(Problem::error(message).at(reference.place).with_path(&*reference.path).with_help(help));
        }
    }

    /// What the components that are used hold, each counted once.
    fn claims<'r>(&self, used: impl IntoIterator<Item = &'r Reference>) -> Vec<Held> {
        let mut seen = HashSet::new();
        let used = used.into_iter().filter(|reference| seen.insert(&reference.id));
        let sections = used.filter_map(|reference| self.sections.get(&reference.id));
        let held = |(section, plan): &Shelved<'_, C>| {
            let claims = plan.as_ref().map(|plan| plan.claims()).unwrap_or_default();
            let held = |claim| Held { place: claim_place(section, &claim), claim, path: section.path().to_owned() };
            claims.into_iter().map(held).collect::<Vec<_>>()
        };
        sections.flat_map(held).collect()
    }

    fn hold(&self, references: &[Reference]) -> bool {
        let plan = |reference: &Reference| self.sections.get(&reference.id).is_some_and(|(_, plan)| plan.is_some());
        references.iter().all(plan)
    }

    /// Puts the plans into `nodes` unless they are there already, and gives their indices.
    fn place_in(&mut self, nodes: &mut Vec<Node<C>>, references: &[Reference], problems: &mut Problems) -> Vec<usize> {
        let mut indices = Vec::new();
        for reference in references {
            if let Some(index) = nodes.iter().position(|node| node.id == reference.id) {
                indices.push(index);
            } else if let Some(plan) = self.sections.get_mut(&reference.id).and_then(|(_, plan)| plan.take()) {
                indices.push(nodes.len());
                nodes.push(Node { id: reference.id.clone(), plan, state: None });
            } else {
                // Only when so much is wrong that the reason was not kept.
                let problem = Problem::error(format!("{:?} cannot be used", reference.id.to_string()));
                problems.push(problem.at(reference.place).with_path(&*reference.path));
            }
        }
        indices
    }

    /// A plan of its own for each use.
    fn copies(&mut self, references: &[Reference], problems: &mut Problems) -> Vec<Node<C>> {
        let mut nodes = Vec::new();
        for reference in references {
            let Some((section, plan)) = self.sections.get_mut(&reference.id) else { continue };
            let factory = self.class.find(section.id().kind()).expect("only sections of built kinds are on the shelf");
            match plan.take().map_or_else(|| (factory.plan)(section), Ok) {
                Ok(plan) => nodes.push(Node { id: reference.id.clone(), plan, state: None }),
                Err(found) => problems.extend(found),
            }
        }
        nodes
    }
}

impl<C: ?Sized> Node<C> {
    /// Finds its folder in the storage that it names.
    fn settle_in(&mut self, storages: &Storages, class: &str) {
        let storage = self.plan.storage();
        self.state = storage.and_then(|storage| storages.folder_of(&storage, class, &self.id));
    }
}

impl Held {
    /// Who listens where, if that is what is held.
    fn address(&self) -> Option<(String, String)> {
        match &self.claim {
            Claim::Listen(address) => Some((self.path.clone(), address.clone())),
            Claim::Path(_) => None,
        }
    }
}

/// Where a claim most likely stands: the address as it is written, the key that names an address or a folder, else the section.
fn claim_place(section: &Section, claim: &Claim) -> Place {
    let written = match claim {
        Claim::Listen(address) => section.place_of_text(address),
        Claim::Path(_) => None,
    };
    let key = ["endpoint", "path", "directory"].into_iter().find(|key| section.has(key));
    written.unwrap_or_else(|| section.place(key.unwrap_or("")))
}

fn compare_claims(held: &[Held], problems: &mut Problems) {
    for (index, second) in held.iter().enumerate() {
        let Some(first) = held[..index].iter().find(|first| first.claim.clashes(&second.claim)) else { continue };
        let problem = Problem::error(format!("{}: {} is held by {} already", second.path, second.claim, first.path))
            .at(second.place)
            .with_path(&*second.path)
            .with_related("first held here", first.place)
            .with_help("only one component may hold it: change one of them");
        problems.push(problem);
    }
}

fn words(signals: Signals) -> String {
    let all = [(Signals::METRICS, "metrics"), (Signals::LOGS, "logs"), (Signals::TRACES, "traces")];
    let carried: Vec<_> = all.iter().filter(|(signal, _)| signals.contains(*signal)).map(|(_, word)| *word).collect();
    carried.join(" and ")
}

impl std::fmt::Debug for GraphPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|route| route.id.to_string())).finish()
    }
}

#[cfg(test)]
mod tests;
