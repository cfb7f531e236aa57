//! Gates in front of a service.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};

use super::{Admission, Gates, Refused};
use crate::BoxFuture;
use crate::net::body::RequestBody;
use crate::net::response::ResponseBody;
use crate::net::server::{Peer, Service};

/// Asks the gates, then the service.
#[derive(Clone)]
struct Guard {
    gates: Gates,
    service: Service,
}

impl Gates {
    /// Puts these gates in front of a service. Who is refused gets the gate's answer; the service sees only who is admitted, with
    /// [`Peer::client`] as the gates found it. A request without a [`Peer`] is refused.
    ///
    /// It guards all paths of the service. A server with other routes beside the gated one guards only that route, and answers
    /// [`unknown_path`](crate::net::unknown_path) for the rest, so that an unmounted route cannot be told from none.
    #[must_use]
    pub fn guard(&self, service: Service) -> Service {
        Service::new(Guard { gates: self.clone(), service })
    }
}

impl Guard {
    /// Decides, and tells the service who the client is.
    fn examine(&self, head: &mut Parts) -> Admission {
        let Some(peer) = head.extensions.get::<Peer>() else {
            return Admission::Refused(Refused::Address);
        };
        let (admission, client) = self.gates.decide(head, peer);
        if let (Some(client), Some(peer)) = (client, head.extensions.get_mut::<Peer>()) {
            peer.client = client;
        }
        admission
    }
}

impl tower::Service<Request<RequestBody>> for Guard {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        match self.examine(&mut head).response() {
            None => self.service.call(Request::from_parts(head, body)),
            Some(refusal) => Box::pin(async { Ok(refusal) }),
        }
    }
}
