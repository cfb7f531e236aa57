//! Gates in front of a service.

use std::future::ready;

use futures_util::FutureExt as _;
use http::{Request, Response};

use super::{Gates, Refused};
use crate::net::body::RequestBody;
use crate::net::response::{ResponseBody, unknown_path};
use crate::net::server::{Peer, Service};

impl Gates {
    /// A door with routes: `find` says by its path what a request is for, and `answer` answers it. Other paths are unknown; who may not
    /// enter hears of nothing else. Each request costs one box.
    #[must_use]
    pub fn door<T, A>(
        &self,
        find: impl Fn(&str) -> Option<T> + Send + Sync + 'static,
        answer: impl Fn(T, Request<RequestBody>) -> A + Send + Sync + 'static,
    ) -> Service
    where
        A: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let gates = self.clone();
        Service::direct(move |request, peer| {
            let Some(found) = find(request.uri().path()) else { return Box::pin(ready(Ok(unknown_path()))) };
            match gates.admits(request.headers(), peer).response() {
                Some(refusal) => Box::pin(ready(Ok(refusal))),
                None => Box::pin(answer(found, request).map(Ok)),
            }
        })
    }

    /// Puts these gates in front of a service. Who is refused gets the gate's answer; the service sees only who is admitted, with
    /// [`Peer::client`] as the gates found it. A request without a [`Peer`] is refused.
    ///
    /// It guards all paths of the service. A server with other routes beside the gated one guards only that route, and answers
    /// [`unknown_path`] for the rest, so that an unmounted route cannot be told from none: [`door`](Self::door) does so.
    #[must_use]
    pub fn guard(&self, service: Service) -> Service {
        let gates = self.clone();
        Service::direct(move |request, peer| {
            let Some(peer) = peer else { return Box::pin(ready(Ok(Refused::Address.response()))) };
            let (admission, client) = gates.decide(request.headers(), peer);
            match (admission.response(), client) {
                (Some(refusal), _) => Box::pin(ready(Ok(refusal))),
                (None, Some(client)) => service.answer(request, Some(&Peer { client, ..peer.clone() })),
                (None, None) => service.answer(request, Some(peer)),
            }
        })
    }
}
