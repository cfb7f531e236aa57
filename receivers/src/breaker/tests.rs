//! The receiver from request to point, on a ledger in a folder of its own; only the socket is left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use pdata::UnixNanos;
use pipeline::collection::{CollectionDesk, CollectionPort};
use pipeline::inbox::Inbox;
use pipeline::net::{Gates, Peer, Service, request_body};
use pipeline::state::Standing;
use pipeline::testing::{context, lines, probe};
use pipeline::{Clock, Meters, Page};
use tokio::task::JoinHandle;

use super::*;

const ID: &str = "breaker/x";

/// Smallest section; flushes so seldom that only scrapes and the start are seen.
const YAML: &str = "endpoint: 127.0.0.1:0\nstorage: file_storage\nflush_interval: 1h\n";

/// A receiver without its socket, and a destination that remembers what it is told.
struct Bench {
    service: Service,
    port: CollectionPort,
    inbox: Inbox,
    meters: Meters,
    shown: BTreeMap<String, String>,
    /// Points that came since the last scrape.
    fresh: usize,
    applied: u64,
    emitting: JoinHandle<()>,
}

impl Bench {
    async fn open(folder: &Path, yaml: &str) -> Self {
        let section = Section::from_yaml(ID, yaml).unwrap();
        let checked = Checked::of(&section).unwrap_or_else(|problems| panic!("{problems}"));
        let context = context(ID);
        let ledger = open_ledger(Some(folder.to_owned()), checked.ledger_options(), &context).await.unwrap();
        let (outlet, inbox) = probe();
        let house = super::House {
            id: ID,
            checked: &checked,
            ledger: Some(&ledger),
            context: &context,
            outlet: outlet.clone(),
        };
        let mut lives = Vec::new();
        let counter = Arc::new(house.counter(&ledger, &mut lives));
        let chore = (!lives.is_empty()).then(|| Arc::new(All(lives)) as Arc<dyn Chore>);
        let (desk, port) = CollectionDesk::pair(ID, Collects::OnDemand);
        let ways = Ways { clock: Clock::system(), table: context.table, budget: context.budget, outlet };
        let mut emission = Emission::new(ID, ledger, ways, checked.settings.flush_interval.get()).after(chore);
        let emitting = tokio::spawn(async move { emission.run(Some(desk)).await });
        let service = door::service(counter, checked.settings.path, checked.door.as_ref().unwrap());
        let (meters, shown) = (context.meters, BTreeMap::new());
        Self { service, port, inbox, meters, shown, fresh: 0, applied: 0, emitting }
    }

    async fn close(self) {
        self.emitting.abort();
        self.emitting.await.ok();
    }

    async fn send(&self, request: Request<pipeline::net::RequestBody>) -> (StatusCode, String) {
        let response = tower::ServiceExt::oneshot(self.service.clone(), request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn post(&self, body: &str) -> (StatusCode, String) {
        self.send(request(Method::POST, "/signals", Some("application/json"), body)).await
    }

    /// Posts what must be taken whole, and gives how many were new and how many not.
    async fn take(&self, body: &str) -> (u64, u64) {
        let (status, answer) = self.post(body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["refused"], serde_json::json!([]));
        (answer["accepted"].as_u64().unwrap(), answer["duplicates"].as_u64().unwrap())
    }

    /// What an endpoint shows after a scrape: states first, zeros left out.
    async fn scrape(&mut self) -> Vec<String> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        let (_, wanted) = self.port.collect(deadline).await.unwrap().remove(0);
        self.fresh = 0;
        while self.applied < wanted {
            let batch = self.inbox.next().await.unwrap();
            let collection = batch.collection.clone().unwrap();
            assert_ne!(collection.page, Page::Failed(pipeline::OnFailure::Last));
            if collection.page == Page::Last {
                self.applied = collection.sequence;
            }
            self.fresh += batch.items();
            let told = lines(&batch);
            self.shown
                .extend(told.iter().map(|line| line.rsplit_once(' ').unwrap()).map(|(k, v)| (k.into(), v.into())));
        }
        let shown = self.shown.iter().filter(|(_, value)| *value != "Int(0)");
        let mut shown: Vec<_> = shown.map(|(series, value)| plain(&format!("{series} {value}"))).collect();
        shown.sort_by_key(|line| line.starts_with("moves"));
        shown
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }
}

/// Shorter than a line, and still all of it.
fn plain(line: &str) -> String {
    let short = line.replace("circuit_breaker_state_transition", "moves").replace("circuit_breaker_state", "state");
    short.replace("circuit_name=", "").replace("_state=", "=").replace("Int(", "").replace(')', "")
}

fn request(method: Method, path: &str, kind: Option<&str>, body: &str) -> Request<pipeline::net::RequestBody> {
    let mut request = Request::new(request_body(body.to_owned()));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().unwrap();
    if let Some(kind) = kind {
        request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
    }
    request.extensions_mut().insert(Peer::new(SocketAddr::from(([127, 0, 0, 1], 9))));
    request
}

fn signal(circuit: &str, old: &str, new: &str, time: f64) -> String {
    format!(r#"{{"circuit_name":"{circuit}","old_state":"{old}","new_state":"{new}","timestamp":{time}}}"#)
}

fn all(signals: &[String]) -> String {
    format!("[{}]", signals.join(","))
}

#[tokio::test]
async fn every_signal_counts_and_self_transitions_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), YAML).await;
    assert_eq!(house.scrape().await, [""; 0]);
    let signals = [("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("open", "open")];
    let signals: Vec<_> =
        signals.iter().zip(1..).map(|((old, new), at)| signal("pay", old, new, f64::from(at))).collect();
    assert_eq!(house.take(&all(&signals)).await, (4, 0));
    assert_eq!(
        house.scrape().await,
        [
            r#"state{"pay",state="open"} 1"#,
            r#"moves{"pay",new="half_open",old="open"} 1"#,
            r#"moves{"pay",new="open",old="closed"} 1"#,
            r#"moves{"pay",new="open",old="half_open"} 1"#,
            r#"moves{"pay",new="open",old="open"} 1"#,
        ]
    );
    // The sending at the start may have come between two of the four.
    assert!(house.shown.len() == 6 + 4 && house.fresh >= 6 + 4, "{} {}", house.shown.len(), house.fresh);
    house.take(&signal("pay", "open", "open", 5.0)).await;
    assert!(house.scrape().await.contains(&r#"moves{"pay",new="open",old="open"} 2"#.to_owned()));
    assert!(house.fresh <= 7, "only what changed goes out, not {}", house.fresh);
    assert_eq!((house.scrape().await.len(), house.fresh), (5, 0), "an idle scrape sends nothing and loses nothing");
    house.close().await;
}

#[tokio::test]
async fn a_repeated_signal_is_a_duplicate_unless_any_part_of_it_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), YAML).await;
    let plain = signal("pay", "closed", "open", 1.0);
    let with = |more: &str| plain.replacen('{', &format!("{{{more},"), 1);
    assert_eq!(house.take(&all(&[plain.clone(), plain.clone()])).await, (1, 1));
    assert_eq!(house.take(&plain).await, (0, 1));
    let others = [with(r#""seq":0"#), with(r#""seq":1"#), with(r#""instance":"a""#), with(r#""instance":"b","seq":1"#)];
    assert_eq!(house.take(&all(&others)).await, (4, 0));
    assert_eq!(house.take(&all(&others)).await, (0, 4));
    assert_eq!(house.take(&plain.replace("1}", "1.000001}")).await, (1, 0));
    assert_eq!(house.scrape().await[1], r#"moves{"pay",new="open",old="closed"} 6"#);
    house.close().await;
}

#[tokio::test]
async fn the_newest_time_says_the_state_and_of_equal_times_the_later_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), YAML).await;
    house.take(&signal("pay", "open", "half_open", 20.0)).await;
    house.take(&signal("pay", "closed", "open", 10.0)).await;
    assert_eq!(house.scrape().await[0], r#"state{"pay",state="half_open"} 1"#);
    assert_eq!(house.scrape().await.len(), 3, "the late one counts all the same");
    house.take(&signal("pay", "half_open", "closed", 20.0)).await;
    assert_eq!(house.scrape().await[0], r#"state{"pay",state="closed"} 1"#);
    house.take(&all(&[signal("pay", "closed", "open", 30.0), signal("pay", "open", "disabled", 30.0)])).await;
    assert_eq!(house.scrape().await[0], r#"state{"pay",state="disabled"} 1"#);
    house.close().await;
}

#[tokio::test]
async fn a_snapshot_sets_the_state_and_counts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), YAML).await;
    let snapshot = r#"{"kind":"snapshot","circuit_name":"pay","new_state":"closed","timestamp":5}"#;
    assert_eq!(house.take(snapshot).await, (1, 0));
    assert_eq!(house.scrape().await, [r#"state{"pay",state="closed"} 1"#]);
    assert_eq!(house.shown.len(), 6, "all states of a circuit are there, and no transition");
    house.close().await;
}

#[tokio::test]
async fn in_an_array_the_good_count_and_the_refused_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), YAML).await;
    let (good, bad) = (signal("pay", "closed", "open", 1.0), signal("pay", "ajar", "open", 1.0));
    let (status, answer) = house.post(&all(&[bad.clone(), good, bad.clone()])).await;
    assert_eq!(status, StatusCode::OK);
    let why = r#"old_state is \"ajar\", which is no known state; known are closed, open, half_open, metrics_only, disabled, forced_open"#;
    assert_eq!(
        answer,
        format!(
            r#"{{"accepted":1,"duplicates":0,"refused":[{{"index":0,"error":"{why}"}},{{"index":2,"error":"{why}"}}]}}"#
        )
    );
    assert_eq!(house.scrape().await.len(), 2);
    assert_eq!(house.post(&bad).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(house.post("").await.0, StatusCode::BAD_REQUEST);
    house.close().await;
}

#[tokio::test]
async fn a_restart_keeps_counts_states_and_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let signals: Vec<_> =
        (0..100).map(|at| signal(&format!("c{}", at % 7), "closed", "open", 1.0 + f64::from(at))).collect();
    let mut before = Bench::open(folder.path(), YAML).await;
    assert_eq!(before.take(&all(&signals)).await, (100, 0));
    let shown = before.scrape().await;
    before.close().await;
    let mut after = Bench::open(folder.path(), YAML).await;
    assert_eq!(after.scrape().await, shown);
    assert_eq!(after.shown.len(), 7 * 7);
    assert_eq!(after.take(&all(&signals)).await, (0, 100));
    assert_eq!(after.scrape().await, shown);
    after.close().await;
}

#[tokio::test]
async fn a_hole_in_the_chain_of_an_instance_is_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let house = Bench::open(folder.path(), YAML).await;
    let of = |instance: &str, old: &str, new: &str, time: f64| {
        signal("pay", old, new, time).replacen('{', &format!(r#"{{"instance":"{instance}","#), 1)
    };
    let a = [of("a", "closed", "open", 1.0), of("a", "half_open", "closed", 2.0), of("a", "closed", "open", 3.0)];
    house.take(&all(&a)).await;
    assert_eq!(house.count("weir_breaker_gaps"), 1, "open is never left");
    house.take(&all(&[of("b", "disabled", "closed", 4.0), of("b", "closed", "disabled", 5.0)])).await;
    house.take(&all(&a)).await;
    house.take(&of("a", "open", "half_open", 1.5)).await;
    assert_eq!(house.count("weir_breaker_gaps"), 1, "other instances, repetitions and late ones leave no hole");
    assert_eq!(house.count("weir_breaker_signals"), 3 + 2 + 3 + 1);
    house.close().await;
}

#[tokio::test]
async fn the_words_of_the_configuration_are_those_of_the_series() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "{YAML}path: /b\nstates: [up, down]\ncircuit_name: orders\ninstance_label: true\nmetrics: {{state: s, transitions: t}}\nmax_series: 3\n"
    );
    let mut house = Bench::open(folder.path(), &yaml).await;
    let body = r#"{"instance":"i","old_state":"up","new_state":"down","timestamp":1}"#;
    assert_eq!(house.send(request(Method::POST, "/b", None, body)).await.0, StatusCode::OK);
    let expected = [r#"s{"orders",instance="i",state="down"} 1"#, r#"t{"orders",instance="i",new="down",old="up"} 1"#];
    assert_eq!(house.scrape().await, expected);
    let body = body.replace("\"i\"", "\"j\"");
    assert_eq!(house.send(request(Method::POST, "/b", None, &body)).await.0, StatusCode::OK);
    assert_eq!(house.scrape().await[2..], [r#"t{otel.metric.overflow="true"} 1"#], "past the bound it still counts");
    house.close().await;
}

#[tokio::test]
async fn destinations_that_do_not_ask_are_sent_what_changes() {
    let folder = tempfile::tempdir().unwrap();
    let mut house = Bench::open(folder.path(), &YAML.replace("1h", "100ms")).await;
    for (time, expected) in [(1.0, "Int(1)"), (2.0, "Int(2)")] {
        house.take(&signal("pay", "closed", "open", time)).await;
        let sent = loop {
            let batch = house.inbox.next().await.unwrap();
            if batch.items() > 0 {
                break lines(&batch);
            }
        };
        assert!(sent.iter().any(|line| line.contains("_transition") && line.ends_with(expected)), "{sent:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn other_paths_methods_and_kinds_of_body_are_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let house = Bench::open(folder.path(), YAML).await;
    let one = signal("pay", "closed", "open", 1.0);
    for (method, path, kind, status) in [
        (Method::POST, "/signals/", Some("application/json"), 404),
        (Method::GET, "/signals", None, 405),
        (Method::POST, "/signals", Some("application/x-www-form-urlencoded"), 415),
        (Method::POST, "/signals", Some("text/plain"), 415),
        (Method::POST, "/signals", Some("application/x-ndjson"), 200),
        (Method::POST, "/signals", Some("Application/JSON; charset=utf-8"), 200),
        (Method::POST, "/signals?source=a", None, 200),
    ] {
        let told = house.send(request(method.clone(), path, kind, &one)).await;
        assert_eq!(told.0, status, "{method} {path} {kind:?}: {}", told.1);
    }
    let mut packed = request(Method::POST, "/signals", None, &one);
    packed.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(house.send(packed).await.0, 415);
    house.close().await;
}

#[tokio::test]
async fn a_ledger_that_takes_nothing_makes_the_sender_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let section = Section::from_yaml(ID, YAML).unwrap();
    let checked = Checked::of(&section).unwrap();
    let context = context(ID);
    let ledger = open_ledger(Some(folder.path().to_owned()), checked.ledger_options(), &context).await.unwrap();
    let outlet = probe().0;
    let house = super::House { id: ID, checked: &checked, ledger: Some(&ledger), context: &context, outlet };
    let counter = Arc::new(house.counter(&ledger, &mut Vec::new()));
    ledger.close();
    let gates = Gates::plan(&section, "gates", None).unwrap();
    let service = door::service(counter, "/signals".to_owned(), &gates);
    let sent = request(Method::POST, "/signals", None, &signal("pay", "closed", "open", 1.0));
    let response = tower::ServiceExt::oneshot(service, sent).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
}

fn problems(yaml: &str) -> String {
    let section = Section::from_yaml(ID, yaml).unwrap();
    Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new())
}

#[test]
fn what_is_missing_or_wrong_in_the_section_is_told_at_its_place() {
    for (yaml, told) in [
        ("endpoint: localhost:1", "'storage' is missing"),
        ("endpoint: localhost:1", "or write durability: memory"),
        ("storage: file_storage\ndurability: memory", "exclude each other: in memory nothing is stored"),
        ("storage: file_storage", "'endpoint' is missing"),
        ("endpoint: localhost:1\nstorage: /x", "storage"),
        ("preset: hystrix", "hystrix"),
        ("preset: polly\nstates: [a]", "exclude each other"),
        ("states: []", "'states' has 0 names"),
        ("states: [a, b, a]", "the state \"a\" is named twice"),
        ("circuit_name: ''", "'circuit_name' must have"),
        ("metrics: {state: a, transitions: a}", "different names"),
        ("dedup: {window: 0s}", "'window' must be longer"),
        ("dedup: {max_bytes: 1KiB}", "'max_bytes' must be at least 64KiB"),
        ("max_series: 0", "'max_series' must be at least 1"),
        ("max_request_body_size: 0", "'max_request_body_size' must be"),
        ("flush_interval: 1ms", "'flush_interval' must be"),
        ("path: signals", "'path' must be a path"),
        ("durability: maybe", "maybe"),
        ("limits: {connections: 0}", "'connections' must be"),
        ("states: [a]\nstate_names: common", "only states of a preset have common names"),
        ("flapping: {window: 0s}", "'window' must be longer than 0"),
    ] {
        let yaml = if yaml.contains("storage") || yaml.contains("endpoint") {
            yaml.to_owned()
        } else {
            format!("endpoint: localhost:1\nstorage: file_storage\n{yaml}")
        };
        assert!(problems(&yaml).contains(told), "{yaml}: {}", problems(&yaml));
    }
    assert_eq!(problems(YAML), "");
    assert_eq!(problems("endpoint: localhost:1\ndurability: memory"), "");
}

#[test]
fn the_documentation_is_true() {
    let page = include_str!("../../../docs/receivers/breaker.md");
    for preset in ["fluxgate", "resilience4j", "pybreaker", "opossum", "gobreaker", "polly"] {
        let section = Section::from_yaml(ID, &format!("{YAML}preset: {preset}\n")).unwrap();
        let states = Checked::of(&section).unwrap().kin.states;
        let section = Section::from_yaml(ID, &format!("{YAML}preset: {preset}\nstate_names: common\n")).unwrap();
        let common = Checked::of(&section).unwrap().kin.shown;
        let row = format!("| `{preset}` | `{}` | `{}` |", states.join("`, `"), common.join("`, `"));
        assert!(page.contains(&row), "the page should have {row}");
    }
    let schema = serde_json::to_value((FACTORY.schema)()).unwrap();
    for key in schema["properties"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("`{key}")), "the page does not tell of {key}");
    }
}

/// What the ledger has counted of the metrics that change with time.
fn told_of_time(ledger: &Ledger) -> Vec<String> {
    let snapshot = ledger.snapshot();
    let mut told: Vec<_> = snapshot
        .series()
        .filter(|(series, ..)| !series.identity().metric.name.ends_with("state_transition"))
        .filter(|(series, ..)| series.identity().metric.name != "circuit_breaker_state".into())
        .map(|(series, _, standing)| {
            let name = series.identity().metric.name.replace("circuit_breaker_", "");
            let state = series.identity().attributes.get("state").map(|state| format!(" {state}")).unwrap_or_default();
            let (Standing::Sum(value) | Standing::Gauge(value, _)) = standing else { panic!("no histograms here") };
            format!("{name}{state} {}", value.as_f64())
        })
        .collect();
    told.sort();
    told
}

#[tokio::test(start_paused = true)]
async fn time_in_state_is_kept_through_late_signals_and_restarts_and_never_falls() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("{YAML}time_in_state: true\nlast_transition: true\nflapping: {{window: 60s}}\n");
    let section = Section::from_yaml(ID, &yaml).unwrap();
    let checked = Checked::of(&section).unwrap();
    let mut context = context(ID);
    context.clock = Clock::stepped(UnixNanos::from_seconds(1000.0));
    let outlet = probe().0;
    let clock = context.clock.clone();
    let start = async || {
        let ledger = open_ledger(Some(folder.path().to_owned()), checked.ledger_options(), &context).await.unwrap();
        let house = super::House {
            id: ID,
            checked: &checked,
            ledger: Some(&ledger),
            context: &context,
            outlet: outlet.clone(),
        };
        let mut lives = Vec::new();
        let counter = house.counter(&ledger, &mut lives);
        (ledger.clone(), counter, lives.remove(0))
    };
    let (ledger, counter, lives) = start().await;
    let take = async |counter: &Counter, body: String| {
        let signals = counter.read(body.as_bytes()).unwrap();
        assert_eq!(counter.count(signals).await.unwrap().accepted, 1);
    };
    take(&counter, signal("pay", "closed", "open", 990.0)).await;
    lives.refresh().await;
    let now = |times: &[&str], last: &str, recent: &str| {
        let mut told = vec![format!("last_transition_timestamp {last}"), format!("recent_transitions {recent}")];
        told.extend(times.iter().map(|time| format!("time_in_state {time}")));
        told
    };
    assert_eq!(told_of_time(&ledger), now(&["open 10"], "990", "1"));
    // Arrives five seconds late: the two that open has been given by then stay with it.
    tokio::time::advance(Duration::from_secs(2)).await;
    lives.refresh().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    take(&counter, signal("pay", "open", "half_open", 1000.0)).await;
    lives.refresh().await;
    assert_eq!(told_of_time(&ledger), now(&["half_open 3", "open 12"], "1000", "2"));
    // One that was overtaken changes no time, and a clock that is ahead gives none that has not passed.
    take(&counter, signal("pay", "closed", "disabled", 995.0)).await;
    take(&counter, signal("pay", "half_open", "closed", 5000.0)).await;
    lives.refresh().await;
    assert_eq!(told_of_time(&ledger), now(&["half_open 3", "open 12"], "5000", "3"));
    drop((ledger, counter, lives));
    // Four seconds before the next start, and a signal that waited for it.
    tokio::time::advance(Duration::from_secs(4)).await;
    let (ledger, counter, lives) = start().await;
    assert_eq!(told_of_time(&ledger), now(&["half_open 3", "open 12"], "5000", "3"));
    lives.refresh().await;
    assert_eq!(told_of_time(&ledger), now(&["closed 4", "half_open 3", "open 12"], "5000", "0"));
    take(&counter, signal("pay", "closed", "open", 5001.0)).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    lives.refresh().await;
    assert_eq!(told_of_time(&ledger), now(&["closed 4", "half_open 3", "open 72"], "5001", "0"));
    assert_eq!(clock.wall(), UnixNanos::from_seconds(1069.0), "all time since 990 is given: {}", 4 + 3 + 72);
}

#[tokio::test]
async fn a_scrape_shows_time_in_state_and_recent_changes_up_to_now() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!("{YAML}time_in_state: true\nflapping: {{}}\nstate_names: common\npreset: polly\n");
    let mut bench = Bench::open(folder.path(), &yaml).await;
    let now = Clock::system().wall().as_seconds();
    bench.take(&signal("pay", "Closed", "Isolated", now - 100.0)).await;
    let shown = bench.scrape().await;
    assert!(shown.contains(&r#"state{"pay",state="forced_open"} 1"#.to_owned()), "{shown:?}");
    assert!(shown.contains(&r#"moves{"pay",new="forced_open",old="closed"} 1"#.to_owned()), "{shown:?}");
    assert!(shown.contains(&r#"circuit_breaker_recent_transitions{"pay"} 1"#.to_owned()), "{shown:?}");
    let time = |shown: &[String]| {
        let line = shown
            .iter()
            .find_map(|line| line.strip_prefix(r#"circuit_breaker_time_in_state{"pay",state="forced_open"} Double("#));
        line.unwrap_or_else(|| panic!("{shown:?}")).parse::<f64>().unwrap()
    };
    let first = time(&shown);
    assert!((100.0..110.0).contains(&first), "{first}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = time(&bench.scrape().await);
    assert!(second >= first + 0.02, "{first} then {second}");
    bench.close().await;
}
