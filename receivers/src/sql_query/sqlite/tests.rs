use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pdata::{Kind, Metric, SeriesTable};
use pipeline::mapping::{
    AttributeRule, LogRule, MapperRules, MetricRule, OnDuplicate, OnNull, StartRule, ValueRule, ValueType,
};
use pipeline::testing::lines;
use pipeline::{Batch, Clock};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Sqlite;
use crate::sql_query::intake::Intake;
use crate::sql_query::pages::Page;
use crate::sql_query::source::{Done, Job, ReadError, Reason, Source, Work};

/// A database in a folder of its own, and a driver that reads it.
struct Bench {
    folder: TempDir,
    table: Arc<SeriesTable>,
    driver: Sqlite,
}

const CELL_MAX: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(5);

/// How long a healthy machine may take for anything at all.
const PATIENCE: Duration = Duration::from_secs(30);

const ENDLESS: &str =
    "with recursive c(n) as (select 1 union all select n + 1 from c) select '' as name, count(*) as v from c";

/// Takes all pages until the reading is over.
async fn taking<T>(mut pages: mpsc::Receiver<Page>, reading: impl Future<Output = T>) -> T {
    tokio::pin!(reading);
    loop {
        tokio::select! {
            done = &mut reading => return done,
            Some(_) = pages.recv() => {}
        }
    }
}

impl Bench {
    fn new(setup: &str) -> Self {
        let bench = Self::empty();
        bench.writer().execute_batch(setup).unwrap();
        bench
    }

    fn empty() -> Self {
        let folder = TempDir::new().unwrap();
        let driver = Sqlite::new(folder.path().join("x.db"), CELL_MAX, 8, 2, Clock::system());
        Self { folder, table: SeriesTable::with_defaults(), driver }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("x.db")
    }

    fn writer(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// An intake for columns `name` and `v`.
    fn intake(&self, max_rows: usize) -> Box<Intake> {
        self.intake_with(max_rows, Arc::new([]))
    }

    fn intake_with(&self, max_rows: usize, logs: Arc<[LogRule]>) -> Box<Intake> {
        let rule = MetricRule {
            metric: Arc::new(Metric::new("x", Kind::Gauge)),
            value: ValueRule::Number { column: "v".into(), read: ValueType::Number, null: OnNull::Omit },
            attributes: vec![AttributeRule { column: "name".into(), null: None }],
            static_attributes: Vec::new(),
            start_column: None,
            time_column: None,
            start: StartRule::Unset,
            on_duplicate: OnDuplicate::Last,
        };
        let rules = MapperRules { metrics: vec![rule], max_records: max_rows, ..MapperRules::default() };
        Box::new(Intake::new(Arc::new(rules), logs, self.table.clone(), pdata::UnixNanos(1)))
    }

    /// One that stays in its middle until its pages are taken, however fast the machine is: its first row has been read when the first
    /// page comes.
    fn held(&self) -> (Work, mpsc::Receiver<Page>) {
        let sql = "with recursive c(n) as (select 1 union all select n + 1 from c where n < 40000)
                   select 'n' as name, (select count(*) from t) as v from c";
        let rule = LogRule { body: "name".into(), ..LogRule::default() };
        let mut intake = self.intake_with(100_000, Arc::new([rule]));
        let (to, pages) = mpsc::channel(1);
        intake.pages.open(to);
        (Work { sql: sql.into(), timeout: PATIENCE, parameters: Arc::new([]), intake }, pages)
    }

    fn work(&self, sql: &str, timeout: Duration) -> Work {
        Work { sql: sql.into(), timeout, parameters: Arc::new([]), intake: self.intake(1000) }
    }

    async fn read_within(&self, sql: &str, timeout: Duration) -> Result<Vec<String>, ReadError> {
        shown(self.driver.read(job(vec![self.work(sql, timeout)], false, SOON)).await.remove(0))
    }

    async fn read(&self, sql: &str) -> Result<Vec<String>, ReadError> {
        self.read_within(sql, SOON).await
    }

    async fn why(&self, sql: &str) -> (Reason, String) {
        let error = self.read(sql).await.expect_err(sql);
        (error.reason, error.why)
    }
}

fn job(works: Vec<Work>, snapshot: bool, time: Duration) -> Job {
    Job { works, row: Arc::default(), snapshot, deadline: Instant::now() + time }
}

fn shown(mut done: Done) -> Result<Vec<String>, ReadError> {
    done.result?;
    done.intake.mapper.finish();
    let (metrics, last) = done.intake.mapper.next_page();
    assert!(last);
    Ok(lines(&Batch::new(metrics, done.began)))
}

const T: &str = "create table t(name text, v int)";

#[tokio::test]
async fn cells_come_as_they_are() {
    let bench = Bench::new(T);
    let insert = "insert into t values
        ('plain', 7), ('q\"uo\\te' || char(10) || 'line', 4611686018427387904), ('日本 🏳', 0.25), ('', -1), ('null', null)";
    bench.writer().execute_batch(insert).unwrap();
    assert_eq!(
        bench.read("select name, v from t").await.unwrap(),
        [
            r#"x{name="plain"} Int(7)"#,
            r#"x{name="q\"uo\\te\nline"} Int(4611686018427387904)"#,
            r#"x{name="日本 🏳"} Double(0.25)"#,
            r#"x{name=""} Int(-1)"#
        ]
    );
}

#[tokio::test]
async fn an_empty_table_gives_nothing_and_is_no_error() {
    let bench = Bench::new(T);
    assert!(bench.read("select name, v from t").await.unwrap().is_empty());
    let (reason, why) = bench.why("select name from t").await;
    assert_eq!((reason, why.as_str()), (Reason::Column, "column 'v' (of x) not found in result set; it has name"));
}

#[tokio::test]
async fn bad_utf8_is_replaced() {
    let bench = Bench::new(T);
    assert_eq!(
        bench.read("select cast(x'61ff62' as text) as name, 1 as v").await.unwrap(),
        ["x{name=\"a\u{fffd}b\"} Int(1)"]
    );
}

#[tokio::test]
async fn a_write_in_flight_is_not_seen_and_does_not_block_and_a_committed_one_is_seen() {
    let bench = Bench::new(&format!("pragma journal_mode = wal; {T}; insert into t values ('a', 1)"));
    let writer = bench.writer();
    writer.execute_batch("begin immediate; insert into t values ('b', 2)").unwrap();
    assert_eq!(bench.read("select name, v from t").await.unwrap(), [r#"x{name="a"} Int(1)"#]);
    writer.execute_batch("commit").unwrap();
    assert!(bench.folder.path().join("x.db-wal").metadata().unwrap().len() > 0);
    assert_eq!(bench.read("select name, v from t").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reader_leaves_the_write_ahead_log_to_its_owner() {
    let bench = Bench::new(&format!("pragma journal_mode = wal; {T}"));
    let writer = bench.writer();
    writer.execute_batch("insert into t values ('a', 1)").unwrap();
    let log = bench.folder.path().join("x.db-wal");
    let size = log.metadata().unwrap().len();
    bench.read("select name, v from t").await.unwrap();
    bench.driver.close().await;
    assert_eq!(log.metadata().unwrap().len(), size);
}

#[tokio::test]
async fn a_snapshot_sees_one_transaction() {
    let bench = Bench::new(&format!("pragma journal_mode = wal; {T}; insert into t values ('a', 1)"));
    for (snapshot, second) in [(true, "Int(1)"), (false, "Int(2)")] {
        bench.writer().execute_batch("delete from t where name = 'b'").unwrap();
        let (first, mut pages) = bench.held();
        let works = vec![first, bench.work("select 'n' as name, count(*) as v from t", PATIENCE)];
        let reading = tokio::spawn(bench.driver.read(job(works, snapshot, PATIENCE)));
        pages.recv().await.unwrap();
        bench.writer().execute_batch("insert into t values ('b', 1)").unwrap();
        let done = taking(pages, reading).await.unwrap();
        let done: Vec<_> = done.into_iter().map(|done| shown(done).unwrap().remove(0)).collect();
        assert_eq!(done, [r#"x{name="n"} Int(1)"#.to_owned(), format!(r#"x{{name="n"}} {second}"#)]);
    }
}

#[tokio::test]
async fn a_query_that_never_ends_is_stopped_at_its_deadline() {
    let bench = Bench::new(T);
    let timeout = Duration::from_millis(300);
    let mut all = Vec::new();
    // Within a tenth of it, unless the machine is busy: that makes it late, and never early.
    while all.last().is_none_or(|took| *took >= timeout + timeout / 10) {
        assert!(all.len() < 10, "{all:?}");
        let start = Instant::now();
        let error = bench.read_within(ENDLESS, timeout).await.unwrap_err();
        all.push(start.elapsed());
        assert_eq!(error.reason, Reason::Timeout);
        assert!(all.last() >= Some(&timeout), "{all:?}");
    }
    // The connection is as good as before.
    assert!(bench.read("select name, v from t").await.is_ok());
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_is_interrupted() {
    let bench = Bench::new(T);
    let reading = bench.driver.read(job(vec![bench.work(ENDLESS, 10 * PATIENCE)], false, 10 * PATIENCE));
    assert!(tokio::time::timeout(Duration::from_millis(50), reading).await.is_err());
    let start = Instant::now();
    assert!(bench.read("select name, v from t").await.is_ok());
    assert_eq!(bench.driver.started(), 1, "the one connection is free again");
    bench.driver.close().await;
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_told() {
    let bench = Bench::new(T);
    let writer = bench.writer();
    writer.execute_batch("begin exclusive").unwrap();
    let error = bench.read_within("select name, v from t", Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.reason, Reason::Locked);
    assert!(error.why.ends_with("stayed locked by another process until the deadline"), "{error}");
    let soon_free = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        writer.execute_batch("commit").unwrap();
    });
    assert!(bench.read("select name, v from t").await.is_ok());
    soon_free.join().unwrap();
}

#[tokio::test]
async fn too_many_rows_fail_the_read() {
    let bench = Bench::new(T);
    let (reason, why) = bench
        .why("with recursive c(n) as (select 1 union all select n + 1 from c limit 1001) select n as name, n as v from c")
        .await;
    assert_eq!((reason, why.as_str()), (Reason::Limit, "more than 1000 rows (max_rows)"));
}

#[tokio::test]
async fn a_large_cell_is_an_error_and_not_a_hundred_megabytes() {
    let bench = Bench::new(T);
    let (reason, why) = bench.why("select zeroblob(100000000) as name, 1 as v").await;
    assert_eq!((reason, why.as_str()), (Reason::Limit, "a cell or row is larger than 1048576 bytes (max_cell_bytes)"));
    bench.writer().execute_batch("insert into t values (zeroblob(100000000), 1)").unwrap();
    assert_eq!(bench.why("select name, v from t").await.0, Reason::Limit);
}

#[tokio::test]
async fn what_does_more_than_read_is_refused() {
    let bench = Bench::new(T);
    let other = bench.folder.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("create table secret(v)").unwrap();
    let out = bench.folder.path().join("out.db");
    for sql in [
        format!("attach '{}' as o", other.display()),
        format!("vacuum into '{}'", out.display()),
        "vacuum".to_owned(),
        "select load_extension('x') as name, 1 as v".to_owned(),
        "pragma query_only = 0".to_owned(),
        "pragma journal_mode = delete".to_owned(),
        "pragma writable_schema = 1".to_owned(),
        "insert into t values ('a', 1)".to_owned(),
        "delete from t returning name, v".to_owned(),
        "create temp table u(v)".to_owned(),
        "create table u(v)".to_owned(),
        "begin".to_owned(),
        "commit".to_owned(),
        "select name, v from t; select 1".to_owned(),
        "".to_owned(),
        "-- nothing".to_owned(),
    ] {
        let (reason, why) = bench.why(&sql).await;
        assert_eq!(reason, Reason::Statement, "{sql}: {why}");
    }
    assert!(!out.exists());
    assert!(bench.read("select name, cid as v from pragma_table_info('t')").await.is_ok());
}

#[tokio::test]
async fn all_that_only_reads_is_allowed() {
    let bench = Bench::new(&format!(
        "{T}; insert into t values ('a', 1), ('b', 2);
         create virtual table f using fts5(name); insert into f values ('a word'), ('another');
         create view w as select name, v from t where v > 1; create index i on t(v)"
    ));
    for sql in [
        "select name, rowid as v from f where f match 'word'",
        "select key as name, value as v from json_each('{\"a\": 1}')",
        "select name, v from w",
        "select name, sum(v) over (order by name) as v from t order by v desc limit 1",
        "with s as materialized (select name, v from t) select name, max(v) as v from s group by name having v > 1",
        "select name, pgsize as v from dbstat limit 1",
        "select upper(name) as name, v from t indexed by i where v = 1 union select 'x', 3 where false",
        "select name, 1 as v from sqlite_schema where name = 't'",
        "select datetime('now') as name, random() as v",
        "values ('a', 1) -- a comment;",
    ] {
        let sql = match sql.strip_prefix("values") {
            Some(rest) => format!("with x(name, v) as (values{}) select name, v from x {}", &rest[..9], &rest[9..]),
            None => sql.to_owned(),
        };
        assert_eq!(bench.read(&sql).await.map(|lines| lines.len()), Ok(1), "{sql}");
    }
}

#[tokio::test]
async fn a_large_cell_that_is_not_asked_for_is_no_hindrance() {
    let bench =
        Bench::new("create table t(v int, name text, blob blob); insert into t values (1, 'a', zeroblob(3000000))");
    assert_eq!(bench.read("select name, v from t").await.unwrap(), [r#"x{name="a"} Int(1)"#]);
}

#[tokio::test]
async fn wrong_sql_is_told_with_its_place() {
    let bench = Bench::new(T);
    let (reason, why) = bench.why("select nam, v from t").await;
    assert_eq!((reason, why.as_str()), (Reason::Statement, "no such column: nam, at `nam, v from t`"));
    // A double-quoted name that is no column must not turn into a text.
    assert!(bench.why("select \"CPU_cores\" as name, v from t").await.1.starts_with("no such column: \"CPU_cores\""));
    assert_eq!(
        bench.why("select sum(v) as v, '' as name from (select 9223372036854775807 as v union all select 1)").await.1,
        "integer overflow"
    );
}

#[tokio::test]
async fn what_is_no_database_is_told_apart() {
    let bench = Bench::empty();
    let sql = "select name, v from t";
    assert_eq!(
        bench.why(sql).await,
        (Reason::Unavailable, format!("the database {} does not exist", bench.path().display()))
    );
    std::fs::create_dir(bench.path()).unwrap();
    assert_eq!(bench.why(sql).await, (Reason::Unavailable, format!("{} is not a file", bench.path().display())));
    std::fs::remove_dir(bench.path()).unwrap();
    std::fs::write(bench.path(), "this is a text, long enough for a header of a hundred bytes and more. ".repeat(20))
        .unwrap();
    let (reason, why) = bench.why(sql).await;
    assert_eq!(reason, Reason::Corrupt);
    assert!(why.contains("is not a SQLite database"), "{why}");
    // The driver comes back by itself when the file does.
    std::fs::remove_file(bench.path()).unwrap();
    bench.writer().execute_batch(T).unwrap();
    assert!(bench.read(sql).await.is_ok());
}

#[tokio::test]
async fn a_truncated_database_is_told() {
    let bench = Bench::new(&format!(
        "{T}; with recursive c(n) as (select 1 union all select n + 1 from c limit 5000) insert into t select printf('%0100d', n), n from c"
    ));
    let file = std::fs::OpenOptions::new().write(true).open(bench.path()).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let (reason, why) = bench.why("select name, v from t limit 1000 offset 4000").await;
    assert_eq!(reason, Reason::Corrupt, "{why}");
    assert!(why.contains("is damaged or cut off"), "{why}");
}

#[tokio::test]
async fn a_replaced_file_is_noticed() {
    let bench = Bench::new(&format!("{T}; insert into t values ('old', 1)"));
    let sql = "select name, v from t";
    assert_eq!(bench.read(sql).await.unwrap(), [r#"x{name="old"} Int(1)"#]);
    let new = bench.folder.path().join("new.db");
    Connection::open(&new).unwrap().execute_batch(&format!("{T}; insert into t values ('new', 2)")).unwrap();
    std::fs::rename(&new, bench.path()).unwrap();
    assert_eq!(bench.read(sql).await.unwrap(), [r#"x{name="new"} Int(2)"#]);
    std::fs::remove_file(bench.path()).unwrap();
    assert_eq!(bench.why(sql).await.0, Reason::Unavailable);
}

#[tokio::test]
async fn a_changed_schema_is_read_as_it_is_now() {
    let bench = Bench::new(&format!("{T}; insert into t values ('a', 1)"));
    assert_eq!(bench.read("select * from t").await.unwrap(), [r#"x{name="a"} Int(1)"#]);
    bench
        .writer()
        .execute_batch("drop table t; create table t(v int, name text); insert into t values (3, 'c')")
        .unwrap();
    assert_eq!(bench.read("select * from t").await.unwrap(), [r#"x{name="c"} Int(3)"#]);
}

#[tokio::test]
async fn quick_queries_share_a_connection_and_slow_ones_get_their_own() {
    let bench = Bench::new(T);
    let read = |sql: &'static str| bench.read(sql);
    let quick = "select name, v from t";
    for _ in 0..4 {
        read(quick).await.unwrap();
    }
    assert_eq!(bench.driver.started(), 1);
    let (slow, mut pages) = bench.held();
    let reading = tokio::spawn(bench.driver.read(job(vec![slow], false, PATIENCE)));
    pages.recv().await.unwrap();
    assert_eq!((read(quick).await.is_ok(), bench.driver.started()), (true, 2));
    assert!(taking(pages, reading).await.unwrap().remove(0).result.is_ok());
}

/// Runs as an unprivileged user in a process of its own: nothing is read-only for root.
#[test]
fn a_read_only_folder_and_an_unreadable_file_are_told_with_what_to_do() {
    const CHILD: &str = "WEIR_TEST_READ_ONLY_FOLDER";
    if let Some(folder) = std::env::var_os(CHILD) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let why = |name: &str| {
            let driver = Sqlite::new(Path::new(&folder).join(name), CELL_MAX, 8, 2, Clock::system());
            let bench = Bench { driver, ..Bench::empty() };
            let (reason, why) = runtime.block_on(bench.why("select name, v from t"));
            assert_eq!(reason, Reason::Unavailable, "{why}");
            why
        };
        let wal = why("x.db");
        assert!(wal.contains("is in WAL mode, its -shm file is not there"), "{wal}");
        assert!(wal.contains("mount the volume read-write, or keep the application"), "{wal}");
        let closed = why("closed.db");
        assert!(closed.contains("cannot be opened"), "{closed}");
        assert!(closed.ends_with("the user that weir runs as must be able to read it"), "{closed}");
        return;
    }
    let bench = Bench::new(&format!("pragma journal_mode = wal; {T}"));
    assert!(!bench.folder.path().join("x.db-shm").exists());
    let closed = bench.folder.path().join("closed.db");
    Connection::open(&closed).unwrap().execute_batch(T).unwrap();
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    set(&bench.path(), 0o444);
    set(&closed, 0o000);
    set(bench.folder.path(), 0o555);
    let this = std::env::current_exe().unwrap();
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let mut command = std::process::Command::new(if uid == 0 { "setpriv".into() } else { this.clone() });
    if uid == 0 {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(this);
    }
    let name = "sql_query::sqlite::tests::a_read_only_folder_and_an_unreadable_file_are_told_with_what_to_do";
    let output = command.args([name, "--exact"]).env(CHILD, bench.folder.path()).output();
    set(bench.folder.path(), 0o755);
    let output = output.unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(shown.contains("1 passed"), "{shown}");
}
