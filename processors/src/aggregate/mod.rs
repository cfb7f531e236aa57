//! Re-aggregation: several input series that have become one output series.
//!
//! Dropping a label makes series collide. This engine makes one right series of them, over all batches and sources:
//!
//! - **Counters** (monotonic cumulative sums, cumulative histograms, summaries): every input's increase is added to the output
//!   exactly once. Whether an input began anew is told by its start time first and by its value second; what it had counted
//!   before anyone watched belongs to somebody else (OpenTelemetry metrics data model, "Resets and Gaps").
//! - **Levels** (gauges, sums that may fall): the output is worked out from the last values of the inputs that are alive.
//! - **Deltas** add up per emission.
//!
//! An output with one input needs none of that: its points pass untouched, and the engine only keeps the last one (64 bytes and
//! a cache line per series), so that the day a second input joins the output goes on from what was shown, without a jump and
//! without losing an interval. From then on the output stays shared until all its inputs are forgotten.
//!
//! The interface is [`join`](Engine::join) at a first sight, [`apply`](Engine::apply) a point, [`flush`](Engine::flush) the
//! outputs that changed, [`sweep`](Engine::sweep) what is idle. State is keyed by fingerprint and is plain data but for the
//! outputs' identities, so it can be written down.

mod apply;
mod cumulative;
mod explicit;
mod exponential;
mod input;
mod level;
mod output;
#[cfg(test)]
mod tests;
mod total;

use hashbrown::HashTable;
use pdata::{Fingerprint, Kind, Point, PointFlags, PointValue, Series, Temporality, UnixNanos};

use apply::{end, is_end, pass};
use input::{Input, Role, VACANT};
use output::{Output, Shared, State};

/// Input and output series, and what is kept of them.
#[derive(Debug)]
pub(crate) struct Engine {
    settings: Settings,
    inputs: Slab<Input>,
    input_index: HashTable<u32>,
    outputs: Slab<Option<Output>>,
    output_index: HashTable<u32>,
    /// No stream that began at or after this time can have been counted before: when the engine began, or the latest point of
    /// an input that it forgot.
    watermark: UnixNanos,
    /// Sweeps so far.
    tick: u32,
    tally: Tally,
}

/// What the user chose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) collision: Collision,
    pub(crate) gauge: GaugeFunction,
    pub(crate) first_point: FirstPoint,
    /// Input series at most.
    pub(crate) inputs_max: usize,
    /// Sweeps without a point after which an input is forgotten.
    pub(crate) idle_sweeps: u32,
}

/// What becomes of a second input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collision {
    Reaggregate,
    Reject,
}

/// How gauges that become one are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GaugeFunction {
    /// The one with the latest time.
    Last,
    /// All of them added.
    Sum,
    /// The largest. A real sample, whatever the order and however often it is sent: the default.
    #[default]
    Max,
    /// The smallest.
    Min,
    /// The mean.
    Avg,
}

/// What the first point of a counter that joins others counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FirstPoint {
    /// All of it when its start time says that it began under watch, else nothing.
    #[default]
    Auto,
    /// Nothing.
    Baseline,
    /// All of it.
    Zero,
}

/// What joining gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The input's place, valid until a sweep forgets it: not before `idle_sweeps` after its last point.
    Input(u32),
    /// There is no room for its state, and its output has other inputs: its points cannot be counted.
    Refused,
    /// There is no room for its state, but nobody else is known to share its output.
    Untracked,
}

/// What became of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// It goes on untouched.
    Passed,
    /// It is part of this output now.
    Merged {
        /// To be given to [`Engine::flush`].
        output: u32,
        /// Whether it is the first of this flush.
        first: bool,
    },
    /// It says nothing, or nothing that can be used.
    Ignored(Reason),
}

/// Why a point was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The same point again.
    Duplicate,
    /// Older than the input's last.
    OutOfOrder,
    /// Of an incarnation that began before the one that is followed: a late sender, or a second one.
    Overlap,
    /// Not finite, negative where nothing negative can be, or a broken histogram.
    Invalid,
    /// The output belongs to another input.
    Collision,
}

/// A point of an output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Emission {
    start: UnixNanos,
    time: UnixNanos,
    value: PointValue,
    flags: PointFlags,
}

/// What happened since it was last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Inputs that began anew, as their start time said.
    pub(crate) resets_by_start: u64,
    /// Inputs that began anew, as their value said.
    pub(crate) resets_by_value: u64,
    /// Counters whose history was left out when they joined.
    pub(crate) baselined: u64,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) shared: usize,
    pub(crate) bytes: usize,
}

/// Places that are used again.
#[derive(Debug)]
struct Slab<T> {
    places: Vec<T>,
    free: Vec<u32>,
}

impl Engine {
    /// An engine that begins to watch at `now`.
    pub(crate) fn new(settings: Settings, now: UnixNanos) -> Self {
        Self {
            settings,
            inputs: Slab::default(),
            input_index: HashTable::new(),
            outputs: Slab::default(),
            output_index: HashTable::new(),
            watermark: now,
            tick: 0,
            tally: Tally::default(),
        }
    }

    /// Makes `input` one of the inputs of `output`, if it is none yet.
    pub(crate) fn join(&mut self, input: Fingerprint, output: &Series) -> Joined {
        let inputs = &self.inputs.places;
        if let Some(index) = self.input_index.find(input.low(), |index| inputs[*index as usize].fingerprint == input) {
            let index = *index;
            // A series that was inline at first sight has a slot by now.
            let known = &mut self.outputs.places[self.inputs.places[index as usize].output as usize];
            if let Some(known) = known.as_mut().filter(|known| known.series.id().is_none()) {
                known.series = output.clone();
            }
            return Joined::Input(index);
        }
        let known = self.find_output(output.fingerprint());
        if self.inputs.len() >= self.settings.inputs_max {
            return if known.is_some() { Joined::Refused } else { Joined::Untracked };
        }
        let place = known.unwrap_or_else(|| self.insert_output(output));
        let index = self.inputs.insert(Input::new(input, place, self.tick, Role::Sole));
        let inputs = &self.inputs.places;
        self.input_index.insert_unique(input.low(), index, |index| inputs[*index as usize].fingerprint.low());
        self.attach(index, place);
        Joined::Input(index)
    }

    /// Takes a point of an input in. `stamp` names the list of changed outputs that the caller keeps; `received` stands in for a
    /// time that is not given.
    #[inline]
    pub(crate) fn apply(&mut self, index: u32, point: &Point, received: UnixNanos, stamp: u64) -> Applied {
        let input = &mut self.inputs.places[index as usize];
        input.seen = self.tick;
        let time = if point.time.is_set() { point.time } else { received };
        match input.role {
            Role::Sole => {
                pass(input, point, time);
                Applied::Passed
            }
            Role::Shared => self.contribute(index, point, time, stamp),
            Role::Rejected => self.challenge(index, point, time),
        }
    }

    /// Gives what the outputs of a list have to say, at most one value each, with their places; empties the list.
    pub(crate) fn flush(&mut self, list: &mut Vec<u32>, mut each: impl FnMut(u32, &Series, Emission)) {
        for index in list.drain(..) {
            let Some(output) = &mut self.outputs.places[index as usize] else { continue };
            let series = &output.series;
            if let State::Shared(shared) = &mut output.state {
                shared.emit(index, &self.inputs.places, |emission| each(index, series, emission));
                shared.stamp = 0;
            }
        }
    }

    /// Forgets inputs that were idle too long and are held by no receiver, and outputs without inputs. Gives what outputs have to
    /// say about it.
    pub(crate) fn sweep(&mut self, mut each: impl FnMut(&Series, Emission)) {
        self.tick += 1;
        let mut touched = Vec::new();
        for index in 0..self.inputs.places.len() {
            let input = &self.inputs.places[index];
            let idle = self.tick.saturating_sub(input.seen);
            if !input.is_vacant() && !input.held && idle > self.settings.idle_sweeps {
                touched.extend(self.forget(index as u32));
            }
        }
        touched.sort_unstable();
        touched.dedup();
        let mut due = touched.clone();
        self.flush(&mut due, |_, series, emission| each(series, emission));
        for index in touched {
            if self.outputs.places[index as usize].as_ref().is_some_and(|output| output.inputs == 0) {
                self.remove_output(index);
            }
        }
    }

    /// What happened since this was last asked.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// How much is kept; walks all of it.
    pub(crate) fn sizes(&self) -> Sizes {
        let index = (self.input_index.capacity() + self.output_index.capacity()) * 5;
        let mut sizes = Sizes { inputs: self.inputs.len(), bytes: index, ..Sizes::default() };
        sizes.bytes += self.inputs.places.capacity() * size_of::<Input>();
        sizes.bytes += self.inputs.places.iter().map(Input::heap_bytes).sum::<usize>();
        sizes.bytes += self.outputs.places.capacity() * size_of::<Option<Output>>();
        for output in self.outputs.places.iter().flatten() {
            sizes.outputs += 1;
            sizes.shared += usize::from(matches!(output.state, State::Shared(_)));
            sizes.bytes += output.heap_bytes();
        }
        sizes
    }

    fn find_output(&self, fingerprint: Fingerprint) -> Option<u32> {
        let outputs = &self.outputs.places;
        let is = |index: &u32| output_fingerprint(outputs, *index) == Some(fingerprint);
        self.output_index.find(fingerprint.low(), is).copied()
    }

    fn insert_output(&mut self, series: &Series) -> u32 {
        let output = Output { series: series.clone(), inputs: 0, state: State::Sole(VACANT) };
        let index = self.outputs.insert(Some(output));
        let outputs = &self.outputs.places;
        let hash = |index: &u32| output_fingerprint(outputs, *index).map_or(0, Fingerprint::low);
        self.output_index.insert_unique(series.fingerprint().low(), index, hash);
        index
    }

    fn remove_output(&mut self, index: u32) {
        let Some(output) = self.outputs.places[index as usize].take() else { return };
        if let Ok(entry) = self.output_index.find_entry(output.series.fingerprint().low(), |known| *known == index) {
            entry.remove();
        }
        self.outputs.free.push(index);
    }

    /// A new input meets its output.
    fn attach(&mut self, index: u32, place: u32) {
        let (inputs, gauge) = (&mut self.inputs.places, self.settings.gauge);
        let output = self.outputs.places[place as usize].as_mut().expect("it was just found or made");
        output.inputs += 1;
        match &mut output.state {
            State::Sole(VACANT) => output.state = State::Sole(index),
            State::Sole(_) if self.settings.collision == Collision::Reject => {
                inputs[index as usize].role = Role::Rejected;
            }
            State::Sole(first) => {
                let first = *first;
                inputs[index as usize].role = Role::Shared;
                inputs[first as usize].role = Role::Shared;
                let kind = output.series.metric().kind;
                if let Some(function) = level_function(kind, gauge) {
                    // A NaN that passed untouched is no value that a level can hold.
                    let first = &mut inputs[first as usize];
                    first.live &= function.takes(&first.last);
                }
                let mut shared = Shared::after(&inputs[first as usize], first, kind, gauge, inputs);
                shared.join(index, place, inputs);
                output.state = State::Shared(Box::new(shared));
            }
            State::Shared(shared) => {
                inputs[index as usize].role = Role::Shared;
                shared.join(index, place, inputs);
            }
        }
    }

    /// A point of an input whose output belongs to another: it takes over when that one is gone.
    fn challenge(&mut self, index: u32, point: &Point, time: UnixNanos) -> Applied {
        let inputs = &mut self.inputs.places;
        let place = inputs[index as usize].output;
        let Some(Output { state: State::Sole(owner), .. }) = &mut self.outputs.places[place as usize] else {
            return Applied::Ignored(Reason::Collision);
        };
        let ended = |owner: &Input| owner.known && !owner.live;
        if inputs.get(*owner as usize).is_some_and(|owner| !ended(owner)) || is_end(point) {
            return Applied::Ignored(Reason::Collision);
        }
        if let Some(former) = inputs.get_mut(*owner as usize) {
            former.role = Role::Rejected;
        }
        *owner = index;
        inputs[index as usize].role = Role::Sole;
        pass(&mut inputs[index as usize], point, time);
        Applied::Passed
    }

    /// Forgets an input. Gives its output.
    fn forget(&mut self, index: u32) -> Option<u32> {
        let inputs = &mut self.inputs.places;
        let (place, fingerprint, time) = {
            let input = &inputs[index as usize];
            (input.output, input.fingerprint, input.time)
        };
        self.watermark = self.watermark.max(time);
        if let Ok(entry) = self.input_index.find_entry(fingerprint.low(), |known| *known == index) {
            entry.remove();
        }
        if let Some(output) = &mut self.outputs.places[place as usize] {
            output.inputs -= 1;
            match &mut output.state {
                State::Sole(owner) if *owner == index => *owner = VACANT,
                State::Sole(_) => {}
                State::Shared(shared) => {
                    let was_live = inputs[index as usize].live;
                    end(shared, index, inputs);
                    shared.set_live(was_live, false);
                }
            }
        }
        // Its place holds no buffers until it is used again.
        inputs[index as usize] = Input::new(Fingerprint::default(), VACANT, 0, Role::Sole);
        self.inputs.free.push(index);
        Some(place)
    }
}

impl GaugeFunction {
    /// Whether a value can take part.
    fn takes(self, value: &PointValue) -> bool {
        match (value, self) {
            (PointValue::Int(_), _) => true,
            (PointValue::Double(double), Self::Sum | Self::Avg) => double.is_finite(),
            (PointValue::Double(double), _) => !double.is_nan(),
            _ => false,
        }
    }
}

impl<T> Slab<T> {
    fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn insert(&mut self, item: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.places[index as usize] = item;
            return index;
        }
        self.places.push(item);
        u32::try_from(self.places.len() - 1).expect("the bound on inputs is below 2^32")
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

/// How a kind's values stand, if they do.
fn level_function(kind: Kind, gauge: GaugeFunction) -> Option<GaugeFunction> {
    match kind {
        Kind::Gauge => Some(gauge),
        Kind::Sum { monotonic: false, temporality: Temporality::Cumulative } => Some(GaugeFunction::Sum),
        _ => None,
    }
}

fn output_fingerprint(outputs: &[Option<Output>], index: u32) -> Option<Fingerprint> {
    outputs[index as usize].as_ref().map(|output| output.series.fingerprint())
}
