//! The example that takes fluxgate's signals, run as its users run it: posted, scraped, killed, started again.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use tests::exposition::Exposition;
use tests::http::{self, OPEN_METRICS, Response};
use tests::{Weir, judges, repository};

const STATES: [&str; 6] = ["closed", "open", "half_open", "metrics_only", "disabled", "forced_open"];

/// A running example and where it takes signals.
struct House {
    weir: Weir,
    door: SocketAddr,
}

impl House {
    fn start(state: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let door = free.expect("there is a free port");
        let launch = Weir::run("examples/fluxgate/weir.yaml").listen("METRICS_LISTEN", "/metrics");
        let weir = launch.env("FLUXGATE_LISTEN", door.to_string()).env("WEIR_STATE", state).start();
        tests::within(tests::PATIENCE, "taking signals", || http::get(door, "/signals", &[]).ok());
        Self { weir, door }
    }

    fn post(&self, body: &str) -> Response {
        http::request("POST", self.door, "/signals", &[("Content-Type", "application/json")], body.as_bytes())
            .expect("weir answers")
    }

    /// Posts and gives how many signals were new, and how many not.
    fn take(&self, body: &str) -> (u64, u64) {
        let response = self.post(body);
        assert_eq!(response.status, 200, "{}", response.text());
        let told: serde_json::Value = serde_json::from_slice(&response.body).expect("the answer is JSON");
        (told["accepted"].as_u64().expect("a number"), told["duplicates"].as_u64().expect("a number"))
    }

    fn series(&self) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
        let shown = Exposition::read(self.weir.scrape().text());
        let series =
            |sample: tests::exposition::Sample| ((sample.name.clone(), sample.labels.clone()), sample.number());
        shown.samples.into_iter().map(series).collect()
    }
}

/// The same as fluxgate's own listener makes of these signals, in any order of arrival.
fn oracle(signals: &[(String, usize, usize, u32)]) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let mut expected = BTreeMap::new();
    let mut in_time = signals.to_vec();
    in_time.sort_by_key(|(.., time)| *time);
    for (circuit, old, new, _) in &in_time {
        let pair = labels(&[("circuit_name", circuit), ("old_state", STATES[*old]), ("new_state", STATES[*new])]);
        *expected.entry(("circuit_breaker_state_transition_total".to_owned(), pair)).or_default() += 1.0;
        for (at, state) in STATES.iter().enumerate() {
            let state = labels(&[("circuit_name", circuit), ("state", state)]);
            expected.insert(("circuit_breaker_state".to_owned(), state), f64::from(u8::from(at == *new)));
        }
    }
    expected
}

fn json((circuit, old, new, time): &(String, usize, usize, u32)) -> String {
    let (old, new) = (STATES[*old], STATES[*new]);
    format!(r#"{{"circuit_name":"{circuit}","old_state":"{old}","new_state":"{new}","timestamp":17000{time:05}.25}}"#)
}

/// 600 signals of 5 circuits, each at a time of its own, shuffled.
fn shuffled() -> Vec<(String, usize, usize, u32)> {
    let mut random = tests::Random::new(7);
    let mut signals: Vec<_> =
        (0..600).map(|time| (format!("c{}", random.below(5)), random.below(6), random.below(6), time)).collect();
    for at in (1..signals.len()).rev() {
        signals.swap(at, random.below(at + 1));
    }
    signals
}

/// Rows of an oracle.
fn rows(told: &serde_json::Value) -> BTreeMap<(String, BTreeMap<String, String>), f64> {
    let row = |row: &serde_json::Value| {
        let labels = row[1].as_object().expect("labels").iter();
        let labels = labels.map(|(key, value)| (key.clone(), value.as_str().expect("a text").to_owned())).collect();
        ((row[0].as_str().expect("a name").to_owned(), labels), row[2].as_f64().expect("a number"))
    };
    told.as_array().expect("rows").iter().map(row).collect()
}

#[test]
fn signal_files_come_to_what_an_oracle_says_whatever_their_order() {
    let state = tempfile::tempdir().expect("there is room");
    let house = House::start(state.path());
    let mut expected = BTreeMap::new();
    let mut random = tests::Random::new(11);
    let (mut inverted, mut tied) = (0, 0);
    for seed in 1..=40 {
        let file = judges::python_text("venv", "fluxgate.py", &["generate", &seed.to_string()], b"");
        let lines: Vec<&str> = file.lines().collect();
        let time = |line: &str| {
            let signal: serde_json::Value = serde_json::from_str(line).expect("a signal is JSON");
            (signal["circuit_name"].to_string(), signal["timestamp"].as_f64().expect("a time"))
        };
        for pair in lines.windows(2).map(|pair| [time(pair[0]), time(pair[1])]).filter(|[one, next]| one.0 == next.0) {
            inverted += usize::from(pair[1].1 < pair[0].1);
            tied += usize::from(pair[1].1 == pair[0].1);
        }
        // In pieces of any size, as lines, as arrays and one by one.
        let mut rest = &lines[..];
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(1 + random.below(rest.len().min(9)));
            rest = more;
            house.take(&if random.below(2) == 0 { piece.join("\n") } else { format!("[{}]", piece.join(",")) });
        }
        expected.extend(rows(&judges::python("venv", "fluxgate.py", &["expect"], file.as_bytes())));
    }
    assert!(inverted > 100 && tied > 100, "{inverted} inversions and {tied} ties are too few to prove anything");
    assert_eq!(house.series(), expected);
    house.weir.stop();
}

#[test]
fn the_real_library_is_counted_as_it_counts_itself() {
    let state = tempfile::tempdir().expect("there is room");
    let house = House::start(state.path());
    let url = format!("http://{}/signals", house.door);
    let mut expected = BTreeMap::new();
    for (seed, version, kind) in
        [(1, "0.6.1", "sync"), (2, "0.6.1", "async"), (3, "0.9.4", "sync"), (4, "0.9.4", "async")]
    {
        let libraries = format!("fluxgate-{version}");
        let arguments = [url.as_str(), kind, &seed.to_string()];
        expected.extend(rows(&judges::python(&libraries, "live/fluxgate_drive.py", &arguments, b"")));
        assert_eq!(house.series(), expected, "fluxgate {version}, {kind}");
    }
    house.weir.stop();
}

#[test]
fn a_listener_neither_blocks_nor_fails_its_caller_when_nobody_listens() {
    for version in ["0.6.1", "0.9.4"] {
        let told = judges::python(&format!("fluxgate-{version}"), "live/fluxgate_alone.py", &[], b"");
        // One that waited for an answer would take ten seconds for the first.
        let took = told["took_ms"].as_f64().expect("a number");
        assert!(took < 9000.0, "fluxgate {version}: a thousand calls took {took} ms");
        assert_eq!(told["dropped"], 900, "fluxgate {version}: what does not fit the queue of 100 is counted");
    }
}

#[test]
fn a_killed_agent_counts_on_where_its_answers_ended() {
    let state = tempfile::tempdir().expect("there is room");
    let signals = shuffled();
    let mut house = House::start(state.path());
    let mut sent = 0;
    for (round, piece) in signals.chunks(60).enumerate() {
        let body = piece.iter().map(json).collect::<Vec<_>>();
        assert_eq!(house.take(&format!("[{}]", body.join(","))), (60, 0));
        sent += piece.len();
        assert_eq!(house.series(), oracle(&signals[..sent]), "a scrape shows what was answered before it");
        if round % 3 == 2 {
            // Ended by SIGKILL when it is dropped.
            drop(house);
            house = House::start(state.path());
            assert_eq!(house.series(), oracle(&signals[..sent]), "after the restart");
        }
    }
    let again = signals.iter().map(json).collect::<Vec<_>>().join("\n");
    assert_eq!(house.take(&again), (0, 600), "all of it once more, one a line");
    assert_eq!(house.series(), oracle(&signals));
    house.weir.stop();
}

#[test]
fn the_page_is_that_of_fluxgates_own_listener_though_signals_arrive_out_of_order() {
    for version in ["0.6.1", "0.9.4"] {
        let state = tempfile::tempdir().expect("there is room");
        let house = House::start(state.path());
        // The library knows no snapshots.
        let files = (101..=110).map(|seed: u32| {
            let file = judges::python_text("venv", "fluxgate.py", &["generate", &seed.to_string()], b"");
            let lines = file.lines().filter(|line| !line.contains("snapshot"));
            lines.map(|line| format!("{line}\n")).collect::<String>()
        });
        let file: String = files.collect();
        house.take(&file);
        let libraries = format!("fluxgate-{version}");
        let own = judges::python_text(&libraries, "live/fluxgate_page.py", &[], file.as_bytes());
        let (own, scrape) = (Exposition::read(&own), house.weir.scrape());
        let shown = Exposition::read(scrape.text());
        assert_eq!((&shown.types, &shown.helps), (&own.types, &own.helps), "fluxgate {version}");
        let series = |page: Exposition| {
            let samples = page.samples.into_iter();
            samples
                .map(|sample| ((sample.name.clone(), sample.labels.clone()), sample.number()))
                .collect::<BTreeMap<_, _>>()
        };
        let (shown, own) = (series(shown), series(own));
        assert!(own.len() > 100, "{} series are too few to prove anything", own.len());
        assert_eq!(shown, own, "fluxgate {version}");
        house.weir.stop();
    }
}

#[test]
fn the_exposition_is_that_of_fluxgates_own_listener() {
    let state = tempfile::tempdir().expect("there is room");
    let house = House::start(state.path());
    assert!(house.series().is_empty(), "no series before the first signal");
    house.take(&json(&("payment_api".to_owned(), 0, 1, 1)));
    let scrape = house.weir.scrape();
    for line in [
        "# HELP circuit_breaker_state Current state of the circuit breaker",
        "# TYPE circuit_breaker_state gauge",
        "# HELP circuit_breaker_state_transition_total Count of state transitions for circuit breakers",
        "# TYPE circuit_breaker_state_transition_total counter",
        r#"circuit_breaker_state{circuit_name="payment_api",state="open"} 1"#,
        r#"circuit_breaker_state{circuit_name="payment_api",state="half_open"} 0"#,
        r#"circuit_breaker_state_transition_total{circuit_name="payment_api",new_state="open",old_state="closed"} 1"#,
    ] {
        assert!(scrape.text().lines().any(|shown| shown == line), "{line} is not in\n{}", scrape.text());
    }
    assert_eq!(house.series().len(), 7, "and nothing else");
    assert!(house.weir.get(&[OPEN_METRICS]).text().ends_with("# EOF\n"));
    house.weir.stop();
}

#[test]
fn the_dashboard_has_the_three_panels_of_the_page() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&repository::text("examples/fluxgate/dashboard.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let panels: Vec<_> =
        panels.map(|panel| ["type", "title"].map(|key| panel[key].as_str()).map(Option::unwrap_or_default)).collect();
    let expected = [
        ["stat", "Currently Open Circuits"],
        ["timeseries", "Circuit Trip Rate (5m)"],
        ["piechart", "Circuit State Overview"],
    ];
    assert_eq!(panels, expected);
}
