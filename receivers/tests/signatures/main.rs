//! Verification behind the door's real sockets: docs/signatures.md row by row, and what strangers may send. Requests come from an
//! oracle that signs with nothing of ours.

mod hostile;
mod table;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use pdata::UnixNanos;
use pipeline::net::{Listeners, RequestBody, ResponseBody, Server, Service, text};
use pipeline::{Meters, Stop, Stopper};
use receivers::webhook_measure::Verification;
use serde_json::Value;
use tokio::runtime::Runtime;

const CURRENT: &str = "the-current-secret-of-all-schemes";
const SECOND: &str = "the-secret-that-comes-after-it";
const RETIRED: &str = "the-secret-that-was-before-it";

/// How each of the oracle's schemes is written in a configuration; the keys stand in the file `FILE`.
const SCHEMES: [(&str, &str); 13] = [
    ("cycles", "scheme: cycles"),
    ("github", "scheme: github"),
    ("hmac-sha1", "{scheme: hmac, header: X-Old-Signature, prefix: 'sha1=', algorithm: sha1"),
    ("hmac-sha512", "{scheme: hmac, header: X-Long-Signature, algorithm: sha512, encoding: base64"),
    ("slack", "scheme: slack"),
    (
        "hmac-time",
        "{scheme: hmac, header: X-Timed-Signature, prefix: 'sig ', encoding: base64url, signed_content: '{timestamp}.{body}', \
         timestamp_header: X-Timed-At, timestamp_unit: ms",
    ),
    (
        "hmac-id",
        "{scheme: hmac, header: X-Named-Signature, prefix: 'v1:', signed_content: '{id}/{timestamp}/{body}/end', \
         timestamp_header: X-Named-At, id_header: X-Named-Id",
    ),
    ("standard_webhooks", "scheme: standard_webhooks"),
    ("svix", "scheme: svix"),
    ("standard_webhooks-public", "scheme: standard_webhooks"),
    ("svix-public", "scheme: svix"),
    ("stripe", "scheme: stripe"),
    ("token", "{scheme: token, header: X-Token, prefix: 'Token '"),
];

/// A server with all schemes: the path names the scheme, the answer tells what was found.
struct Door {
    runtime: Runtime,
    stopper: Stopper,
    address: SocketAddr,
    meters: Meters,
    _secrets: tempfile::TempDir,
}

impl Door {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let (service, secrets) = service();
        let lent = runtime.block_on(Listeners::default().lend("127.0.0.1:0")).expect("there is a free port");
        let ((stopper, stop), address, meters) = (Stop::pair(), lent.local_addr(), Meters::unread());
        runtime.spawn(Server::new(lent).meters(&meters, "receiver", "webhook").serve(service, stop));
        // Files are looked at again a second after they were read.
        std::thread::sleep(Duration::from_millis(1_100));
        Self { runtime, stopper, address, meters, _secrets: secrets }
    }

    /// Ends the server; nothing in it may have panicked.
    fn close(self) {
        self.stopper.stop();
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        let panics = self.meters.counts().into_iter().filter(|(name, ..)| *name == "weir_listener_panics");
        assert_eq!(panics.map(|(.., count)| count).sum::<u64>(), 0);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The word of the table for what a verification found.
fn word(found: Result<(), &'static str>) -> &'static str {
    match found {
        Ok(()) => "ok",
        Err("stale") => "stale",
        Err(word) => word.strip_prefix("signature_").unwrap_or(word),
    }
}

/// All schemes behind one door: the path names the scheme, the answer tells what was found.
fn service() -> (Service, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("there is room");
    let plain = folder.path().join("plain");
    // One secret has been taken out while weir ran.
    let write = |secrets: &[&str]| {
        let lines: Vec<_> = secrets.iter().map(|secret| format!("{secret}\n")).collect();
        std::fs::write(&plain, lines.concat()).expect("a fresh folder is writable");
        let whsec = secrets.iter().map(|secret| format!("whsec_{}\n", STANDARD.encode(secret)));
        std::fs::write(folder.path().join("whsec"), whsec.collect::<String>()).expect("a fresh folder is writable");
        let whpk = oracle(&[&["public"], secrets].concat());
        std::fs::write(folder.path().join("whpk"), whpk).expect("a fresh folder is writable");
    };
    write(&[RETIRED, CURRENT, SECOND]);
    let verifications: BTreeMap<_, _> = SCHEMES
        .into_iter()
        .map(|(name, keys)| {
            let file = match name {
                "standard_webhooks" | "svix" => "whsec",
                "standard_webhooks-public" | "svix-public" => "whpk",
                _ => "plain",
            };
            let file = folder.path().join(file);
            let keys = keys.trim_start_matches('{');
            let yaml = format!("verify: {{{keys}, secret_file: {}}}", file.display());
            let verification = Verification::new(&yaml).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            assert!(verification.warnings().is_empty(), "{name}: {}", verification.warnings());
            (name, verification)
        })
        .collect();
    write(&[CURRENT, SECOND]);
    let verifications = Arc::new(verifications);
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let verifications = verifications.clone();
        async move { Ok::<_, Infallible>(answer(&verifications, request).await) }
    });
    (Service::new(service), folder)
}

async fn answer(
    verifications: &BTreeMap<&'static str, Verification>,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let Some(verification) = verifications.get(head.uri.path().trim_start_matches('/')) else {
        return text(StatusCode::NOT_FOUND, "no such scheme");
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return error.response(),
    };
    let found = verification.verify(&head.headers, &body, now());
    text(StatusCode::OK, word(found.map(|_| ())))
}

#[allow(clippy::disallowed_methods, reason = "requests are signed for the real time")]
fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    UnixNanos(u64::try_from(since.as_nanos()).expect("it is before 2554"))
}

/// What the oracle says.
fn oracle(arguments: &[&str]) -> Vec<u8> {
    let script = root().join("tests/oracle/signatures.py");
    let output = Command::new("python3").arg(script).args(arguments).output();
    let output = output.expect("python3 is installed");
    assert!(output.status.success(), "the oracle: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the oracle would send.
fn requests() -> Vec<Value> {
    let seconds = (now().0 / 1_000_000_000).to_string();
    let output = oracle(&[&seconds, CURRENT, SECOND, RETIRED]);
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("the oracle writes JSON")).collect()
}

/// The request as it goes over the wire.
fn wire(request: &Value) -> Vec<u8> {
    let say = |key: &str| request[key].as_str().unwrap_or_else(|| panic!("{key} of {request}"));
    let body = STANDARD.decode(say("content")).expect("the oracle writes base64");
    let mut bytes = Vec::new();
    write!(bytes, "POST /{}{} HTTP/1.1\r\nHost: weir\r\n", say("scheme"), say("query")).expect("memory is writable");
    for header in request["headers"].as_array().expect("a list") {
        let part = |at: usize| header[at].as_str().expect("text");
        bytes.extend(format!("{}: ", part(0)).bytes());
        bytes.extend(part(1).chars().map(|char| u8::try_from(u32::from(char)).expect("Latin-1")));
        bytes.extend(b"\r\n");
    }
    if request["chunked"] == true {
        bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(7) {
            write!(bytes, "{:x}\r\n", chunk.len()).expect("memory is writable");
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    } else {
        write!(bytes, "Content-Length: {}\r\n\r\n", body.len()).expect("memory is writable");
        bytes.extend(body);
    }
    bytes
}
