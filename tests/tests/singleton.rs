//! Two agents with one configuration: one reads, and the other takes over when it is gone. Frozen agents that wake up send nothing.

#![allow(clippy::disallowed_types, reason = "real servers live in real time")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::exposition::Exposition;
use tests::{MariaDb, PATIENCE, Postgres, Weir, within};

/// An agent of a pair: what it sends goes to a file, one line a point.
struct Agent {
    weir: Weir,
    sent: PathBuf,
}

/// Where the agents of a test leave what they send.
struct Pair {
    folder: tempfile::TempDir,
    config: String,
}

/// A take-over comes within a lease, a try, and what a busy machine needs.
const TAKE_OVER: Duration = Duration::from_secs(10);

impl Pair {
    /// `keys`: of the receiver, but for its queries.
    fn new(keys: &str, sql: &str) -> Self {
        let config = format!(
            "
receivers:
  sql_query/judged:
{keys}
    collection_interval: 100ms
    timeout: 20s
    queries:
      - sql: {sql:?}
        metrics: [{{metric_name: read_at, value_column: at, value_type: number}}]
exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
  debug: {{verbosity: normal, sampling_initial: 1000000, use_internal_logger: false, output_paths: ['${{env:SENT}}']}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [prometheus, debug]}}}}
"
        );
        Self::of(config)
    }

    fn of(config: String) -> Self {
        Self { folder: tempfile::tempdir().expect("the system has a temporary folder"), config }
    }

    fn start(&self, name: &str) -> Agent {
        let sent = self.folder.path().join(name);
        Agent { weir: Weir::run_text(&self.config).env("SENT", &sent).start(), sent }
    }
}

impl Agent {
    /// How many reads it has sent.
    fn reads(&self) -> usize {
        let text = std::fs::read_to_string(&self.sent).unwrap_or_default();
        text.lines().filter(|line| line.contains("read_at") && !line.contains("end")).count()
    }

    /// Waits until it has sent something more; gives how long that took.
    fn reads_on(&self) -> Duration {
        let (began, before) = (Instant::now(), self.reads());
        within(PATIENCE, "another read", || (self.reads() > before).then_some(()));
        began.elapsed()
    }

    /// `weir_sql_leader`, and whether its endpoint shows the last read and how the query fares.
    fn shows(&self) -> (f64, bool, bool) {
        let served = Exposition::read(self.weir.scrape().text());
        let leader: Vec<_> = served.named("weir_sql_leader").collect();
        assert_eq!(leader.len(), 1, "{:?}", served.samples);
        (leader[0].number(), served.named("read_at").count() == 1, served.named("weir_sql_up").count() == 1)
    }
}

const LEADS: (f64, bool, bool) = (1.0, true, true);
const STANDS_BY: (f64, bool, bool) = (0.0, false, false);

const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000)::bigint as at";

fn db_lock(url: &str) -> String {
    format!("    driver: postgres\n    datasource: '{url}'\n    singleton: db_lock\n    lock_lease: 2s")
}

#[test]
fn who_is_killed_is_replaced_and_who_stops_gives_the_lock_back() {
    let server = Postgres::shared();
    server.database("killed", "");
    let pair = Pair::new(&db_lock(&server.url("postgres", "killed")), NOW);
    let one = pair.start("one");
    one.reads_on();
    let two = pair.start("two");
    assert_eq!((one.shows(), two.shows()), (LEADS, STANDS_BY));
    assert_eq!(two.reads(), 0);
    // The lock keeps nothing from being cleaned up.
    let holds = "select count(*), count(backend_xid), count(backend_xmin) from pg_stat_activity where datname = 'killed' and \
                 pid in (select pid from pg_locks where locktype = 'advisory' and granted) and state = 'idle in transaction'";
    within(PATIENCE, "the lock at rest", || (server.execute("postgres", holds) == "1|0|0").then_some(()));

    one.weir.signal("KILL");
    let took = two.reads_on();
    assert!(took < TAKE_OVER, "{took:?}");
    assert_eq!(two.shows(), LEADS);

    let three = pair.start("three");
    assert_eq!(three.shows(), STANDS_BY);
    assert_eq!(two.weir.stop().code(), 0);
    let took = three.reads_on();
    assert!(took < TAKE_OVER, "{took:?}");
    assert!(three.weir.stderr().contains("another agent reads; this one stands by"), "{}", three.weir.stderr());
}

#[test]
fn mariadb_gives_the_lock_of_who_is_killed_frozen_or_stopped_to_the_next() {
    let server = MariaDb::shared();
    server.database("contended", "");
    let keys = format!(
        "    driver: mysql\n    datasource: '{}'\n    singleton: db_lock\n    lock_lease: 2s",
        server.url("contended", "contended")
    );
    let pair = Pair::new(&keys, "select cast(unix_timestamp(now(3)) * 1000 as int) as at");
    let one = pair.start("one");
    one.reads_on();
    let two = pair.start("two");
    assert_eq!((one.shows(), two.shows(), two.reads()), (LEADS, STANDS_BY, 0));
    one.weir.signal("KILL");
    let took = two.reads_on();
    assert!(took < TAKE_OVER, "killed: {took:?}");

    let three = pair.start("three");
    assert_eq!(three.shows(), STANDS_BY);
    two.weir.signal("STOP");
    let sent = two.reads();
    let took = three.reads_on();
    assert!(took < TAKE_OVER, "frozen: {took:?}");
    two.weir.signal("CONT");
    within(PATIENCE, "the end of its term", || (two.shows() == STANDS_BY).then_some(()));
    three.reads_on();
    assert_eq!(two.reads(), sent, "a read was sent that belongs to the other agent");

    assert_eq!(three.weir.stop().code(), 0);
    let took = two.reads_on();
    assert!(took < TAKE_OVER, "stopped: {took:?}");
}

#[test]
fn who_is_frozen_past_its_lease_sends_nothing_when_it_wakes() {
    let server = Postgres::shared();
    server.database("frozen", "");
    // Slow, so that agents are frozen in the middle of a read.
    let slow = "select (extract(epoch from clock_timestamp()) * 1000)::bigint as at, pg_sleep(0.8)::text as slept";
    let pair = Pair::new(&db_lock(&server.url("postgres", "frozen")), slow);
    let mut agents = [pair.start("one"), pair.start("two")];
    let running = "select count(*) from pg_stat_activity where datname = 'frozen' and state = 'active' and query like '%pg_sleep%' and \
                   pid <> pg_backend_pid()";
    let mut frozen_reading = 0;
    for round in 0..4 {
        let [one, two] = &agents;
        within(PATIENCE, "a leader", || {
            let standing = (one.shows().0, two.shows().0);
            (standing.0 + standing.1 == 1.0).then_some(())
        });
        if one.shows().0 != 1.0 {
            agents.reverse();
        }
        let [one, two] = &agents;
        one.reads_on();
        within(PATIENCE, "a read", || (server.execute("frozen", running) == "1").then_some(()));
        one.weir.signal("STOP");
        frozen_reading += usize::from(server.execute("frozen", running) == "1");
        let sent = one.reads();
        let took = two.reads_on();
        assert!(took < TAKE_OVER, "round {round}: {took:?}");
        assert_eq!(one.reads(), sent);
        one.weir.signal("CONT");
        within(PATIENCE, "the end of its term", || (one.shows() == STANDS_BY).then_some(()));
        for _ in 0..3 {
            two.reads_on();
        }
        assert_eq!(one.reads(), sent, "round {round}: a read was sent that belongs to the other agent");
        assert!(one.weir.stderr().contains("no longer holds the lock"), "{}", one.weir.stderr());
    }
    assert!(frozen_reading > 0, "no agent was frozen while it read");
}

#[test]
fn a_pooler_in_transaction_mode_does_not_lose_the_lock() {
    let server = Postgres::shared();
    server.database("pooled_lock", "");
    let pooler = server.pooled("pooled_lock", 6);
    let pair = Pair::new(&db_lock(&pooler.url), NOW);
    let (one, two) = (pair.start("one"), pair.start("two"));
    for _ in 0..10 {
        let (one, two) = (one.shows(), two.shows());
        assert!(one == LEADS && two == STANDS_BY || one == STANDS_BY && two == LEADS, "{one:?} {two:?}");
    }
    let (leader, other) = if one.shows() == LEADS { (one, two) } else { (two, one) };
    leader.weir.signal("KILL");
    let took = other.reads_on();
    assert!(took < TAKE_OVER, "{took:?}");
}

#[test]
fn a_server_that_was_away_has_one_reader_again() {
    let mut server = Postgres::start();
    server.database("away", "");
    let pair = Pair::new(&db_lock(&server.url("postgres", "away")), NOW);
    let agents = [pair.start("one"), pair.start("two")];
    server.stop();
    for agent in &agents {
        within(PATIENCE, "the outage to be seen", || {
            let (leader, read, up) = agent.shows();
            (leader == 0.0 && !read && up).then_some(())
        });
    }
    server.resume();
    let leaders = || agents.iter().filter(|agent| agent.shows() == LEADS).count();
    within(PATIENCE, "a reader", || (leaders() == 1).then_some(()));
    for _ in 0..10 {
        assert_eq!(leaders(), 1);
    }
}

/// Agents that share a ledger: new rows of `jobs` as counters, and as log records that go to the file `SENT`.
fn tracking(keys: &str, sql: &str, state: &Path) -> String {
    format!(
        "
receivers:
  sql_query/judged:
{keys}
    storage: file_storage
    collection_interval: 100ms
    timeout: 20s
    queries:
      - sql: {sql:?}
        tracking_column: {{name: id, type: int}}
        tracking_start_value: 0
        max_rows: 2000
        logs: [{{body_column: note}}]
        metrics: [{{metric_name: jobs_total, new_rows: count, attribute_columns: [kind]}}]
exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}', startup_grace: 1s}}
  debug: {{verbosity: normal, sampling_initial: 1000000, use_internal_logger: false, output_paths: ['${{env:SENT}}']}}
extensions:
  file_storage: {{directory: '{}', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:
    metrics: {{receivers: [sql_query/judged], exporters: [prometheus]}}
    logs: {{receivers: [sql_query/judged], exporters: [debug]}}
",
        state.display()
    )
}

impl Agent {
    /// The counter of new rows, if it shows one.
    fn counted(&self) -> Option<f64> {
        Exposition::read(self.weir.scrape().text()).value("jobs_total", &[("kind", "backup")])
    }

    /// The highest row that it has sent.
    fn last_row(&self) -> f64 {
        let mut rows = BTreeMap::new();
        self.sent_rows(&mut rows);
        rows.last_key_value().map_or(0.0, |(id, _)| *id as f64)
    }

    /// How often it has sent each row as a log record.
    fn sent_rows(&self, rows: &mut BTreeMap<u64, usize>) {
        let text = std::fs::read_to_string(&self.sent).unwrap_or_default();
        let notes = text.split("note <").skip(1).filter_map(|rest| rest.split_once('>')?.0.parse().ok());
        notes.for_each(|id| *rows.entry(id).or_default() += 1);
    }
}

/// The one of two agents that counts, and the other one.
fn who_counts(one: Agent, two: Agent) -> (Agent, Agent) {
    within(PATIENCE, "the first rows", || one.counted().or_else(|| two.counted()));
    if one.counted().is_some() { (one, two) } else { (two, one) }
}

#[test]
fn counters_of_new_rows_stay_exact_when_agents_take_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer.execute_batch("pragma journal_mode = wal; create table jobs(id integer primary key, kind text)").unwrap();
    let keys = format!("    driver: sqlite\n    datasource: '{}'\n    singleton: file_lock", path.display());
    let sql = "select id, kind, 'note <' || id || '>' as note from jobs where id > ? order by id";
    let pair = Pair::of(tracking(&keys, sql, &folder.path().join("state")));
    let mut written = 0;
    let mut write = |rows: i64| {
        let insert = "insert into jobs(kind) with recursive n(i) as (select 1 union all select i + 1 from n where i < ?1) select 'backup' from n";
        writer.execute(insert, [rows]).unwrap();
        written += rows;
        written as f64
    };
    let mut known = write(1000);
    let (mut leader, mut other) = who_counts(pair.start("one"), pair.start("two"));
    let mut killed_reading = 0;
    for round in 0..3 {
        assert_eq!(other.counted(), None, "round {round}: both read");
        // Killed while it reads, and while rows come: ten reads at least, of which the first has sent something.
        let large = write(20_000);
        within(PATIENCE, "the first of the new rows", || (leader.last_row() > known).then_some(()));
        leader.weir.signal("KILL");
        killed_reading += usize::from(leader.last_row() < large);
        let all = write(7);
        within(PATIENCE, "the take-over", || (other.counted() == Some(all)).then_some(()));
        known = all;
        assert!(other.weir.stderr().contains("another agent has the ledger"), "{}", other.weir.stderr());
        (leader, other) = (other, pair.start(&format!("round {round}")));
    }
    assert!(killed_reading > 0, "no agent was killed while it read");
}

#[test]
fn who_is_frozen_past_its_lease_neither_doubles_nor_misses_a_row() {
    let server = Postgres::shared();
    server.database("frozen_rows", "create table jobs(id bigserial primary key, kind text default 'backup')");
    let folder = tempfile::tempdir().unwrap();
    // Slow when there is something new, so that agents are frozen in the middle of a read.
    let sql = "select id, kind, 'note <' || id || '>' as note from jobs where id > $$1 and (select pg_sleep(0.5)::text) is not null order by id";
    let pair = Pair::of(tracking(&db_lock(&server.url("postgres", "frozen_rows")), sql, &folder.path().join("state")));
    let ask = |sql: &str| server.execute("postgres", sql);
    let reading = "select count(*) from pg_stat_activity where datname = 'frozen_rows' and state = 'active' and query like '%pg_sleep%'";
    let locks = "select count(*) from pg_locks join pg_stat_activity using (pid) where locktype = 'advisory' and granted and \
                 datname = 'frozen_rows'";
    let mut written = 0;
    let mut write = |rows: u32| {
        server
            .execute("frozen_rows", &format!("insert into jobs(kind) select 'backup' from generate_series(1, {rows})"));
        written += rows;
        f64::from(written)
    };
    write(100);
    let (leader, other) = who_counts(pair.start("one"), pair.start("two"));
    let mut frozen_reading = 0;
    for round in 1..=3 {
        write(500);
        within(PATIENCE, "a read", || (ask(reading) == "1").then_some(()));
        leader.weir.signal("STOP");
        frozen_reading += usize::from(ask(reading) == "1");
        let all = write(70);
        within(PATIENCE, "the end of its lease", || (ask(locks) == "0").then_some(()));
        assert_eq!(other.counted(), None, "round {round}: it counts without the ledger");
        leader.weir.signal("CONT");
        within(PATIENCE, "all rows", || (leader.counted() >= Some(all)).then_some(()));
        assert_eq!(leader.counted(), Some(all), "round {round}");
        let lost = leader.weir.stderr().matches("no longer holds the lock").count();
        assert_eq!(lost, round, "{}", leader.weir.stderr());
    }
    assert!(frozen_reading > 0, "no agent was frozen while it read");
    leader.weir.signal("KILL");
    let all = write(70);
    within(PATIENCE, "the take-over", || (other.counted() >= Some(all)).then_some(()));
    assert_eq!(other.counted(), Some(all));
    let mut rows = BTreeMap::new();
    within(PATIENCE, "the last log record", || {
        rows.clear();
        [&leader, &other].into_iter().for_each(|agent| agent.sent_rows(&mut rows));
        (rows.len() as f64 >= all).then_some(())
    });
    let twice: Vec<_> = rows.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "rows that were sent more than once: {twice:?}");
    assert_eq!(rows.len() as f64, all);
}

#[test]
fn a_file_has_one_reader_and_a_frozen_one_keeps_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("create table t(v int)").unwrap();
    let keys = format!("    driver: sqlite\n    datasource: '{}'\n    singleton: file_lock", path.display());
    let pair = Pair::new(&keys, "select cast(unixepoch('subsec') * 1000 as int) as at");
    let one = pair.start("one");
    one.reads_on();
    let two = pair.start("two");
    assert_eq!((one.shows(), two.shows()), (LEADS, STANDS_BY));
    one.weir.signal("STOP");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((two.shows(), two.reads()), (STANDS_BY, 0));
    one.weir.signal("CONT");
    one.reads_on();
    assert_eq!(two.reads(), 0);
    one.weir.signal("KILL");
    let took = two.reads_on();
    assert!(took < TAKE_OVER, "{took:?}");
    let terms = std::fs::read_to_string(folder.path().join("x.db.sql_query-judged.lock")).unwrap();
    assert_eq!(terms.trim().parse(), Ok(2));
}
