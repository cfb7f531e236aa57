//! The accept loop's half that touches the socket.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::listener::Lent;

/// The first wait after an error of accept.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// The longest wait after errors of accept, as Go's `net/http` has it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Accepts, and waits after errors. An error of accept never ends a server (RUSTSEC-2024-0376 did that).
#[derive(Debug)]
pub(super) struct Acceptor {
    lent: Lent,
    backoff: Backoff,
}

/// What one attempt gave.
#[derive(Debug)]
pub(super) enum Accepted {
    Stream(TcpStream, SocketAddr),
    /// This process or this machine has no more files: closing something helps.
    NoFiles(Error),
    Error(Error),
}

#[derive(Debug, Default)]
struct Backoff {
    wait: Option<Duration>,
    until: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(lent: Lent) -> Self {
        Self { lent, backoff: Backoff::default() }
    }

    /// The next connection, or what went wrong. Safe to drop: the wait after an error goes on at the next call.
    pub(super) async fn next(&mut self) -> Accepted {
        if let Some(until) = self.backoff.until {
            tokio::time::sleep_until(until).await;
            self.backoff.until = None;
        }
        match self.lent.socket().accept().await {
            Ok((stream, address)) => {
                self.backoff.wait = None;
                Accepted::Stream(stream, address)
            }
            // The client was gone before we came: nothing is wrong on this side.
            Err(error) if is_of_one_connection(&error) => Accepted::Error(error),
            Err(error) => {
                self.backoff.fail(Instant::now());
                // EMFILE and ENFILE; the same numbers on every Unix that tokio knows.
                if matches!(error.raw_os_error(), Some(23 | 24)) {
                    Accepted::NoFiles(error)
                } else {
                    Accepted::Error(error)
                }
            }
        }
    }
}

impl Backoff {
    fn fail(&mut self, now: Instant) {
        let wait = self.wait.map_or(FIRST_WAIT, |wait| (wait * 2).min(LONGEST_WAIT));
        self.wait = Some(wait);
        self.until = Some(now + wait);
    }
}

fn is_of_one_connection(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_after_errors_doubles_up_to_a_second() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let waits = std::array::from_fn(|_| {
            backoff.fail(now);
            backoff.until.unwrap().duration_since(now).as_millis()
        });
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
    }
}
