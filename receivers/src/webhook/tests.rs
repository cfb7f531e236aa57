//! The receiver from request to point, on a ledger in a folder of its own; only the socket is left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pipeline::collection::{CollectionDesk, CollectionPort};
use pipeline::inbox::Inbox;
use pipeline::net::{Peer, RequestBody, Service, request_body};
use pipeline::testing::{context, lines, probe};
use pipeline::{Batch, Meters, Page};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinHandle;

use super::*;

mod answers;
mod counting;
mod once;
mod sections;
mod waiting;

const ID: &str = "webhook/x";

/// What all sections of these tests begin with; flushes so seldom that only scrapes and the start are seen.
const HEAD: &str = "endpoint: 127.0.0.1:0\nstorage: file_storage\nflush_interval: 1h\n";

/// A receiver without its socket, and a destination that remembers what it is told.
struct House {
    service: Service,
    ledger: Ledger,
    port: CollectionPort,
    inbox: Inbox,
    meters: Meters,
    shown: BTreeMap<String, String>,
    applied: u64,
    emitting: JoinHandle<()>,
}

impl House {
    async fn open(folder: &Path, sources: &str) -> Self {
        Self::at(Some(folder), &format!("{HEAD}{sources}")).await
    }

    /// Without a disk.
    async fn in_memory(sources: &str) -> Self {
        let head = "endpoint: 127.0.0.1:0\ndurability: memory\nflush_interval: 1h\n";
        Self::at(None, &format!("{head}{sources}")).await
    }

    async fn at(folder: Option<&Path>, yaml: &str) -> Self {
        let section = Section::from_yaml(ID, yaml).unwrap();
        let mut checked = Checked::of(&section).unwrap_or_else(|problems| panic!("{problems}"));
        let (logs, context) = (checked.has_logs(), context(ID));
        let ledger = open_ledger(folder.map(Path::to_owned), checked.ledger_options(), &context).await.unwrap();
        let (outlet, inbox) = probe();
        let (desk, port) = CollectionDesk::pair(ID, Collects::OnDemand);
        let Parts { routes, mut emission, spool } = assemble(&mut checked, ledger.clone(), outlet, &context).unwrap();
        spool.measure().await.unwrap();
        let service = door::service(routes, context.clock.clone(), &checked.gates);
        let emitting = tokio::spawn(async move {
            tokio::select! {
                () = emission.run(Some(desk)) => {}
                () = spool.run(), if logs => {}
            }
        });
        let (meters, shown) = (context.meters, BTreeMap::new());
        Self { service, ledger, port, inbox, meters, shown, applied: 0, emitting }
    }

    async fn close(self) {
        self.emitting.abort();
        self.emitting.await.ok();
    }

    async fn send(&self, request: Request<RequestBody>) -> Told {
        let response = tower::ServiceExt::oneshot(self.service.clone(), request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Told { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn post(&self, path: &str, body: &str) -> Told {
        self.send(request(Method::POST, path, &[], body)).await
    }

    /// Posts what must be answered 200, and gives accepted, duplicates and what was refused.
    async fn take(&self, path: &str, body: &str) -> (u64, u64, Value) {
        self.post(path, body).await.taken()
    }

    /// What an endpoint shows after a scrape; zeros are left out.
    async fn scrape(&mut self) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        let (_, wanted) = self.port.collect(deadline).await.unwrap().remove(0);
        while self.applied < wanted {
            let batch = self.inbox.next().await.unwrap();
            let Some(collection) = batch.collection.clone() else { continue };
            assert_ne!(collection.page, Page::Failed(pipeline::OnFailure::Last));
            if collection.page == Page::Last {
                self.applied = collection.sequence;
            }
            self.note(&batch);
        }
        let shown = self.shown.iter().filter(|(_, value)| *value != "0");
        shown.map(|(series, value)| format!("{series} {value}")).collect()
    }

    fn note(&mut self, batch: &Batch) {
        for line in lines(batch) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            self.shown.insert(series.into(), value.replace("Int(", "").replace("Double(", "").replace(')', ""));
        }
    }

    /// The next batch of log records.
    async fn records(&mut self) -> Batch {
        loop {
            let batch = self.inbox.next().await.unwrap();
            if batch.logs().is_some() {
                return batch;
            }
            self.note(&batch);
        }
    }

    fn refused(&self) -> BTreeMap<String, u64> {
        let counts = self.meters.counts();
        let refused = counts.iter().filter(|(name, _, value)| *name == "weir_webhook_refused" && *value > 0);
        refused.fold(BTreeMap::new(), |mut all, (_, labels, value)| {
            *all.entry(labels[2].1.clone()).or_default() += value;
            all
        })
    }
}

/// An answer.
#[derive(Debug)]
struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Told {
    fn taken(&self) -> (u64, u64, Value) {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        let mut answer: Value = serde_json::from_str(&self.body).unwrap();
        let number = |key: &str| answer[key].as_u64().unwrap();
        let (accepted, duplicates) = (number("accepted"), number("duplicates"));
        assert_eq!(answer.get("duplicate").is_some(), accepted == 0 && duplicates > 0, "{answer}");
        (accepted, duplicates, answer["refused"].take())
    }

    fn error(&self) -> String {
        let answer: Value = serde_json::from_str(&self.body).unwrap_or_default();
        format!("{} {}", self.status.as_u16(), answer["error"].as_str().unwrap_or_default())
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Request<RequestBody> {
    let mut request = Request::new(request_body(body.into()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    request.extensions_mut().insert(Peer::new(SocketAddr::from(([127, 0, 0, 1], 9))));
    request
}

/// The signature that Cycles would send.
fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let code: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={code}")
}
