//! One connection, from its acceptance to its end.

use std::convert::Infallible;
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::again::Again;
use super::body::{BodyLimits, cap};
use super::counts::Closed;
use super::deadline::{Answer, Progress, Tracked};
use super::gates::Certificate;
use super::response::{ResponseBody, text};
use super::roster::Seat;
use super::server::{House, Peer};
use super::streams::{Begun, Together};
use crate::stop::Stop;

/// The largest head of a request, all headers and the request line; 431 past it.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// The most headers of a request; 431 past it.
const MAX_HEADERS: usize = 100;
/// How long an idle HTTP/2 client may take to hear that the connection ends.
const FAREWELL: Duration = Duration::from_millis(250);

/// One connection, before anybody speaks HTTP on it.
struct Guest {
    peer: Peer,
    seat: Seat,
    stop: Stop,
}

/// One connection, as its requests see it.
struct Visit {
    house: Arc<House>,
    seat: Seat,
    peer: Peer,
    progress: Arc<Progress>,
}

impl House {
    /// One connection from its acceptance to its end.
    pub(super) async fn visit(self: Arc<Self>, stream: TcpStream, address: SocketAddr, seat: Seat, mut stop: Stop) {
        let began = Instant::now();
        let (patience, late) = match self.tls {
            Some(_) => (self.timeouts.tls_handshake, Closed::TlsTimeout),
            None => (self.timeouts.read_header_timeout, Closed::Head),
        };
        // Until its first byte a connection costs a socket and a few hundred bytes: the state of TLS and HTTP, some 10 KiB, is
        // made only then.
        tokio::select! {
            readable = stream.readable() => if readable.is_err() { return },
            () = tokio::time::sleep_until(began + patience) => return seat.counts().closed(late),
            () = stop.requested() => return,
        }
        // Answers are written whole; waiting for more to send only delays the last piece.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        let guest = Guest { peer: Peer::new(address), seat, stop };
        match &self.tls {
            Some(tls) => Box::pin(self.shake_hands(tls.acceptor(), stream, guest, began + patience)).await,
            None => Box::pin(self.converse(stream, guest, began)).await,
        }
    }

    async fn shake_hands(self: &Arc<Self>, tls: TlsAcceptor, stream: TcpStream, mut guest: Guest, until: Instant) {
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(until, tls.accept(stream)) => shaken,
            () = guest.stop.requested() => return,
        };
        match shaken {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                guest.peer.certificate = chain.and_then(<[_]>::first).map(Certificate::new);
                self.converse(stream, guest, Instant::now()).await;
            }
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake");
                guest.seat.counts().closed(Closed::Tls);
            }
            Err(_) => guest.seat.counts().closed(Closed::TlsTimeout),
        }
    }

    /// Speaks HTTP on one connection to its end. The first head is waited for since `began`.
    async fn converse<S>(self: &Arc<Self>, stream: S, guest: Guest, began: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Guest { peer, seat, mut stop } = guest;
        let progress = Progress::new(self.timeouts, began);
        let io = TokioIo::new(Tracked::new(stream, progress.clone()));
        let age = self.age(seat.id());
        let visit = Arc::new(Visit { house: self.clone(), seat, peer, progress: progress.clone() });
        let requests = {
            let visit = visit.clone();
            service_fn(move |request| visit.clone().answer(request))
        };
        let begun = Begun::default();
        let builder = builder(begun.clone(), self.finishes);
        let mut connection = Again::new(Together::new(builder.serve_connection(io, requests), begun));
        let end = async {
            tokio::select! {
                why = progress.overdue() => Some(why),
                () = tokio::time::sleep(age) => None,
                () = stop.requested() => None,
            }
        };
        // A set polls only what was woken: these are not looked at with each step of the connection.
        let mut ends = FuturesUnordered::from_iter([end]);
        tokio::select! {
            end = &mut connection => return told(end),
            Some(end) = ends.next() => if let Some(why) = end { return visit.closed(why) },
        }
        if progress.is_half_open() {
            return visit.closed(Some(Closed::Drain));
        }
        connection.inner().connection().graceful_shutdown();
        // An idle HTTP/2 connection only waits for its client to hear that it is over.
        let drain = if progress.is_idle() { self.timeouts.drain.min(FAREWELL) } else { self.timeouts.drain };
        tokio::select! {
            end = &mut connection => told(end),
            why = progress.overdue() => visit.closed(why),
            () = tokio::time::sleep(drain) => visit.closed(Some(Closed::Drain)),
        }
    }

    /// How old this connection may become.
    fn age(&self, id: u64) -> Duration {
        let permille = u32::try_from(self.ages.hash_one(id) % 100).unwrap_or(0);
        self.timeouts.connection_age * (1_000 - permille) / 1_000
    }
}

impl Visit {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let running = self.progress.begin(request.version() == Version::HTTP_2);
        if !self.seat.settle() {
            return Ok(too_many(request.version()).map(|body| running.answer(body)));
        }
        let limits = BodyLimits { bytes: self.house.max_body, time: self.house.timeouts.read_timeout };
        let request = request.map(|body| cap(body, limits, self.progress.clone()));
        let answer = AssertUnwindSafe(self.house.service.answer(request, Some(&self.peer))).catch_unwind().await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Err(_) => {
                // The panic hook has told where.
                self.seat.counts().panics.add(1);
                text(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
            }
        };
        Ok(response.map(|body| running.answer(body)))
    }

    fn closed(&self, why: Option<Closed>) {
        if let Some(why) = why {
            self.seat.counts().closed(why);
        }
    }
}

/// The answer for a connection that was let in on trial while its address had all it may have.
fn too_many(version: Version) -> Response<ResponseBody> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many connections from this address");
    if version != Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Clients that break off or speak nonsense are everyday life.
fn told(end: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = end {
        debug!(error, "connection ended");
    }
}

/// The limits of both protocols. Without a timer hyper's own deadlines are silently inert. With `half_close` nobody looks whether a
/// client of HTTP/1 is still there while its request runs.
fn builder(begun: Begun, half_close: bool) -> auto::Builder<Begun> {
    let mut builder = auto::Builder::new(begun);
    builder
        .http1()
        // `Progress` watches heads, by a wake-up a second; hyper's own watch would set a timer for each request.
        .header_read_timeout(None)
        .half_close(half_close)
        // There answers are short: head and body cost less in one piece.
        .writev(!half_close)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        // A request of a thousand points comes in one window and in few frames: 64 and 16 KiB cost a seventh of its CPU. What all
        // streams of a connection may hold unread is the second number.
        .initial_stream_window_size(512 * 1_024)
        .initial_connection_window_size(1 << 20)
        .max_frame_size(64 * 1_024)
        .max_header_list_size(16 * 1_024)
        // Rapid reset (CVE-2023-44487), and streams that we reset because of the client's errors.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        // 100 streams that nobody reads hold 6 MiB, not 40.
        .max_send_buf_size(64 * 1_024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
