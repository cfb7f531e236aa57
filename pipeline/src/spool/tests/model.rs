//! A random sequence of what can happen to a spool, against the plainest model: a list for each partition.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::fold::{ByClass, is_folded};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Stores so many parcels of so many bytes at once.
    Store { key: u8, parcels: u8, bytes: u16 },
    /// Takes up to so many bytes out.
    Take { key: u8, bytes: u16 },
    /// Ends the nth of what is out.
    Done { key: u8, nth: u8 },
    /// Ends everything that is out.
    DoneAll { key: u8 },
    /// Takes everything out of all partitions, and ends it: nothing is left but positions.
    Drain,
    /// Leaves out what newer parcels of its class make needless.
    Fold { key: u8 },
    /// Closes the spool in order, and opens it.
    Reopen,
    /// Opens it as after `kill -9`: nothing was closed.
    Crash,
}

/// One partition as it should be.
#[derive(Debug, Default)]
struct Plain {
    waiting: VecDeque<u64>,
    /// Taken out, with number and whether it is done.
    out: VecDeque<(u64, u64, bool)>,
    delivered: Vec<u64>,
}

const KEYS: [&str; 3] = ["", "a", "b"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..3_u8;
    let step = prop_oneof![
        4 => (key.clone(), 1..20_u8, 8..9000_u16).prop_map(|(key, parcels, bytes)| Step::Store { key, parcels, bytes }),
        3 => (key.clone(), 1..30_000_u16).prop_map(|(key, bytes)| Step::Take { key, bytes }),
        3 => (key.clone(), any::<u8>()).prop_map(|(key, nth)| Step::Done { key, nth }),
        2 => key.clone().prop_map(|key| Step::DoneAll { key }),
        2 => key.prop_map(|key| Step::Fold { key }),
        1 => Just(Step::Drain),
        2 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

struct Model {
    rig: Rig,
    spool: Spool,
    plain: BTreeMap<u8, Plain>,
    next: u64,
}

impl Model {
    fn partition(&self, key: u8) -> Option<Arc<Partition>> {
        self.spool.partitions().into_iter().find(|partition| partition.key() == KEYS[usize::from(key)])
    }

    async fn step(&mut self, step: &Step) {
        match *step {
            Step::Store { key, parcels, bytes } => {
                let ids: Vec<_> = (self.next..self.next + u64::from(parcels)).collect();
                self.next += u64::from(parcels);
                let name = KEYS[usize::from(key)];
                let storing = ids.iter().map(|id| self.spool.store(name, parcel(*id, usize::from(bytes))));
                let outcomes = futures_util::future::join_all(storing).await;
                let stored = ids.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| id);
                // While the common one holds parcels of an earlier life, no key gets a new one.
                let place = if self.partition(key).is_some() { key } else { 0 };
                self.plain.entry(place).or_default().waiting.extend(stored);
            }
            Step::Take { key, bytes } => {
                self.take(key, usize::from(bytes));
            }
            Step::Done { key, nth } => {
                let plain = self.plain.entry(key).or_default();
                let count = plain.out.len();
                if count > 0 {
                    self.done(key, usize::from(nth) % count);
                }
            }
            Step::DoneAll { key } => self.done_all(key),
            Step::Drain => {
                for key in 0..KEYS.len() as u8 {
                    while self.take(key, usize::MAX) > 0 {}
                    self.done_all(key);
                }
            }
            Step::Fold { key } => {
                let Some(partition) = self.partition(key) else { return };
                partition.fold(Box::<ByClass>::default()).await.unwrap();
                let plain = self.plain.entry(key).or_default();
                let waiting: Vec<_> = plain.waiting.iter().copied().collect();
                // Which files it may touch is its own matter; what it leaves is in them, behind what was taken out.
                let taken = partition.lock().taken;
                let mut left = Vec::new();
                let mut give = |_: &str, stored: Stored| {
                    left.extend((stored.seq > taken).then(|| id_of(&stored)));
                    Ok(())
                };
                let offline = Offline::open(self.rig.folder.path()).unwrap();
                offline.read(Kind::Queue, Some(KEYS[usize::from(key)]), &mut give).unwrap();
                assert!(is_folded(&waiting, &left), "{waiting:?} became {left:?}");
                plain.waiting = left.into();
            }
            Step::Reopen => self.reopen(true).await,
            Step::Crash => self.reopen(false).await,
        }
        self.compare();
    }

    /// Takes up to so many bytes out, and gives how many parcels that were.
    fn take(&mut self, key: u8, bytes: usize) -> usize {
        let Some(partition) = self.partition(key) else { return 0 };
        let plain = self.plain.entry(key).or_default();
        let taken = partition.take_now(bytes).unwrap();
        for stored in &taken {
            let id = id_of(stored);
            assert_eq!(plain.waiting.pop_front(), Some(id), "in order, each once");
            plain.out.push_back((stored.seq, id, false));
        }
        taken.len()
    }

    fn done_all(&mut self, key: u8) {
        for index in 0..self.plain.entry(key).or_default().out.len() {
            self.done(key, index);
        }
    }

    fn done(&mut self, key: u8, index: usize) {
        let partition = self.partition(key).expect("something is out");
        let out = &mut self.plain.get_mut(&key).expect("something is out").out;
        out[index].2 = true;
        partition.done(out[index].0);
        // Deferred, so that indices of one sweep stay valid.
    }

    async fn reopen(&mut self, in_order: bool) {
        if in_order {
            self.spool.close().await;
        } else {
            while self.spool.0.pending().running {
                tokio::task::yield_now().await;
            }
        }
        let rig = &self.rig;
        // The lock goes with the last who holds it.
        let spool = std::mem::replace(&mut self.spool, Rig::new(SMALL).open());
        drop(spool);
        self.spool = rig.open();
        for (key, plain) in &mut self.plain {
            // Whatever stands behind the first that is not done comes again; after a crash more may, in order.
            while plain.out.pop_front_if(|out| out.2).is_some_and(|(_, id, _)| {
                plain.delivered.push(id);
                true
            }) {}
            for (_, id, _) in std::mem::take(&mut plain.out).into_iter().rev() {
                plain.waiting.push_front(id);
            }
            if !in_order {
                let partition =
                    self.spool.partitions().into_iter().find(|partition| partition.key() == KEYS[usize::from(*key)]);
                let held = partition.map_or(0, |partition| partition.fill().batches) as usize;
                assert!(held >= plain.waiting.len(), "nothing is lost: {held} of {}", plain.waiting.len());
                for _ in plain.waiting.len()..held {
                    plain.waiting.push_front(plain.delivered.pop().expect("nothing is invented"));
                }
            }
        }
    }

    fn compare(&self) {
        for (key, plain) in &self.plain {
            let fill = self.partition(*key).map(|partition| partition.fill()).unwrap_or_default();
            let out = plain.out.iter().skip_while(|out| out.2).map(|(_, id, _)| *id);
            let ids: Vec<_> = out.chain(plain.waiting.iter().copied()).collect();
            let items: u64 = ids.iter().map(|id| 1 + id % 3).sum();
            assert_eq!((fill.batches, fill.items), (ids.len() as u64, items));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn a_spool_is_a_list_for_each_partition(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new(SpoolOptions { partition_bytes: 400_000, ..SMALL });
            let spool = rig.open();
            let mut model = Model { rig, spool, plain: BTreeMap::new(), next: 0 };
            for step in &steps {
                model.step(step).await;
            }
            model.reopen(true).await;
            model.compare();
        });
    }
}

/// `WEIR_TEST_QUEUE_CASES=20000` for the full run.
fn cases() -> u32 {
    std::env::var("WEIR_TEST_QUEUE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}
