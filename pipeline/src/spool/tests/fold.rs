//! What is folded is what newer parcels made needless, and a crash at any step of it loses nothing else and doubles nothing.

use std::sync::mpsc;

use super::*;

/// Of the parcels of a class the newest is needed.
#[derive(Debug, Default)]
pub(super) struct ByClass(BTreeSet<u64>);

pub(super) const fn class_of(id: u64) -> u64 {
    id % 5
}

impl Sieve for ByClass {
    fn sift(&mut self, stored: &Stored) -> Sifted {
        if self.0.insert(class_of(id_of(stored))) { Sifted::Whole } else { Sifted::Nothing }
    }

    fn gap(&mut self) {
        self.0.clear();
    }
}

/// Whether `after` is `before` without some of which a newer one of their class is there.
pub(super) fn is_folded(before: &[u64], after: &[u64]) -> bool {
    let mut left = after.iter().peekable();
    for (place, id) in before.iter().enumerate() {
        if left.next_if_eq(&id).is_some() {
            continue;
        }
        let newer = |other: &u64| class_of(*other) == class_of(*id) && before[place..].contains(other) && other != id;
        if !after.iter().any(newer) {
            return false;
        }
    }
    left.next().is_none()
}

const FOLDED: SpoolOptions = SpoolOptions { fold: true, ..SMALL };
/// Ten files of 64 KiB.
const PARCELS: u64 = 620;

async fn filled(rig: &Rig) -> (Spool, Arc<Partition>) {
    let spool = rig.open();
    for id in 0..PARCELS {
        spool.store("", parcel(id, 1000)).await.unwrap();
    }
    let partition = spool.partitions().remove(0);
    (spool, partition)
}

async fn fold(partition: &Arc<Partition>) {
    partition.fold(Box::<ByClass>::default()).await.unwrap();
}

fn on_disk(rig: &Rig) -> u64 {
    rig.files("seg").iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn items(ids: impl IntoIterator<Item = u64>) -> u64 {
    ids.into_iter().map(|id| 1 + id % 3).sum()
}

#[tokio::test]
async fn of_the_files_between_the_first_and_the_last_one_stays_with_what_is_needed_and_is_counted() {
    let rig = Rig::new(FOLDED);
    let (spool, partition) = filled(&rig).await;
    assert_eq!(rig.files("seg").len(), 10);
    assert!(partition.is_ripe());
    fold(&partition).await;
    assert!(!partition.is_ripe(), "nothing has come since");
    assert_eq!((rig.files("seg").len(), rig.files("fold").len()), (3, 0));
    let fill = partition.fill();
    assert_eq!(fill.bytes, on_disk(&rig), "the books of bytes are the disk's");
    // The newest five that are not in the file that is being written.
    let per_file = (64 << 10) / (1000 + frame::HEAD as u64) + 1;
    let (first, last) = (per_file, per_file * 9);
    let kept: Vec<_> = (0..first).chain(last - 5..PARCELS).collect();
    assert_eq!((fill.batches, fill.items), (kept.len() as u64, items(kept.clone())));
    assert_eq!(rig.count("weir_queue_folded_items"), items(first..last - 5));
    // Half as much as a fold left must come.
    for id in PARCELS..PARCELS + 2 * per_file {
        spool.store("", parcel(id, 1000)).await.unwrap();
    }
    assert!(partition.is_ripe());
    spool.close().await;
    drop((partition, spool));

    let spool = rig.open();
    assert_eq!(
        rig.count("weir_queue_replayed_items"),
        items(kept.iter().copied().chain(PARCELS..PARCELS + 2 * per_file))
    );
    assert_eq!(drain_all(&spool)[..kept.len()], kept);
    assert_eq!(rig.count("weir_queue_damaged"), 0);
}

#[tokio::test]
async fn what_is_in_the_readers_hands_is_not_touched_and_what_it_comes_to_meanwhile_neither() {
    let rig = Rig::new(FOLDED);
    let (_spool, partition) = filled(&rig).await;
    let taken = partition.take_now(150_000).unwrap();
    let read: Vec<_> = taken.iter().map(id_of).collect();
    assert!(read.len() > 140, "it is in the third file");
    fold(&partition).await;
    taken.iter().for_each(|stored| partition.done(stored.seq));
    let ids = [read.clone(), drain(&partition)].concat();
    assert!(is_folded(&(0..PARCELS).collect::<Vec<_>>(), &ids) && ids.len() < 400, "{}", ids.len());
    assert_eq!(ids[..180], (0..180).collect::<Vec<_>>(), "the file that it reads stays whole");

    let rig = Rig::new(FOLDED);
    let (_spool, partition) = filled(&rig).await;
    struct Meanwhile(Arc<Partition>, Vec<u64>);
    impl Sieve for Meanwhile {
        fn sift(&mut self, _: &Stored) -> Sifted {
            if self.1.is_empty() {
                self.1 = drain(&self.0);
            }
            Sifted::Nothing
        }
        fn gap(&mut self) {}
    }
    let mut sieve = Meanwhile(partition.clone(), Vec::new());
    partition.fold_now(&mut sieve, &AtomicBool::default()).unwrap();
    assert_eq!(sieve.1, (0..PARCELS).collect::<Vec<_>>());
    assert_eq!((partition.fill().batches, rig.count("weir_queue_folded_items")), (0, 0));
    assert_eq!(rig.files("fold").len(), 0);
}

#[tokio::test]
async fn a_crash_at_any_step_of_a_fold_loses_nothing_that_is_needed_and_doubles_nothing() {
    let rig = Rig::new(FOLDED);
    let (spool, partition) = filled(&rig).await;
    let read = |rig: &Rig| -> BTreeMap<PathBuf, Vec<u8>> {
        rig.files("seg").into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let before = read(&rig);
    fold(&partition).await;
    let after = read(&rig);
    spool.close().await;
    drop((partition, spool));
    let (fresh, bytes) = after.iter().find(|(path, bytes)| before[*path] != **bytes).unwrap();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert_eq!(gone.len(), 7, "one takes the place of eight");

    let mut steps = Vec::new();
    // While the new file is written, and when it is.
    for length in [0, 1, 100, bytes.len() - 1, bytes.len()] {
        let mut files = before.clone();
        files.insert(fresh.with_extension("fold"), bytes[..length].to_vec());
        steps.push(files);
    }
    // When it has its name, with any number of those that it stands for deleted: in their order, and, since deleting is not synced, with
    // each of them back alone.
    for count in 0..=gone.len() {
        let mut files = before.clone();
        files.insert(fresh.clone(), bytes.clone());
        gone[..count].iter().for_each(|path| drop(files.remove(*path)));
        steps.push(files);
        let mut files = after.clone();
        gone.get(count).iter().for_each(|path| drop(files.insert((**path).clone(), before[**path].clone())));
        steps.push(files);
    }
    assert_eq!(steps.len(), 5 + 2 * 8);
    let all: Vec<_> = (0..PARCELS).collect();
    for (step, files) in steps.iter().enumerate() {
        for extension in ["seg", "fold", "pos"] {
            rig.files(extension).iter().for_each(|path| std::fs::remove_file(path).unwrap());
        }
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        let spool = rig.open();
        assert_eq!(rig.files("fold").len(), 0, "step {step}");
        assert_eq!(Offline::open(rig.folder.path()).unwrap().verify().unwrap().problems, [""; 0], "step {step}");
        let fill = spool.partitions()[0].fill();
        assert_eq!(fill.bytes, on_disk(&rig), "step {step}: files without use are gone");
        let ids = drain_all(&spool);
        assert_eq!((fill.batches, fill.items), (ids.len() as u64, items(ids.clone())), "step {step}");
        assert!(is_folded(&all, &ids), "step {step}: {ids:?}");
        // Nothing is deleted any more when the next step puts its files there.
        spool.close().await;
    }
    assert_eq!(rig.count("weir_queue_damaged"), 0);
}

#[tokio::test]
async fn what_is_damaged_is_left_for_who_reads_it_and_nothing_is_folded_across_it() {
    let rig = Rig::new(FOLDED);
    let (_spool, partition) = filled(&rig).await;
    let file = &rig.files("seg")[4];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[30_000] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    fold(&partition).await;
    assert_eq!(rig.count("weir_queue_damaged"), 0, "nobody has read it");
    assert!(!partition.is_ripe());
    let ids = drain(&partition);
    assert_eq!(rig.count("weir_queue_damaged"), 1);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    let in_file = |nth: u64| ids.iter().filter(|id| (nth * 63..(nth + 1) * 63).contains(*id)).count();
    assert_eq!((0..10).map(in_file).collect::<Vec<_>>(), [63, 0, 0, 5, 62, 0, 0, 0, 5, 53]);
    assert_eq!(
        rig.count("weir_queue_folded_items") + rig.count("weir_queue_damaged_items") + items(ids),
        items(0..PARCELS)
    );
}

#[tokio::test]
async fn a_spool_that_is_closed_ends_its_fold_and_keeps_everything() {
    struct Slow(mpsc::Sender<()>, mpsc::Receiver<()>, ByClass);
    impl Sieve for Slow {
        fn sift(&mut self, stored: &Stored) -> Sifted {
            if self.0.send(()).is_ok() {
                self.1.recv().ok();
            }
            self.2.sift(stored)
        }
        fn gap(&mut self) {}
    }
    let rig = Rig::new(FOLDED);
    let (spool, partition) = filled(&rig).await;
    let (tell, begun) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let folding = tokio::spawn(async move { partition.fold(Box::new(Slow(tell, wait, ByClass::default()))).await });
    tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
    let mut closing = Box::pin(spool.close());
    assert!(futures_util::poll!(&mut closing).is_pending(), "it waits for the fold");
    drop(go);
    closing.await;
    folding.await.unwrap().unwrap();
    drop(spool);
    assert_eq!(drain_all(&rig.open()), (0..PARCELS).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_reads_from_outside_while_it_is_folded_misses_nothing_and_sees_nothing_twice() {
    let rig = Rig::new(FOLDED);
    let (_spool, partition) = filled(&rig).await;
    // A fold comes when the reader is in each file.
    for at in [0, 70, 200, 400, 619] {
        let mut seen = Vec::new();
        let mut give = |_: &str, stored: Stored| {
            seen.push(id_of(&stored));
            if *seen.last().unwrap() >= at && seen.len() as u64 <= at + 1 {
                partition.fold_now(&mut ByClass::default(), &AtomicBool::default()).unwrap();
            }
            Ok(())
        };
        Offline::open(rig.folder.path()).unwrap().read(Kind::Queue, None, &mut give).unwrap();
        assert!(is_folded(&(0..PARCELS).collect::<Vec<_>>(), &seen), "{at}: {seen:?}");
    }
}
