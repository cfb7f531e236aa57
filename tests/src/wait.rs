//! Waiting for something to become true, never for time to pass.

use std::time::{Duration, Instant};

/// How long a healthy machine may take for anything at all; only a failing test ever waits it out.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`at_best`] tries.
const TRIES: usize = 10;

/// Measures until one measurement is below `limit`: a busy machine makes a wait longer and never shorter, so the shortest of some shows
/// what the program does.
///
/// # Panics
/// When none of ten is, naming `what` was measured.
pub fn at_best(limit: Duration, what: &str, mut measure: impl FnMut() -> Duration) {
    let mut all = Vec::with_capacity(TRIES);
    while all.len() < TRIES {
        let took = measure();
        if took < limit {
            return;
        }
        all.push(took);
    }
    panic!("{what} took {all:?}, and never less than {limit:?}");
}

/// The shortest of ten measurements: what others are held against with [`at_best`], on the same machine in the same minute.
pub fn best(mut measure: impl FnMut() -> Duration) -> Duration {
    (0..TRIES).map(|_| measure()).min().expect("there are tries")
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within `limit`, naming `what` was waited for.
pub fn within<T>(limit: Duration, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = answer() {
            return found;
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
