//! Servers that lie. What a real one does is tested in `tests/tests/mariadb.rs`; what MySQL does and MariaDB does not, its log-in,
//! here too.

mod hostile;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pdata::{Kind, Metric, SeriesTable, UnixNanos};
use pipeline::Clock;
use pipeline::mapping::{MapperRules, MetricRule, OnDuplicate, OnNull, StartRule, ValueRule, ValueType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::sql_query::intake::Intake;
use crate::sql_query::source::{Done, Job, ReadError, Reason, Source, Work};

/// A packet with a number.
fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [low, middle, high, ..] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[low, middle, high, sequence], body].concat()
}

/// Packets that follow a question, in order.
fn answer(bodies: &[&[u8]]) -> Vec<u8> {
    bodies.iter().zip(1..).flat_map(|(body, sequence)| packet(sequence, body)).collect()
}

/// Status: in a transaction.
const OK: &[u8] = &[0, 0, 0, 1, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 1, 0];
const NONCE: [u8; 20] = *b"abcdefghijklmnopqrst";

/// What the server offers: all that is needed, TLS (1 << 11) as is wished.
fn greeting_of(version: &str, plugin: &str, tls: bool) -> Vec<u8> {
    let capabilities: u32 = 1 | 1 << 9 | 1 << 15 | 1 << 19 | 1 << 20 | 1 << 7 | if tls { 1 << 11 } else { 0 };
    let [a, b, c, d] = capabilities.to_le_bytes();
    let mut body = vec![10];
    body.extend(version.as_bytes());
    body.push(0);
    body.extend(7_u32.to_le_bytes());
    body.extend(&NONCE[..8]);
    body.extend([0, a, b, 45, 2, 0, c, d, 21]);
    body.extend([0; 10]);
    body.extend(&NONCE[8..]);
    body.push(0);
    body.extend(plugin.as_bytes());
    body.push(0);
    body
}

fn greeting() -> Vec<u8> {
    packet(0, &greeting_of("8.4.3", "mysql_native_password", false))
}

/// A column `v` of this type.
fn column(code: u8) -> Vec<u8> {
    let mut body = b"\x03def\x00\x00\x00\x01v\x00\x0c".to_vec();
    body.extend([63, 0, 11, 0, 0, 0, code, 0, 0, 0, 0, 0]);
    body
}

fn prepared(columns: u16, parameters: u16) -> Vec<u8> {
    [&[0, 1, 0, 0, 0][..], &columns.to_le_bytes(), &parameters.to_le_bytes(), &[0, 0, 0]].concat()
}

const INT: u8 = 0x03;
const ROW: &[u8] = &[0, 0, 7, 0, 0, 0];

/// What the server says: its greeting, to the log-in, to SET, to SET TRANSACTION, to START, to PREPARE, to EXECUTE, and to ROLLBACK.
#[derive(Clone)]
struct Lines([Vec<u8>; 8]);

const GREETING: usize = 0;
const LOG_IN: usize = 1;
const SET: usize = 2;
const PREPARE: usize = 5;
const EXECUTE: usize = 6;

impl Lines {
    fn honest() -> Self {
        let log_in = packet(2, OK);
        let ok = answer(&[OK]);
        let prepare = answer(&[&prepared(1, 0), &column(INT), END]);
        let execute = answer(&[&[1], &column(INT), END, ROW, END]);
        Self([greeting(), log_in, ok.clone(), ok.clone(), ok.clone(), prepare, execute, ok])
    }

    fn with(at: usize, line: impl Into<Vec<u8>>) -> Self {
        let mut lines = Self::honest();
        lines.0[at] = line.into();
        lines
    }
}

/// What came of a read.
struct Read {
    result: Result<(), ReadError>,
    rows: u64,
    /// What the server heard, by question.
    heard: Vec<Vec<u8>>,
}

/// Speaks its lines, each as soon as something is asked; then says nothing more, as long as the client stays.
async fn serve(mut stream: TcpStream, lines: &Lines, heard: &Mutex<Vec<Vec<u8>>>) {
    let mut buffer = vec![0; 1 << 16];
    for (at, line) in lines.0.iter().enumerate() {
        if at > 0 && !ask(&mut stream, &mut buffer, heard).await {
            return;
        }
        if stream.write_all(line).await.is_err() {
            return;
        }
    }
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        heard.lock().unwrap().push(buffer[..length].to_vec());
    }
}

/// Hears the next question; whether there is one.
async fn ask(stream: &mut TcpStream, buffer: &mut [u8], heard: &Mutex<Vec<Vec<u8>>>) -> bool {
    loop {
        let Ok(length @ 1..) = stream.read(buffer).await else { return false };
        if !buffer[..length].get(5..).is_some_and(|said| said.starts_with(b"SET max_execution_time")) {
            heard.lock().unwrap().push(buffer[..length].to_vec());
            return true;
        }
        // The machine is slow, and the client has less time left than it said first.
        if stream.write_all(&answer(&[OK])).await.is_err() {
            return false;
        }
    }
}

async fn read_from(lines: Lines, datasource: &str, timeout: Duration) -> Read {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let server = tokio::spawn({
        let heard = heard.clone();
        async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (lines, heard) = (lines.clone(), heard.clone());
                tokio::spawn(async move { serve(stream, &lines, &heard).await });
            }
        }
    });
    let datasource = config::Secret::new(datasource.replace("PORT", &port.to_string()));
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
    let intake = Box::new(wanting());
    let work = Work { sql: "select v from t".into(), timeout, parameters: Arc::new([]), intake };
    let deadline = Instant::now() + Duration::from_secs(5);
    let Done { intake, result, .. } =
        driver.read(Job { works: vec![work], row: Arc::default(), snapshot: true, deadline }).await.remove(0);
    driver.close().await;
    server.abort();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    Read { result, rows: intake.mapper.counts().records, heard }
}

/// What wants a column `v`, as a number, of 100 rows at most.
fn wanting() -> Intake {
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
    let rules = MapperRules { metrics: vec![rule], max_records: 100, ..MapperRules::default() };
    Intake::new(Arc::new(rules), Arc::new([]), SeriesTable::with_defaults(), UnixNanos(1))
}

const PLAIN: &str = "a:secret@tcp(127.0.0.1:PORT)/x?tls=false";

async fn why_of(lines: Lines, datasource: &str) -> (Reason, String) {
    let error = read_from(lines, datasource, Duration::from_millis(300)).await.result.expect_err("it lies");
    let database = error
        .why
        .find("127.0.0.1:")
        .map_or("", |at| error.why[at..].split([' ', ';']).next().unwrap().trim_end_matches(':'));
    let why = if database.is_empty() { error.why.clone() } else { error.why.replace(database, "DB") };
    (error.reason, why)
}

async fn why(at: usize, line: impl Into<Vec<u8>>) -> (Reason, String) {
    why_of(Lines::with(at, line), PLAIN).await
}

fn nonsense(what: &str) -> (Reason, String) {
    (Reason::Corrupt, format!("DB does not speak MySQL's protocol: {what}"))
}

#[tokio::test]
async fn an_honest_server_is_read_in_read_only_transactions() {
    let read = read_from(Lines::honest(), PLAIN, Duration::from_secs(5)).await;
    assert_eq!((read.result, read.rows), (Ok(()), 1));
    let said: Vec<String> = read.heard.iter().map(|heard| String::from_utf8_lossy(&heard[5..]).into_owned()).collect();
    // 5 s less what the client waits longer than the server.
    assert!(said[1].starts_with("SET NAMES utf8mb4, time_zone = '+00:00', max_execution_time = 4"), "{said:?}");
    assert_eq!(said[2], "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    assert_eq!(said[3], "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
    assert_eq!(said[4], "select v from t");
    assert!(said[6].ends_with("ROLLBACK"), "{said:?}");
}

#[tokio::test]
async fn local_files_are_never_offered_and_never_given() {
    let read = read_from(Lines::honest(), PLAIN, Duration::from_secs(5)).await;
    let capabilities = u32::from_le_bytes(*read.heard[0][4..].first_chunk().unwrap());
    assert_eq!(capabilities & (1 << 7), 0, "LOCAL_FILES");
    assert_eq!(capabilities & (1 << 16), 0, "MULTI_STATEMENTS");
    let refused = nonsense("it asks for a file of this machine, which it never gets (LOAD DATA LOCAL)");
    for at in SET..8 - 1 {
        assert_eq!(why(at, answer(&[b"\xfb/etc/passwd"])).await, refused, "{at}");
    }
    let read = read_from(Lines::with(EXECUTE, answer(&[b"\xfb/etc/passwd"])), PLAIN, Duration::from_secs(1)).await;
    let root = std::fs::read("/etc/passwd").unwrap_or_default();
    let root = root.split(|byte| *byte == b'\n').next().unwrap();
    assert!(!root.is_empty() && !read.heard.iter().any(|heard| heard.windows(root.len()).any(|part| part == root)));
}

#[tokio::test]
async fn greetings_that_are_none_are_told_as_that() {
    let version = "its greeting has another version than 10";
    assert_eq!(
        why(GREETING, *b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
        nonsense("a packet is larger than 64 KiB and no row")
    );
    assert_eq!(why(GREETING, packet(0, &[9, b'3', 0])).await, nonsense(version));
    assert_eq!(why(GREETING, packet(0, &[])).await, nonsense("a packet ends before its content does"));
    assert_eq!(why(GREETING, packet(0, &[10, b'8'])).await, nonsense("a packet ends before its content does"));
    assert_eq!(why(GREETING, packet(3, &greeting()[4..])).await, nonsense("a packet is out of order"));
    let whole = &greeting()[4..];
    for length in 1..whole.len() - 1 {
        let (reason, _) = why(GREETING, packet(0, &whole[..length])).await;
        assert_eq!(reason, Reason::Corrupt, "{length} of {}", whole.len());
    }
    let mut old = whole.to_vec();
    // Its capabilities, behind version, thread and nonce.
    old[7 + 4 + 9..][..2].fill(0);
    assert_eq!(why(GREETING, packet(0, &old)).await, nonsense("it is older than MySQL 5.5"));
    assert_eq!(
        why(GREETING, packet(0, b"\xff\x10\x04Too many connections")).await,
        (Reason::Unavailable, "DB: Too many connections".to_owned())
    );
}

#[tokio::test]
async fn lengths_that_cannot_be_are_refused_before_anything_is_read() {
    let larger = nonsense("a packet is larger than 64 KiB and no row");
    for at in [LOG_IN, SET, PREPARE, EXECUTE] {
        assert_eq!(why(at, [0xff, 0xff, 0xff, if at == LOG_IN { 2 } else { 1 }]).await, larger, "{at}");
    }
    let before = |rest: &[u8]| [&answer(&[&[1], &column(INT), END])[..], rest].concat();
    let large = |bytes: usize| {
        (
            Reason::Limit,
            format!("a row has {bytes} bytes and may have 65536 (max_cell_bytes); select fewer columns, or raise it"),
        )
    };
    assert_eq!(why(EXECUTE, before(&[1, 0, 1, 4])).await, large(65_537));
    assert_eq!(why(EXECUTE, before(&[0xff, 0xff, 0xff, 4])).await, large(16_777_215));
    assert_eq!(why(PREPARE, answer(&[&prepared(0xffff, 0)])).await, nonsense("a result has more columns than 4,096"));
    assert_eq!(
        why(EXECUTE, answer(&[b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"])).await,
        nonsense("a result has more columns than 4,096")
    );
    assert_eq!(why(EXECUTE, answer(&[&[0xfd, 1]])).await, nonsense("a packet ends before its content does"));
    let mut name = b"\x03def\x00\x00\x00\xfd\x00\x40\x00".to_vec();
    name.extend(vec![b'n'; 0x4000]);
    assert_eq!(
        why(PREPARE, answer(&[&prepared(1, 0), &name])).await,
        nonsense("a column's name is longer than names can be")
    );
}

#[tokio::test]
async fn rows_that_do_not_fit_their_columns_are_refused() {
    let with = |row: &[u8]| answer(&[&[1], &column(INT), END, row, END]);
    assert_eq!(why(EXECUTE, with(&[0])).await, nonsense("a packet ends before its content does"));
    assert_eq!(why(EXECUTE, with(&[0, 0])).await, nonsense("a packet ends before its content does"));
    assert_eq!(why(EXECUTE, with(&[0, 0, 7, 0, 0])).await, nonsense("a packet ends before its content does"));
    assert_eq!(why(EXECUTE, with(&[0, 0, 7, 0, 0, 0, 9])).await, nonsense("a row has more than its columns"));
    let text = |row: &[u8]| answer(&[&[1], &column(0x0c), END, row, END]);
    assert_eq!(why(EXECUTE, text(&[0, 0, 3, 1, 2, 3])).await, nonsense("a cell has another length than its type"));
    assert_eq!(
        why(EXECUTE, text(&[0, 0, 0xfe, 255, 255, 255, 255, 255, 255, 255, 255])).await,
        nonsense("a packet ends before its content does")
    );
    let unknown = answer(&[&[1], &column(0x42), END]);
    assert_eq!(why(EXECUTE, unknown).await, nonsense("a column has a type that nobody knows"));
    let unexpected = "an answer is none of those that belong to the question";
    assert_eq!(why(EXECUTE, with(&[0x42])).await, nonsense(unexpected));
    assert_eq!(why(EXECUTE, with(&[])).await, nonsense(unexpected));
    assert_eq!(
        why(EXECUTE, answer(&[&[1], &column(INT), ROW])).await,
        nonsense("the definitions of columns do not end")
    );
}

#[tokio::test]
async fn packets_out_of_order_are_refused() {
    assert_eq!(why(LOG_IN, packet(7, OK)).await, nonsense("a packet is out of order"));
    assert_eq!(why(SET, packet(0, OK)).await, nonsense("a packet is out of order"));
    let swapped = [packet(1, &[1]), packet(3, &column(INT))].concat();
    assert_eq!(why(EXECUTE, swapped).await, nonsense("a packet is out of order"));
    // A server that ends an idle connection numbers its good-bye as it likes.
    let (reason, told) = why(SET, packet(0, b"\xff\x1d\x04#08S01Server shutdown in progress")).await;
    assert_eq!((reason, told.as_str()), (Reason::Unavailable, "DB: Server shutdown in progress"));
}

#[tokio::test]
async fn tls_that_is_not_there_is_never_done_without() {
    let verifying = PLAIN.replace("?tls=false", "");
    let plain = (
        Reason::Unavailable,
        "DB speaks no TLS: set up TLS there, or write tls=false where the network is trusted".to_owned(),
    );
    for datasource in [&verifying, &PLAIN.replace("false", "skip-verify"), &PLAIN.replace("false", "verify-ca")] {
        assert_eq!(why_of(Lines::honest(), datasource).await, plain, "{datasource}");
        let read = read_from(Lines::honest(), datasource, Duration::from_millis(300)).await;
        assert_eq!(read.heard, Vec::<Vec<u8>>::new(), "nothing is said to it, least of all who we are");
    }
    let preferred = PLAIN.replace("false", "preferred");
    assert_eq!(read_from(Lines::honest(), &preferred, Duration::from_secs(5)).await.result, Ok(()));
    // Whoever sits in between sends what would be taken for the server's words under TLS.
    let early = [packet(0, &greeting_of("8.4.3", "mysql_native_password", true)), packet(2, OK)].concat();
    assert_eq!(
        why_of(Lines::with(GREETING, early), &verifying).await,
        nonsense("it goes on in the clear where TLS begins")
    );
    let tls = packet(0, &greeting_of("8.4.3", "mysql_native_password", true));
    let mut lines = Lines::with(GREETING, tls);
    lines.0[LOG_IN] = b"this is no TLS".to_vec();
    let (reason, told) = why_of(lines, &verifying).await;
    assert_eq!((reason, told.contains("TLS with DB failed (verify-full)")), (Reason::Unavailable, true), "{told}");
}

#[tokio::test]
async fn the_password_itself_is_never_sent_in_the_clear() {
    let clear = packet(2, b"\xfemysql_clear_password\x00");
    let refused = |why: &str| {
        (
            Reason::Unavailable,
            format!("DB asks for the password itself (mysql_clear_password), which it never gets {why}"),
        )
    };
    assert_eq!(why(LOG_IN, clear.clone()).await, refused("unless allowCleartextPasswords=true is written"));
    let allowed = PLAIN.replace("false", "false&allowCleartextPasswords=true");
    assert_eq!(
        why_of(Lines::with(LOG_IN, clear.clone()), &allowed).await,
        refused("without TLS that knows the server (tls=true)")
    );
    let cached = packet(0, &greeting_of("8.4.3", "caching_sha2_password", false));
    let mut lines = Lines::with(GREETING, cached);
    lines.0[LOG_IN] = packet(2, &[1, 4]);
    let (reason, told) = why_of(lines.clone(), PLAIN).await;
    assert_eq!(reason, Reason::Unavailable);
    assert!(
        told.contains("wants the password itself this time (caching_sha2_password), which it never gets without TLS")
    );
    lines.0[GREETING] = packet(0, &greeting_of("8.4.3", "mysql_clear_password", false));
    for lines in [lines, Lines::with(LOG_IN, clear)] {
        let read = read_from(lines, PLAIN, Duration::from_millis(300)).await;
        assert!(!read.heard.iter().any(|heard| heard.windows(6).any(|part| part == b"secret")));
    }
}

#[tokio::test]
async fn log_ins_that_do_not_end_are_ended() {
    let native: Vec<u8> = [b"\xfemysql_native_password\x00", &NONCE[..], &[0]].concat();
    let again = [packet(2, &native), packet(4, &native)].concat();
    assert_eq!(why(LOG_IN, again).await, nonsense("it asks for one log-in after another"));
    let cached = packet(0, &greeting_of("8.4.3", "caching_sha2_password", false));
    let mut lines = Lines::with(GREETING, cached);
    lines.0[LOG_IN] = (2..40).flat_map(|sequence| packet(sequence, &[1, 3])).collect();
    assert_eq!(why_of(lines, PLAIN).await, nonsense("the log-in does not end"));
    let unexpected = nonsense("it says something unexpected during the log-in");
    assert_eq!(why(LOG_IN, packet(2, &[1, 3])).await, unexpected);
    assert_eq!(why(LOG_IN, packet(2, b"")).await, unexpected);
    assert_eq!(why(LOG_IN, packet(2, b"\xfb/etc/passwd")).await, unexpected);
    let (reason, told) = why(LOG_IN, packet(2, b"\xfeclient_ed25519\x00abc")).await;
    assert_eq!(reason, Reason::Unavailable);
    assert!(told.contains("asks for a log-in that is not supported: client_ed25519 (known: "), "{told}");
    let (_, told) = why(LOG_IN, packet(2, b"\xfe")).await;
    assert!(told.contains("not supported: mysql_old_password"), "{told}");
    let (reason, told) = why(LOG_IN, packet(2, b"\xff\x15\x04#28000Access denied for user 'a'@'localhost'")).await;
    assert_eq!(
        (reason, told.as_str()),
        (Reason::Unavailable, "DB refuses the log-in: Access denied for user 'a'@'localhost'")
    );
    let nameless = PLAIN.replace(":secret", "");
    let denied = packet(2, b"\xff\x15\x04#28000Access denied for user 'a'@'localhost'");
    assert_eq!(
        why_of(Lines::with(LOG_IN, denied), &nameless).await,
        (Reason::Unavailable, "DB asks for a password and none is set (password, password_file)".to_owned())
    );
}

/// The log-in that was heard: what stands behind the user's name.
fn proof(heard: &[u8]) -> Vec<u8> {
    let body = &heard[4 + 32..];
    let user = body.iter().position(|byte| *byte == 0).unwrap();
    let length = usize::from(body[user + 1]);
    body[user + 2..][..length].to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Worked out with Python's hashlib.
#[tokio::test]
async fn passwords_are_proved_as_mysql_wants_it() {
    let read = read_from(Lines::honest(), PLAIN, Duration::from_secs(5)).await;
    assert_eq!(hex(&proof(&read.heard[0])), NATIVE);
    let mut lines = Lines::with(GREETING, packet(0, &greeting_of("8.4.3", "caching_sha2_password", false)));
    // The server has the hash at hand and says so before it lets us in.
    lines.0[LOG_IN] = [packet(2, &[1, 3]), packet(3, OK)].concat();
    let read = read_from(lines, PLAIN, Duration::from_secs(5)).await;
    assert_eq!(read.result, Ok(()));
    assert_eq!(hex(&proof(&read.heard[0])), SHA2);
    let nameless = PLAIN.replace(":secret", "");
    assert_eq!(proof(&read_from(Lines::honest(), &nameless, Duration::from_secs(5)).await.heard[0]), b"");
}

const NATIVE: &str = "8817c50fa779daef010ee7577825b0847df9842e";
const SHA2: &str = "c76e2898612a4cf042c77fa8c4702c4c64c0c2c557c53c4d75595aaa6abae809";

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    for at in 0..7 {
        let began = Instant::now();
        let read = read_from(Lines::with(at, Vec::new()), PLAIN, Duration::from_millis(300)).await;
        let error = read.result.expect_err("nobody answers");
        assert_eq!(error.reason, Reason::Timeout, "{at}: {}", error.why);
        let took = began.elapsed();
        assert!(took > Duration::from_millis(290) && took < Duration::from_secs(10), "{at}: {took:?}");
    }
}

#[tokio::test]
async fn rows_without_end_end_at_their_bound() {
    let head = answer(&[&[1], &column(INT), END]);
    let rows: Vec<u8> = (4..=255).chain(0..=255).flat_map(|sequence| packet(sequence, ROW)).collect();
    let (reason, told) = why(EXECUTE, [head, rows].concat()).await;
    assert_eq!((reason, told.contains("max_rows")), (Reason::Limit, true), "{told}");
}
