//! Bodies whole, cut, lying and swollen.

use std::io::Read as _;

use proptest::prelude::*;

use super::*;
use crate::Budget;

fn pack(coding: Coding, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    match coding {
        Coding::Identity => packed.extend_from_slice(plain),
        Coding::Gzip => {
            let fast = flate2::Compression::fast();
            flate2::read::GzEncoder::new(plain, fast).read_to_end(&mut packed).map(|_| ()).unwrap();
        }
        Coding::Deflate => {
            let fast = flate2::Compression::fast();
            flate2::read::ZlibEncoder::new(plain, fast).read_to_end(&mut packed).map(|_| ()).unwrap();
        }
        Coding::Zstd => packed = zstd::encode_all(plain, 1).unwrap(),
    }
    packed
}

fn unpack(coding: Coding, packed: &[u8], piece: usize, limit: usize) -> Result<Vec<u8>, Unpackable> {
    let budget = Budget::new(1 << 30);
    let mut unpacker = Unpacker::new(coding, limit, budget.take(0).unwrap(), None);
    packed.chunks(piece).try_for_each(|piece| unpacker.push(piece))?;
    let (bytes, permit) = unpacker.finish()?;
    assert!(budget.used() >= bytes.len(), "what is held is budgeted");
    drop(permit);
    assert_eq!(budget.used(), 0);
    Ok(bytes)
}

const ALL: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Zstd];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_comes_out_however_it_is_cut(word: Vec<u8>, times in 0_usize..20_000, piece in 1_usize..5_000) {
        let plain: Vec<u8> = word.iter().copied().cycle().take(if word.is_empty() { 0 } else { times }).collect();
        for coding in ALL {
            let packed = pack(coding, &plain);
            let unpacked = unpack(coding, &packed, piece, plain.len());
            prop_assert_eq!(unpacked.as_ref(), Ok(&plain), "{:?}", coding);
            if let (true, Some(shorter)) = (coding != Coding::Identity, packed.len().checked_sub(1)) {
                unpack(coding, &packed[..shorter], piece, plain.len()).expect_err("cut short");
            }
            if let Some(less) = plain.len().checked_sub(1) {
                let refused = unpack(coding, &packed, piece, less);
                prop_assert_eq!(refused, Err(Unpackable::TooLarge { limit: less }), "{:?}", coding);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, at: prop::sample::Index) {
        for coding in ALL {
            unpack(coding, &bytes, 7, 1_000).ok();
            let mut packed = pack(coding, b"weir weir weir weir");
            let at = at.index(packed.len());
            packed[at] ^= bytes.first().copied().unwrap_or(1);
            unpack(coding, &packed, 3, 1_000).ok();
        }
    }
}

#[test]
fn members_and_frames_may_follow_each_other() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let packed = [pack(coding, b"one "), pack(coding, b"two")].concat();
        assert_eq!(unpack(coding, &packed, 5, 100).unwrap(), b"one two");
    }
}

#[test]
fn a_bomb_is_refused_when_its_cap_is_met_and_costs_no_more() {
    let plain = vec![0; 8 << 20];
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let packed = pack(coding, &plain);
        assert!(packed.len() * 100 < plain.len(), "{coding:?}: {} bytes", packed.len());
        let budget = Budget::new(1 << 30);
        let mut unpacker = Unpacker::new(coding, 1 << 20, budget.take(0).unwrap(), None);
        let refused = packed.chunks(16 << 10).try_for_each(|piece| unpacker.push(piece));
        assert_eq!(refused, Err(Unpackable::TooLarge { limit: 1 << 20 }));
        assert!(budget.used() <= (1 << 20) + 1, "{coding:?} holds {}", budget.used());
    }
}

#[test]
fn without_memory_it_is_busy() {
    let budget = Budget::new(1_000);
    let _held = budget.take(990).unwrap();
    for coding in ALL {
        let mut unpacker = Unpacker::new(coding, 1 << 20, budget.take(0).unwrap(), None);
        let packed = pack(coding, &[7; 100_000]);
        let pushed = packed.chunks(4_096).try_for_each(|piece| unpacker.push(piece));
        let refused = pushed.and_then(|()| unpacker.finish().map(|_| ()));
        assert!(matches!(refused, Err(Unpackable::Busy(_))), "{coding:?}: {refused:?}");
    }
}

#[test]
fn a_window_that_would_take_128_mib_is_refused() {
    // A frame's head: magic, no checksum, no content size, and a window of 2^27.
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x01, 0x00, 0x00];
    assert_eq!(unpack(Coding::Zstd, &head, 100, 1 << 20), Err(Unpackable::Broken));
}

const MIB: usize = 1 << 20;

#[test]
fn a_bomb_under_a_large_cap_is_counted_and_takes_little_memory() {
    let plain = vec![0; 17 * MIB];
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let packed = pack(coding, &plain);
        for piece in [1_000, packed.len()] {
            let (budget, mut most) = (Budget::new(1 << 30), 0);
            let mut unpacker = Unpacker::new(coding, 16 * MIB, budget.take(0).unwrap(), None);
            let refused = packed.chunks(piece).try_for_each(|piece| {
                let pushed = unpacker.push(piece);
                most = most.max(budget.used());
                pushed
            });
            assert_eq!(refused, Err(Unpackable::TooLarge { limit: 16 * MIB }), "{coding:?}");
            assert!(most < 10 * MIB, "{coding:?} in pieces of {piece} holds {most}");
        }
    }
}

#[test]
fn what_looks_like_a_bomb_and_is_none_comes_out_whole() {
    let zeros = vec![0; 5 * MIB];
    let noise: Vec<u8> = (0..MIB as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    // It stays suspect to its end; it is cleared on the way; it is that only later.
    for plain in [zeros.clone(), [&zeros[..], &noise].concat(), [&noise[..], &zeros].concat()] {
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let packed = pack(coding, &plain);
            let unpacked = unpack(coding, &packed, 5_000, 64 * MIB).unwrap();
            assert!(unpacked == plain, "{coding:?}");
            unpack(coding, &packed[..packed.len() - 1], 5_000, 64 * MIB).expect_err("cut short");
            let refused = unpack(coding, &packed, 5_000, plain.len() - 1);
            assert_eq!(refused, Err(Unpackable::TooLarge { limit: plain.len() - 1 }));
        }
    }
}

#[test]
fn a_frame_that_says_more_than_the_cap_is_refused_at_once() {
    let packed = zstd::bulk::compress(&vec![0; 8 * MIB], 1).unwrap();
    let budget = Budget::new(1 << 30);
    let mut unpacker = Unpacker::new(Coding::Zstd, MIB, budget.take(0).unwrap(), None);
    assert_eq!(unpacker.push(&packed[..20]), Err(Unpackable::TooLarge { limit: MIB }));
    assert_eq!(budget.used(), 0);
}
