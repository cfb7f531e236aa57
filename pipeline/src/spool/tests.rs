//! What a spool promises, on real files. Crashes of the process and of the power are in `tests/queue-crash`.

mod damage;
mod fold;
mod model;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A spool in a folder of its own, that can be opened again.
struct Rig {
    folder: TempDir,
    options: SpoolOptions,
    meters: Meters,
    health: Health,
}

impl Rig {
    fn new(options: SpoolOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, options, meters: Meters::unread(), health: Health::default() }
    }

    fn open(&self) -> Spool {
        let clock = Clock::system();
        Spool::open(self.folder.path(), self.options.clone(), &clock, &self.meters, &self.health, "otlp").unwrap()
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }

    fn level(&self, name: &'static str) -> i64 {
        self.meters.level(name, "", "", vec![("exporter", "otlp".to_owned())]).value()
    }

    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
        files.sort();
        files
    }
}

/// A parcel whose body says which it is.
fn parcel(id: u64, bytes: usize) -> Parcel {
    let mut body = id.to_le_bytes().to_vec();
    body.resize(bytes.max(8), id as u8);
    Parcel { items: 1 + id % 3, signal: Signal::Logs, encoding: Encoding::Gzip, body: body.into(), ..Parcel::default() }
}

fn id_of(stored: &Stored) -> u64 {
    let id = u64::from_le_bytes(*stored.body.first_chunk().unwrap());
    assert!(stored.body[8..].iter().all(|byte| *byte == id as u8), "a parcel is whole");
    assert_eq!((stored.items, stored.signal, stored.encoding), (1 + id % 3, Signal::Logs, Encoding::Gzip));
    id
}

/// Takes all that is there, and says that it is done.
fn drain(partition: &Arc<Partition>) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let taken = partition.take_now(1000).unwrap();
        if taken.is_empty() {
            return ids;
        }
        for stored in taken {
            ids.push(id_of(&stored));
            partition.done(stored.seq);
        }
    }
}

fn drain_all(spool: &Spool) -> Vec<u64> {
    spool.partitions().iter().flat_map(drain).collect()
}

const SMALL: SpoolOptions = SpoolOptions {
    max_bytes: 1 << 20,
    partition_bytes: 1 << 20,
    max_partitions: 3,
    dead_bytes: 1 << 20,
    when_full: WhenFull::Refuse,
    fold: false,
};

#[tokio::test]
async fn what_is_stored_after_everything_was_delivered_and_two_restarts_does_not_pass_for_delivered() {
    let rig = Rig::new(SMALL);
    let begin = rig.open();
    for id in 0..9 {
        begin.store(["", "a", "b"][id as usize % 3], parcel(id, 100)).await.unwrap();
    }
    begin.close().await;
    drop(begin);
    // Found by a start and delivered: of its files only the positions are left.
    let second = rig.open();
    let delivered: BTreeSet<_> = drain_all(&second).into_iter().collect();
    assert_eq!(delivered, (0..9).collect());
    second.close().await;
    drop(second);
    assert!(!rig.files("pos").is_empty(), "how far each is delivered still stands there");
    for round in 0..3 {
        let spool = rig.open();
        for (place, key) in ["", "a", "b"].into_iter().enumerate() {
            spool.store(key, parcel(100 + 3 * round + place as u64, 100)).await.unwrap();
        }
        spool.close().await;
    }
    let spool = rig.open();
    let found: BTreeSet<_> = drain_all(&spool).into_iter().collect();
    assert_eq!(found, (100..109).collect(), "each was answered for");
}

#[tokio::test]
async fn parcels_come_out_in_the_order_they_went_in_and_after_a_restart_too() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    for id in 0..40 {
        spool.store("", parcel(id, 5000)).await.unwrap();
    }
    let partition = spool.partitions().remove(0);
    let taken = partition.take(12_000).await.unwrap();
    assert_eq!(taken.iter().map(id_of).collect::<Vec<_>>(), [0, 1, 2], "three reach 12,000 bytes");
    taken.iter().for_each(|stored| partition.done(stored.seq));
    spool.close().await;
    drop((partition, spool));

    let spool = rig.open();
    assert_eq!(rig.count("weir_queue_replayed_items"), (3..40).map(|id| 1 + id % 3).sum::<u64>());
    assert_eq!(drain_all(&spool), (3..40).collect::<Vec<_>>());
    spool.store("", parcel(40, 10)).await.unwrap();
    assert_eq!(drain_all(&spool), [40]);
}

#[tokio::test]
async fn what_was_taken_out_and_not_done_comes_again_after_a_restart() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    for id in 0..5 {
        spool.store("", parcel(id, 100)).await.unwrap();
    }
    let partition = spool.partitions().remove(0);
    let taken = partition.take_now(usize::MAX).unwrap();
    // The last is done and the first is not: all but that one are kept.
    for index in [1, 2, 4] {
        partition.done(taken[index].seq);
    }
    spool.close().await;
    drop((partition, spool));
    assert_eq!(drain_all(&rig.open()), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn many_parcels_share_one_fsync() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    let storing = (0..200).map(|id| spool.store("", parcel(id, 50)));
    let outcomes = futures_util::future::join_all(storing).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(rig.count("weir_queue_commits") < 50, "{}", rig.count("weir_queue_commits"));
    assert_eq!(drain_all(&spool), (0..200).collect::<Vec<_>>(), "in the order in which they asked");
}

#[tokio::test]
async fn files_go_when_all_in_them_is_done_and_the_bound_holds_for_what_is_on_disk() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    let mut stored = 0;
    while spool.store("", parcel(stored, 10_000)).await.is_ok() {
        stored += 1;
    }
    let on_disk = |rig: &Rig| rig.files("seg").iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    assert!((1_000_000..=1 << 20).contains(&on_disk(&rig)), "{}", on_disk(&rig));
    assert_eq!(rig.count("weir_queue_refused_batches"), 1);
    let why = spool.store("", parcel(0, 10_000)).await.unwrap_err();
    assert_eq!(why, Refusal::Retry { after: None, why: "sending queue is full".into() });
    assert_eq!(drain_all(&spool), (0..stored).collect::<Vec<_>>());
    spool.close().await;
    assert!(on_disk(&rig) < 100_000, "{}", on_disk(&rig));
    // What is left of the last file takes some room until that is full.
    for id in 0..stored - 7 {
        spool.store("", parcel(id, 10_000)).await.unwrap();
    }
    assert_eq!(rig.level("weir_queue_capacity_bytes"), 1 << 20);
}

#[tokio::test]
async fn a_parcel_larger_than_the_bound_passes_alone() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    spool.store("", parcel(1, 3 << 20)).await.unwrap();
    assert!(spool.store("", parcel(2, 10)).await.is_err());
    assert_eq!(drain_all(&spool), [1]);
    spool.store("", parcel(3, 10)).await.unwrap();
    assert_eq!(drain_all(&spool), [3]);
}

#[tokio::test]
async fn who_waits_for_room_gets_it_in_turn() {
    let rig = Rig::new(SpoolOptions { when_full: WhenFull::Wait, ..SMALL });
    let spool = Arc::new(rig.open());
    let filling = spool.clone();
    let filling = tokio::spawn(async move {
        for id in 0..300 {
            filling.store("", parcel(id, 20_000)).await.unwrap();
        }
    });
    while rig.count("weir_queue_blocked_batches") == 0 {
        tokio::task::yield_now().await;
    }
    let mut ids = Vec::new();
    while ids.len() < 300 {
        for partition in spool.partitions() {
            ids.extend(drain(&partition));
        }
        tokio::task::yield_now().await;
    }
    filling.await.unwrap();
    assert_eq!(ids, (0..300).collect::<Vec<_>>());
    assert_eq!(rig.count("weir_queue_refused_batches"), 0);
}

#[tokio::test]
async fn a_partition_that_is_full_does_not_fill_the_others() {
    let rig = Rig::new(SpoolOptions { partition_bytes: 300_000, ..SMALL });
    let spool = rig.open();
    let mut flooded = 0;
    while spool.store("a", parcel(flooded, 10_000)).await.is_ok() {
        flooded += 1;
    }
    assert!(flooded < 30, "{flooded}");
    for id in 0..20 {
        spool.store("b", parcel(id, 10_000)).await.unwrap();
    }
    // The keys come back after a restart, whatever they are.
    spool.store("../ä", parcel(7, 10)).await.unwrap();
    // A fourth has no partition of its own.
    spool.store("d", parcel(8, 10)).await.unwrap();
    assert_eq!(rig.count("weir_queue_other_batches"), 1);
    spool.close().await;
    drop(spool);
    let spool = rig.open();
    let keys: BTreeSet<_> = spool.partitions().iter().map(|partition| partition.key().to_owned()).collect();
    assert_eq!(keys, ["", "../ä", "a", "b"].map(String::from).into());
    assert_eq!(drain_all(&spool).len() as u64, flooded + 22);
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_overtake_what_waits_of_it_in_the_common_partition() {
    let rig = Rig::new(SMALL);
    let spool = Arc::new(rig.open());
    let tending = spool.clone();
    let tending = tokio::spawn(async move { tending.tend().await });
    for (id, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        spool.store(key, parcel(id as u64, 100)).await.unwrap();
    }
    let of = |key: &str| spool.partitions().into_iter().find(|partition| partition.key() == key);
    // The partition of a rests and goes: there is room for one of d.
    let resting = of("a").unwrap();
    assert_eq!(drain(&resting), [0]);
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(drain(&resting), [0; 0]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(resting.is_gone());
    spool.store("d", parcel(4, 100)).await.unwrap();
    assert!(of("d").is_none(), "its first parcel waits in the common one");
    assert_eq!(drain(&of("").unwrap()), [3, 4]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    spool.store("d", parcel(5, 100)).await.unwrap();
    assert_eq!(drain(&of("d").unwrap()), [5]);
    tending.abort();
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_rests_leaves_no_file_behind() {
    let rig = Rig::new(SMALL);
    let spool = Arc::new(rig.open());
    let tending = spool.clone();
    let tending = tokio::spawn(async move { tending.tend().await });
    for round in 0..3 {
        spool.store("a", parcel(round, 100)).await.unwrap();
        let partition = spool.partitions().remove(0);
        assert_eq!(drain(&partition), [round]);
        tokio::time::sleep(Duration::from_secs(90)).await;
        // Its reader is told, passes the segment, and is told that nothing more will come.
        assert_eq!(drain(&partition), [0; 0]);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(partition.is_gone());
        assert!(spool.partitions().is_empty());
    }
    assert_eq!((rig.files("seg").len(), rig.files("pos").len()), (0, 0));
    tending.abort();
}

#[tokio::test]
async fn dead_letters_keep_their_reason_and_their_bound() {
    let rig = Rig::new(SpoolOptions { dead_bytes: 200_000, ..SMALL });
    let spool = rig.open();
    for id in 0..60 {
        spool.store("", parcel(id, 10_000)).await.unwrap();
    }
    let partition = spool.partitions().remove(0);
    for stored in partition.take_now(usize::MAX).unwrap() {
        let seq = stored.seq;
        spool.bury(stored, "400: no").await;
        partition.done(seq);
    }
    spool.close().await;
    let dead: u64 = rig.files("seg").iter().filter(|path| path.to_str().unwrap().contains("dead")).count() as u64;
    assert!(dead > 1);
    let offline = Offline::open(rig.folder.path()).unwrap();
    let mut kept = Vec::new();
    let mut keep = |_: &str, stored: Stored| {
        assert_eq!(stored.note, "400: no");
        kept.push(id_of(&stored));
        Ok(())
    };
    offline.read(Kind::DeadLetters, None, &mut keep).unwrap();
    assert_eq!(*kept.last().unwrap(), 59, "the newest are kept");
    let gone: u64 = (0..60).filter(|id| !kept.contains(id)).map(|id| 1 + id % 3).sum();
    assert_eq!(rig.count("weir_queue_dead_letters_dropped_items"), gone);
    assert!(gone > 0 && rig.level("weir_queue_dead_letter_bytes") <= 200_000);
    assert_eq!(rig.count("weir_queue_dead_letter_items"), (0..60).map(|id| 1 + id % 3).sum::<u64>());
}

#[tokio::test]
async fn a_spool_is_seen_from_outside_while_it_is_open_and_emptied_only_when_it_is_not() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    for id in 0..10 {
        spool.store(if id % 2 == 0 { "a" } else { "b" }, parcel(id, 100)).await.unwrap();
    }
    let offline = Offline::open(rig.folder.path()).unwrap();
    let listed: Vec<_> =
        offline.list().unwrap().into_iter().map(|listed| (listed.key, listed.holding.batches)).collect();
    assert_eq!(listed, [("a".to_owned(), 5), ("b".to_owned(), 5)]);
    assert_eq!(offline.verify().unwrap().problems, [""; 0]);
    let refused = offline.purge(Kind::Queue, None).unwrap_err().to_string();
    assert!(refused.ends_with("is in use by another process"), "{refused}");
    spool.close().await;
    drop(spool);
    assert_eq!(offline.purge(Kind::Queue, Some("a")).unwrap().batches, 5);
    assert_eq!(drain_all(&rig.open()), [1, 3, 5, 7, 9]);
    assert!(Offline::open(&rig.folder.path().join("nowhere")).is_err());
}

#[tokio::test]
async fn a_second_agent_is_told_where_the_first_one_is() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    let clock = Clock::system();
    let second = Spool::open(rig.folder.path(), SMALL, &clock, &rig.meters, &rig.health, "otlp").unwrap_err();
    let expected = format!("the queue in {} is in use by another process", rig.folder.path().display());
    assert_eq!(second.to_string(), expected);
    drop(spool);
    rig.open();
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let rig = Rig::new(SMALL);
    let path = rig.folder.path().join("deep/er");
    let clock = Clock::system();
    let spool = Spool::open(&path, SMALL, &clock, &rig.meters, &rig.health, "otlp").unwrap();
    spool.store("", parcel(1, 10)).await.unwrap();
    drain_all(&spool);
    spool.close().await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}
