//! Whatever bytes come: readers give something or refuse it, none panics, and none holds more than its bound.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::sql_query::mysql::bytes::Bytes;
use crate::sql_query::mysql::column::{self, Column};
use crate::sql_query::mysql::error::ServerError;
use crate::sql_query::mysql::greeting::Greeting;
use crate::sql_query::mysql::row::{Cells, Row};
use crate::sql_query::mysql::wire::Wire;
use pipeline::mapping::Record;

/// Changes of what an honest server says: where, and what stands there then.
#[derive(Clone, Debug)]
enum Mutation {
    Set(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Twice,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0..512_usize;
    prop_oneof![
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        at.clone().prop_map(Mutation::Cut),
        (at, vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        Just(Mutation::Twice),
    ]
}

impl Mutation {
    fn change(self, bytes: &mut Vec<u8>) {
        let length = bytes.len().max(1);
        let place = |at: usize| at % length;
        match self {
            Self::Set(at, byte) => {
                let at = place(at);
                bytes.iter_mut().skip(at).take(1).for_each(|there| *there = byte);
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Insert(at, more) => {
                let at = place(at).min(bytes.len());
                bytes.splice(at..at, more);
            }
            Self::Twice => bytes.extend_from_within(..),
        }
    }
}

fn mutated(mut bytes: Vec<u8>, mutations: Vec<Mutation>) -> Vec<u8> {
    mutations.into_iter().for_each(|mutation| mutation.change(&mut bytes));
    bytes
}

/// Bytes of any kind, and those of an honest server with some changes.
fn like(honest: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changed = vec(mutation(), 1..5).prop_map(move |mutations| mutated(honest.clone(), mutations));
    prop_oneof![1 => vec(any::<u8>(), 0..600), 3 => changed]
}

/// All codes of types that a column can have, and some that none has.
fn definitions() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec((any::<u8>(), any::<u16>(), any::<u8>()), 1..20).prop_map(|columns| {
        let one = |(code, flags, decimals): (u8, u16, u8)| {
            let mut body = column(code);
            let at = body.len() - 5;
            let [low, high] = flags.to_le_bytes();
            body[at..at + 3].copy_from_slice(&[low, high, decimals]);
            body
        };
        columns.into_iter().map(one).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn greetings_errors_and_numbers_are_read_or_refused(bytes in like(greeting_of("8.4.3", "caching_sha2_password", true))) {
        if let Ok(greeting) = Greeting::read(&bytes) {
            prop_assert!(greeting.nonce.len() <= bytes.len() && greeting.plugin.len() <= 3 * bytes.len());
        }
        ServerError::parse(&bytes);
        let mut read = Bytes(&bytes);
        while let Ok(taken) = read.counted() {
            prop_assert!(taken.len() < bytes.len());
        }
    }

    #[test]
    fn definitions_of_columns_are_read_or_refused(bytes in like(column(INT)), names in any::<bool>()) {
        Column::read(&bytes, names, &wanting()).ok();
        if let Ok(described) = column::described(&bytes, names) {
            prop_assert!(described.name.len() <= 3 * bytes.len());
        }
    }

    #[test]
    fn rows_of_any_types_are_read_or_refused(definitions in definitions(), bytes in vec(any::<u8>(), 0..300)) {
        let intake = wanting();
        let columns: Vec<_> = definitions.iter().filter_map(|one| Column::read(one, false, &intake).ok()).collect();
        let mut cells = Cells::default();
        if cells.read(&bytes, &columns).is_ok() {
            let row = Row { body: &bytes, cells: &cells };
            (0..columns.len()).for_each(|at| drop(row.cell(at).text()));
        }
    }

    #[test]
    fn packets_are_cut_out_of_any_stream_in_bounded_memory(
        heads in vec((0..0x100_0000_u32, any::<bool>(), vec(any::<u8>(), 0..2_000)), 1..6),
        rows in any::<bool>(),
    ) {
        const MOST: usize = 1 << 16;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            for (sequence, (length, honest, body)) in (0_u8..).zip(&heads) {
                let length = if *honest { u32::try_from(body.len()).unwrap() } else { *length };
                let [low, middle, high, ..] = length.to_le_bytes();
                theirs.write_all(&[low, middle, high, sequence]).await.unwrap();
                theirs.write_all(body).await.unwrap();
            }
            drop(theirs);
            let mut wire = Wire::new(Box::new(ours), MOST);
            // Each packet takes its head at least, so this ends.
            while (if rows { wire.row().await.map(drop) } else { wire.next().await.map(drop) }).is_ok() {}
            assert!(wire.held() <= 4 * MOST, "{} bytes are held", wire.held());
        });
    }
}

proptest! {
    // Each is a conversation on a socket, and some of them end only at the deadline.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whole_conversations_end_with_a_word(at in 0..7_usize, mutations in vec(mutation(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let line = mutated(Lines::honest().0[at].clone(), mutations);
            let read = read_from(Lines::with(at, line), PLAIN, Duration::from_millis(40)).await;
            assert!(read.rows <= 100, "{} rows", read.rows);
            assert!(read.result.err().is_none_or(|error| !error.why.is_empty()));
        });
    }
}
