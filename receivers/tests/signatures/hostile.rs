//! What strangers may send: requests that are stored in `corpus/`, and requests that are spoilt at random. None is believed, nothing
//! panics, and the door stays open.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;

use super::{Door, requests, root, wire};

/// How long an answer may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for one that may never come.
const SOON: Duration = Duration::from_millis(100);
/// Requests that are spoilt at random.
const SPOILT: u32 = 600;

/// Sends bytes on a connection of their own. Gives the answer, or what there is of it when nothing more has come for so long: a
/// spoilt length makes the server wait for what never comes.
fn answer(address: SocketAddr, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(address).expect("weir listens");
    stream.set_read_timeout(Some(patience)).expect("it is not zero");
    // A server that has seen enough may hang up while we still send.
    stream.write_all(bytes).ok();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !is_whole(&answer) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(more) => answer.extend_from_slice(&buffer[..more]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether a head and as much of a body as it promises is there.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|at| at == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    length.is_some_and(|length: usize| answer.len() >= head + 4 + length)
}

/// Whether anything of what was sent was believed.
fn believed(answer: &str) -> bool {
    answer.lines().any(|line| line.trim_end().ends_with("ok") && !line.starts_with("HTTP/"))
}

/// The oracle's requests of one case, as they go over the wire, with their schemes.
fn cases(name: &str) -> Vec<(String, Vec<u8>)> {
    let all = requests().into_iter().filter(|request| request["case"] == name && request["body"] != 4);
    all.map(|request| (request["scheme"].as_str().expect("text").to_owned(), wire(&request))).collect()
}

/// A way to spoil a request.
#[derive(Clone, Debug)]
enum Spoil {
    Flip(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
    Insert(Index, Vec<u8>),
}

impl Spoil {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let place = |index: &Index, bytes: &[u8]| index.index(bytes.len() + 1);
        let range = |one: &Index, other: &Index, bytes: &[u8]| {
            let (one, other) = (place(one, bytes), place(other, bytes));
            one.min(other)..one.max(other)
        };
        match self {
            Self::Flip(at, bits) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Flip(..) => {}
            Self::Cut(from, to) => {
                let range = range(from, to, bytes);
                bytes.drain(range);
            }
            Self::Repeat(from, to) => {
                let range = range(from, to, bytes);
                let (end, piece) = (range.end, bytes[range].to_vec());
                bytes.splice(end..end, piece);
            }
            Self::Insert(at, more) => {
                let at = place(at, bytes);
                bytes.splice(at..at, more.iter().copied());
            }
        }
    }
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        4 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, bits)| Spoil::Flip(at, bits)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Spoil::Cut(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Spoil::Repeat(from, to)),
        2 => (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, more)| Spoil::Insert(at, more)),
    ]
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) })
}

#[test]
fn nothing_of_the_corpus_is_believed_and_the_door_stays_open() {
    let door = Door::open();
    let good = cases("as_signed");
    let mut files = 0;
    for file in std::fs::read_dir(root().join("receivers/tests/signatures/corpus")).expect("it is there") {
        let file = file.expect("it can be read");
        let answer = answer(door.address, &std::fs::read(file.path()).expect("it can be read"), SOON);
        assert!(!believed(&answer), "{:?}: {answer}", file.file_name());
        files += 1;
    }
    assert!(files >= 30, "{files} files");
    for (scheme, request) in good {
        assert!(believed(&answer(door.address, &request, PATIENCE)), "{scheme} afterwards");
    }
    door.close();
}

#[test]
fn a_request_without_the_key_is_never_believed_however_it_is_spoilt() {
    let door = Door::open();
    let forged = cases("other_key");
    let spoilt = (any::<Index>(), vec(spoil(), 1..4));
    let verdicts = AtomicUsize::new(0);
    let run = runner(SPOILT).run(&spoilt, |(which, spoils)| {
        let mut bytes = which.get(&forged).1.clone();
        spoils.iter().for_each(|spoil| spoil.apply(&mut bytes));
        let answer = answer(door.address, &bytes, SOON);
        prop_assert!(!believed(&answer), "{}\n{answer}", String::from_utf8_lossy(&bytes));
        verdicts.fetch_add(usize::from(answer.starts_with("HTTP/1.1 200")), Ordering::Relaxed);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    // Most are spoilt in their bodies and signatures, and reach the verifier.
    assert!(verdicts.load(Ordering::Relaxed) >= SPOILT as usize / 4, "only {verdicts:?} were looked at");
    door.close();
}

#[test]
fn a_signed_request_is_never_believed_with_another_body() {
    let door = Door::open();
    let signed: Vec<_> = cases("as_signed").into_iter().filter(|(scheme, _)| scheme != "token").collect();
    let spoilt = (any::<Index>(), any::<Index>(), 1..=u8::MAX);
    let run = runner(500).run(&spoilt, |(which, at, bits)| {
        let mut bytes = which.get(&signed).1.clone();
        let head = bytes.windows(4).position(|at| at == b"\r\n\r\n").expect("there is a head") + 4;
        let at = head + at.index(bytes.len() - head);
        bytes[at] ^= bits;
        let answer = answer(door.address, &bytes, PATIENCE);
        prop_assert!(answer.contains("bad"), "byte {at}: {answer}");
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    door.close();
}
