//! Damage costs what it hits, is told, and never keeps a spool from opening.

use super::*;

/// One segment with parcels of about 1 KiB; gives the segment's path.
fn segment(rig: &Rig, parcels: u64) -> PathBuf {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let spool = rig.open();
        for id in 0..parcels {
            spool.store("", parcel(id, 1000)).await.unwrap();
        }
        spool.close().await;
    });
    rig.files("seg").remove(0)
}

fn store(spool: &Spool, parcel: Parcel) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        spool.store("", parcel).await.unwrap();
        spool.close().await;
    });
}

fn without(all: u64, missing: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let missing: Vec<_> = missing.into_iter().collect();
    (0..all).filter(|id| !missing.contains(id)).collect()
}

/// What a spool gives whose one segment has these bytes, and how many damaged places it counts.
fn replay(rig: &Rig, path: &Path, bytes: &[u8]) -> (Vec<u64>, u64) {
    for extension in ["seg", "pos", "damaged"] {
        rig.files(extension).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    }
    std::fs::write(path, bytes).unwrap();
    let before = rig.count("weir_queue_damaged");
    let spool = rig.open();
    let ids = drain_all(&spool);
    (ids, rig.count("weir_queue_damaged") - before)
}

const PARCELS: u64 = 62;
const FRAME: usize = frame::HEAD + 1000;
const HEADER: usize = 14;

#[test]
fn every_flipped_byte_of_a_segment_of_64_kib_costs_one_parcel_at_most_and_is_told() {
    let rig = Rig::new(SMALL);
    let path = segment(&rig, PARCELS);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len(), HEADER + FRAME * PARCELS as usize);
    assert!((64_000..70_000).contains(&bytes.len()));
    // The header, every byte of three heads, and every 389th byte: `WEIR_TEST_FLIP_STEP=1` for all of them.
    let step = cut_step();
    let head = |nth: usize| HEADER + nth * FRAME..HEADER + nth * FRAME + frame::HEAD;
    let heads = [head(0), head(30), head(PARCELS as usize - 1)];
    let mut flips = 0;
    for at in 0..bytes.len() {
        if at >= HEADER && at % step != 0 && !heads.iter().any(|head| head.contains(&at)) {
            continue;
        }
        flips += 1;
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let (ids, told) = replay(&rig, &path, &damaged);
        if at < HEADER {
            assert_eq!((ids, told), (without(PARCELS, []), 1), "byte {at}: in the header, which no parcel needs");
            continue;
        }
        let hit = ((at - HEADER) / FRAME) as u64;
        assert_eq!(ids, without(PARCELS, [hit]), "byte {at}");
        // The last parcel might never have been answered for: nothing was written after it.
        assert_eq!(told, u64::from(hit != PARCELS - 1), "byte {at}");
        let aside = rig.files("damaged");
        assert_eq!(aside.len() as u64, told);
        if let Some(aside) = aside.first() {
            let from = HEADER + hit as usize * FRAME;
            assert_eq!(std::fs::read(aside).unwrap(), damaged[from..from + FRAME], "the damaged bytes are kept");
        }
    }
    assert!(flips > 250, "{flips}");
}

#[test]
fn a_segment_cut_off_anywhere_gives_all_that_is_whole_and_is_no_damage() {
    let rig = Rig::new(SMALL);
    let path = segment(&rig, PARCELS);
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len()).filter(|at| at % cut_step() == 0 || *at < 2 * frame::HEAD) {
        let (ids, told) = replay(&rig, &path, &bytes[..length]);
        let whole = (length.saturating_sub(HEADER) / FRAME) as u64;
        assert_eq!((ids, told), (without(whole, []), 0), "cut at {length}");
    }
}

/// `WEIR_TEST_FLIP_STEP=1` for every length.
fn cut_step() -> usize {
    std::env::var("WEIR_TEST_FLIP_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(389)
}

/// A crash leaves any sectors of what was being written: here the heads of the last parcels, and not all of their bodies.
#[test]
fn the_number_of_a_parcel_that_a_crash_tore_is_given_to_no_other() {
    for torn in 1..4 {
        let rig = Rig::new(SMALL);
        let path = segment(&rig, 9);
        let mut bytes = std::fs::read(&path).unwrap();
        // As one group would have written them: nothing says that the first of them was on disk before the last.
        let from = HEADER + (9 - torn) * FRAME;
        for nth in 0..torn {
            let at = from + nth * FRAME;
            let head = frame::Head::parse(bytes[at..].first_chunk().unwrap()).unwrap();
            let mut again = Vec::new();
            frame::Head { sure: from as u32, ..head }.put(&mut again);
            bytes[at..at + frame::HEAD].copy_from_slice(&again);
            bytes[at + FRAME - 1] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        rig.files("pos").iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let kept: Vec<u64> = (0..9 - torn as u64).collect();
        for start in 0..4 {
            let later: Vec<u64> = (100..100 + 2 * start).collect();
            let outside = Offline::open(rig.folder.path()).unwrap();
            let mut seen = Vec::new();
            let mut see = |_: &str, stored: Stored| {
                seen.push(id_of(&stored));
                Ok(())
            };
            outside.read(Kind::Queue, None, &mut see).unwrap();
            assert_eq!(seen, [&kept[..], &later].concat(), "{torn} torn, start {start}, from outside");
            let spool = rig.open();
            let next = 100 + 2 * start;
            (next..next + 2).for_each(|id| store(&spool, parcel(id, 300)));
        }
        assert_eq!(drain_all(&rig.open()), [&kept[..], &(100..108).collect::<Vec<_>>()].concat(), "{torn} torn");
        assert_eq!(rig.count("weir_queue_damaged"), 0);
    }
}

#[test]
fn a_new_file_whose_beginning_a_crash_tore_is_no_damage() {
    let rig = Rig::new(SMALL);
    let spool = rig.open();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // One group: nothing was on disk before any of it.
    runtime.block_on(async {
        let (one, two, three) = tokio::join!(
            spool.store("", parcel(0, 1000)),
            spool.store("", parcel(1, 1000)),
            spool.store("", parcel(2, 1000))
        );
        [one, two, three].into_iter().for_each(|stored| stored.unwrap());
        spool.close().await;
    });
    drop(spool);
    assert_eq!(rig.count("weir_queue_commits"), 1);
    let path = rig.files("seg").remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..512].fill(0);
    assert_eq!(replay(&rig, &path, &bytes), (vec![1, 2], 0));
}

#[test]
fn zeros_and_noise_behind_the_end_are_a_torn_write_and_no_damage() {
    let rig = Rig::new(SMALL);
    let path = segment(&rig, 3);
    let bytes = std::fs::read(&path).unwrap();
    for tail in [vec![0; 100_000], vec![0xf7; 5000], frame::MARKER.repeat(5000), bytes[HEADER..HEADER + 700].to_vec()] {
        let (ids, told) = replay(&rig, &path, &[bytes.clone(), tail].concat());
        assert_eq!((ids, told), (vec![0, 1, 2], 0));
    }
}

#[test]
fn files_that_are_swapped_missing_or_strange_cost_what_is_in_them() {
    let rig = Rig::new(SMALL);
    segment(&rig, 150);
    let files = rig.files("seg");
    assert_eq!(files.len(), 3, "segments have 64 KiB");
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::write(rig.folder.path().join("main-x.seg"), "strange").unwrap();
    std::fs::write(rig.folder.path().join("main.pos"), "damaged position").unwrap();
    std::fs::write(rig.folder.path().join("what-00000000000000000001.seg"), "no segment").unwrap();
    let spool = rig.open();
    let ids = drain_all(&spool);
    assert!(ids.len() > 50 && ids.len() < 100, "{}", ids.len());
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "in order");
}

#[test]
fn a_segment_that_the_disk_does_not_give_is_left_behind() {
    let rig = Rig::new(SMALL);
    segment(&rig, 150);
    let spool = rig.open();
    let partition = spool.partitions().remove(0);
    std::fs::remove_file(&rig.files("seg")[0]).unwrap();
    assert!(partition.take_now(1).is_err());
    partition.give_up_segment();
    let ids = drain(&partition);
    assert_eq!((ids[0], *ids.last().unwrap()), (63, 149));
    assert_eq!(rig.count("weir_queue_damaged"), 1);
    assert_eq!(rig.count("weir_queue_damaged_items"), (0..63).map(|id| 1 + id % 3).sum::<u64>());
    assert_eq!(partition.fill().batches, 0);
}
