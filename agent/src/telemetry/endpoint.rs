//! Serves the agent's own metrics.

use std::convert::Infallible;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use pipeline::net::{Lent, RequestBody, ResponseBody, Server, Service, full, text, unknown_path};
use pipeline::{Fault, Meters, Stop, Stopper};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::task::JoinSet;

use super::meters::OwnMetrics;
use crate::graph::Surroundings;

/// The servers of the agent's own metrics.
#[derive(Debug)]
pub(crate) struct OwnServers {
    tasks: JoinSet<()>,
    stopper: Stopper,
}

/// How long scrapes in hand may take when the agent stops.
const LAST_SCRAPES: Duration = Duration::from_secs(1);

impl OwnServers {
    /// Binds all endpoints and serves them.
    ///
    /// # Errors
    /// When one of them cannot be bound.
    pub(crate) async fn start(metrics: &OwnMetrics, around: &Surroundings) -> Result<Self, Fault> {
        let (stopper, stop) = Stop::pair();
        let mut tasks = JoinSet::new();
        for (endpoint, registry) in &metrics.registries {
            let lent = around.listeners.lend(&endpoint.address).await;
            let lent = lent.map_err(|fault| fault.of("service::telemetry"))?;
            tasks.spawn(serve(lent, registry.clone(), around.meters.clone(), stop.clone()));
        }
        Ok(Self { tasks, stopper })
    }

    /// Stops them. They end last, so that the last scrape sees what was lost.
    pub(crate) async fn stop(mut self) {
        self.stopper.stop();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever scrapes for longer is cut off with the set.
        tokio::time::timeout(LAST_SCRAPES, ended).await.ok();
    }
}

async fn serve(lent: Lent, registry: Registry, meters: Meters, stop: Stop) {
    let service = service(move |request| match request.uri().path() {
        "/metrics" => show(&registry),
        _ => unknown_path(),
    });
    Server::new(lent).meters(&meters, "service", "telemetry").serve(service, stop).await;
}

/// A service that answers GET and HEAD at once.
pub(crate) fn service<A>(answer: A) -> Service
where
    A: Fn(&Request<RequestBody>) -> Response<ResponseBody> + Clone + Send + Sync + 'static,
{
    Service::new(tower::service_fn(move |request: Request<RequestBody>| {
        let response = match *request.method() {
            Method::GET | Method::HEAD => answer(&request),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"),
        };
        std::future::ready(Ok::<_, Infallible>(response))
    }))
}

fn show(registry: &Registry) -> Response<ResponseBody> {
    let encoder = TextEncoder::new();
    let mut body = Vec::new();
    if let Err(error) = encoder.encode(&registry.gather(), &mut body) {
        tracing::error!(%error, "cannot show the agent's own metrics");
        return text(StatusCode::INTERNAL_SERVER_ERROR, "500 cannot show the agent's own metrics");
    }
    let mut response = Response::new(full(body));
    // As the encoder names its format, plus the character set that it writes.
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, format);
    response
}
