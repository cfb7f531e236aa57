//! Which protocol a request speaks. One port serves both: gRPC is told by its content type.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, header};
use pipeline::net::{Gates, RequestBody, ResponseBody, Service};

use super::intake::Intake;
use super::settings::{GrpcPlan, HttpPlan};
use super::{grpc, http as over_http};

/// The service behind a port.
pub(super) fn service(
    intake: Arc<Intake>,
    grpc: Option<GrpcPlan>,
    http: Option<Arc<HttpPlan>>,
    gates: &Gates,
) -> Service {
    let permission = http.clone();
    let everything = |_: &str| Some(());
    let guarded = gates.door(everything, move |(), request| {
        let (intake, http) = (intake.clone(), http.clone());
        async move { answer(&intake, grpc, http.as_deref(), request).await }
    });
    let Some(http) = permission.filter(|http| http.cors.is_some()) else { return guarded };
    // A browser asks for permission without its credentials: that stands before the gates.
    Service::new(tower::service_fn(move |request: Request<RequestBody>| {
        let (guarded, http) = (guarded.clone(), http.clone());
        async move { over_http::with_permission(&http, request, guarded).await }
    }))
}

async fn answer(
    intake: &Arc<Intake>,
    grpc: Option<GrpcPlan>,
    http: Option<&HttpPlan>,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    match (grpc, http) {
        (Some(plan), _) if is_grpc(request.headers()) => grpc::answer(intake, plan, request).await,
        (_, Some(plan)) => over_http::answer(intake, plan, request).await,
        _ => grpc::unknown_protocol(),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
