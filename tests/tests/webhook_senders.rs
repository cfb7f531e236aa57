//! Webhooks as real senders send them: signed by their own libraries, posted to the real binary, counted.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};

use tests::exposition::Exposition;
use tests::senders::{self, Sender, Sent};
use tests::{PATIENCE, Weir, http, repository};

const EVENTS: usize = 20;
/// How often each sender sends what is to be refused.
const FEW: usize = 5;

/// A sender, the name of its source, its secret, and whether its scheme signs the body and a time.
struct Case {
    sender: Sender,
    source: &'static str,
    secret: &'static str,
    signs: &'static [&'static str],
}

const BODY: &[&str] = &["body"];
const TIME: &[&str] = &["body", "time"];

const CASES: [Case; 8] = [
    Case { sender: Sender::Python("standardwebhooks"), source: "standardwebhooks", secret: WHSEC, signs: TIME },
    Case { sender: Sender::Python("svix"), source: "svix", secret: WHSEC, signs: TIME },
    // Stripe's secrets begin so too, but are not base64: the text is the key.
    Case { sender: Sender::Python("stripe"), source: "stripe", secret: "stripe-0123456789abcdef", signs: TIME },
    Case { sender: Sender::Python("slack_sdk"), source: "slack", secret: "slack-0123456789abcdef", signs: TIME },
    Case { sender: Sender::Octokit, source: "github", secret: "github-0123456789abcdef", signs: BODY },
    Case { sender: Sender::Curl("cycles"), source: "cycles", secret: "cycles-0123456789abcdef", signs: BODY },
    Case { sender: Sender::Curl("hmac"), source: "shop", secret: "shop-0123456789abcdef", signs: TIME },
    Case { sender: Sender::Python("cloudevents"), source: "orders", secret: "orders-0123456789abcdef", signs: &[] },
];

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const CONFIG: &str = r#"
receivers:
  webhook:
    endpoint: ${env:DOOR}
    storage: file_storage
    refused_metric: refused
    sources:
      - name: standardwebhooks
        verify: {scheme: standard_webhooks, secret: "${env:SECRET_standardwebhooks}"}
        metrics: &events
          - metric_name: events
            attributes: [{name: source, field: "@source"}]
      - name: svix
        verify: {scheme: svix, secret: "${env:SECRET_svix}"}
        metrics: *events
      - name: stripe
        verify: {scheme: stripe, secret: "${env:SECRET_stripe}"}
        id: id
        metrics: *events
      - name: slack
        verify: {scheme: slack, secret: "${env:SECRET_slack}"}
        id: event_id
        metrics: *events
      - name: github
        verify: {scheme: github, secret: "${env:SECRET_github}"}
        metrics: *events
      - name: cycles
        verify: {scheme: cycles, secret: "${env:SECRET_cycles}"}
        id: event_id
        metrics: *events
      - name: shop
        verify:
          scheme: hmac
          secret: ${env:SECRET_shop}
          header: X-Shop-Signature
          prefix: "sha512 "
          algorithm: sha512
          encoding: base64
          signed_content: "{timestamp}.{body}"
          timestamp_header: X-Shop-Time
        id: event_id
        metrics: *events
      - name: orders
        verify: {scheme: token, header: X-Shop-Token, secret: "${env:SECRET_orders}"}
        format: cloudevents
        trusted_headers: ce-*
        metrics: *events
exporters:
  prometheus: {endpoint: "${env:WEIR_LISTEN}"}
extensions:
  file_storage: {directory: "${env:WEIR_STATE}", create_directory: true}
service:
  extensions: [file_storage]
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [webhook], exporters: [prometheus]}
"#;

/// weir with a source for every sender, and where it takes events.
fn start(config: &str, state: &std::path::Path) -> (Weir, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let door = free.expect("there is a free port");
    let launch = Weir::run_text(config).env("DOOR", door.to_string()).env("WEIR_STATE", state.join("state"));
    let launch = CASES.iter().fold(launch, |launch, case| launch.env(&format!("SECRET_{}", case.source), case.secret));
    let weir = launch.start();
    tests::within(PATIENCE, "taking events", || http::get(door, "/stripe", &[]).ok());
    (weir, door)
}

/// What the answers of a kind must be: the status, and what they say.
fn expected(kind: &str, case: &Case) -> (u16, &'static str, u64) {
    match kind {
        "event" => (200, "/accepted", 1),
        "again" => (200, "/duplicates", 1),
        "stale" => (200, "/refused/stale", 1),
        "changed" | "forged" => (401, "/accepted", 0),
        other => panic!("{} sends {other}", case.source),
    }
}

fn check(case: &Case, sent: &[Sent]) {
    let mut kinds = BTreeMap::<&str, usize>::new();
    for Sent { kind, status, answer } in sent {
        let (expected, pointer, count) = expected(kind, case);
        assert_eq!(*status, expected, "{} {kind}: {answer}", case.source);
        assert_eq!(
            answer.pointer(pointer).and_then(|value| value.as_u64()),
            Some(count),
            "{} {kind}: {answer}",
            case.source
        );
        *kinds.entry(kind).or_default() += 1;
    }
    let mut all = BTreeMap::from([("event", EVENTS), ("again", EVENTS), ("forged", FEW)]);
    all.extend(case.signs.iter().map(|signed| (if *signed == "body" { "changed" } else { "stale" }, FEW)));
    assert_eq!(kinds, all, "{}", case.source);
}

#[test]
fn what_senders_own_libraries_sign_is_counted_once_and_what_they_did_not_sign_is_not() {
    let state = tempfile::tempdir().expect("there is room");
    let (weir, door) = start(CONFIG, state.path());
    for case in &CASES {
        check(case, &case.sender.send(door, &format!("/{}", case.source), case.secret, EVENTS));
    }
    let shown = Exposition::read(weir.scrape().text());
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        shown.samples.iter().find(|sample| sample.name == name && sample.labels == labels).map(|sample| sample.number())
    };
    for case in &CASES {
        let source = ("source", case.source);
        let refused = |reason| value("refused_total", &[source, ("reason", reason)]);
        assert_eq!(value("events_total", &[source]), Some(EVENTS as f64), "{}", case.source);
        let bad = FEW * (1 + usize::from(case.signs.contains(&"body")));
        assert_eq!(refused("signature_bad"), Some(bad as f64), "{}", case.source);
        let stale = FEW * usize::from(case.signs.contains(&"time"));
        assert_eq!(refused("stale"), Some(stale as f64), "{}", case.source);
    }
    weir.stop();
}

#[test]
fn a_secret_is_changed_without_a_restart_and_the_old_one_is_refused_within_five_seconds() {
    const OLD: &str = "the-old-secret-0123456789";
    const NEW: &str = "the-new-secret-0123456789";
    let state = tempfile::tempdir().expect("there is room");
    let file = state.path().join("secret");
    let write = |secrets: &str| std::fs::write(&file, secrets).expect("the folder is writable");
    write(OLD);
    let config = CONFIG.replace(
        r#"{scheme: cycles, secret: "${env:SECRET_cycles}"}"#,
        &format!("{{scheme: cycles, secret_file: {}}}", file.display()),
    );
    let (weir, door) = start(&config, state.path());
    let status = |secret: &str| Sender::Curl("cycles").send(door, "/cycles", secret, 1)[0].status;
    assert_eq!((status(OLD), status(NEW)), (200, 401));

    write(&format!("{NEW}\n{OLD}\n"));
    tests::within(PATIENCE, "both are believed", || (status(NEW) == 200).then_some(()));
    assert_eq!(status(OLD), 200);

    write(NEW);
    tests::within(PATIENCE, "the old one is refused", || (status(OLD) == 401).then_some(()));
    assert_eq!(status(NEW), 200);

    std::fs::remove_file(&file).expect("it is there");
    tests::within(PATIENCE, "nobody is believed", || (status(NEW) == 503).then_some(()));
    write(NEW);
    tests::within(PATIENCE, "it is back", || (status(NEW) == 200).then_some(()));
    let told = weir.stop().stderr;
    assert!(!told.contains(OLD) && !told.contains(NEW), "{told}");
}

#[test]
fn the_page_names_what_was_run() {
    let page = repository::text("docs/compatibility.md");
    for [registry, name, version] in senders::versions() {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` ({registry}) |")));
        let row = row.unwrap_or_else(|| panic!("docs/compatibility.md has no row for {name}"));
        assert!(row.contains(&format!("| {version} |")), "{name} is run with {version}: {row}");
    }
    let python = senders::home().join("venv/bin/python");
    let script = repository::root().join("tests/senders/send.py");
    let pinned: Vec<_> = senders::versions().into_iter().filter(|[registry, ..]| registry == "PyPI").collect();
    let names = pinned.iter().map(|[_, name, _]| name);
    let output = std::process::Command::new(python).arg(script).arg("versions").args(names).output();
    let output = String::from_utf8(output.expect("python runs").stdout).expect("versions are text");
    let installed: Vec<_> = output.lines().collect();
    let pinned: Vec<_> = pinned.iter().map(|[_, name, version]| format!("{name} {version}")).collect();
    assert_eq!(installed, pinned, "what is installed is what is pinned");
}
