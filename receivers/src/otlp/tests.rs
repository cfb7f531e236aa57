//! The receiver from request to batch; only the socket is left out.

mod bombs;
mod over_grpc;
mod over_http;
mod sections;

use std::io::Read as _;
use std::net::SocketAddr;

use ::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use pipeline::inbox::{Inbox, InboxLimits, Port};
use pipeline::net::{Peer, RequestBody, Service, request_body};
use pipeline::outlet::OutletCounts;
use pipeline::testing::context;
use pipeline::{Budget, Meters, Verdict};
use prost::Message as _;
use tower::ServiceExt as _;

use super::*;

const ID: &str = "otlp/x";
/// Both protocols on one port, as most tests want it.
const BOTH: &str = "protocols: {grpc: {endpoint: 127.0.0.1:0}, http: {endpoint: 127.0.0.1:0}}\n";

/// A receiver without its socket.
struct House {
    service: Service,
    inbox: Inbox,
    meters: Meters,
    budget: Budget,
}

/// An answer, read to its end.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl House {
    fn open(yaml: &str) -> Self {
        let (port, inbox) = Inbox::new(InboxLimits::default());
        Self::with(yaml, vec![port], inbox, 1 << 30)
    }

    fn with(yaml: &str, ports: Vec<Port>, inbox: Inbox, budget: usize) -> Self {
        let checked = checked(yaml);
        let context = BuildContext { budget: Budget::new(budget), ..context(ID) };
        let outlet = Outlet::new(ports, OutletCounts::default());
        let decoder = Arc::new(MetricsDecoder::new(context.table.clone()));
        let intake = Arc::new(Intake::new(decoder, outlet, &context, checked.reply));
        let [door]: [DoorPlan; 1] = checked.doors.try_into().expect("one port");
        let service = door::service(intake, door.grpc, door.http, &door.gates);
        Self { service, inbox, meters: context.meters, budget: context.budget }
    }

    /// A request whose answer is awaited somewhere else.
    fn begin(&self, request: Request<RequestBody>) -> tokio::task::JoinHandle<Heard> {
        let answering = self.service.clone().oneshot(request);
        tokio::spawn(async move {
            let (head, mut body) = answering.await.unwrap().into_parts();
            let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
            while let Some(frame) = body.frame().await {
                match frame.unwrap().into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => trailers = frame.into_trailers().unwrap(),
                }
            }
            Heard { status: head.status, headers: head.headers, body: bytes.into(), trailers }
        })
    }

    /// A request that never gets as far as the pipelines.
    async fn ask(&self, request: Request<RequestBody>) -> Heard {
        self.begin(request).await.unwrap()
    }

    /// A request whose batch ends so; the batch's items come with the answer.
    async fn ends(&mut self, request: Request<RequestBody>, verdict: Verdict) -> (Heard, usize) {
        let asking = self.begin(request);
        let batch = self.inbox.next().await.unwrap();
        let items = batch.items();
        batch.settle(verdict);
        (asking.await.unwrap(), items)
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }

    fn refused(&self, word: &str) -> u64 {
        let labelled = |labels: &pipeline::meter::Labels| labels.iter().any(|(_, value)| value == word);
        let counts = self.meters.counts();
        let mut named =
            counts.iter().filter(|(name, labels, _)| *name == "weir_receiver_refused_requests" && labelled(labels));
        named.next().map_or(0, |(.., value)| *value)
    }
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).or_else(|| self.trailers.get(name));
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The gRPC code.
    fn code(&self) -> i32 {
        assert_eq!((self.status, self.header("content-type")), (StatusCode::OK, "application/grpc"));
        self.header("grpc-status").parse().unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn checked(yaml: &str) -> Checked {
    let section = Section::from_yaml(ID, yaml).unwrap();
    Checked::of(&section).unwrap_or_else(|problems| panic!("{problems}"))
}

fn request(path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<RequestBody> {
    let mut request = Request::new(request_body(body.into()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    request.extensions_mut().insert(Peer::new(SocketAddr::from(([127, 0, 0, 1], 9))));
    request
}

/// The same request, whose body comes in pieces of at most this size.
fn in_pieces(request: Request<RequestBody>, body: &[u8], size: usize) -> Request<RequestBody> {
    let pieces: Vec<_> = body.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    request.map(|_| StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync())
}

/// A request of `points` gauge points.
fn gauges(points: usize) -> ExportMetricsServiceRequest {
    let point = |n: usize| NumberDataPoint {
        time_unix_nano: 1_700_000_000_000_000_000 + n as u64,
        value: Some(number_data_point::Value::AsInt(n as i64)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: (0..points).map(point).collect() };
    request_of(Metric { name: "m".into(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() })
}

fn request_of(metric: Metric) -> ExportMetricsServiceRequest {
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

fn pack(coding: &str, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let level = flate2::Compression::default();
    match coding {
        "gzip" => flate2::read::GzEncoder::new(plain, level).read_to_end(&mut packed).map(|_| ()).unwrap(),
        "deflate" => flate2::read::ZlibEncoder::new(plain, level).read_to_end(&mut packed).map(|_| ()).unwrap(),
        "zstd" => packed = zstd::encode_all(plain, 1).unwrap(),
        _ => packed.extend_from_slice(plain),
    }
    packed
}

const CODINGS: [&str; 4] = ["identity", "gzip", "deflate", "zstd"];
