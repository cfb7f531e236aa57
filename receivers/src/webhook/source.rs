//! One source: from a request to what it did.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use pdata::UnixNanos;
use pipeline::budget::Permit;
use pipeline::mapping::counted::{Applied, Counted, Skip, When};
use pipeline::mapping::{Cell, Record};
use pipeline::net::{Coding, RequestBody};
use pipeline::state::{Committed, Entry, Ledger};
use pipeline::{Clock, Fault, Meters, Refusal};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body;
use super::check::SourcePlan;
use super::commit::{Prepared, What, commit};
use super::counts::SourceCounts;
use super::document::{Documents, Kind, Rules};
use super::field::{Envelope, Event};
use super::once::Once;
use super::pace::Pace;
use super::reason::Reason;
use super::verify::{self, Verified};
use crate::events::spool::Backlog;

/// A source that takes requests.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) plan: SourcePlan,
    pub(super) counts: SourceCounts,
    books: Mutex<Books>,
    pace: Option<Mutex<Pace>>,
    shared: Shared,
}

/// What a source counts with.
#[derive(Debug)]
struct Books {
    events: Counted,
    things: Vec<Once>,
}

/// What the sources of a receiver share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) ledger: Ledger,
    pub(super) backlog: Arc<Backlog>,
    pub(super) clock: Clock,
    /// Room for bodies, in KiB.
    pub(super) bodies: Arc<Semaphore>,
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its events were taken, or never will be.
    Taken(Taken),
    /// It was a challenge, and this is its answer.
    Echo(String),
}

/// How many events of a request ended how.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) accepted: usize,
    pub(super) duplicates: usize,
    /// Those that were not counted, by reason.
    pub(super) unusable: Vec<(Reason, usize)>,
}

/// A request that is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Turned {
    pub(super) why: Reason,
    /// When to come again, if that helps.
    pub(super) after: Option<Duration>,
}

/// A request that has come whole.
struct Whole {
    request: Box<Request<RequestBody>>,
    raw: Bytes,
    kind: Kind,
    coding: Coding,
    limit: usize,
    received: UnixNanos,
}

/// What a request is whose events go together.
enum Sorted {
    /// Events on their way into the ledger, and those that will never be.
    Prepared(Vec<Prepared>, Taken),
    /// A challenge, and its answer.
    Echo(String),
}

/// A request's body, read and believed.
struct Delivery<'a> {
    envelope: Envelope<'a>,
    verified: Verified<'a>,
    body: &'a [u8],
    /// The body's hash, when it has been asked for.
    digest: std::cell::OnceCell<[u8; 32]>,
    events: usize,
}

/// Why a document is not on its way.
enum Stopped {
    /// It cannot be used.
    Unusable(Reason),
    /// It asks for an echo.
    Echo(String),
    /// Nothing can be taken now.
    Turned(Turned),
}

/// Bytes of bodies that may be in memory at once, in KiB: 64 MiB.
pub(super) const BODIES_KIB: usize = 64 << 10;
/// When to come again, unless the ledger knows better: it tries its disk five times a second.
const RETRY: Duration = Duration::from_secs(1);
/// When to come again after the spool was full: until then something may have been delivered.
const RETRY_SPOOL: Duration = Duration::from_secs(5);
/// Events that are handed to the ledger at once: what one of its groups holds.
const TOGETHER: usize = 1024;
/// A body of so many bytes has no more events than go together: each takes two, with what parts it from the next.
const FEW_BYTES: usize = 2 * TOGETHER;
/// Longest text that is echoed.
const ECHO_BYTES: usize = 1024;
/// How far in the future an event's time may be when there is a limit: what senders' own libraries allow.
const AHEAD: Duration = Duration::from_secs(300);

impl Source {
    pub(super) fn new(mut plan: SourcePlan, shared: Shared, meters: &Meters, receiver: &str) -> Result<Self, Fault> {
        let name = plan.settings.name.clone();
        let labels = vec![("receiver", receiver.to_owned()), ("source", name.clone())];
        let things = plan.once.iter().map(|rule| Once::new(rule.clone(), &shared.ledger, meters, labels.clone()));
        let things = things.collect::<Result<_, _>>()?;
        let events = Counted::new(plan.rules.clone(), shared.ledger.clone(), meters, labels)?;
        plan.verifier = plan.verifier.watched(meters, receiver, &name);
        let pace = plan.settings.requests_per_second;
        let pace = pace.map(|rate| Mutex::new(Pace::new(f64::from(rate), shared.clock.now())));
        let counts = SourceCounts::new(meters, receiver, &name);
        Ok(Self { plan, counts, books: Mutex::new(Books { events, things }), pace, shared })
    }

    /// Takes a request: reads, verifies, unpacks, maps and commits it.
    ///
    /// # Errors
    /// Why not, and whether it should come again. Events of it may have been counted all the same; they are duplicates then.
    pub(super) async fn take(&self, mut request: Box<Request<RequestBody>>) -> Result<Outcome, Turned> {
        if self.pace.as_ref().is_some_and(|pace| !lock(pace).pass(self.shared.clock.now())) {
            return Err(Turned { why: Reason::Rate, after: Some(RETRY) });
        }
        let kind = Kind::of(self.plan.settings.format, request.headers())?;
        let coding = body::coding(request.headers())?;
        let limit = usize::try_from(self.plan.settings.max_request_body_size.get()).unwrap_or(usize::MAX);
        let _room = self.room(request.body(), coding, limit)?;
        let raw = body::read(request.body_mut(), limit).await?;
        let whole = Whole { request, raw, kind, coding, limit, received: self.shared.clock.wall() };
        if coding != Coding::Identity || whole.raw.len() > FEW_BYTES {
            return Box::pin(self.take_pages(whole)).await;
        }
        // Passed on whole, so that neither head nor body is held while it waits for the ledger. Its room is: that bounds who waits.
        match self.sort(whole)? {
            Sorted::Echo(text) => Ok(Outcome::Echo(text)),
            Sorted::Prepared(prepared, mut taken) => {
                self.commit(prepared, &mut taken).await?;
                self.told(taken)
            }
        }
    }

    /// What a request is whose events go together, however many there are. Nothing of it waits for anything.
    fn sort(&self, whole: Whole) -> Result<Sorted, Turned> {
        let (verified, body) = self.believe(&whole)?;
        let (delivery, documents) = self.open(&whole, verified, &body)?;
        let mut taken = Taken::default();
        match self.prepare(&delivery, 0, &documents, &mut taken) {
            Ok(prepared) => Ok(Sorted::Prepared(prepared, taken)),
            Err(stopped) => stopped.echo().map(Sorted::Echo),
        }
    }

    /// Takes a request that may have more events than go together, page by page.
    async fn take_pages(&self, whole: Whole) -> Result<Outcome, Turned> {
        let (verified, body) = self.believe(&whole)?;
        let (delivery, documents) = self.open(&whole, verified, &body)?;
        let mut taken = Taken::default();
        for (page, together) in documents.chunks(TOGETHER).enumerate() {
            match self.prepare(&delivery, page * TOGETHER, together, &mut taken) {
                Ok(prepared) => self.commit(prepared, &mut taken).await?,
                Err(stopped) => return stopped.echo().map(Outcome::Echo),
            }
        }
        self.told(taken)
    }

    /// Verifies what was signed, and unpacks it.
    fn believe<'a>(&'a self, whole: &'a Whole) -> Result<(Verified<'a>, Bytes), Turned> {
        let Whole { request, raw, coding, limit, received, .. } = whole;
        let verified = self.plan.verifier.verify(request.headers(), raw, *received).map_err(unbelieved)?;
        // The room for it is taken already.
        let (body, _) = body::unpack(*coding, raw.clone(), *limit, Permit::none())?;
        Ok((verified, body))
    }

    /// Finds the documents in a body.
    fn open<'a>(
        &'a self,
        whole: &'a Whole,
        verified: Verified<'a>,
        body: &'a Bytes,
    ) -> Result<(Delivery<'a>, Documents<'a>), Turned> {
        let Whole { request, kind, received, .. } = whole;
        let settings = &self.plan.settings;
        let envelope = self.plan.fields.envelope(&settings.name, request.uri().path(), request.headers(), *received);
        let rules = Rules { json_fields: &settings.json_fields, trusted: &settings.trusted_headers };
        let documents = kind.documents(body, request.headers(), rules)?;
        let digest = std::cell::OnceCell::new();
        Ok((Delivery { envelope, verified, body, digest, events: documents.len() }, documents))
    }

    /// What is said of a request whose events have all ended.
    fn told(&self, taken: Taken) -> Result<Outcome, Turned> {
        if self.plan.settings.stale == 401 && taken.is_only(Reason::Stale) {
            return Err(Reason::Stale.into());
        }
        Ok(Outcome::Taken(taken))
    }

    /// Room for a body and what it unpacks to.
    fn room(&self, body: &RequestBody, coding: Coding, limit: usize) -> Result<OwnedSemaphorePermit, Turned> {
        let declared = http_body::Body::size_hint(body).upper().and_then(|bytes| usize::try_from(bytes).ok());
        let packed = declared.unwrap_or(limit).min(limit);
        let unpacked = if coding == Coding::Identity { 0 } else { limit };
        let kib = ((packed + unpacked) >> 10).min(BODIES_KIB - 1) + 1;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let room = self.shared.bodies.clone().try_acquire_many_owned(kib);
        room.map_err(|_| Turned { why: Reason::Overloaded, after: Some(RETRY) })
    }

    /// Maps documents, counted from `first`, to entries.
    fn prepare(
        &self,
        delivery: &Delivery<'_>,
        first: usize,
        documents: &[std::borrow::Cow<'_, str>],
        taken: &mut Taken,
    ) -> Result<Vec<Prepared>, Stopped> {
        let mut prepared = Vec::with_capacity(documents.len());
        let mut books = lock(&self.books);
        for (at, document) in documents.iter().enumerate() {
            match self.entries(&mut books, delivery, first + at, document, &mut prepared) {
                Ok(()) => {}
                Err(Stopped::Unusable(why)) => taken.unusable(why),
                Err(stopped) => return Err(stopped),
            }
        }
        Ok(prepared)
    }

    /// Puts an event, and the things that it tells of, on their way.
    fn entries(
        &self,
        books: &mut Books,
        delivery: &Delivery<'_>,
        at: usize,
        document: &str,
        prepared: &mut Vec<Prepared>,
    ) -> Result<(), Stopped> {
        // An event is an object. A number or a text has no field, so nothing of it could be told from another one.
        if !document.starts_with('{') {
            return Err(Stopped::Unusable(Reason::Malformed));
        }
        let fields = self.plan.fields.selection.read_text(document);
        let fields = fields.map_err(|_| Stopped::Unusable(Reason::Malformed))?;
        let event = Event { fields: &fields, envelope: &delivery.envelope };
        if let Some(text) = self.echo(&event) {
            return Err(Stopped::Echo(text));
        }
        let received = delivery.envelope.received;
        let stated = self.time(&event, received)?.or(delivery.verified.signed_time);
        let id = self.id(&event, delivery, at);
        let mut entry = Entry::new().with_id(self.shared.ledger.event(&self.plan.scope, &id));
        if let Some(stated) = stated {
            entry = entry.signed_at(stated);
        }
        let when = When { received, stated };
        let applied = books.events.apply(&event, when, &mut entry);
        let record = self.plan.logs.as_ref().and_then(|logs| logs.spooled(&event, document, when));
        let room = match record {
            None => None,
            Some(record) => {
                let full = Turned { why: Reason::SpoolFull, after: Some(RETRY_SPOOL) };
                let room = self.shared.backlog.reserve(record.len()).ok_or(Stopped::Turned(full))?;
                entry.spool(record);
                Some(room)
            }
        };
        prepared.push(Prepared { what: What::Event, entry, applied, room });
        for (place, once) in books.things.iter_mut().enumerate() {
            if let Some((entry, applied)) = once.entry(&event, when, &id, &self.shared.ledger) {
                prepared.push(Prepared { what: What::Thing(place), entry, applied, room: None });
            }
        }
        Ok(())
    }

    /// What a challenge wants to hear.
    fn echo(&self, event: &Event<'_>) -> Option<String> {
        let challenge = self.plan.challenge.as_ref()?;
        let mut scratch = Vec::new();
        let meant = challenge.when.iter().all(|condition| condition.holds(event, &mut scratch));
        let text = event.cell(challenge.field).text().filter(|_| meant)?;
        fit_to_echo(&text).then(|| text.into_owned())
    }

    /// When an event happened, by its own word.
    fn time(&self, event: &Event<'_>, now: UnixNanos) -> Result<Option<UnixNanos>, Stopped> {
        let time = match self.plan.time.map(|cell| cell.read(event)) {
            None | Some(Err(Skip::Null)) => return Ok(None),
            Some(Err(_)) => return Err(Stopped::Unusable(Reason::Malformed)),
            Some(Ok(time)) => time,
        };
        match self.plan.settings.max_age {
            Some(max) if now.since(time) > max.get() || time.since(now) > AHEAD => {
                Err(Stopped::Unusable(Reason::Stale))
            }
            _ => Ok(Some(time)),
        }
    }

    /// What an event is known by: its own fields, else what the scheme has signed, else the body. All are signed bytes.
    fn id(&self, event: &Event<'_>, delivery: &Delivery<'_>, at: usize) -> Vec<u8> {
        let mut id = Vec::with_capacity(64);
        let mut put = |tag: u8, bytes: &[u8]| {
            id.push(tag);
            id.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            id.extend_from_slice(bytes);
        };
        // An empty text names nothing: it would make one event of many.
        let named = |field: &usize| !matches!(event.cell(*field), Cell::Null | Cell::Text([]));
        let whole = !self.plan.id.is_empty() && self.plan.id.iter().all(named);
        if whole {
            for field in &self.plan.id {
                match event.cell(*field) {
                    Cell::Text(text) => put(b'f', text),
                    cell => put(b'f', cell.text().unwrap_or_default().as_bytes()),
                }
            }
            return id;
        }
        match delivery.verified.signed_id {
            Some(signed) => put(b's', signed.as_bytes()),
            None => put(b'h', delivery.digest.get_or_init(|| Sha256::digest(delivery.body).into())),
        }
        if delivery.events > 1 {
            put(b'n', &(at as u64).to_le_bytes());
        }
        id
    }

    /// Commits entries, in their order.
    async fn commit(&self, prepared: Vec<Prepared>, taken: &mut Taken) -> Result<(), Turned> {
        let Some(ended) = commit(&self.shared.ledger, prepared).await else {
            return Err(Turned { why: Reason::Overloaded, after: Some(RETRY) });
        };
        let mut not_now = None;
        let (mut accepted, mut duplicates) = (0, 0);
        for (what, committed, applied) in ended {
            match (what, committed) {
                (_, Ok(Committed::New)) => {
                    accepted += usize::from(matches!(what, What::Event));
                    if !applied.skipped.is_empty() {
                        lock(&self.books).note(what, &applied);
                    }
                }
                (_, Err(Refusal::Retry { after, .. })) => {
                    not_now = Some(Turned { why: Reason::NotReady, after: Some(after.unwrap_or(RETRY)) });
                }
                // A thing ends as its event does, or was counted before.
                (What::Thing(_), _) => {}
                (What::Event, Ok(Committed::Duplicate)) => duplicates += 1,
                (What::Event, Ok(Committed::TooOld)) => taken.unusable(Reason::TooOld),
                (What::Event, Err(_)) => taken.unusable(Reason::Malformed),
            }
        }
        self.counts.accepted.add(accepted as u64);
        self.counts.duplicates.add(duplicates as u64);
        (taken.accepted, taken.duplicates) = (taken.accepted + accepted, taken.duplicates + duplicates);
        not_now.map_or(Ok(()), Err)
    }
}

impl Books {
    fn note(&mut self, what: What, applied: &Applied) {
        match what {
            What::Event => self.events.note(applied),
            What::Thing(place) => self.things[place].note(applied),
        }
    }
}

/// A request that is not believed. When the keys cannot be read that is no fault of the sender's, who should come again.
fn unbelieved(refused: verify::Refused) -> Turned {
    let after = (refused == verify::Refused::Unready).then_some(RETRY);
    Turned { why: refused.into(), after }
}

/// Whether a text may be sent back to who asks: short, and nothing but text.
pub(super) fn fit_to_echo(text: &str) -> bool {
    (1..=ECHO_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    fn unusable(&mut self, why: Reason) {
        match self.unusable.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => self.unusable.push((why, 1)),
        }
    }

    fn is_only(&self, why: Reason) -> bool {
        self.accepted + self.duplicates == 0 && matches!(&*self.unusable, [(only, _)] if *only == why)
    }
}

impl From<Reason> for Turned {
    fn from(why: Reason) -> Self {
        Self { why, after: None }
    }
}

impl Stopped {
    /// The echo that was asked for.
    fn echo(self) -> Result<String, Turned> {
        match self {
            Self::Echo(text) => Ok(text),
            Self::Turned(turned) => Err(turned),
            Self::Unusable(why) => Err(why.into()),
        }
    }
}

impl From<Reason> for Stopped {
    fn from(why: Reason) -> Self {
        Self::Unusable(why)
    }
}
