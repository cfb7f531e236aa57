//! What a connection is doing, and how long it may go on doing that.
//!
//! hyper's own timers begin after the protocol is known and see neither a slow reader nor the difference between an idle
//! connection and a slow head (hyperium/hyper#3756). So the stream, the requests and the bodies of a connection note in one
//! [`Progress`] what happens, and [`Progress::overdue`] ends when one of them took too long.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::counts::Closed;
use super::limits::Timeouts;
use super::response::{BoxError, ResponseBody};

/// How long, and how much, we go on reading after our last word when the client may still be sending. Without it the kernel
/// answers what is on its way with a reset, and the client never sees the 413 or 431.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;

/// One connection's doings, shared by its stream, its requests and its watch.
#[derive(Debug)]
pub(super) struct Progress {
    timeouts: Timeouts,
    /// Never held over an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether a whole head has come on this connection.
    greeted: bool,
    /// Heads of HTTP/2 stand between other frames, so bytes alone do not begin one.
    multiplexed: bool,
    running: usize,
    /// Since when nothing runs: the beginning, the end of the last request, or the last written byte.
    quiet_since: Instant,
    /// When the first byte after the last request came.
    head_since: Option<Instant>,
    /// Since when the socket takes nothing.
    stalled_since: Option<Instant>,
    /// Since when, for each answer, a piece waits for the client to take it.
    handed: Vec<(u64, Instant)>,
    next_answer: u64,
    read_any: bool,
    /// Whether a request was answered before its body had come.
    unread: bool,
    lingers_since: Option<Instant>,
}

/// A stream that notes its reads and writes, and reads on for a while when it is closed early.
#[derive(Debug)]
pub(super) struct Tracked<S> {
    stream: S,
    progress: Arc<Progress>,
    stalled: bool,
    lingered: usize,
}

/// One request, from its whole head to the end of its answer.
#[derive(Debug)]
pub(super) struct Running {
    progress: Arc<Progress>,
    id: u64,
}

/// The body of an answer, which notes whether the client takes it.
#[derive(Debug)]
pub(super) struct Answer {
    body: ResponseBody,
    running: Running,
}

impl Progress {
    /// A connection whose first head is waited for since `began`.
    pub(super) fn new(timeouts: Timeouts, began: Instant) -> Arc<Self> {
        let state = State {
            greeted: false,
            multiplexed: false,
            running: 0,
            quiet_since: began,
            head_since: None,
            stalled_since: None,
            handed: Vec::new(),
            next_answer: 0,
            read_any: false,
            unread: false,
            lingers_since: None,
        };
        Arc::new(Self { timeouts, state: Mutex::new(state) })
    }

    /// A head is complete.
    pub(super) fn begin(self: &Arc<Self>, multiplexed: bool) -> Running {
        let mut state = self.state();
        state.greeted = true;
        state.multiplexed = multiplexed;
        state.running += 1;
        state.head_since = None;
        let id = state.next_answer;
        state.next_answer += 1;
        Running { progress: self.clone(), id }
    }

    /// Whether no whole head has come yet.
    pub(super) fn is_half_open(&self) -> bool {
        !self.state().greeted
    }

    /// Whether no request runs.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.running == 0 && state.stalled_since.is_none()
    }

    /// A request's body was dropped before its end.
    pub(super) fn left_unread(&self) {
        self.state().unread = true;
    }

    /// Ends when the connection has taken too long over something, and says over what; `None` when it was closed already and
    /// only lingered. Safe to drop and to call again.
    pub(super) async fn overdue(&self) -> Option<Closed> {
        // Deadlines move earlier without notice (an idle connection sends its first byte), so this looks again after a part of
        // the shortest one. A wake-up a second per connection is the price, and no lock or notification per byte.
        let Timeouts { read_header_timeout, write_timeout, idle_timeout, .. } = self.timeouts;
        let shortest = read_header_timeout.min(write_timeout).min(idle_timeout);
        let nap = (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1));
        loop {
            let now = Instant::now();
            let next = now + nap;
            let until = match self.state().deadline(&self.timeouts) {
                Some((deadline, why)) if deadline <= now => return why,
                Some((deadline, _)) => deadline.min(next),
                None => next,
            };
            tokio::time::sleep_until(until).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next deadline and what it means to miss it.
    fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Option<Closed>)> {
        if let Some(since) = self.lingers_since {
            return Some((since + LINGER, None));
        }
        let handed = self.handed.iter().map(|(_, since)| *since);
        let write = handed.chain(self.stalled_since).min().map(|since| (since + timeouts.write_timeout, Closed::Write));
        let quiet = (self.running == 0).then(|| match self.head_since {
            _ if !self.greeted => (self.quiet_since + timeouts.read_header_timeout, Closed::Head),
            Some(since) => (since + timeouts.read_header_timeout, Closed::Head),
            None => (self.quiet_since + timeouts.idle_timeout, Closed::Idle),
        });
        let first = write.into_iter().chain(quiet).min_by_key(|(deadline, _)| *deadline);
        first.map(|(deadline, why)| (deadline, Some(why)))
    }

    /// Whether the client may still be sending what nobody will read.
    fn may_be_talking(&self) -> bool {
        self.unread || self.head_since.is_some() || (!self.greeted && self.read_any)
    }
}

impl<S> Tracked<S> {
    pub(super) fn new(stream: S, progress: Arc<Progress>) -> Self {
        Self { stream, progress, stalled: false, lingered: 0 }
    }

    fn note_read(&self) {
        let mut state = self.progress.state();
        state.read_any = true;
        if state.greeted && !state.multiplexed && state.running == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn note_write<T>(&mut self, done: &Poll<io::Result<T>>) {
        match done {
            Poll::Pending if self.stalled => {}
            Poll::Pending => {
                self.stalled = true;
                self.progress.state().stalled_since = Some(Instant::now());
            }
            Poll::Ready(_) => {
                self.stalled = false;
                let mut state = self.progress.state();
                let now = Instant::now();
                state.stalled_since = None;
                state.quiet_since = now;
                if !state.multiplexed {
                    // A large piece on a thin line takes long and yet moves. Over HTTP/2 the bytes may be another answer's.
                    state.handed.iter_mut().for_each(|(_, since)| *since = now);
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.note_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(&done);
        done
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.note_write(&done);
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let done = Pin::new(&mut this.stream).poll_flush(cx);
        // A flush of nothing is no progress and no stall; TLS flushes what a write has buffered.
        if done.is_pending() || this.stalled {
            this.note_write(&done);
        }
        done
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.progress.state().lingers_since.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            let mut state = this.progress.state();
            if !state.may_be_talking() {
                return Poll::Ready(Ok(()));
            }
            state.lingers_since = Some(Instant::now());
        }
        let mut scratch = [0; 4_096];
        while this.lingered < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => this.lingered += buf.filled().len(),
                // The client has ended, or is gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Running {
    /// Follows the answer's body to its end.
    pub(super) fn answer(self, body: ResponseBody) -> Answer {
        Answer { body, running: self }
    }

    /// A piece of the answer waits for the client, or none does.
    fn note_handed(&self, waits: bool) {
        let mut state = self.progress.state();
        state.handed.retain(|(id, _)| *id != self.id);
        if waits {
            state.handed.push((self.id, Instant::now()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.progress.state();
        state.handed.retain(|(id, _)| *id != self.id);
        state.running -= 1;
        state.quiet_since = Instant::now();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // To be asked for more means that the client took what it was given.
        this.running.note_handed(false);
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            this.running.note_handed(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
