//! One server: accepts, shakes hands, serves, stops.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use super::accept::{Accepted, Acceptor};
use super::body::{BodyLimits, RequestBody, cap};
use super::deadline::{Answer, Progress, Tracked};
use super::gates::{Certificate, Gates};
use super::limits::{LimitsConfig, Timeouts};
use super::listener::Lent;
use super::response::{ResponseBody, text};
use super::roster::{Closed, Counts, Roster, Seat};
use super::tls::{Tls, TlsServerConfig};
use crate::fault::Fault;
use crate::meter::Meters;
use crate::stop::Stop;

/// The largest head of a request, all headers and the request line; 431 past it.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// The most headers of a request; 431 past it.
const MAX_HEADERS: usize = 100;
/// The largest body unless a component says otherwise: the Collector's `max_request_body_size`.
const MAX_BODY_BYTES: u64 = 20 << 20;
/// After how many connections in a row the accept loop lets others run, so that a client whose request is already here is
/// served before a flood can push it out.
const ACCEPTS_IN_A_ROW: u32 = 16;

/// What answers requests. Every request carries a [`Peer`] in its extensions.
pub type Service = tower::util::BoxCloneSyncService<Request<RequestBody>, Response<ResponseBody>, Infallible>;

/// Who sent a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The other end of the connection: the client, or the last proxy on its way.
    pub address: SocketAddr,
    /// The client; differs from `address` when [`Gates::guard`] has found it behind trusted proxies.
    pub client: IpAddr,
    /// The client's certificate, verified, when it gave one.
    pub certificate: Option<Certificate>,
}

/// A server on a lent socket, to be told its limits and then [`serve`](Server::serve).
#[derive(Debug)]
pub struct Server {
    lent: Lent,
    limits: LimitsConfig,
    timeouts: Timeouts,
    tls: Option<Tls>,
    max_body: u64,
    counts: Counts,
}

/// What all connections of a server share.
struct House {
    roster: Arc<Roster>,
    timeouts: Timeouts,
    tls: Option<Tls>,
    max_body: u64,
    builder: auto::Builder<TokioExecutor>,
    service: Service,
    ages: RandomState,
}

/// One connection, as its requests see it.
struct Visit {
    house: Arc<House>,
    seat: Seat,
    peer: Peer,
    progress: Arc<Progress>,
}

impl Peer {
    /// A client without a proxy and without a certificate.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, client: address.ip().to_canonical(), certificate: None }
    }
}

impl Server {
    /// A server with all defaults, without TLS, whose counts nobody reads.
    #[must_use]
    pub fn new(lent: Lent) -> Self {
        Self {
            lent,
            limits: LimitsConfig::default(),
            timeouts: Timeouts::default(),
            tls: None,
            max_body: MAX_BODY_BYTES,
            counts: Counts::new(&Meters::unread(), "component", ""),
        }
    }

    /// Caps on connections.
    #[must_use]
    pub fn limits(self, limits: &LimitsConfig) -> Self {
        Self { limits: limits.clone(), ..self }
    }

    /// Deadlines.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Speaks TLS. Clients are asked for a certificate when `gates` have an `mtls` gate, and must have one when the TLS settings
    /// name a client CA.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn tls(self, config: &TlsServerConfig, gates: &Gates) -> Result<Self, Fault> {
        Ok(Self { tls: Some(Tls::new(config, gates.client_ca())?), ..self })
    }

    /// The largest body of a request in bytes, 20 MiB when this is not called.
    #[must_use]
    pub fn max_body(self, bytes: u64) -> Self {
        Self { max_body: bytes, ..self }
    }

    /// Counts under the name of a component: `class` is `exporter`, `receiver` or `extension`.
    #[must_use]
    pub fn meters(self, meters: &Meters, class: &'static str, id: impl std::fmt::Display) -> Self {
        Self { counts: Counts::new(meters, class, &id.to_string()), ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.lent.local_addr()
    }

    /// Serves until it is asked to stop. Then it accepts no more, closes what is idle or half-open at once, lets requests that
    /// run go on for [`Timeouts::drain`] at most, gives the socket back and returns.
    pub async fn serve(self, service: Service, mut stop: Stop) {
        let house = Arc::new(House {
            roster: Roster::new(self.limits, self.counts),
            builder: builder(&self.timeouts),
            timeouts: self.timeouts,
            tls: self.tls,
            max_body: self.max_body,
            service,
            ages: RandomState::new(),
        });
        let mut acceptor = Acceptor::new(self.lent);
        let mut visits = JoinSet::new();
        let mut in_a_row = 0;
        loop {
            // All arms are safe to drop.
            tokio::select! {
                () = stop.requested() => break,
                () = until(house.roster.sweep_at()) => house.roster.sweep(),
                Some(end) = visits.join_next() => house.ended(end),
                accepted = acceptor.next() => match accepted {
                    Accepted::Stream(stream, address) => house.open(&mut visits, stream, address, &stop),
                    Accepted::NoFiles(error) => house.out_of_files(&error),
                    Accepted::Error(error) => house.accept_failed(&error),
                },
            }
            in_a_row += 1;
            if in_a_row % ACCEPTS_IN_A_ROW == 0 {
                tokio::task::yield_now().await;
            }
        }
        // The successor may borrow the socket now, while our last requests are still being answered.
        drop(acceptor);
        while let Some(end) = visits.join_next().await {
            house.ended(end);
        }
    }
}

impl House {
    fn open(self: &Arc<Self>, visits: &mut JoinSet<()>, stream: TcpStream, address: SocketAddr, stop: &Stop) {
        self.roster.counts().accepted.add(1);
        // Dropping the stream closes it; who is refused is told nothing, as that would cost a task.
        let Some(seat) = self.roster.enter(address.ip()) else { return };
        let id = seat.id();
        let task = visits.spawn(self.clone().visit(stream, address, seat, stop.clone()));
        self.roster.served_by(id, task);
    }

    async fn visit(self: Arc<Self>, stream: TcpStream, address: SocketAddr, seat: Seat, stop: Stop) {
        // Answers are written whole; waiting for more to send only delays the last piece.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        let mut peer = Peer::new(address);
        let Some(tls) = &self.tls else {
            return self.clone().converse(stream, peer, seat, stop).await;
        };
        match tokio::time::timeout(self.timeouts.tls_handshake, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                peer.certificate = chain.and_then(<[_]>::first).map(Certificate::new);
                self.clone().converse(stream, peer, seat, stop).await;
            }
            Ok(Err(error)) => {
                debug!(%error, "TLS handshake");
                seat.counts().closed(Closed::Tls);
            }
            Err(_) => seat.counts().closed(Closed::TlsTimeout),
        }
    }

    /// Speaks HTTP on one connection to its end.
    async fn converse<S>(self: Arc<Self>, stream: S, peer: Peer, seat: Seat, mut stop: Stop)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let progress = Progress::new(self.timeouts);
        let io = TokioIo::new(Tracked::new(stream, progress.clone()));
        let age = self.age(seat.id());
        let visit = Arc::new(Visit { house: self.clone(), seat, peer, progress: progress.clone() });
        let requests = {
            let visit = visit.clone();
            service_fn(move |request| visit.clone().answer(request))
        };
        let mut connection = pin!(self.builder.serve_connection(io, requests));
        let closed = tokio::select! {
            end = &mut connection => return told(end),
            why = progress.overdue() => return visit.closed(why),
            () = tokio::time::sleep(age) => Closed::Drain,
            () = stop.requested() => Closed::Drain,
        };
        if progress.is_half_open() {
            return visit.closed(Some(closed));
        }
        connection.as_mut().graceful_shutdown();
        // An idle HTTP/2 connection only waits for its client to hear that it is over.
        let drain =
            if progress.is_idle() { self.timeouts.drain.min(Duration::from_millis(250)) } else { self.timeouts.drain };
        tokio::select! {
            end = &mut connection => told(end),
            why = progress.overdue() => visit.closed(why),
            () = tokio::time::sleep(drain) => visit.closed(Some(closed)),
        }
    }

    /// How old this connection may become.
    fn age(&self, id: u64) -> Duration {
        let permille = u32::try_from(self.ages.hash_one(id) % 100).unwrap_or(0);
        self.timeouts.connection_age * (1_000 - permille) / 1_000
    }

    fn ended(&self, end: Result<(), tokio::task::JoinError>) {
        if let Err(error) = end
            && error.is_panic()
        {
            self.roster.counts().panics.add(1);
            error!(%error, "a connection's task panicked");
        }
    }

    fn accept_failed(&self, error: &std::io::Error) {
        self.roster.counts().accept_errors.add(1);
        debug!(%error, "accept");
    }

    fn out_of_files(&self, error: &std::io::Error) {
        self.roster.counts().accept_errors.add(1);
        let made = self.roster.make_room();
        warn!(%error, half_open_closed = made, "no file left for a connection: raise the limit of open files");
    }
}

impl Visit {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let running = self.progress.begin(request.version() == Version::HTTP_2);
        if !self.seat.settle() {
            return Ok(too_many(request.version()).map(|body| running.answer(body)));
        }
        let limits = BodyLimits { bytes: self.house.max_body, time: self.house.timeouts.read_timeout };
        let mut request = request.map(|body| cap(body, limits, self.progress.clone()));
        request.extensions_mut().insert(self.peer.clone());
        let answer = AssertUnwindSafe(self.house.service.clone().oneshot(request)).catch_unwind().await;
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

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Clients that break off or speak nonsense are everyday life.
fn told(end: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = end {
        debug!(error, "connection ended");
    }
}

/// The limits of both protocols. Without a timer hyper's own deadlines are silently inert.
fn builder(timeouts: &Timeouts) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // Counted from the end of the previous request, so it must be longer than an idle connection may live. `Progress` has
        // the short deadlines; this is the second line behind it.
        .header_read_timeout(timeouts.idle_timeout + timeouts.read_header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .initial_stream_window_size(64 * 1_024)
        .initial_connection_window_size(1 << 20)
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
