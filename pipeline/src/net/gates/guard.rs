//! Gates in front of a service.

use std::future::ready;

use super::{Gates, Refused};
use crate::net::server::{Peer, Service};

impl Gates {
    /// Puts these gates in front of a service. Who is refused gets the gate's answer; the service sees only who is admitted, with
    /// [`Peer::client`] as the gates found it. A request without a [`Peer`] is refused.
    ///
    /// It guards all paths of the service. A server with other routes beside the gated one guards only that route, and answers
    /// [`unknown_path`](crate::net::unknown_path) for the rest, so that an unmounted route cannot be told from none.
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
