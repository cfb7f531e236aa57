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
