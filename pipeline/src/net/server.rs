//! One server: accepts, shakes hands, serves, stops.

use std::convert::Infallible;
use std::hash::RandomState;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::{debug, error, warn};

use super::accept::{Accepted, Acceptor};
use super::body::RequestBody;
use super::counts::Counts;
use super::gates::{Certificate, Gates};
use super::limits::{LimitsConfig, Timeouts};
use super::listener::Lent;
use super::response::ResponseBody;
use super::roster::Roster;
use super::tls::{Tls, TlsServerConfig};
use crate::BoxFuture;
use crate::fault::Fault;
use crate::meter::Meters;
use crate::stop::Stop;

/// The largest body unless a component says otherwise: the Collector's `max_request_body_size`.
const MAX_BODY_BYTES: u64 = 20 << 20;
/// After how many connections in a row the accept loop lets others run, so that a client whose request is already here is
/// served before a flood can push it out.
const ACCEPTS_IN_A_ROW: u32 = 16;

/// What answers requests: any [`tower::Service`], behind a pointer that is cheap to clone. Every request comes with its [`Peer`].
#[derive(Clone)]
pub struct Service(Arc<Answers>);

/// An answer in the making.
type Answering = BoxFuture<'static, Result<Response<ResponseBody>, Infallible>>;

/// What turns a request, and who sent it, into an answer.
type Answers = dyn Fn(Request<RequestBody>, Option<&Peer>) -> Answering + Send + Sync;

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
    finishes: bool,
}

/// What all connections of a server share.
pub(super) struct House {
    pub(super) roster: Arc<Roster>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Option<Tls>,
    pub(super) max_body: u64,
    pub(super) finishes: bool,
    pub(super) service: Service,
    pub(super) ages: RandomState,
}

impl Service {
    /// Puts a service behind the pointer. Each request costs one clone of it, one box for its answer, and one for its [`Peer`], which
    /// stands in the request's extensions.
    pub fn new<S>(service: S) -> Self
    where
        S: tower::Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Self::direct(move |mut request, peer| {
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer.clone());
            }
            Box::pin(service.clone().oneshot(request))
        })
    }

    /// Puts a function behind the pointer, which is told the [`Peer`]: for a door where requests are many. Without a peer a request
    /// did not come over a connection.
    pub fn direct<F>(answer: F) -> Self
    where
        F: Fn(Request<RequestBody>, Option<&Peer>) -> Answering + Send + Sync + 'static,
    {
        Self(Arc::new(answer))
    }

    /// The answer to a request.
    pub(super) fn answer(&self, request: Request<RequestBody>, peer: Option<&Peer>) -> Answering {
        (self.0)(request, peer)
    }
}

impl tower::Service<Request<RequestBody>> for Service {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each request waits for its own clone.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<RequestBody>) -> Answering {
        let peer = request.extensions_mut().remove::<Peer>();
        self.answer(request, peer.as_ref())
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
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
            finishes: false,
        }
    }

    /// Caps on connections.
    #[must_use]
    pub fn limits(self, limits: &LimitsConfig) -> Self {
        Self { limits: limits.clone(), ..self }
    }

    /// Deadlines; zeros are the defaults.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts: timeouts.or_defaults(), ..self }
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

    /// Finishes requests of HTTP/1 whose client is gone, or has ended its side, before the answer. For doors where a request that has
    /// come is worth as much without its client, and answers are short: who looks whether the client is there reads, and needs 8 KiB
    /// for that.
    #[must_use]
    pub fn finishing(self) -> Self {
        Self { finishes: true, ..self }
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
            timeouts: self.timeouts,
            tls: self.tls,
            max_body: self.max_body,
            finishes: self.finishes,
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

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
