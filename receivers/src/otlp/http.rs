//! OTLP/HTTP: a POST per request, in protobuf or JSON.

use std::convert::Infallible;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use pdata::otlp::RpcStatus;
use pipeline::net::{Coding, RequestBody, ResponseBody, Service, full, unknown_path};
use tonic::Code;

use super::answer::{Form, No};
use super::body::whole;
use super::intake::Intake;
use super::settings::{CorsSettings, HttpPlan};

/// Answers one request.
pub(super) async fn answer(
    intake: &Arc<Intake>,
    plan: &HttpPlan,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let Some((signal, _)) = plan.paths.iter().find(|(_, path)| path == head.uri.path()) else {
        return unknown_path();
    };
    let (form, coding) = match understood(&head) {
        Ok(understood) => understood,
        Err(refusal) => return *refusal,
    };
    let deadline = intake.deadline(None);
    let took = async {
        intake.carries(*signal)?;
        let whole = whole(body, coding, plan.most, &intake.budget).await?;
        intake.take(*signal, form, whole, deadline).await
    };
    match took.await {
        Ok(partial) => response(StatusCode::OK, form, form.success(*signal, &partial)),
        Err(no) => {
            intake.count(&no);
            said_no(&no, form)
        }
    }
}

/// In what form and how packed a request comes; an answer when that cannot be taken.
fn understood(head: &Parts) -> Result<(Form, Coding), Box<Response<ResponseBody>>> {
    let form = form(&head.headers);
    // Whoever sends what we do not know reads a text at best.
    let answer = form.unwrap_or(Form::Json);
    let no = |status, code: Code, message: &str| {
        let told = RpcStatus { code: code as i32, message: message.to_owned(), retry_after: None };
        response(status, answer, answer.failure(&told))
    };
    if head.method != Method::POST {
        let mut refusal = no(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "only POST is served here");
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return Err(Box::new(refusal));
    }
    let Some(form) = form else {
        let what = "OTLP comes as application/x-protobuf or application/json";
        return Err(Box::new(no(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, what)));
    };
    let Some(coding) = Coding::of(&head.headers) else {
        let what = format!("a body may be packed as one of {}", Coding::NAMES);
        let mut refusal = no(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, &what);
        // RFC 9110, 15.5.16: what would have been taken.
        refusal.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(Coding::NAMES));
        return Err(Box::new(refusal));
    };
    Ok((form, coding))
}

fn form(headers: &HeaderMap) -> Option<Form> {
    let given = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let essence = given.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [Form::Protobuf, Form::Json].into_iter().find(|form| essence.eq_ignore_ascii_case(form.media_type().as_bytes()))
}

fn said_no(no: &No, form: Form) -> Response<ResponseBody> {
    let mut response = response(no.status(), form, form.failure(&no.rpc()));
    if let Some(after) = no.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

fn response(status: StatusCode, form: Form, body: Vec<u8>) -> Response<ResponseBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Gives pages of allowed origins the permission that their browser asks for, and the right to read answers.
pub(super) async fn with_permission(
    plan: &HttpPlan,
    request: Request<RequestBody>,
    guarded: Service,
) -> Result<Response<ResponseBody>, Infallible> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let allowed = plan.cors.as_ref().zip(origin).filter(|(cors, origin)| cors.allows(origin));
    let Some((cors, origin)) = allowed else { return tower::ServiceExt::oneshot(guarded, request).await };
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if request.method() == Method::OPTIONS && asks {
        cors.permission()
    } else {
        tower::ServiceExt::oneshot(guarded, request).await?
    };
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    Ok(response)
}

impl CorsSettings {
    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        self.allowed_origins.iter().any(|allowed| match allowed.split_once('*') {
            None => origin.eq_ignore_ascii_case(allowed),
            Some((before, after)) => {
                origin.len() >= before.len() + after.len() && origin.starts_with(before) && origin.ends_with(after)
            }
        })
    }

    fn permission(&self) -> Response<ResponseBody> {
        let mut response = Response::new(full(Vec::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let mut names = vec!["Content-Type", "Content-Encoding"];
        names.extend(self.allowed_headers.iter().map(String::as_str));
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        if self.max_age > 0 {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age));
        }
        response
    }
}
