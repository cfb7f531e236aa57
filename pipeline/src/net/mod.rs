//! Doors: sockets, caps, deadlines, TLS and gates, one layer for every server of the agent.
//!
//! [`Listeners`] keeps the sockets and lends them by address. A [`Server`] accepts on a [`Lent`] socket, holds every connection to
//! its [`Limits`](LimitsConfig) and [`Timeouts`], and hands requests to a tower [`Service`]; [`Gates`] decide who may enter a
//! route. HTTP/1.1 and HTTP/2 share a port, with and without TLS.
//!
//! Whoever connects is a stranger until a gate has passed him, so everything that a connection can make us hold or wait for
//! is bounded here: `docs/security.md` has the list with the defaults.

mod accept;
mod again;
mod body;
#[cfg(feature = "client")]
pub mod client;
mod counts;
mod deadline;
mod endpoint;
mod gates;
mod limits;
mod listener;
mod pem;
mod response;
mod roster;
mod server;
mod streams;
mod tls;
#[cfg(feature = "unpack")]
mod unpack;
mod visit;

pub use body::{BodyError, RequestBody, request_body};
pub use endpoint::Endpoint;
pub use gates::{Admission, Certificate, Gates, GatesConfig, MtlsGateConfig, Refused, WhenUnset};
pub use limits::{LimitsConfig, Timeouts};
pub use listener::{Lent, Listeners};
pub use pem::Wrong;
pub use response::{BoxError, ResponseBody, full, text, unknown_path};
pub use server::{Peer, Server, Service};
pub use tls::{TlsServerConfig, TlsVersion};
#[cfg(feature = "unpack")]
pub use unpack::{Coding, Unpackable, Unpacker};
