//! The processor: a batch in, a batch out.

use std::sync::Arc;

use config::{Problems, Section};
use hashbrown::HashMap;
use pdata::{Attributes, Exemplar, Fingerprint, Metrics, Series, SeriesId, SeriesTable, UnixNanos};
use pipeline::collection::{Page, SourceId};
use pipeline::{Batch, Clock, Meters, Processor, Verdict};
use tokio::time::Instant;

use super::config::{Checked, SWEEPS_PER_TTL};
use super::counts::{Counts, Tally};
use super::memo::{Course, Decision, Dropped, Limits, Memo};
use super::rewrite::{Rewriter, Rewritten};
use crate::aggregate::{Applied, Engine, Joined};

/// Relabels the points of batches, in place.
///
/// A batch is walked twice: first to learn about series that were never seen, so that all inputs of an output are known before
/// the first of its points is passed or merged; then to give each point its new name. In the steady state the first walk is a look
/// into the memo a point, the second one goes by what the first has found, and neither allocates.
#[derive(Debug)]
pub(crate) struct Relabel {
    rewriter: Rewriter,
    memo: Memo,
    engine: Option<Engine>,
    table: Arc<SeriesTable>,
    clock: Clock,
    id: Box<str>,
    counts: Counts,
    /// Outputs that changed in pages of collections whose last page has not come. Bounded by [`SOURCES_MAX`].
    pending: HashMap<SourceId, Changed>,
    stamp: u64,
    sweep_every: std::time::Duration,
    sweep_at: Instant,
    scratch: Scratch,
    /// Inputs that were refused since the last sweep.
    refused: u64,
}

/// Outputs that changed since they were last emitted, and the stamp they carry.
#[derive(Debug)]
struct Changed {
    stamp: u64,
    outputs: Vec<u32>,
}

/// What holds for one batch only; kept for its buffers.
#[derive(Debug, Default)]
struct Scratch {
    /// Decisions about the identities that travel with the batch.
    inline: Vec<Decision>,
    /// Where each point goes, as it was found when the batch was learnt about.
    courses: Vec<Course>,
    /// Decisions that the memo had no room for.
    unremembered: HashMap<SeriesId, Decision>,
    /// Ids by which this batch names series that have no slot.
    adopted: HashMap<Fingerprint, SeriesId>,
    /// Whether it has exemplars, which must be told where their points went.
    follow: bool,
    /// Where each point went, if that must be known.
    went: Vec<Went>,
}

/// Where a point went.
#[derive(Clone, Copy, Debug)]
enum Went {
    On,
    Into(u32),
    Away,
}

/// An exemplar with the series it was observed in.
type Observed = (Exemplar, Series);

/// Sources whose pages may be open at a time. Receivers have tens of queries.
const SOURCES_MAX: usize = 10_000;

/// Turns that a decision is remembered without being asked for. Less than an input is kept for, so that no decision outlives
/// the input it names.
const IDLE_TURNS: u32 = SWEEPS_PER_TTL - 1;

impl Relabel {
    pub(crate) fn new(
        checked: Checked,
        input_ttl: std::time::Duration,
        id: &str,
        table: Arc<SeriesTable>,
        clock: Clock,
        meters: &Meters,
    ) -> Self {
        let sweep_every = input_ttl / SWEEPS_PER_TTL;
        let bytes = usize::try_from(checked.memo.max_size.get()).unwrap_or(usize::MAX);
        Self {
            rewriter: Rewriter::new(checked.rules, checked.names, &checked.scope),
            memo: Memo::new(Limits { series: checked.memo.max_series, bytes }),
            engine: checked.engine.map(|settings| Engine::new(settings, clock.wall())),
            table,
            counts: Counts::new(meters, id),
            id: id.into(),
            pending: HashMap::new(),
            stamp: 0,
            sweep_every,
            sweep_at: clock.now() + sweep_every,
            clock,
            scratch: Scratch::default(),
            refused: 0,
        }
    }

    /// From a section, without the plan in between: for benchmarks.
    pub(crate) fn from_section(
        section: &Section,
        table: Arc<SeriesTable>,
        clock: Clock,
        meters: &Meters,
    ) -> Result<Self, Problems> {
        let (checked, input_ttl) = super::config::check(section)?;
        Ok(Self::new(checked, input_ttl, &section.id().to_string(), table, clock, meters))
    }

    /// Bytes of memo and state.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.memo.heap_bytes() + self.engine.as_ref().map_or(0, |engine| engine.sizes().bytes)
    }

    /// Series whose decision is remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.memo.len()
    }

    /// Input series with state.
    #[cfg(test)]
    pub(crate) fn inputs(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.sizes().inputs)
    }

    /// Learns about every series of the batch that was never seen, and adopts outputs without a slot.
    fn learn(&mut self, metrics: &mut Metrics, tally: &mut Tally) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.inline.clear();
        scratch.unremembered.clear();
        scratch.adopted.clear();
        if !metrics.inline().is_empty() {
            let ids = metrics.change_inline(|series| {
                let decision = self.decide(series, SeriesTable::sight, tally);
                let to = decision.to.clone();
                scratch.inline.push(decision);
                to
            });
            for (decision, id) in scratch.inline.iter_mut().zip(ids) {
                // The batch has adopted what has no slot just now.
                decision.course = id.map_or(decision.course, |id| decision.course.under(id));
            }
        }
        scratch.courses.clear();
        scratch.courses.reserve(metrics.points.len());
        for index in 0..metrics.points.len() {
            let id = metrics.points[index].series;
            let course = if id.is_inline() {
                scratch.inline.get(id.index()).map_or(Course::Drop(Dropped::Nameless), |decision| decision.course)
            } else {
                // In the steady state this is the one look at what is remembered of a series.
                match self.memo.look(id) {
                    Some(decision) if !decision.course.is_without_slot() => decision.course,
                    Some(decision) => adopt(decision, metrics, &mut scratch.adopted),
                    None => self.meet(id, metrics, &mut scratch, tally),
                }
            };
            scratch.courses.push(course);
        }
        self.scratch = scratch;
    }

    /// The course of a series with a slot that the memo does not know: worked out now, or earlier in this batch.
    fn meet(&mut self, id: SeriesId, metrics: &mut Metrics, scratch: &mut Scratch, tally: &mut Tally) -> Course {
        let decision = match scratch.unremembered.get(&id) {
            Some(decision) => decision.clone(),
            None => {
                let decision = self.decide(&metrics.series(id), SeriesTable::intern, tally);
                if !self.memo.put(id, decision.clone()) {
                    tally.unremembered += 1;
                    scratch.unremembered.insert(id, decision.clone());
                }
                decision
            }
        };
        adopt(&decision, metrics, &mut scratch.adopted)
    }

    /// What becomes of a series. `find` gives the output its slot: at once for who will be remembered, else at second sight.
    fn decide(
        &mut self,
        series: &Series,
        find: fn(&SeriesTable, pdata::Identity) -> Series,
        tally: &mut Tally,
    ) -> Decision {
        tally.evaluated += 1;
        let drop = |dropped| Decision { to: None, course: Course::Drop(dropped), provisional: false };
        let to = match self.rewriter.rewrite(series.identity()) {
            Rewritten::Same => series.clone(),
            Rewritten::Changed(identity) => find(&self.table, identity),
            Rewritten::Dropped => return drop(Dropped::Rule),
            Rewritten::Nameless => return drop(Dropped::Nameless),
        };
        let joined = self.engine.as_mut().map(|engine| engine.join(series.fingerprint(), &to));
        let course = match (joined, to.id()) {
            (Some(Joined::Refused), _) => {
                self.refused += 1;
                return Decision { provisional: true, ..drop(Dropped::Refused) };
            }
            (Some(Joined::Input(input)), Some(id)) => Course::Input(input, id),
            (Some(Joined::Input(input)), None) => Course::InputInline(input),
            (None | Some(Joined::Untracked), Some(id)) => Course::Pass(id),
            (None | Some(Joined::Untracked), None) => Course::PassInline,
        };
        let provisional = joined == Some(Joined::Untracked);
        tally.untracked += u64::from(provisional);
        Decision { to: Some(to), course, provisional }
    }

    /// Gives each point its new name, merges it, or drops it.
    fn apply(&mut self, metrics: &mut Metrics, received: UnixNanos, changed: &mut Changed, tally: &mut Tally) {
        let Self { engine, scratch, .. } = self;
        let Scratch { courses, went, follow, .. } = scratch;
        let follow = std::mem::take(follow);
        went.clear();
        let mut courses = courses.iter();
        metrics.points.retain_mut(|point| {
            // Every point has a course, and every output without a slot was adopted, when the batch was learnt about.
            let (input, id) = match courses.next().copied().unwrap_or(Course::Drop(Dropped::Nameless)) {
                Course::Pass(id) => (None, id),
                Course::Input(input, id) => (Some(input), id),
                Course::PassInline => (None, point.series),
                Course::InputInline(input) => (Some(input), point.series),
                Course::Drop(dropped) => {
                    tally.drop_for(dropped);
                    went.extend(follow.then_some(Went::Away));
                    return false;
                }
            };
            let applied = match (input, &mut *engine) {
                (Some(input), Some(engine)) => engine.apply(input, point, received, changed.stamp),
                _ => Applied::Passed,
            };
            let (stays, where_to) = match applied {
                Applied::Passed => {
                    point.series = id;
                    (true, Went::On)
                }
                Applied::Merged { output, first } => {
                    tally.merged += 1;
                    if first {
                        changed.outputs.push(output);
                    }
                    (false, Went::Into(output))
                }
                Applied::Ignored(reason) => {
                    tally.drop_for(reason);
                    (false, Went::Away)
                }
            };
            if follow {
                went.push(where_to);
            }
            stays
        });
    }
}

/// The course of a decision within this batch, which adopts the output if that has no slot.
fn adopt(decision: &Decision, metrics: &mut Metrics, adopted: &mut HashMap<Fingerprint, SeriesId>) -> Course {
    let Some(to) = decision.to.as_ref().filter(|_| decision.course.is_without_slot()) else { return decision.course };
    let id = *adopted.entry(to.fingerprint()).or_insert_with(|| metrics.adopt(to));
    decision.course.under(id)
}

impl Processor for Relabel {
    fn process(&mut self, mut batch: Batch, out: &mut dyn FnMut(Batch)) {
        let (received, collection) = (batch.received, batch.collection.clone());
        let Some(metrics) = batch.metrics_mut() else { return out(batch) };
        let was_empty = metrics.is_empty();
        let mut tally = Tally::default();
        let observed = observed(metrics);
        self.learn(metrics, &mut tally);
        self.scratch.follow = !observed.is_empty();
        let mut changed = self.changed(collection.as_ref().map(|collection| &collection.source));
        self.apply(metrics, received, &mut changed, &mut tally);
        let mut observed = self.follow(metrics, observed);
        // An output speaks once a read, when all of its pages are known; a failed read says nothing.
        match collection.as_ref().filter(|collection| collection.page != Page::Last) {
            Some(collection) if self.pending.len() < SOURCES_MAX => {
                if !changed.outputs.is_empty() {
                    self.pending.insert(collection.source.clone(), changed);
                }
            }
            _ => self.emit(metrics, &mut changed.outputs, &mut observed, &mut tally),
        }
        let nothing_left = metrics.is_empty() && !was_empty;
        self.counts.add(&tally, self.engine.as_mut());
        if nothing_left && collection.is_none() {
            return batch.settle(Verdict::Discarded);
        }
        out(batch);
    }

    fn wake_at(&self) -> Option<Instant> {
        Some(self.sweep_at)
    }

    fn wake(&mut self, now: Instant, out: &mut dyn FnMut(Batch)) {
        self.sweep_at = now + self.sweep_every;
        // The memo first: what it forgets may name inputs that the engine forgets next.
        self.memo.turn(IDLE_TURNS);
        let mut metrics = Metrics::new(self.table.pin());
        let mut tally = Tally::default();
        if let Some(engine) = &mut self.engine {
            engine.sweep(|series, emission| {
                let id = metrics.adopt(series);
                metrics.points.push(emission.point(id));
                tally.created += 1;
            });
        }
        self.counts.add(&tally, self.engine.as_mut());
        self.counts.measure(&self.memo, self.engine.as_ref());
        let refused = std::mem::take(&mut self.refused);
        if refused > 0 {
            tracing::warn!(processor = %self.id, refused, "no room for the state of new series: their points are dropped; see max_input_series");
        }
        if !metrics.is_empty() {
            out(Batch::new(metrics, self.clock.wall()));
        }
    }
}

impl Relabel {
    /// The list of changed outputs that a batch adds to: its source's, if earlier pages left one.
    fn changed(&mut self, source: Option<&SourceId>) -> Changed {
        if let Some(changed) = source.and_then(|source| self.pending.remove(source)) {
            return changed;
        }
        self.stamp += 1;
        Changed { stamp: self.stamp, outputs: Vec::new() }
    }

    /// Adds what outputs have to say to the batch.
    fn emit(
        &mut self,
        metrics: &mut Metrics,
        outputs: &mut Vec<u32>,
        observed: &mut HashMap<u32, Observed>,
        tally: &mut Tally,
    ) {
        let Some(engine) = &mut self.engine else { return };
        let adopted = &mut self.scratch.adopted;
        engine.flush(outputs, |index, series, emission| {
            let id = series
                .id()
                .unwrap_or_else(|| *adopted.entry(series.fingerprint()).or_insert_with(|| metrics.adopt(series)));
            if let Some((exemplar, origin)) = observed.remove(&index) {
                let filtered_attributes = lost_attributes(&exemplar, &origin, series);
                let point = u32::try_from(metrics.points.len()).expect("a batch has fewer than 2^32 points");
                metrics.exemplars.push(Exemplar { point, filtered_attributes, ..exemplar });
            }
            metrics.points.push(emission.point(id));
            tally.created += 1;
        });
    }

    /// Points exemplars at where their points are now. Of those whose point was merged the latest of each output is given back.
    fn follow(&mut self, metrics: &mut Metrics, observed: Vec<Observed>) -> HashMap<u32, Observed> {
        let mut merged: HashMap<u32, Observed> = HashMap::new();
        if observed.is_empty() {
            return merged;
        }
        let mut place = 0u32;
        let places: Vec<u32> = self
            .scratch
            .went
            .iter()
            .map(|went| {
                let here = place;
                place += u32::from(matches!(went, Went::On));
                here
            })
            .collect();
        for (exemplar, series) in observed {
            match self.scratch.went.get(exemplar.point as usize) {
                Some(Went::On) => {
                    metrics.exemplars.push(Exemplar { point: places[exemplar.point as usize], ..exemplar });
                }
                Some(Went::Into(output)) => {
                    let later = merged.get(output).is_none_or(|(known, _)| known.time <= exemplar.time);
                    if later {
                        merged.insert(*output, (exemplar, series));
                    }
                }
                Some(Went::Away) | None => {}
            }
        }
        merged
    }
}

/// Takes the exemplars off a batch, each with the series of its point.
fn observed(metrics: &mut Metrics) -> Vec<Observed> {
    let exemplars = std::mem::take(&mut metrics.exemplars);
    let series =
        |exemplar: &Exemplar| metrics.points.get(exemplar.point as usize).map(|point| metrics.series(point.series));
    let observed = exemplars.into_iter().filter_map(|exemplar| series(&exemplar).map(|series| (exemplar, series)));
    observed.collect()
}

/// An exemplar's attributes with those that its series had and the output has not (OTLP `filtered_attributes`).
fn lost_attributes(exemplar: &Exemplar, origin: &Series, output: &Series) -> Attributes {
    let lost = origin.attributes().iter().filter(|(name, value)| output.attributes().get(name) != Some(*value));
    Attributes::from_pairs(lost.chain(exemplar.filtered_attributes.iter()))
}
