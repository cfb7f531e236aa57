//! A source of events whose sums tests know without looking: what an order is follows from its number.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use crate::http::{self, Response};

/// Takes orders at `/orders` of the address in `HOOKS`, keeps what they add up to below `WEIR_STATE`, and serves it at `WEIR_LISTEN`.
pub const CONFIG: &str = "
receivers:
  webhook:
    endpoint: ${env:HOOKS}
    storage: file_storage
    flush_interval: 1s
    refused_metric: hooks_refused
    sources:
      - name: orders
        id: id
        metrics:
          - {metric_name: orders, attributes: [{name: tenant}]}
          - {metric_name: order_amount, value: amount, attributes: [{name: tenant}]}
          - {metric_name: order_size, data_type: histogram, value: amount, buckets: [10, 100]}
exporters:
  prometheus: {endpoint: '${env:WEIR_LISTEN}'}
extensions:
  file_storage: {directory: '${env:WEIR_STATE}', create_directory: true}
  health_check: {endpoint: '${env:HEALTH:-127.0.0.1:0}'}
service:
  extensions: [file_storage, health_check]
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: 0}}}}]}}
  pipelines:
    metrics: {receivers: [webhook], exporters: [prometheus]}
";

/// Who orders.
pub fn tenant(id: u64) -> String {
    format!("t{}", id % 7)
}

/// For how much.
pub fn amount(id: u64) -> u64 {
    id * 31 % 200
}

/// The order as it is sent.
pub fn event(id: u64) -> String {
    format!(r#"{{"id":"evt_{id}","tenant":"{}","amount":{}}}"#, tenant(id), amount(id))
}

/// Orders by tenant.
pub fn counts(ids: impl Iterator<Item = u64>) -> BTreeMap<String, f64> {
    ids.fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(tenant(id)).or_default() += 1.0;
        counts
    })
}

/// Sends an order.
///
/// # Errors
/// When there is no connection or no complete answer.
pub fn post(door: SocketAddr, body: &str) -> std::io::Result<Response> {
    http::request("POST", door, "/orders", &[("Content-Type", "application/json")], body.as_bytes())
}

/// A loopback address that was free a moment ago.
///
/// # Panics
/// When loopback has no free port.
pub fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("there is a free port")
}
