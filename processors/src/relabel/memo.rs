//! What the rules made of a series, by its id: one look a point in the steady state.

use pdata::{Series, SeriesId};

/// Remembers decisions by series id, in pages that exist where ids do. Bounded by count and bytes; what was not asked for during
/// a whole turn is forgotten with the next.
///
/// The bound is a bound on remembering: past it the rules are worked out again for each point, which is slower and never wrong.
#[derive(Debug)]
pub(crate) struct Memo {
    pages: Vec<Option<Box<Page>>>,
    limits: Limits,
    /// The generation: how many turns have passed. Entries carry the one in which they were last asked for.
    turn: u32,
    len: usize,
    pages_used: usize,
}

/// Bounds of a memo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) series: usize,
    pub(crate) bytes: usize,
}

/// What becomes of a series' points.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    /// The series it is now; none when it is dropped. Holding it keeps its slot.
    pub(crate) to: Option<Series>,
    pub(crate) course: Course,
    /// Holds until the next turn only: there was no room for state, and there may be then.
    pub(crate) provisional: bool,
}

/// How a point goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Under this id, and nothing else.
    Pass(SeriesId),
    /// Under an id that each batch must adopt, because the new series has no slot.
    PassInline,
    /// Through the engine as this input, and under this id if it passes.
    Input(u32, SeriesId),
    /// Through the engine, and under an id that each batch must adopt.
    InputInline(u32),
    /// Nowhere.
    Drop(Dropped),
}

/// Why a series is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// A rule says so.
    Rule,
    /// It has no name any more.
    Nameless,
    /// There is no room for its state, and its output has other inputs.
    Refused,
}

impl Course {
    /// Whether each batch must adopt the new series.
    #[inline]
    pub(crate) const fn is_without_slot(self) -> bool {
        matches!(self, Self::PassInline | Self::InputInline(_))
    }

    /// The same when a batch has adopted the new series as `id`.
    pub(crate) const fn under(self, id: SeriesId) -> Self {
        match self {
            Self::PassInline => Self::Pass(id),
            Self::InputInline(input) => Self::Input(input, id),
            course => course,
        }
    }
}

#[derive(Debug)]
struct Page {
    entries: [Entry; PAGE],
    used: usize,
}

#[derive(Debug)]
struct Entry {
    of: SeriesId,
    decision: Option<Decision>,
    touched: u32,
}

/// Entries of a page: 24 KiB, so that a lane which sees few of many series pays for few.
const PAGE: usize = 512;

impl Memo {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { pages: Vec::new(), limits, turn: 0, len: 0, pages_used: 0 }
    }

    /// The decision about `id`, if it is remembered. `id` is no inline id.
    #[inline]
    pub(crate) fn look(&mut self, id: SeriesId) -> Option<&Decision> {
        let page = self.pages.get_mut(id.index() / PAGE)?.as_mut()?;
        let entry = &mut page.entries[id.index() % PAGE];
        if entry.of != id {
            return None;
        }
        let decision = entry.decision.as_ref()?;
        if entry.touched != self.turn {
            if decision.provisional {
                return None;
            }
            entry.touched = self.turn;
        }
        Some(decision)
    }

    /// Remembers a decision, if there is room. Gives whether there was.
    pub(crate) fn put(&mut self, id: SeriesId, decision: Decision) -> bool {
        let (at, place) = (id.index() / PAGE, id.index() % PAGE);
        let exists = self.pages.get(at).is_some_and(Option::is_some);
        let replaces = exists && self.pages[at].as_ref().is_some_and(|page| page.entries[place].decision.is_some());
        let bytes = self.heap_bytes() + if exists { 0 } else { size_of::<Page>() };
        if (!replaces && self.len >= self.limits.series) || bytes > self.limits.bytes {
            return false;
        }
        if at >= self.pages.len() {
            self.pages.resize_with(at + 1, || None);
        }
        let page = self.pages[at].get_or_insert_with(|| {
            self.pages_used += 1;
            Box::new(Page::empty(id))
        });
        page.entries[place] = Entry { of: id, decision: Some(decision), touched: self.turn };
        page.used += usize::from(!replaces);
        self.len += usize::from(!replaces);
        true
    }

    /// Forgets what nobody asked for since `idle` turns, and begins the next turn.
    pub(crate) fn turn(&mut self, idle: u32) {
        self.turn += 1;
        let oldest = self.turn.saturating_sub(idle);
        for slot in &mut self.pages {
            let Some(page) = slot else { continue };
            for entry in page.entries.iter_mut().filter(|entry| entry.decision.is_some() && entry.touched < oldest) {
                entry.decision = None;
                page.used -= 1;
                self.len -= 1;
            }
            if page.used == 0 {
                *slot = None;
                self.pages_used -= 1;
            }
        }
        let last = self.pages.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.pages.truncate(last);
    }

    /// Series that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes it takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.pages_used * size_of::<Page>() + self.pages.capacity() * size_of::<usize>()
    }
}

impl Page {
    fn empty(id: SeriesId) -> Self {
        Self { entries: std::array::from_fn(|_| Entry { of: id, decision: None, touched: 0 }), used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use pdata::{Kind, SeriesTable};
    use pipeline::testing::identity;

    use super::*;

    fn ids(n: usize) -> (std::sync::Arc<SeriesTable>, Vec<Series>) {
        let table = SeriesTable::with_defaults();
        let series = (0..n).map(|n| table.intern(identity("m", Kind::Gauge, &[("n", &n.to_string())]))).collect();
        (table, series)
    }

    fn pass(series: &Series) -> Decision {
        Decision { to: Some(series.clone()), course: Course::Pass(series.id().unwrap()), provisional: false }
    }

    #[test]
    fn past_its_count_a_memo_remembers_no_more_and_forgets_nothing() {
        let (_table, series) = ids(3);
        let mut memo = Memo::new(Limits { series: 2, bytes: 1 << 20 });
        let put = series.iter().map(|series| memo.put(series.id().unwrap(), pass(series))).collect::<Vec<_>>();
        assert_eq!(put, [true, true, false]);
        let known = series.iter().map(|series| memo.look(series.id().unwrap()).is_some()).collect::<Vec<_>>();
        assert_eq!(known, [true, true, false]);
        assert!(memo.put(series[0].id().unwrap(), pass(&series[0])), "what is known may be replaced");
    }

    #[test]
    fn past_its_bytes_a_memo_opens_no_more_pages() {
        let (_table, series) = ids(PAGE + 1);
        let bytes = size_of::<Page>() + 1024;
        let mut memo = Memo::new(Limits { series: usize::MAX, bytes });
        let put = series.iter().filter(|series| memo.put(series.id().unwrap(), pass(series))).count();
        assert_eq!((put, memo.len()), (PAGE, PAGE));
        assert!(memo.heap_bytes() <= bytes);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten_with_its_page() {
        let (_table, series) = ids(PAGE + 1);
        let mut memo = Memo::new(Limits { series: usize::MAX, bytes: usize::MAX });
        series.iter().for_each(|series| assert!(memo.put(series.id().unwrap(), pass(series))));
        for _ in 0..2 {
            memo.turn(1);
            assert!(memo.look(series[0].id().unwrap()).is_some());
        }
        assert_eq!((memo.len(), memo.pages_used), (1, 1));
        assert!(memo.look(series[1].id().unwrap()).is_none());
    }

    #[test]
    fn a_recycled_slot_is_not_taken_for_its_former_series() {
        let limits = pdata::Limits { idle_epochs: 0, ..pdata::Limits::default() };
        let table = SeriesTable::new(pdata::Seed::from_bytes([0; 16]), limits);
        let old = table.intern(identity("old", Kind::Gauge, &[])).id().unwrap();
        let (_other, held) = ids(1);
        let mut memo = Memo::new(Limits { series: 10, bytes: 1 << 20 });
        memo.put(old, pass(&held[0]));
        (0..4).for_each(|_| table.sweep());
        let new = table.intern(identity("new", Kind::Gauge, &[])).id().unwrap();
        assert_eq!(new.index(), old.index());
        assert!(memo.look(new).is_none());
    }

    #[test]
    fn what_had_no_room_is_asked_again_the_next_turn() {
        let (_table, series) = ids(1);
        let id = series[0].id().unwrap();
        let mut memo = Memo::new(Limits { series: 10, bytes: 1 << 20 });
        memo.put(id, Decision { provisional: true, ..pass(&series[0]) });
        assert!(memo.look(id).is_some());
        memo.turn(9);
        assert!(memo.look(id).is_none());
    }
}
