//! `ExportMetricsServiceRequest` → points of interned series.
//!
//! Two passes over a request: the first walks the bytes, reads numbers and times, and hashes the bytes of each point's attributes;
//! the second looks the hashes up, one after another in a tight loop, so that the machine overlaps the cache misses. Only what is not
//! found is decoded. Only the second pass takes the memo's lock, so requests that come at the same time share it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::attributes::{self, RawOrigin};
use super::histograms;
use super::memo::Memo;
use super::points::{Draft, Shape, Told, exemplar, number_field, prometheus_type};
use super::room::Room;
use super::wire::{Fields, Malformed};
use super::wire_id::{WireHash, WireHasher, WireId};
use crate::series::Identity;
use crate::{
    AttributesBuilder, Exemplar, Hint, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, SeriesId,
    SeriesTable, UnixNanos,
};

/// Decodes requests of one receiver; remembers their series between requests.
#[derive(Debug)]
pub struct MetricsDecoder {
    table: Arc<SeriesTable>,
    hash: WireHash,
    /// Held for the look-ups of one request.
    memo: Mutex<Memo>,
    /// Bytes that a point took in the last request: how many points the next one is given room for at once.
    point_bytes: AtomicUsize,
}

/// What a request held.
#[derive(Debug)]
pub struct Decoded<T> {
    /// The telemetry that can be taken.
    pub data: T,
    /// Points or records that can not, for reasons in their data. Senders are told by partial success and must not retry.
    pub rejected: u64,
    /// Why the first of them can not.
    pub why: Option<&'static str>,
}

/// One request in the making.
struct Request<'a> {
    hash: WireHash,
    room: Room,
    metrics: Metrics,
    /// Per point of `metrics`, where its identity stands.
    pending: Vec<Pending<'a>>,
    /// Metrics of the request, for the points that need them.
    contexts: Vec<Context<'a>>,
    builder: AttributesBuilder,
    rejected: u64,
    why: Option<&'static str>,
}

#[derive(Clone, Copy)]
struct Pending<'a> {
    wire: WireId,
    message: &'a [u8],
    context: u32,
    attributes: u8,
}

/// A metric and what stands above it, still in bytes, and decoded at the first need.
struct Context<'a> {
    origin: RawOrigin<'a>,
    name: &'a str,
    unit: &'a str,
    description: &'a str,
    kind: Kind,
    hint: Hint,
    decoded: Option<(Arc<Origin>, Arc<Metric>)>,
}

/// Where a request stood before something was tried.
struct Mark {
    room: Room,
    points: usize,
    exemplars: usize,
    contexts: usize,
    rejected: u64,
    why: Option<&'static str>,
}

/// Bytes of a point while its request is decoded, besides what its value keeps on the heap.
const POINT: usize = size_of::<Pending<'_>>() + size_of::<Point>();

/// Fewer bytes on the wire have points only when they have no attributes; room is made for no more at once.
const POINT_BYTES_MIN: usize = 32;

/// Metrics of a request that need no more room than it is given at once.
const METRICS_FEW: usize = 16;

impl MetricsDecoder {
    /// A decoder whose series stand in `table`.
    #[must_use]
    pub fn new(table: Arc<SeriesTable>) -> Self {
        Self { table, hash: WireHash::random(), memo: Mutex::default(), point_bytes: AtomicUsize::new(usize::MAX) }
    }

    /// Decodes a whole request body.
    ///
    /// # Errors
    /// When the bytes are no valid message, or one that would grow out of proportion; nothing of it is taken then.
    pub fn decode(&self, body: &[u8]) -> Result<Decoded<Metrics>, Malformed> {
        let mut request = self.walk(body)?;
        let mut memo = self.lock();
        let missed = request.look_up(&mut memo);
        request.meet(missed, &mut memo, &self.table)?;
        Ok(request.finished())
    }

    /// The same when at most `first_sights` of its points were not seen before, for who has only a moment; else nothing is taken.
    ///
    /// # Errors
    /// As above.
    pub fn decode_known(&self, body: &[u8], first_sights: usize) -> Result<Option<Decoded<Metrics>>, Malformed> {
        let mut request = self.walk(body)?;
        let mut memo = self.lock();
        let missed = request.look_up(&mut memo);
        if missed.len() > first_sights {
            return Ok(None);
        }
        request.meet(missed, &mut memo, &self.table)?;
        Ok(Some(request.finished()))
    }

    fn walk<'a>(&self, body: &'a [u8]) -> Result<Request<'a>, Malformed> {
        let room = Room::of(body);
        let points = body.len() / self.point_bytes.load(Ordering::Relaxed).max(POINT_BYTES_MIN);
        // All at once, and no more than there may be.
        let points = points.min(room.for_things_of(POINT));
        let mut request = Request {
            hash: self.hash,
            room,
            metrics: Metrics::with_capacity(self.table.pin(), points),
            pending: Vec::with_capacity(points),
            contexts: Vec::with_capacity(METRICS_FEW),
            builder: AttributesBuilder::default(),
            rejected: 0,
            why: None,
        };
        request.walk(body)?;
        if let Some(bytes) = body.len().checked_div(request.pending.len()) {
            self.point_bytes.store(bytes, Ordering::Relaxed);
        }
        Ok(request)
    }

    /// Forgets the series that no request named since the last turn. Call it every few minutes.
    pub fn turn(&self) {
        self.lock().turn();
    }

    /// Series it remembers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memo> {
        // A memo is sound between any two of its calls, whatever panicked around them.
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Request<'a> {
    fn walk(&mut self, body: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(body);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.resource_metrics(field.payload.bytes()?)?;
            }
        }
        Ok(())
    }

    fn resource_metrics(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let origin = RawOrigin::of_resource(message)?;
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                self.scope_metrics(field.payload.bytes()?, origin)?;
            }
        }
        Ok(())
    }

    fn scope_metrics(&mut self, message: &'a [u8], origin: RawOrigin<'a>) -> Result<(), Malformed> {
        let origin = origin.with_scope(message)?;
        let mut hasher = self.hash.under(WireId::default());
        for bytes in [origin.resource, origin.resource_schema_url, origin.scope, origin.scope_schema_url] {
            hasher.bytes(bytes);
        }
        let above = hasher.finish();
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                self.metric(field.payload.bytes()?, origin, above)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, message: &'a [u8], origin: RawOrigin<'a>, above: WireId) -> Result<(), Malformed> {
        let (mut name, mut unit, mut description, mut hint, mut data) = ("", "", "", Hint::None, None);
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => name = field.payload.text()?,
                2 => description = field.payload.text()?,
                3 => unit = field.payload.text()?,
                number @ (5 | 7 | 9 | 10 | 11) => {
                    // Of two shapes the later counts; two parts of one would have to be joined.
                    let before = data.filter(|(known, _)| *known == number).map_or(&[][..], |(_, bytes)| bytes);
                    data = Some((number, field.payload.only(before)?));
                }
                12 => hint = prometheus_type(field.payload.bytes()?)?.unwrap_or(hint),
                _ => {}
            }
        }
        let Some((number, data)) = data else { return Ok(()) };
        let context = |kind| Context { origin, name, unit, description, kind, hint, decoded: None };
        // What tells the kind stands behind the points: to look there first would be a walk over all of them.
        let guess = Told::guess(number, data);
        if let (Ok((kind, shape)), false) = (guess.kind(number), name.is_empty()) {
            let mark = self.mark();
            if self.points(number, data, shape, context(kind), above) == Ok(guess) {
                return Ok(());
            }
            self.back_to(mark);
        }
        let (kind, shape) = match Told::of(number, data)?.kind(number) {
            Ok(found) if !name.is_empty() => found,
            Ok(_) => return self.reject_all(data, "a metric has no name"),
            Err(why) => return self.reject_all(data, why),
        };
        self.points(number, data, shape, context(kind), above).map(|_| ())
    }

    /// The points of a metric's data, and what else it says.
    fn points(
        &mut self,
        number: u32,
        data: &'a [u8],
        shape: Shape,
        context: Context<'a>,
        above: WireId,
    ) -> Result<Told, Malformed> {
        self.room.take(size_of::<Context<'_>>())?;
        let mut hasher = self.hash.under(above);
        hasher.bytes(context.name.as_bytes());
        hasher.bytes(context.unit.as_bytes());
        hasher.bytes(context.description.as_bytes());
        hasher.word(u64::from(context.kind.code()) << 8 | context.hint as u64);
        let above = self.hash.under(hasher.finish());
        let index = u32::try_from(self.contexts.len()).expect("a body below 4 GiB has fewer metrics");
        self.contexts.push(context);
        let (mut told, mut fields) = (Told::default(), Fields::of(data));
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.point(field.payload.bytes()?, shape, index, above.clone())?;
            } else {
                told.take(number, field)?;
            }
        }
        Ok(told)
    }

    fn mark(&self) -> Mark {
        Mark {
            room: self.room,
            points: self.pending.len(),
            exemplars: self.metrics.exemplars.len(),
            contexts: self.contexts.len(),
            rejected: self.rejected,
            why: self.why,
        }
    }

    fn back_to(&mut self, mark: Mark) {
        let Mark { room, points, exemplars, contexts, rejected, why } = mark;
        self.metrics.points.truncate(points);
        self.pending.truncate(points);
        self.metrics.exemplars.truncate(exemplars);
        self.contexts.truncate(contexts);
        (self.room, self.rejected, self.why) = (room, rejected, why);
    }

    fn point(
        &mut self,
        message: &'a [u8],
        shape: Shape,
        context: u32,
        mut hasher: WireHasher,
    ) -> Result<(), Malformed> {
        let attributes = shape.attributes();
        let mut draft = Draft::default();
        let mut fields = Fields::of(message);
        loop {
            // Encoders write a point's attributes one after another: they are hashed as one run of bytes.
            let run = fields.run(attributes)?;
            if !run.is_empty() {
                hasher.bytes(run);
            }
            let before = fields.rest();
            let Some(field) = fields.next()? else { break };
            if field.number == u32::from(attributes) {
                // One whose tag is written longer than it need be.
                hasher.bytes(&before[..before.len() - fields.rest().len()]);
                continue;
            }
            match shape {
                Shape::Number => number_field(&mut draft, field.number, field.payload)?,
                Shape::Histogram => histograms::explicit_field(&mut draft, field.number, field.payload)?,
                Shape::Exponential => histograms::exponential_field(&mut draft, field.number, field.payload)?,
                Shape::Summary => histograms::summary_field(&mut draft, field.number, field.payload)?,
            }
        }
        self.finish_point(draft, shape, Pending { wire: hasher.finish(), message, context, attributes })
    }

    fn finish_point(&mut self, mut draft: Draft<'a>, shape: Shape, pending: Pending<'a>) -> Result<(), Malformed> {
        let flags = PointFlags::from_wire(draft.flags);
        let value = match draft.value.take() {
            Some(value) => value,
            // Proto3 leaves zeros out: an empty histogram or summary is one, a number without a value is none.
            None => match shape.empty() {
                Some(value) => value,
                None if flags.has(PointFlags::NO_RECORDED_VALUE) => PointValue::Int(0),
                None => return self.reject("a point has no value"),
            },
        };
        if !flags.has(PointFlags::NO_RECORDED_VALUE)
            && let Err(why) = histograms::check(&value)
        {
            return self.reject(why);
        }
        self.room.take(POINT + value.heap_bytes())?;
        let index = u32::try_from(self.metrics.points.len()).expect("a body below 4 GiB has fewer points");
        for message in &draft.exemplars {
            self.room.take(size_of::<Exemplar>())?;
            let exemplar = exemplar(&mut self.builder, index, message)?;
            self.metrics.exemplars.extend(exemplar);
        }
        self.pending.push(pending);
        self.metrics.points.push(Point {
            series: SeriesId::inline(u32::MAX),
            start: UnixNanos(draft.start),
            time: UnixNanos(draft.time),
            value,
            flags,
        });
        Ok(())
    }

    /// Gives the points of known series their ids, and tells which are none's.
    fn look_up(&mut self, memo: &mut Memo) -> Vec<usize> {
        let mut missed = Vec::new();
        for (index, (point, pending)) in self.metrics.points.iter_mut().zip(&self.pending).enumerate() {
            match memo.find(pending.wire) {
                Some(id) => point.series = id,
                None => missed.push(index),
            }
        }
        missed
    }

    fn meet(&mut self, missed: Vec<usize>, memo: &mut Memo, table: &SeriesTable) -> Result<(), Malformed> {
        for index in missed {
            let pending = self.pending[index];
            // Two points of one new series in one request: the second finds what the first left.
            let id = match memo.find(pending.wire) {
                Some(id) => id,
                None => self.first_sight(pending, memo, table)?,
            };
            self.metrics.points[index].series = id;
        }
        Ok(())
    }

    fn finished(self) -> Decoded<Metrics> {
        Decoded { data: self.metrics, rejected: self.rejected, why: self.why }
    }

    fn first_sight(
        &mut self,
        pending: Pending<'a>,
        memo: &mut Memo,
        table: &SeriesTable,
    ) -> Result<SeriesId, Malformed> {
        let attributes = attributes::collect(&mut self.builder, pending.message, u32::from(pending.attributes))?;
        let (origin, metric) = self.decoded(pending.context as usize)?;
        let series = table.sight(Identity { origin, metric, attributes });
        if series.id().is_none() {
            self.room.take(series.heap_bytes())?;
        }
        let id = self.metrics.adopt(&series);
        memo.insert(pending.wire, series);
        Ok(id)
    }

    fn decoded(&mut self, index: usize) -> Result<(Arc<Origin>, Arc<Metric>), Malformed> {
        if let Some((origin, metric)) = &self.contexts[index].decoded {
            return Ok((origin.clone(), metric.clone()));
        }
        let raw = self.contexts[index].origin;
        // Metrics of one scope follow each other: the one before has decoded the same origin, as a rule.
        let before = self.contexts[..index].iter().rev().take_while(|context| context.origin == raw);
        let known = before.filter_map(|context| context.decoded.as_ref()).map(|(origin, _)| origin.clone()).next();
        let origin = match known {
            Some(origin) => origin,
            None => Arc::new(raw.decode(&mut self.builder)?),
        };
        let context = &mut self.contexts[index];
        let metric = Arc::new(Metric {
            name: context.name.into(),
            unit: context.unit.into(),
            description: context.description.into(),
            kind: context.kind,
            hint: context.hint,
        });
        context.decoded = Some((origin.clone(), metric.clone()));
        Ok((origin, metric))
    }

    fn reject(&mut self, why: &'static str) -> Result<(), Malformed> {
        self.rejected += 1;
        self.why.get_or_insert(why);
        Ok(())
    }

    /// Rejects all points of a metric's data.
    fn reject_all(&mut self, data: &[u8], why: &'static str) -> Result<(), Malformed> {
        let mut fields = Fields::of(data);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.reject(why)?;
            }
        }
        Ok(())
    }
}
