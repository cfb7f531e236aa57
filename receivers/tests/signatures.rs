//! docs/signatures.md, row by row: every case that its table names, sent to every scheme over the door's real sockets, by an
//! oracle that signs with nothing of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use pdata::UnixNanos;
use pipeline::Stop;
use pipeline::net::{Listeners, RequestBody, ResponseBody, Server, Service, text};
use receivers::webhook_measure::Verification;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const CURRENT: &str = "the-current-secret-of-all-schemes";
const SECOND: &str = "the-secret-that-comes-after-it";
const RETIRED: &str = "the-secret-that-was-before-it";

/// The columns of the table, as the oracle calls them.
const GROUPS: [&str; 6] = ["body", "time", "id", "standard", "stripe", "token"];

/// How each of the oracle's schemes is written in a configuration; the keys stand in the file `FILE`.
const SCHEMES: [(&str, &str); 11] = [
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
    ("stripe", "scheme: stripe"),
    ("token", "{scheme: token, header: X-Token, prefix: 'Token '"),
];

/// What the table says of a case, by column.
type Table = BTreeMap<String, BTreeMap<&'static str, String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The last table of the page.
fn table() -> Table {
    let page = std::fs::read_to_string(root().join("docs/signatures.md")).expect("the page is there");
    let rows =
        page.lines().skip_while(|line| !line.starts_with("| case |")).skip(2).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, case, told, verdicts @ .., _] = cells.as_slice() else { panic!("{line}") };
        assert!(!told.is_empty() && verdicts.len() == GROUPS.len(), "{line}");
        let verdicts = GROUPS.into_iter().zip(verdicts).filter(|(_, word)| !word.is_empty());
        (case.trim_matches('`').to_owned(), verdicts.map(|(group, word)| (group, (*word).to_owned())).collect())
    };
    rows.map(row).collect()
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
    };
    write(&[RETIRED, CURRENT, SECOND]);
    let verifications: BTreeMap<_, _> = SCHEMES
        .into_iter()
        .map(|(name, keys)| {
            let file = if matches!(name, "standard_webhooks" | "svix") { "whsec" } else { "plain" };
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
    let body = body.collect().await.expect("bodies are small").to_bytes();
    let found = verification.verify(&head.headers, &body, now());
    text(StatusCode::OK, word(found.map(|_| ())))
}

#[allow(clippy::disallowed_methods, reason = "requests are signed for the real time")]
fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
    UnixNanos(u64::try_from(since.as_nanos()).expect("it is before 2554"))
}

/// What the oracle would send.
fn requests() -> Vec<Value> {
    let script = root().join("tests/oracle/signatures.py");
    let seconds = (now().0 / 1_000_000_000).to_string();
    let output = Command::new("python3").arg(script).args([&*seconds, CURRENT, SECOND, RETIRED]).output();
    let output = output.expect("python3 is installed");
    assert!(output.status.success(), "the oracle: {}", String::from_utf8_lossy(&output.stderr));
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
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

/// Sends one request on a connection that is kept, and reads the answer's body.
async fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) -> String {
    stream.get_mut().write_all(request).await.expect("weir reads");
    let (mut length, mut status) = (0, String::new());
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).await.expect("weir answers") > 0, "weir has hung up after {status:?}");
        let line = line.trim_end();
        if status.is_empty() {
            line.clone_into(&mut status);
        } else if line.is_empty() {
            break;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a whole body");
    if status.contains(" 200 ") { String::from_utf8(body).expect("words").trim().to_owned() } else { status }
}

#[tokio::test]
async fn every_case_of_the_page_is_answered_as_it_says() {
    let (service, _folder) = service();
    let lent = Listeners::default().lend("127.0.0.1:0").await.expect("there is a free port");
    let (stopper, stop) = Stop::pair();
    let address = lent.local_addr();
    let serving = tokio::spawn(Server::new(lent).serve(service, stop));
    // Files are looked at again a second after they were read.
    tokio::time::sleep(Duration::from_millis(1_100)).await;

    let (table, requests) = (table(), requests());
    let mut stream = BufReader::new(TcpStream::connect(address).await.expect("weir listens"));
    let (mut wrong, mut seen) = (Vec::new(), BTreeMap::<_, usize>::new());
    for request in &requests {
        let say = |key: &str| request[key].as_str().expect("text");
        let (case, group) = (say("case"), say("group"));
        let expected = table.get(case).and_then(|row| row.get(group));
        let expected = expected.unwrap_or_else(|| panic!("the page says nothing of {case} under {group}"));
        let found = exchange(&mut stream, &wire(request)).await;
        *seen.entry(expected.clone()).or_default() += 1;
        if found != *expected {
            wrong.push(format!("{case}, {}, body {}: {found}, not {expected}", say("scheme"), request["body"]));
        }
    }
    stopper.stop();
    serving.await.expect("the server ends");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), requests.len(), wrong.join("\n"));

    let sent: BTreeSet<_> = requests.iter().map(|r| (r["case"].as_str(), r["group"].as_str())).collect();
    for (case, row) in &table {
        for group in row.keys() {
            assert!(sent.contains(&(Some(case), Some(*group))), "nobody sends {case} under {group}");
        }
    }
    assert!(requests.len() >= 2_000, "{} requests", requests.len());
    for (word, at_least) in
        [("ok", 600), ("missing", 300), ("repeated", 200), ("malformed", 700), ("bad", 500), ("stale", 100)]
    {
        assert!(seen.get(word).is_some_and(|count| *count >= at_least), "{word}: {seen:?}");
    }
}
