//! Targets that are asked, against servers in this process: what is shown, counted, ended, and what becomes of bad answers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::Section;
use pipeline::inbox::Inbox;
use pipeline::testing::{context, lines, probe};
use pipeline::{OnFailure, Page};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::breaker::House;
use crate::breaker::check::Checked;
use crate::events::{Chore as _, open_ledger};

const ID: &str = "breaker/x";

/// A server that gives each request the next of its answers, and the last one for ever.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<VecDeque<String>>>,
    /// Heads of requests as they came.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(answers.to_vec().into())),
            asked: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                serving.asked.lock().unwrap().push(String::from_utf8_lossy(&head[..read]).into_owned());
                let answer = serving.next();
                stream.write_all(answer.as_bytes()).await.ok();
                if answer.is_empty() {
                    // Never answers, and keeps the connection.
                    tokio::spawn(async move { stream.read(&mut [0]).await });
                }
            }
        });
        server
    }

    fn next(&self) -> String {
        let mut answers = self.answers.lock().unwrap();
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().cloned().unwrap() }
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn circuits(of: &[(&str, &str)]) -> String {
    let circuits: Vec<_> =
        of.iter().map(|(name, state)| format!(r#""{name}":{{"bufferedCalls":3,"state":"{state}"}}"#)).collect();
    answer("200 OK", &format!(r#"{{"circuitBreakers":{{{}}}}}"#, circuits.join(",")))
}

fn event(name: &str, transition: &str, second: u32) -> String {
    format!(
        r#"{{"circuitBreakerName":"{name}","type":"STATE_TRANSITION","creationTime":"2024-03-09T12:00:{second:02}.25+01:00[Europe/Berlin]","stateTransition":"{transition}"}}"#
    )
}

fn events(of: &[String]) -> String {
    answer("200 OK", &format!(r#"{{"circuitBreakerEvents":[{}]}}"#, of.join(",")))
}

/// A puller, and a destination that remembers what it is told.
struct Bench {
    puller: Puller,
    ledger: Option<Ledger>,
    inbox: Inbox,
    meters: Meters,
    shown: BTreeMap<String, String>,
    failed: Vec<OnFailure>,
}

impl Bench {
    async fn open(folder: &Path, yaml: &str) -> Self {
        let section = Section::from_yaml(ID, yaml).unwrap();
        let checked = Checked::of(&section).unwrap_or_else(|problems| panic!("{problems}"));
        let context = context(ID);
        let ledger = match checked.place {
            Some(_) => Some(open_ledger(Some(folder.to_owned()), checked.ledger_options(), &context).await.unwrap()),
            None => None,
        };
        let (outlet, inbox) = probe();
        let house = House { id: ID, checked: &checked, ledger: ledger.as_ref(), context: &context, outlet };
        let puller = house.puller().unwrap().unwrap();
        Self { puller, ledger, inbox, meters: context.meters, shown: BTreeMap::new(), failed: Vec::new() }
    }

    /// Asks all targets once, whatever their back-off says.
    async fn poll(&mut self) {
        for target in &mut self.puller.targets {
            target.at_once();
        }
        self.poll_when_due().await;
    }

    async fn poll_when_due(&mut self) {
        for target in &mut self.puller.targets {
            let collected = target.poll(Some(Instant::now() + Duration::from_secs(5))).await;
            assert_eq!(collected.len(), 2, "states and vitals are told each time");
        }
        for _ in 0..2 * self.puller.targets.len() {
            let batch = self.inbox.next().await.unwrap();
            if let Some(Page::Failed(on_failure)) = batch.collection.as_ref().map(|collection| collection.page) {
                self.failed.push(on_failure);
            }
            for line in lines(&batch) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                self.shown.insert(series.to_owned(), value.to_owned());
            }
        }
    }

    /// The states that are shown as active, in short.
    fn states(&self) -> Vec<String> {
        self.shown
            .iter()
            .filter(|(series, value)| series.contains("circuit_breaker_state{") && *value == "Int(1)")
            .map(|(series, _)| {
                series.replace("circuit_breaker_state", "").replace("circuit_name=", "").replace(['{', '}', '"'], "")
            })
            .collect()
    }

    fn ended(&self) -> usize {
        self.shown.values().filter(|value| *value == "end").count()
    }

    fn up(&self) -> Vec<&str> {
        self.shown
            .iter()
            .filter(|(series, _)| series.starts_with("weir_breaker_up"))
            .map(|(_, up)| up.as_str())
            .collect()
    }

    /// What the ledger has counted, by a part of the series' name.
    fn counted(&self, name: &str) -> Vec<String> {
        let snapshot = self.ledger.as_ref().unwrap().snapshot();
        let series = snapshot.series().filter(|(series, ..)| series.identity().metric.name.contains(name));
        let mut told: Vec<_> = series
            .map(|(series, _, standing)| {
                let labels =
                    series.identity().attributes.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>();
                format!("{} {:?}", labels.join(" "), standing.value())
            })
            .collect();
        told.sort();
        told
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }
}

fn yaml(server: &Server, more: &str) -> String {
    format!(
        "storage: file_storage\npull:\n  timeout: 300ms\n  targets:\n    - url: http://{}/actuator/circuitbreakers\n      name: shop\n{more}",
        server.address
    )
}

#[tokio::test]
async fn states_are_shown_with_the_targets_attributes_and_end_with_the_circuit() {
    let server = Server::start(&[
        circuits(&[("pay", "CLOSED"), ("ship", "FORCED_OPEN")]),
        circuits(&[("pay", "HALF_OPEN")]),
        circuits(&[]),
    ])
    .await;
    let folder = tempfile::tempdir().unwrap();
    let attributes = "      attributes: {service: shop}\n      headers: {Authorization: Bearer x}\n";
    let mut bench = Bench::open(folder.path(), &yaml(&server, attributes)).await;
    bench.poll().await;
    assert_eq!(bench.states(), ["pay,service=shop,state=CLOSED", "ship,service=shop,state=FORCED_OPEN"]);
    assert_eq!((bench.shown.len(), bench.up()), (2 * 6 + 4, vec!["Int(1)"]));
    bench.poll().await;
    assert_eq!(bench.states(), ["pay,service=shop,state=HALF_OPEN"]);
    assert_eq!(bench.ended(), 6, "a circuit that is no longer there ends");
    bench.poll().await;
    assert_eq!(bench.ended(), 12, "a target without circuits is no failure");
    let asked = server.asked.lock().unwrap()[0].to_ascii_lowercase();
    for head in
        ["get /actuator/circuitbreakers http/1.1", "authorization: bearer x", "accept: application/json", "host: 127"]
    {
        assert!(asked.contains(head), "{head} is not in {asked}");
    }
}

#[tokio::test]
async fn a_target_that_fails_is_down_ends_nothing_and_is_left_alone_for_a_while() {
    let big = answer("200 OK", &" ".repeat(2000));
    let deep = answer("200 OK", &"[".repeat(100));
    let answers = [
        circuits(&[("pay", "OPEN")]),
        answer("503 Service Unavailable", ""),
        answer("302 Found", ""),
        big,
        deep,
        answer("200 OK", "<html>"),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        circuits(&[("pay", "AJAR")]),
        String::new(),
    ];
    let server = Server::start(&answers).await;
    let folder = tempfile::tempdir().unwrap();
    let small = yaml(&server, "").replace("pull:\n", "pull:\n  max_response_body_size: 1000\n  on_failure: last\n");
    let mut bench = Bench::open(folder.path(), &small).await;
    bench.poll().await;
    for (index, _) in answers.iter().enumerate().skip(1) {
        let began = Instant::now();
        bench.poll().await;
        assert_eq!((bench.up(), bench.ended()), (vec!["Int(0)"], 0), "answer {index}");
        assert!(began.elapsed() < Duration::from_secs(1), "answer {index} took {:?}", began.elapsed());
    }
    assert_eq!(bench.failed, [OnFailure::Last; 9]);
    assert_eq!(bench.states(), ["pay,state=OPEN"]);
    let asked = server.asked.lock().unwrap().len();
    bench.poll_when_due().await;
    assert_eq!((server.asked.lock().unwrap().len(), bench.up()), (asked, vec!["Int(0)"]), "nobody was asked");
    assert_eq!(bench.count("weir_breaker_polls"), 11);
}

#[tokio::test]
async fn one_target_that_hangs_does_not_hold_up_the_others() {
    let hangs = Server::start(&[String::new()]).await;
    let answers = Server::start(&[circuits(&[("pay", "OPEN")])]).await;
    let folder = tempfile::tempdir().unwrap();
    let other = format!("    - url: http://{}/actuator/circuitbreakers\n", answers.address);
    let mut bench = Bench::open(folder.path(), &yaml(&hangs, &other)).await;
    let (desk, port) = CollectionDesk::pair(ID, pipeline::Collects::OnDemand);
    let (stopper, stop) = Stop::pair();
    let puller = std::mem::replace(
        &mut bench.puller,
        Puller { targets: Vec::new(), interval: None, clock: Clock::system(), lives: Vec::new() },
    );
    let running = tokio::spawn(puller.run(Some(desk), true, stop));
    let began = Instant::now();
    let collected = port.collect(Instant::now() + Duration::from_secs(5)).await.unwrap();
    assert_eq!(collected.len(), 4, "both are told of");
    assert!(began.elapsed() < Duration::from_secs(1), "it took {:?}", began.elapsed());
    stopper.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn by_interval_targets_are_asked_at_once_and_again() {
    let server = Server::start(&[circuits(&[("pay", "OPEN")])]).await;
    let folder = tempfile::tempdir().unwrap();
    let fast = yaml(&server, "").replace("pull:\n", "pull:\n  collection_interval: 100ms\n");
    let bench = Bench::open(folder.path(), &fast).await;
    let (desk, mut port) = CollectionDesk::pair(ID, pipeline::Collects::Interval);
    let (stopper, stop) = Stop::pair();
    let began = Instant::now();
    let running = tokio::spawn(bench.puller.run(Some(desk), false, stop));
    assert_eq!(port.wait_first_round().await.unwrap().len(), 2);
    while server.asked.lock().unwrap().len() < 4 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    assert!((Duration::from_millis(250)..Duration::from_secs(5)).contains(&took), "four polls took {took:?}");
    stopper.stop();
    running.await.unwrap();
}

#[tokio::test]
async fn transitions_between_polls_count_only_when_that_is_asked_for() {
    let answers = [
        circuits(&[("pay", "CLOSED"), ("ship", "OPEN")]),
        circuits(&[("pay", "OPEN"), ("ship", "OPEN")]),
        circuits(&[("pay", "CLOSED")]),
        circuits(&[("pay", "CLOSED"), ("ship", "CLOSED")]),
    ];
    for (transitions, expected) in
        [("none", vec![]), ("observed", vec!["pay CLOSED OPEN shop Int(1)", "pay OPEN CLOSED shop Int(1)"])]
    {
        let server = Server::start(&answers).await;
        let folder = tempfile::tempdir().unwrap();
        let more = format!("      transitions: {transitions}\n      attributes: {{service: shop}}\n");
        let mut bench = Bench::open(folder.path(), &yaml(&server, &more)).await;
        for _ in 0..5 {
            bench.poll().await;
        }
        assert_eq!(bench.counted("transition"), expected, "{transitions}: a circuit that was away has no state before");
    }
}

#[tokio::test]
async fn the_actuators_events_count_exactly_once_through_polls_and_restarts() {
    let old = [event("pay", "CLOSED_TO_OPEN", 1), event("pay", "OPEN_TO_HALF_OPEN", 2)];
    let new = [old[1].clone(), event("pay", "HALF_OPEN_TO_OPEN", 3), event("pay", "OPEN_TO_HALF_OPEN", 4)];
    let ancient = event("pay", "CLOSED_TO_DISABLED", 5).replace("2024", "1999");
    let states = circuits(&[("pay", "HALF_OPEN")]);
    let answers = [
        [states.clone(), events(&old)],
        [states.clone(), events(&old)],
        [states.clone(), events(&[&new[..], &[ancient]].concat())],
    ];
    let server = Server::start(&answers.concat()).await;
    let folder = tempfile::tempdir().unwrap();
    let section = format!("dedup: {{window: 87600h}}\n{}", yaml(&server, "      transitions: events\n"));
    let mut bench = Bench::open(folder.path(), &section).await;
    bench.poll().await;
    bench.poll().await;
    let expected = ["pay HALF_OPEN OPEN Int(1)", "pay OPEN CLOSED Int(1)"];
    assert_eq!(bench.counted("transition"), expected);
    assert!(server.asked.lock().unwrap()[1].starts_with("GET /actuator/circuitbreakerevents HTTP/1.1"));
    drop(bench);
    let mut bench = Bench::open(folder.path(), &section).await;
    bench.poll().await;
    let expected = ["pay HALF_OPEN OPEN Int(2)", "pay OPEN CLOSED Int(1)", "pay OPEN HALF_OPEN Int(1)"];
    assert_eq!(bench.counted("transition"), expected, "what is older than the window is not counted");
}

#[tokio::test]
async fn other_documents_have_their_own_fields_states_and_instances() {
    let body =
        r#"{"data":[{"id":"pay","open":true,"host":"a","since":1700000000},{"id":"pay","open":false,"host":"b"}]}"#;
    let server = Server::start(&[answer("200 OK", body)]).await;
    let folder = tempfile::tempdir().unwrap();
    let more = "      format: json\n      states: [closed, open]\n      values: {\"true\": open, \"false\": closed}\n      fields: {list: data, name: id, state: open, instance: /host, time: since}\n";
    let section = format!("instance_label: true\n{}", yaml(&server, more));
    let mut bench = Bench::open(folder.path(), &section).await;
    bench.poll().await;
    assert_eq!(bench.states(), ["pay,instance=a,state=open", "pay,instance=b,state=closed"]);
}

#[tokio::test]
async fn common_names_hold_for_targets_too() {
    let server = Server::start(&[circuits(&[("pay", "HALF_OPEN")])]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path(), &format!("state_names: common\n{}", yaml(&server, ""))).await;
    bench.poll().await;
    assert_eq!(bench.states(), ["pay,state=half_open"]);
}

#[test]
fn what_is_wrong_with_a_target_is_told_at_its_place() {
    let problems = |yaml: &str| {
        let section = Section::from_yaml(ID, yaml).unwrap();
        Checked::of(&section).map_or_else(|problems| problems.to_string(), |_| String::new())
    };
    let target =
        |more: &str| format!("storage: s\npull: {{targets: [{{url: \"http://a/circuitbreakers\", {more}}}]}}\n");
    for (yaml, told) in [
        ("pull: {targets: []}".to_owned(), "'targets' is empty"),
        ("pull: {timeout: 0s, targets: [{url: \"http://a\"}]}".to_owned(), "'timeout' must be at least 1ms"),
        (
            "pull: {collection: on_scrape, collection_interval: 1s, targets: [{url: \"http://a\"}]}".to_owned(),
            "means nothing with",
        ),
        ("pull: {max_response_body_size: 1GiB, targets: [{url: \"http://a\"}]}".to_owned(), "from 1B to 64MiB"),
        ("pull: {targets: [{name: a}]}".to_owned(), "'url' is missing"),
        ("pull: {targets: [{url: \"ftp://a\"}]}".to_owned(), "no URL that begins with http"),
        ("pull: {targets: [{url: \"http://u:p@a\"}]}".to_owned(), "has a user in it"),
        ("pull: {targets: [{url: \"http://169.254.169.254/x\"}]}".to_owned(), "allow_link_local"),
        (
            "pull: {targets: [{url: \"http://a/x\"}, {url: \"http://a/y\"}]}".to_owned(),
            "there is a target \"a\" already",
        ),
        ("pull: {targets: [{url: \"http://a/x\", transitions: observed}]}".to_owned(), "'storage' is missing"),
        ("time_in_state: true\npull: {targets: [{url: \"http://a/x\"}]}".to_owned(), "'storage' is missing"),
        (
            "storage: s\npull: {targets: [{url: \"http://a/x\", transitions: events}]}".to_owned(),
            "'events_url' is missing",
        ),
        (target("format: json, transitions: events"), "only format: actuator has 'events'"),
        (target("events_url: \"http://a\""), "means nothing without transitions: events"),
        (target("fields: {name: x}"), "'fields' means nothing with format: actuator"),
        (target("format: json, values: {on: ajar}"), "\"ajar\" is no known state"),
        (target("format: json, fields: {name: a..b}"), "has an empty step"),
        (target("states: [a], preset: polly"), "exclude each other"),
        (target("states: [a, a]"), "named twice"),
        (target("attributes: {state: x}"), "is set by the receiver itself"),
        (target("headers: {Content-Length: x}"), "is set by weir itself"),
        (target("headers: [{name: A, value_file: /nowhere}]"), "cannot read"),
        (target("tls: {ca_file: /nowhere}"), "cannot read /nowhere"),
    ] {
        let problems = problems(&yaml);
        assert!(problems.contains(told), "{yaml}: {problems}");
        assert!(!told.contains("url") || problems.contains("targets[0]") || problems.contains("url"), "{problems}");
    }
    assert_eq!(problems("pull: {targets: [{url: \"http://a\"}]}"), "");
}

#[tokio::test]
async fn time_in_state_is_counted_from_poll_to_poll_and_not_while_nobody_knows() {
    let answers = [
        circuits(&[("pay", "OPEN"), ("ship", "CLOSED")]),
        circuits(&[("pay", "OPEN")]),
        answer("503 Service Unavailable", ""),
        circuits(&[("pay", "OPEN")]),
    ];
    let server = Server::start(&answers).await;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(folder.path(), &format!("time_in_state: true\n{}", yaml(&server, ""))).await;
    let lives = bench.puller.lives()[0].clone();
    let counted = async |bench: &Bench| {
        lives.refresh().await;
        let told = bench.counted("time_in_state");
        told.iter()
            .map(|line| line.split_once(" Double(").unwrap())
            .map(|(name, time)| (name.to_owned(), time.trim_end_matches(')').parse::<f64>().unwrap()))
            .collect::<Vec<_>>()
    };
    bench.poll().await;
    assert_eq!(counted(&bench).await, [], "one poll proves no time");
    tokio::time::sleep(Duration::from_millis(30)).await;
    bench.poll().await;
    let between = counted(&bench).await;
    assert_eq!(between.len(), 1, "a circuit that is gone was last seen at the poll before: {between:?}");
    assert!(between[0].0 == "pay OPEN" && between[0].1 >= 0.03, "{between:?}");
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        bench.poll().await;
        assert_eq!(counted(&bench).await, between);
    }
    bench.poll().await;
    assert!(counted(&bench).await[0].1 > between[0].1);
}
