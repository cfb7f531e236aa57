//! The committer without its thread: time stands in the test's hand.

use std::sync::RwLock;

use super::*;

pub(super) struct Clockwork {
    pub(super) committer: commit::Committer,
    pub(super) store: store::Store,
    pub(super) wall: UnixNanos,
    pub(super) now: tokio::time::Instant,
}

impl Clockwork {
    /// Over the ledger in the bench's folder, which is made if need be.
    pub(super) fn new(bench: &Bench) -> Self {
        Self::at(bench, NOW, tokio::time::Instant::now())
    }

    fn at(bench: &Bench, wall: UnixNanos, now: tokio::time::Instant) -> Self {
        let store = open_store(bench, wall);
        let loaded = load::load(&store, bench.options.window_limits(), load::Beside::Nobody).unwrap();
        let (image, table) = (Arc::new(RwLock::new(loaded.image)), SeriesTable::with_defaults());
        let ids = ids::Ids::new(loaded.young, bench.options.young_ids, bench.options.max_bytes);
        let ids = ids.beside_tree(&loaded.books);
        let committer = commit::Committer::new(image, store.key, table, 1000, loaded.books, ids);
        Self { committer, store, wall, now }
    }

    pub(super) fn restarted(self, bench: &Bench) -> Self {
        let Self { committer, store, wall, now } = self;
        drop((committer, store));
        Self::at(bench, wall, now)
    }

    /// After a failed commit: another connection, the same memory.
    pub(super) fn reopened(self, bench: &Bench) -> Self {
        let Self { mut committer, store, wall, now } = self;
        drop(store);
        let store = open_store(bench, wall);
        committer.reconcile(&store.read_books(bench.options.window_limits()).unwrap()).unwrap();
        Self { committer, store, wall, now }
    }

    pub(super) fn commit(&mut self, ids: impl IntoIterator<Item = u64>) -> Vec<Committed> {
        self.commit_signed(ids.into_iter().map(|id| (id, None)))
    }

    pub(super) fn commit_signed(&mut self, ids: impl Iterator<Item = (u64, Option<UnixNanos>)>) -> Vec<Committed> {
        self.try_commit(ids).unwrap()
    }

    pub(super) fn try_commit(
        &mut self,
        ids: impl Iterator<Item = (u64, Option<UnixNanos>)>,
    ) -> Result<Vec<Committed>, error::Trouble> {
        let id = |id: u64| Some(EventId(self.committer.seed.fingerprint(&id.to_le_bytes())));
        let entries: Vec<_> = ids.map(|(number, signed)| Entry { id: id(number), signed, ..Entry::new() }).collect();
        let mut outcomes = Vec::new();
        let moment = commit::Moment { wall: self.wall, now: self.now };
        self.committer.commit(&self.store, entries.iter(), moment, &mut outcomes)?;
        Ok(outcomes.into_iter().map(Result::unwrap).collect())
    }

    pub(super) fn pass(&mut self, span: Duration) {
        (self.wall, self.now) = (self.wall.plus(span), self.now + span);
    }
}

fn open_store(bench: &Bench, wall: UnixNanos) -> store::Store {
    let first = (pdata::Seed::from_bytes([1; 16]), load::empty(bench.options.window_limits(), wall));
    store::Store::open(&bench.folder.path().join("ledger.db"), Durability::Relaxed, &first).unwrap()
}
