//! A series and its handle.

use std::sync::Arc;

use crate::attributes::Attributes;
use crate::fingerprint::{Fingerprint, Seed};
use crate::metric::{Hint, Metric, Origin};

/// What makes a series itself: resource, scope, metric and attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Resource and scope.
    pub origin: Arc<Origin>,
    /// Name, unit, description and type.
    pub metric: Arc<Metric>,
    /// The point's attributes.
    pub attributes: Attributes,
}

/// An identity behind a cheap handle, with its fingerprint worked out. Clones share.
///
/// Holding a `Series` keeps its slot in the table: whoever remembers one (a memo, a receiver's set) must be bounded.
#[derive(Clone)]
pub struct Series(Arc<Interned>);

/// The name that points use for a series: a slot of a [`SeriesTable`](crate::SeriesTable) and its incarnation, or a place
/// among the inline identities of its own batch.
///
/// Equal ids of one table prove equal identities. Inline ids mean something only within their batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u64);

struct Interned {
    id: SeriesId,
    fingerprint: Fingerprint,
    identity: Identity,
}

/// Set in the upper half of inline ids; incarnations of slots stay below it.
const INLINE: u32 = 1 << 31;

impl Identity {
    /// The fingerprint under `seed`. Descriptions do not count: a reworded help text is the same series.
    #[must_use]
    pub fn fingerprint(&self, seed: &Seed) -> Fingerprint {
        let mut digest = seed.digest();
        let Origin { resource, resource_schema_url, scope } = &*self.origin;
        resource.digest(&mut digest);
        digest.bytes(resource_schema_url.as_bytes());
        digest.bytes(scope.name.as_bytes());
        digest.bytes(scope.version.as_bytes());
        digest.bytes(scope.schema_url.as_bytes());
        scope.attributes.digest(&mut digest);
        digest.bytes(self.metric.name.as_bytes());
        digest.bytes(self.metric.unit.as_bytes());
        digest.byte(self.metric.kind.code());
        digest.byte(match self.metric.hint {
            Hint::None => 0,
            Hint::Unknown => 1,
            Hint::Info => 2,
            Hint::StateSet => 3,
        });
        self.attributes.digest(&mut digest);
        digest.finish()
    }

    /// Bytes on the heap that this identity alone keeps (origin and metric are shared and not counted).
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.attributes.heap_bytes()
    }
}

impl Series {
    /// A series that stands in no table: for first sights and for tests.
    #[must_use]
    pub fn inline(identity: Identity, fingerprint: Fingerprint) -> Self {
        Self::new(SeriesId::inline(u32::MAX), fingerprint, identity)
    }

    pub(crate) fn new(id: SeriesId, fingerprint: Fingerprint, identity: Identity) -> Self {
        Self(Arc::new(Interned { id, fingerprint, identity }))
    }

    /// The slot's name, or `None` for an inline series.
    #[must_use]
    pub fn id(&self) -> Option<SeriesId> {
        (!self.0.id.is_inline()).then_some(self.0.id)
    }

    /// The seeded fingerprint: what state is keyed by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Resource, scope, metric and attributes.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// The metric, shortcut for `identity().metric`.
    #[must_use]
    pub fn metric(&self) -> &Arc<Metric> {
        &self.0.identity.metric
    }

    /// The attributes, shortcut for `identity().attributes`.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.0.identity.attributes
    }

    /// Bytes on the heap, with the handle's own allocation.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of::<Interned>() + 16 + self.0.identity.heap_bytes()
    }

    /// Whether somebody besides the table holds it.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}", self.metric().name, self.attributes())
    }
}

impl SeriesId {
    pub(crate) const fn slot(slot: u32, incarnation: u32) -> Self {
        debug_assert!(incarnation < INLINE);
        Self(((incarnation as u64) << 32) | slot as u64)
    }

    /// The id of the `index`th inline identity of a batch.
    pub(crate) const fn inline(index: u32) -> Self {
        Self(((INLINE as u64) << 32) | index as u64)
    }

    /// Whether the identity travels with the batch.
    #[must_use]
    pub const fn is_inline(self) -> bool {
        (self.0 >> 32) as u32 & INLINE != 0
    }

    /// The slot (or, for an inline id, the place in its batch): dense from 0, so memos may index vectors by it. Whoever does
    /// must compare the whole id before believing what stands there.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as u32 as usize
    }

    /// Which identity of its slot it names: with [`index`](Self::index) the whole id, for memos that keep the two apart.
    #[must_use]
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
