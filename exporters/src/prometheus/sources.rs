//! Reads of pull receivers: staged page by page, visible at the last one.

use std::sync::Arc;

use hashbrown::HashMap;
use pdata::Metrics;
use pipeline::{Collection, OnFailure, Page, SourceId};

/// All sources that have sent collections.
#[derive(Debug, Default)]
pub(super) struct Sources {
    list: Vec<Source>,
    index: HashMap<SourceId, u32>,
}

#[derive(Debug)]
struct Source {
    id: SourceId,
    /// The last read that has been applied, or has failed.
    done: Option<u64>,
    staged: Option<Stage>,
    failing: bool,
}

/// The pages of a read that has not ended.
#[derive(Debug)]
struct Stage {
    sequence: u64,
    pages: Vec<Arc<Metrics>>,
    points: usize,
    /// Too many points: the read as a whole is not shown.
    void: bool,
}

/// What a page asks for.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// A later read has been seen, or this one has ended: what still comes of it is not shown.
    Late,
    /// The read is complete: these pages become visible, before the page in hand.
    Apply { pages: Vec<Arc<Metrics>> },
    /// The read failed.
    Fail(OnFailure),
    /// The read has more points than may be staged; so many were dropped.
    Void { points: usize },
}

/// Sources at most: one per query and target, so far more than a configuration can name.
const SOURCES_MAX: usize = 65_536;

impl Sources {
    /// The number of a source, made when there is none. `None` when there are too many: such a batch is applied as it comes.
    pub(super) fn number(&mut self, id: &SourceId) -> Option<u32> {
        if let Some(number) = self.index.get(id) {
            return Some(*number);
        }
        if self.list.len() >= SOURCES_MAX {
            return None;
        }
        let number = u32::try_from(self.list.len()).ok()?;
        self.list.push(Source { id: id.clone(), done: None, staged: None, failing: false });
        self.index.insert(id.clone(), number);
        Some(number)
    }

    /// What a page of a read asks for. At most `points_max` points of one read are staged.
    pub(super) fn step(
        &mut self,
        number: u32,
        collection: &Collection,
        metrics: &Arc<Metrics>,
        points_max: usize,
    ) -> Step {
        let source = &mut self.list[number as usize];
        let sequence = collection.sequence;
        let outdated = |other: u64| other > sequence;
        if source.done.is_some_and(|done| done >= sequence)
            || source.staged.as_ref().is_some_and(|s| outdated(s.sequence))
        {
            return Step::Late;
        }
        if source.staged.as_ref().is_some_and(|staged| staged.sequence != sequence) {
            source.staged = None;
        }
        match collection.page {
            Page::More => {
                let new = || Stage { sequence, pages: Vec::new(), points: 0, void: false };
                source.staged.get_or_insert_with(new).add(metrics, points_max);
                Step::Wait
            }
            Page::Last => {
                source.done = Some(sequence);
                let staged = source.staged.take();
                if let Some(Stage { void: true, points, .. }) = staged {
                    return Step::Void { points: points + metrics.points.len() };
                }
                source.failing = false;
                Step::Apply { pages: staged.map(|staged| staged.pages).unwrap_or_default() }
            }
            Page::Failed(on_failure) => {
                source.done = Some(sequence);
                source.staged = None;
                source.failing = on_failure == OnFailure::Fail;
                Step::Fail(on_failure)
            }
        }
    }

    /// Whether this read of the source, or a later one, has been applied or has failed.
    pub(super) fn is_done(&self, id: &SourceId, sequence: u64) -> bool {
        let number = self.index.get(id);
        number.is_some_and(|number| self.list[*number as usize].done.is_some_and(|done| done >= sequence))
    }

    /// The first source, by name, whose failure fails the scrape.
    pub(super) fn failing(&self) -> Option<&SourceId> {
        self.list.iter().filter(|source| source.failing).map(|source| &source.id).min()
    }
}

impl Stage {
    fn add(&mut self, metrics: &Arc<Metrics>, points_max: usize) {
        self.points += metrics.points.len();
        if self.points > points_max {
            self.void = true;
            self.pages.clear();
        } else {
            self.pages.push(metrics.clone());
        }
    }
}
