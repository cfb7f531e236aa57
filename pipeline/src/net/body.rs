//! Bodies of requests: how much, how fast.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use super::deadline::Progress;
use super::response::{BoxError, ResponseBody, text};

/// The slowest body we wait for, in bytes a second; below it a sender costs more than it brings.
const MIN_RATE: u64 = 1_024;
/// How long a body may take before its rate is looked at, so that a pause at its beginning is no crime.
const RATE_GRACE: Duration = Duration::from_secs(2);

/// A request's body, whose reader is told when it is too large or too slow.
pub type RequestBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>;

/// Why a request's body cannot be read to its end. [`BodyError::response`] is the answer for it.
#[derive(Debug)]
pub enum BodyError {
    /// It has more bytes than the server takes.
    TooLarge {
        /// The most it takes.
        limit: u64,
    },
    /// It took longer than the read timeout, or came at less than 1 KiB/s.
    TooSlow,
    /// The connection broke, or the client's framing is wrong.
    Broken(BoxError),
}

/// What a body is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

struct Capped<B> {
    body: B,
    limits: BodyLimits,
    seen: u64,
    /// Since when it is waited for; most bodies are here already, and nobody looks at the time.
    began: Option<Instant>,
    /// The next look at the time; `None` until the body was waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    ended: bool,
    progress: Option<Arc<Progress>>,
}

/// A body that is already whole, for tests of services.
pub fn request_body(bytes: impl Into<Bytes>) -> RequestBody {
    let full = http_body_util::Full::new(bytes.into());
    full.map_err(|never: std::convert::Infallible| match never {}).boxed_unsync()
}

/// Holds a body to its limits, which are those of the bytes on the wire: what unpacks a `Content-Encoding` ([`super::unpack`]) has
/// a cap of its own.
pub(super) fn cap<B>(body: B, limits: BodyLimits, progress: Arc<Progress>) -> RequestBody
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    Capped::new(body, limits, Some(progress)).boxed_unsync()
}

impl BodyError {
    /// 413, 408 or 400.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The answer for it.
    #[must_use]
    pub fn response(&self) -> Response<ResponseBody> {
        match self {
            // What broke is the client's doing and may quote its bytes.
            Self::Broken(_) => text(self.status(), "the request's body is broken"),
            told => text(told.status(), &told.to_string()),
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the request's body has more than {limit} bytes"),
            Self::TooSlow => f.write_str("the request's body comes too slowly"),
            Self::Broken(error) => write!(f, "the request's body is broken: {error}"),
        }
    }
}

impl std::error::Error for BodyError {}

impl<B: Body> Capped<B> {
    fn new(body: B, limits: BodyLimits, progress: Option<Arc<Progress>>) -> Self {
        // A request without a body leaves nothing unread when nobody looks at it.
        let ended = body.is_end_stream();
        Self { body, limits, seen: 0, began: None, alarm: None, ended, progress }
    }

    fn too_large(&self) -> BodyError {
        BodyError::TooLarge { limit: self.limits.bytes }
    }

    /// Whether the body has taken too long; if not, comes back when that must be looked at again.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = Instant::now();
            let began = *self.began.get_or_insert(now);
            let end = began + self.limits.time;
            // The bytes so far buy this much time.
            let bought = Duration::from_millis(self.seen.saturating_mul(1_000) / MIN_RATE);
            let due = end.min(began + RATE_GRACE + bought.min(self.limits.time));
            if due <= now {
                return Poll::Ready(());
            }
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if alarm.deadline() != due {
                alarm.as_mut().reset(due);
            }
            ready!(alarm.as_mut().poll(cx));
        }
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Whoever asks again is told that this is the end; the connection lingers for what is still on its way.
        self.ended = true;
        if let Some(progress) = &self.progress {
            progress.left_unread();
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Body for Capped<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        // The declared length, before a byte of it is read.
        if this.body.size_hint().lower() > this.limits.bytes - this.seen {
            let error = this.too_large();
            return this.fail(error);
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.poll_too_slow(cx));
            return this.fail(BodyError::TooSlow);
        };
        match frame {
            None => {
                this.ended = true;
                Poll::Ready(None)
            }
            Some(Err(error)) => this.fail(BodyError::Broken(error.into())),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if bytes > this.limits.bytes - this.seen {
                    let error = this.too_large();
                    return this.fail(error);
                }
                this.seen += bytes;
                if this.began.is_some_and(|began| began.elapsed() > this.limits.time) {
                    return this.fail(BodyError::TooSlow);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Capped<B> {
    fn drop(&mut self) {
        if let (false, Some(progress)) = (self.ended, &self.progress) {
            progress.left_unread();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    fn limits(bytes: u64) -> BodyLimits {
        BodyLimits { bytes, time: Duration::from_secs(10) }
    }

    fn pieces(
        pieces: Vec<&'static str>,
        every: Duration,
    ) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send {
        let pieces = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
            let piece = pieces.next()?;
            tokio::time::sleep(every).await;
            Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), pieces))
        });
        StreamBody::new(Box::pin(pieces))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_within_its_limits_arrives_whole() {
        let body = Capped::new(pieces(vec!["abc", "", "def"], Duration::from_millis(400)), limits(6), None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdef");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_refused_at_the_first_byte_too_many() {
        let body = Capped::new(pieces(vec!["abc", "def", "g"], Duration::ZERO), limits(6), None);
        let error = body.collect().await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.to_string().contains("more than 6 bytes")), (413, true));
    }

    #[tokio::test]
    async fn a_declared_length_is_refused_before_a_byte_is_read() {
        let full = http_body_util::Full::new(Bytes::from_static(b"1234567"));
        let error = Capped::new(full, limits(6), None).frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { limit: 6 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_too_slow_before_its_time_is_over() {
        let began = Instant::now();
        let body = Capped::new(pieces(vec!["x"; 100], Duration::from_millis(500)), limits(1_000), None);
        assert_eq!(body.collect().await.unwrap_err().status().as_u16(), 408);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_too_slow_when_its_time_is_over() {
        const PIECE: &str = match std::str::from_utf8(&[b'x'; 2_048]) {
            Ok(piece) => piece,
            Err(_) => "",
        };
        let body = Capped::new(pieces(vec![PIECE; 100], Duration::from_millis(500)), limits(1 << 20), None);
        let began = Instant::now();
        assert_eq!(body.collect().await.unwrap_err().status().as_u16(), 408);
        assert_eq!(began.elapsed().as_secs(), 10);
    }
}
