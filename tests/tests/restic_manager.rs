//! The example that serves restic-manager's metrics reference, and its gate.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;

use rusqlite::Connection;
use tests::exposition::Exposition;
use tests::http;
use tests::judges::{self, Names};
use tests::{Launch, Prometheus, Random, Target, Weir, repository};

const TOKEN: &str = "a-token-of-proper-length";
const BUILD: [&str; 3] = ["1.4.0", "ccd14f7cee", "go1.25"];

/// A database of the application in a folder of its own.
struct Fleet {
    _folder: tempfile::TempDir,
    path: PathBuf,
    connection: Connection,
}

impl Fleet {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("the system has a temporary folder");
        let path = folder.path().join("rm.db");
        let connection = Connection::open(&path).expect("a fresh folder is writable");
        connection.pragma_update(None, "journal_mode", "wal").expect("the application runs in WAL mode");
        // An alert may outlive its host.
        connection.pragma_update(None, "foreign_keys", "off").expect("a known pragma");
        connection.execute_batch(&repository::text("examples/restic-manager/schema.sql")).expect("it is SQL");
        Self { _folder: folder, path, connection }
    }

    /// Whatever a fleet may look like, another one for each seed.
    fn of(seed: u64) -> Self {
        let fleet = Self::empty();
        let mut random = Random::new(seed);
        let hosts = random.below(12);
        for host in 0..hosts {
            let status = random.pick(&["online", "online", "offline", "pending", "lost"]);
            let repo = random.pick(&[Some("ready"), Some("init_failed"), Some("unknown"), None, Some(""), Some("odd")]);
            let size = random.pick(&[None, Some(0), Some(812_345_678_901_i64), Some(i64::MAX)]);
            let name = random.pick(&["hive", "hive", "a \"b\"", "né\n", "", "\\"]);
            fleet.insert(
                "insert into hosts (id, name, status, repo_status, repo_size_bytes, snapshot_count) values (?, ?, ?, ?, ?, ?)",
                (format!("H{host:02}"), name, status, repo, size, random.below(100) as i64),
            );
            for job in 0..random.below(9) {
                let kind = random.pick(&["backup", "backup", "backup", "prune", "check"]);
                let status = random.pick(&["succeeded", "failed", "cancelled", "running", "queued"]);
                // Ties, zones, fractions, and what is no time.
                let text = random.pick(&[
                    Some("2026-11-21T02:14:31Z"),
                    Some("2026-11-21T02:14:31.25Z"),
                    Some("2026-11-21 03:14:31+01:00"),
                    Some("2026-11-21 02:14:30.999999999"),
                    Some("1999-12-31T23:59:59-02:30"),
                    Some("2026-11-21"),
                    Some("yesterday"),
                    None,
                ]);
                let id = format!("J{host:02}{job}");
                fleet.insert(
                    "insert into jobs (id, host_id, kind, status, finished_at) values (?, ?, ?, ?, ?)",
                    (id, format!("H{host:02}"), kind, status, text),
                );
            }
        }
        for alert in 0..random.below(20) {
            let host = (random.below(4) > 0).then(|| format!("H{:02}", random.below(hosts + 1)));
            let severity = random.pick(&["info", "warning", "critical", "fatal", "Info"]);
            let at = random.pick(&[None, None, Some("2026-11-21T02:14:31Z")]);
            fleet.insert(
                "insert into alerts (id, host_id, severity, acked_at, resolved_at) values (?, ?, ?, ?, ?)",
                (format!("A{alert}"), host, severity, "2026-11-21", at),
            );
        }
        fleet
    }

    fn insert(&self, sql: &str, values: impl rusqlite::Params) {
        self.connection.execute(sql, values).expect("the schema takes it");
    }

    fn reads(&self) -> Launch {
        let [version, commit, go] = BUILD;
        Weir::run("examples/restic-manager/weir.yaml")
            .listen("RM_LISTEN", "/metrics")
            .env("RM_JOBS_LISTEN", "127.0.0.1:0")
            .env("WEIR_STATE", self.path.with_extension("state"))
            .env("RM_DATABASE", &self.path)
            .env("RM_VERSION", version)
            .env("RM_COMMIT", commit)
            .env("RM_GO_VERSION", go)
    }

    fn served(&self) -> Exposition {
        let weir = self.reads().env("RM_METRICS_TRUSTED_CIDR", "127.0.0.0/8").start();
        Exposition::read(weir.scrape().text())
    }

    /// What the oracle says and the scrape does not, and the other way round.
    fn differences(&self, served: &Exposition) -> Vec<String> {
        let text = |value: &serde_json::Value| value.as_str().expect("the oracle writes text").to_owned();
        let mut expected = BTreeMap::new();
        for row in judges::restic_manager(&self.path, BUILD).as_array().expect("a list") {
            let labels = row[1].as_object().expect("labels").iter().map(|(key, value)| (key.clone(), text(value)));
            expected.insert((text(&row[0]), labels.collect::<BTreeMap<_, _>>()), text(&row[2]));
        }
        let mut differences = Vec::new();
        for sample in served.samples.iter().filter(|sample| sample.name.starts_with("rm_")) {
            match expected.remove(&(sample.name.clone(), sample.labels.clone())) {
                Some(number) if number == sample.value => {}
                found => differences.push(format!("expected {found:?}: {sample:?}")),
            }
        }
        differences.extend(expected.into_iter().map(|(series, number)| format!("missing: {series:?} {number}")));
        differences
    }
}

#[test]
fn fleets_of_any_kind_read_as_the_oracle_reads_them() {
    let (mut failures, mut samples) = (Vec::new(), 0);
    for seed in 0..30 {
        let fleet = Fleet::of(seed);
        let served = fleet.served();
        samples += served.samples.iter().filter(|sample| sample.name.starts_with("rm_host_")).count();
        let found = fleet.differences(&served);
        failures.extend(found.first().map(|first| format!("seed {seed}: {} differences, first {first}", found.len())));
    }
    assert!(failures.is_empty(), "{} of 30\n{}", failures.len(), failures.join("\n"));
    assert!(samples > 300, "{samples} samples judge nothing");
}

#[test]
fn an_empty_fleet_shows_zeros() {
    let fleet = Fleet::empty();
    let served = fleet.served();
    assert_eq!(fleet.differences(&served), Vec::<String>::new());
    assert_eq!(served.value("rm_active_alerts", &[("severity", "critical")]), Some(0.0));
    assert_eq!(served.value("rm_hosts_total", &[]), Some(0.0));
}

#[test]
fn hosts_without_backups_and_sizes_and_those_that_wait_leave_out_what_is_not_known() {
    let fleet = Fleet::empty();
    fleet
        .connection
        .execute_batch(
            "insert into hosts (id, name, status, repo_status) values ('A', 'a', 'online', 'ready'), ('B', 'b', 'pending', null);
             insert into jobs (id, host_id, kind, status, finished_at) values ('1', 'A', 'prune', 'succeeded', '2026-11-21'),
               ('2', 'A', 'backup', 'running', null)",
        )
        .expect("the schema takes it");
    let weir = fleet.reads().env("RM_METRICS_TOKEN", TOKEN).start();
    let scrape = || {
        let answer = weir.get(&[("Authorization", &format!("Bearer {TOKEN}"))]);
        Exposition::read(answer.text())
    };
    let served = scrape();
    assert_eq!(fleet.differences(&served), Vec::<String>::new());
    for name in ["rm_host_last_backup_success", "rm_host_last_backup_timestamp_seconds", "rm_host_repo_size_bytes"] {
        assert_eq!(served.named(name).count(), 0, "{name}");
    }
    assert!(served.samples.iter().all(|sample| sample.labels.get("host_id").is_none_or(|id| id != "B")));
    // A status that changes ends its series.
    fleet.connection.execute("update hosts set repo_status = 'init_failed'", []).expect("there are hosts");
    let status: Vec<_> = scrape().named("rm_host_repo_status").map(|sample| sample.labels["status"].clone()).collect();
    assert_eq!(status, ["init_failed"]);
    judges::accept(&weir, Some(TOKEN), Names::Given);
}

#[test]
fn all_conditions_of_the_gate_that_are_set_must_hold() {
    let fleet = Fleet::of(1);
    let right = format!("Bearer {TOKEN}");
    let bearer = ("Authorization", right.as_str());
    let wrong = ("Authorization", "Bearer another-token-of-length");
    let from = |address: &'static str| ("X-Forwarded-For", address);
    let (token, inside, outside) = (
        ("RM_METRICS_TOKEN", TOKEN),
        ("RM_METRICS_TRUSTED_CIDR", "10.0.0.0/8,127.0.0.0/8"),
        ("RM_METRICS_TRUSTED_CIDR", "10.0.0.0/8, 192.168.0.0/16"),
    );
    let proxy = ("RM_TRUSTED_PROXY", "127.0.0.1");
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let matrix: &[(Pairs<'_>, &[(Pairs<'_>, u16)])] = &[
        (&[], &[(&[], 404), (&[bearer], 404), (&[from("10.0.0.1")], 404)]),
        (&[("RM_METRICS_TOKEN", ""), ("RM_METRICS_TRUSTED_CIDR", "")], &[(&[], 404)]),
        (&[proxy], &[(&[], 404), (&[from("10.0.0.1")], 404)]),
        (&[token], &[(&[], 401), (&[wrong], 401), (&[bearer], 200), (&[bearer, from("8.8.8.8")], 200)]),
        (&[inside], &[(&[], 200), (&[wrong], 200), (&[from("8.8.8.8")], 200)]),
        (&[outside], &[(&[], 403), (&[bearer], 403), (&[from("10.0.0.1")], 403)]),
        (&[token, inside], &[(&[], 401), (&[wrong], 401), (&[bearer], 200)]),
        (&[token, outside], &[(&[], 403), (&[bearer], 403)]),
        (
            &[outside, proxy],
            &[
                (&[from("10.0.0.1")], 200),
                (&[from("192.168.7.7")], 200),
                (&[from("8.8.8.8")], 403),
                (&[from("10.0.0.1, 8.8.8.8")], 403),
                (&[from("8.8.8.8, 10.0.0.1")], 200),
                (&[], 403),
            ],
        ),
        (
            &[token, outside, proxy],
            &[(&[from("10.0.0.1")], 401), (&[bearer, from("8.8.8.8")], 403), (&[bearer, from("10.0.0.1")], 200)],
        ),
    ];
    for (variables, requests) in matrix {
        let weir = variables.iter().fold(fleet.reads(), |launch, (name, value)| launch.env(name, value)).start();
        for (headers, status) in *requests {
            let answer = weir.get(headers);
            assert_eq!(answer.status, *status, "{variables:?} {headers:?}");
            assert_eq!(answer.text().contains("rm_hosts_total"), *status == 200, "{variables:?} {headers:?}");
        }
    }
}

#[test]
fn the_seed_can_be_made_validated_and_scraped() {
    let folder = tempfile::tempdir().expect("the system has a temporary folder");
    let path = folder.path().join("seed.db");
    let script = repository::root().join("examples/restic-manager/make_database.py");
    let make = || std::process::Command::new("python3").arg(&script).arg(&path).output().expect("there is python3");
    let made = make();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(!make().status.success(), "it wrote over a database");
    let database = path.to_str().expect("in UTF-8");
    let config = ["validate", "--connect", "--config", "examples/restic-manager/weir.yaml"];
    let asked = Weir::command(&config, &[("RM_DATABASE", database), ("RM_METRICS_TOKEN", TOKEN)]);
    assert_eq!((asked.code(), asked.stderr.as_str()), (0, ""));
    let weir = Weir::run("examples/restic-manager/weir.yaml").listen("RM_LISTEN", "/metrics");
    let weir = weir.env("RM_DATABASE", database).env("RM_METRICS_TOKEN", TOKEN).start();
    let target = Target { token: Some(TOKEN), ..Target::weir("restic-manager", &weir) };
    let prometheus = Prometheus::scraping(&[target]);
    for (query, expected) in [
        ("rm_hosts_total", 3.0),
        ("rm_hosts_online", 2.0),
        ("sum(rm_active_alerts)", 2.0),
        ("count(rm_host_last_backup_success == 0)", 1.0),
        ("rm_host_last_backup_timestamp_seconds{host='gate'}", 1_795_226_460.0),
        ("rm_host_repo_status{host='owl', status='init_failed'}", 1.0),
    ] {
        assert_eq!(prometheus.number(query), expected, "{query}");
    }
}

/// A message that a job has ended, as the application's agents send it.
fn finished(job: &str, kind: &str, status: &str, times: (&str, &str)) -> String {
    serde_json::json!({
        "type": "job_finished",
        "payload": {"job_id": job, "kind": kind, "status": status, "started_at": times.0, "finished_at": times.1},
    })
    .to_string()
}

#[test]
fn a_finished_job_is_in_the_histogram_of_the_page_once_and_stays_there() {
    let fleet = Fleet::empty();
    let door = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("there is a free port");
    let start = || {
        let launch = fleet.reads().env("RM_METRICS_TRUSTED_CIDR", "127.0.0.0/8");
        let weir = launch.env("RM_JOBS_LISTEN", door.to_string()).start();
        tests::within(tests::PATIENCE, "taking jobs", || http::get(door, "/jobs", &[]).ok());
        weir
    };
    let post = |body: &str| {
        let json = [("Content-Type", "application/json")];
        let told = http::request("POST", door, "/jobs", &json, body.as_bytes()).expect("weir answers");
        assert_eq!(told.status, 200, "{}", told.text());
    };
    let hour = ("2026-11-21T02:00:00Z", "2026-11-21T03:00:00Z");
    let weir = start();
    for _ in 0..3 {
        post(&finished("J1", "backup", "succeeded", hour));
    }
    post(&finished("J2", "backup", "succeeded", ("2026-11-21T02:00:00Z", "2026-11-21T02:00:00.5Z")));
    post(&finished("J3", "prune", "failed", ("2026-11-21T02:00:00Z", "2026-11-23T02:00:00Z")));
    post(&finished("J4", "mine-bitcoin", "Succeeded", hour));
    post(&finished("J5", "check", "cancelled", ("2026-11-21T03:00:00Z", "2026-11-21T02:00:00Z")));
    post(&finished("J6", "backup", "succeeded", hour).replace("job_finished", "job_started"));
    let shown = |weir: &Weir| Exposition::read(weir.scrape().text());
    let served = shown(&weir);
    let of = |name: &str, kind: &str, status: &str, le: Option<&str>| {
        let labels = [("kind", kind), ("status", status)];
        let labels: Vec<_> = labels.into_iter().chain(le.map(|le| ("le", le))).collect();
        served.value(&format!("rm_job_duration_seconds_{name}"), &labels)
    };
    // Bounds are inclusive: the job of exactly an hour is not above it.
    let expected = [("1", 1.0), ("5", 1.0), ("30", 1.0), ("60", 1.0), ("300", 1.0), ("1800", 1.0), ("3600", 2.0)];
    for (le, count) in expected.into_iter().chain([("21600", 2.0), ("86400", 2.0), ("+Inf", 2.0)]) {
        assert_eq!(of("bucket", "backup", "succeeded", Some(le)), Some(count), "le={le}");
    }
    assert_eq!(of("sum", "backup", "succeeded", None), Some(3600.5));
    assert_eq!(of("bucket", "prune", "failed", Some("86400")), Some(0.0));
    assert_eq!(of("count", "prune", "failed", None), Some(1.0));
    assert_eq!(of("count", "other", "other", None), Some(1.0));
    assert_eq!(served.named("rm_job_duration_seconds_count").count(), 3, "time that runs backwards is no duration");
    assert_eq!(served.named("rm_job_duration_seconds_bucket").count(), 3 * 10, "the page's buckets and no other");
    drop(weir);
    let again = shown(&start());
    for name in ["bucket", "sum", "count"] {
        let name = format!("rm_job_duration_seconds_{name}");
        let lines = |of: &Exposition| of.named(&name).map(|sample| format!("{sample:?}")).collect::<Vec<_>>();
        assert_eq!(lines(&again), lines(&served), "after a kill and a restart");
    }
}
