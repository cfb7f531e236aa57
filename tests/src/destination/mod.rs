//! Where OTLP is pushed to in tests of outages: a server of its own, which shares no code with weir and is ill in every way.

mod grpc;
mod http;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{PATIENCE, within};

/// What the destination does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// Takes it.
    Well,
    /// 503, UNAVAILABLE.
    Unavailable,
    /// The same, and says when to come again.
    UnavailableFor,
    /// Takes it after a while.
    Slow,
    /// 429, RESOURCE_EXHAUSTED, and says when to come again.
    Throttles,
    /// The same, and does not say when.
    Exhausted,
    /// 400, INVALID_ARGUMENT.
    Refuses,
    /// 401, UNAUTHENTICATED.
    Unauthenticated,
    /// Closes the connection instead of an answer.
    BreaksOff,
    /// Begins an answer and breaks it off: the connection of HTTP/1.1, the stream of HTTP/2.
    Resets,
    /// Reads it and never answers.
    Hangs,
    /// Takes it but for one item.
    TakesInPart,
    /// Nobody listens.
    Closed,
}

/// All of them, in the order of their declaration.
pub const MOODS: [Mood; 13] = [
    Mood::Well,
    Mood::Unavailable,
    Mood::UnavailableFor,
    Mood::Slow,
    Mood::Throttles,
    Mood::Exhausted,
    Mood::Refuses,
    Mood::Unauthenticated,
    Mood::BreaksOff,
    Mood::Resets,
    Mood::Hangs,
    Mood::TakesInPart,
    Mood::Closed,
];

/// How [`Mood::Slow`] it is.
const SLOW: Duration = Duration::from_millis(50);

/// The server. It keeps the marks (`<id-NNNNNN>`) of what it took.
#[derive(Debug)]
pub struct Destination {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    mood: AtomicU8,
    took: Mutex<Vec<u64>>,
    /// How many requests met which mood.
    hits: Mutex<[u64; MOODS.len()]>,
}

/// Serves one connection until it ends.
type Serve = fn(TcpStream, &Shared) -> Option<()>;

impl Destination {
    /// One that speaks HTTP/1.1, in protobuf or in JSON as it is spoken to.
    #[must_use]
    pub fn http() -> Self {
        Self::start(http::serve)
    }

    /// One that speaks gRPC in plain text.
    #[must_use]
    pub fn grpc() -> Self {
        Self::start(grpc::serve)
    }

    fn start(serve: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let accepting = shared.clone();
        std::thread::spawn(move || accept(listener, address, &accepting, serve));
        Self { address, shared }
    }

    /// From now on it is in this mood.
    pub fn set(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
        // The try itself wakes the listener, which sees that it is to go.
        within(PATIENCE, "it listens, or does not", || {
            (TcpStream::connect(self.address).is_err() == (mood == Mood::Closed)).then_some(())
        });
    }

    /// The marks of what it took.
    #[must_use]
    pub fn took(&self) -> Vec<u64> {
        lock(&self.shared.took).clone()
    }

    /// How many requests met this mood. None meets [`Mood::Closed`].
    #[must_use]
    pub fn hits(&self, mood: Mood) -> u64 {
        lock(&self.shared.hits)[mood as usize]
    }
}

fn accept(mut listener: TcpListener, address: SocketAddr, shared: &Arc<Shared>, serve: Serve) {
    loop {
        for stream in listener.incoming().map_while(Result::ok) {
            if shared.mood() == Mood::Closed {
                break;
            }
            let shared = shared.clone();
            std::thread::spawn(move || serve(stream, &shared));
        }
        drop(listener);
        while shared.mood() == Mood::Closed {
            std::thread::sleep(Duration::from_millis(1));
        }
        listener = TcpListener::bind(address).expect("its own port");
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        MOODS[usize::from(self.mood.load(Ordering::SeqCst))]
    }

    /// Notes that a request has come, takes what is taken of it, and gives the mood that it met. None when the connection is to end.
    fn meet(&self, body: &[u8]) -> Option<Mood> {
        let mood = self.mood();
        lock(&self.hits)[mood as usize] += u64::from(mood != Mood::Closed);
        if mood == Mood::Slow {
            std::thread::sleep(SLOW);
        }
        if matches!(mood, Mood::Well | Mood::Slow | Mood::TakesInPart) {
            lock(&self.took).extend(marks(body));
        }
        (!matches!(mood, Mood::BreaksOff | Mood::Closed)).then_some(mood)
    }
}

fn marks(body: &[u8]) -> Vec<u64> {
    let starts = body.windows(4).enumerate().filter(|(_, window)| *window == b"<id-");
    let number = |(at, _)| std::str::from_utf8(body.get(at + 4..at + 10)?).ok()?.parse().ok();
    starts.filter_map(number).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
