//! Servers that lie. What a real one does is tested in `tests/tests/postgres.rs`.

use std::sync::Arc;
use std::time::Duration;

use pdata::{Kind, Metric, SeriesTable, UnixNanos};
use pipeline::Clock;
use pipeline::mapping::{MapperRules, MetricRule, OnDuplicate, OnNull, StartRule, ValueRule, ValueType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::sql_query::intake::Intake;
use crate::sql_query::source::{Done, Job, ReadError, Reason, Source, Work};

/// A frame.
fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], body].concat()
}

const READY: &[u8] = b"Z\0\0\0\x05I";

/// RowDescription of one column `v` of type int4.
fn columns() -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(b"v\0");
    body.extend([0; 6]);
    body.extend(23_u32.to_be_bytes());
    body.extend([0; 8]);
    frame(b'T', &body)
}

/// What the server says to the log-in, to BEGIN, to Parse and Describe, and to Bind and Execute.
#[derive(Clone, Default)]
struct Lines([Vec<u8>; 4]);

impl Lines {
    fn honest() -> Self {
        let in_order = [
            [&frame(b'R', &[0; 4])[..], READY].concat(),
            READY.to_vec(),
            [&frame(b'1', b"")[..], &frame(b't', &[0, 0]), &columns(), READY].concat(),
            [&frame(b'2', b"")[..], &frame(b'D', &[0, 1, 0, 0, 0, 4, 0, 0, 0, 7]), &frame(b'C', b"x\0"), READY]
                .concat(),
        ];
        Self(in_order)
    }

    fn with(at: usize, line: Vec<u8>) -> Self {
        let mut lines = Self::honest();
        lines.0[at] = line;
        lines
    }
}

async fn read_from(lines: Lines, timeout: Duration) -> (Result<(), ReadError>, u64, Duration) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = [0; 4096];
            for line in &lines.0 {
                if stream.read(&mut heard).await.unwrap_or(0) == 0 || stream.write_all(line).await.is_err() {
                    break;
                }
            }
            // Silence, as long as the client stays.
            while stream.read(&mut heard).await.unwrap_or(0) > 0 {}
        }
    });
    let datasource = config::Secret::new(format!("postgres://a@127.0.0.1:{port}/x?sslmode=disable"));
    let dsn = Dsn::parse(crate::sql_query::check_database::Place {
        datasource: &datasource,
        host: "",
        port: 0,
        database: "",
        username: "",
        password: &config::Secret::default(),
        password_file: None,
        additional_params: &std::collections::BTreeMap::new(),
    });
    let setup = Setup { dsn: dsn.unwrap(), session: Vec::new(), max_cell_bytes: 1 << 16, connections: 1 };
    let driver = open(setup, Clock::system());
    let rule = MetricRule {
        metric: Arc::new(Metric::new("x", Kind::Gauge)),
        value: ValueRule::Number { column: "v".into(), read: ValueType::Number, null: OnNull::Omit },
        attributes: Vec::new(),
        static_attributes: Vec::new(),
        start_column: None,
        time_column: None,
        start: StartRule::Unset,
        on_duplicate: OnDuplicate::Last,
    };
    let rules = Arc::new(MapperRules { metrics: vec![rule], max_records: 100, ..MapperRules::default() });
    let table = SeriesTable::with_defaults();
    let intake = Box::new(Intake::new(rules, Arc::new([]), table, UnixNanos(1)));
    let work = Work { sql: "select v from t".into(), timeout, parameters: Arc::new([]), intake };
    let deadline = Instant::now() + Duration::from_secs(5);
    let Done { intake, result, took, .. } =
        driver.read(Job { works: vec![work], row: Arc::default(), snapshot: true, deadline }).await.remove(0);
    driver.close().await;
    server.abort();
    (result, intake.mapper.counts().records, took)
}

async fn why(at: usize, line: impl Into<Vec<u8>>) -> (Reason, String) {
    let (result, ..) = read_from(Lines::with(at, line.into()), Duration::from_millis(300)).await;
    let error = result.expect_err("it lies");
    let database = error.why.find("127.0.0.1:").map_or("", |at| error.why[at..].split([' ', ';']).next().unwrap());
    let why = if database.is_empty() { error.why.clone() } else { error.why.replace(database, "DB") };
    (error.reason, why)
}

#[tokio::test]
async fn an_honest_server_is_read() {
    let (result, rows, _) = read_from(Lines::honest(), Duration::from_secs(5)).await;
    assert_eq!((result, rows), (Ok(()), 1));
}

#[tokio::test]
async fn lengths_that_cannot_be_are_refused_before_anything_is_read() {
    let nonsense = |what: &str| (Reason::Corrupt, format!("DB does not speak PostgreSQL's protocol: {what}"));
    assert_eq!(why(0, *b"HTTP/1.1 400 Bad Request\r\n\r\n").await, nonsense("a frame is larger than 1 MiB and no row"));
    assert_eq!(why(0, *b"R\0\0\0\x03").await, nonsense("a frame's length is below zero"));
    assert_eq!(why(0, *b"R\xff\xff\xff\xff").await, nonsense("a frame's length is below zero"));
    assert_eq!(why(0, *b"R\0\0\0\x04").await, nonsense("a frame ends before its content does"));
    let large = (
        Reason::Limit,
        "a row has 2147483643 bytes and may have 65536 (max_cell_bytes); select fewer columns, or raise it".to_owned(),
    );
    assert_eq!(why(3, *b"D\x7f\xff\xff\xff").await, large);
    assert_eq!(why(2, *b"T\x7f\xff\xff\xff").await, nonsense("a frame is larger than 1 MiB and no row"));
}

#[tokio::test]
async fn rows_that_do_not_fit_their_columns_are_refused() {
    let nonsense = |what: &str| (Reason::Corrupt, format!("DB does not speak PostgreSQL's protocol: {what}"));
    let row = |body: &[u8]| frame(b'D', body);
    assert_eq!(why(3, row(&[])).await, nonsense("a frame ends before its content does"));
    assert_eq!(why(3, row(&[0, 0])).await, nonsense("a row has another number of cells than its result has columns"));
    assert_eq!(why(3, row(&[0, 1, 0x7f, 0xff, 0xff, 0xff])).await, nonsense("a frame ends before its content does"));
    assert_eq!(why(3, row(&[0, 1, 0, 0, 0, 1, 9])).await, nonsense("a cell has another length than its type"));
    assert_eq!(why(2, frame(b'T', &[0xff, 0xff, 0])).await, nonsense("a frame ends before its content does"));
    assert_eq!(why(2, frame(b'T', &[0, 1, b'v'])).await, nonsense("a frame ends before its content does"));
}

#[tokio::test]
async fn a_server_that_wants_something_else_is_refused() {
    let unexpected = "an answer is none of those that belong to the question";
    let nonsense = |what: &str| (Reason::Corrupt, format!("DB does not speak PostgreSQL's protocol: {what}"));
    // A request for our files, and one for a copy of our data: neither is ever answered.
    assert_eq!(why(3, frame(b'G', &[0, 0, 0])).await, nonsense(unexpected));
    assert_eq!(why(3, frame(b'H', &[0, 0, 0])).await, nonsense(unexpected));
    let (reason, why_not) = why(0, frame(b'R', &[0, 0, 0, 7])).await;
    assert_eq!((reason, why_not.contains("asks for a log-in that is not supported")), (Reason::Unavailable, true));
    let (reason, none_set) = why(0, frame(b'R', &[0, 0, 0, 3])).await;
    assert_eq!((reason, none_set.contains("asks for a password and none is set")), (Reason::Unavailable, true));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    for at in 0..4 {
        let began = Instant::now();
        let (result, ..) = read_from(Lines::with(at, Vec::new()), Duration::from_millis(300)).await;
        let error = result.expect_err("nobody answers");
        assert_eq!(error.reason, Reason::Timeout, "{}", error.why);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(290) && took < Duration::from_secs(10), "{at}: {took:?}");
    }
}

#[tokio::test]
async fn notices_without_end_end_at_the_deadline_and_take_no_memory() {
    let flood = frame(b'N', &vec![b'M'; 1 << 16]).repeat(64);
    let (reason, _) = why(3, flood).await;
    assert_eq!(reason, Reason::Timeout);
}
