//! What the ledger costs: `cargo bench -p pipeline --features ledger --profile iter --bench ledger [-- folder]`.
//!
//! Events a second and CPU an event at 1, 16, 128 and 256 waiters, beside the same SQLite with the same settings that commits
//! groups of that size with nothing around it, in turns in the same run; then a million series: writing, opening, emitting.
//! `--series` does the latter alone. Figures are for comparing within one run: the disk and the neighbours decide the rest.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark that prints")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pdata::{Attributes, Identity, Kind, Metric, Number, Origin, SeriesTable, UnixNanos};
use pipeline::state::{Entry, Ledger, LedgerOptions};
use pipeline::{Clock, Health, Meters};
use tokio::time::Instant;

const SPAN: Duration = Duration::from_secs(3);
/// Series that the events spread over.
const SERIES: u64 = 200;

struct Run {
    events: u64,
    took: Duration,
    cpu: Duration,
    /// Microseconds.
    latencies: Vec<u32>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let parent = args.iter().find(|arg| !arg.starts_with("--")).cloned().unwrap_or_else(|| ".".into());
    if args.iter().any(|arg| arg == "--series") {
        return million(Path::new(&parent));
    }
    let folder = Path::new(&parent);
    println!("waiters    bare ev/s  bare us/ev  ledger ev/s  ledger us/ev    share   p50 ms   p99 ms");
    for waiters in [1, 16, 128, 256] {
        // The best of three each, in turns: whoever meets a slow moment of the disk is not judged by it.
        let (mut bare, mut ledger) = (measure_bare(folder, waiters), measure_ledger(folder, waiters));
        for _ in 0..2 {
            bare = bare.best(measure_bare(folder, waiters));
            ledger = ledger.best(measure_ledger(folder, waiters));
        }
        ledger.latencies.sort_unstable();
        println!(
            "{waiters:>7} {:>12.0} {:>11.2} {:>12.0} {:>13.2} {:>7.0}% {:>8.2} {:>8.2}",
            bare.rate(),
            bare.cpu_each(),
            ledger.rate(),
            ledger.cpu_each(),
            100.0 * ledger.rate() / bare.rate(),
            ledger.percentile(50),
            ledger.percentile(99),
        );
    }
    million(folder);
}

impl Run {
    fn best(self, other: Self) -> Self {
        if other.rate() > self.rate() { other } else { self }
    }

    fn rate(&self) -> f64 {
        self.events as f64 / self.took.as_secs_f64()
    }

    fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.events as f64
    }

    fn percentile(&self, percent: usize) -> f64 {
        f64::from(self.latencies[(self.latencies.len() * percent / 100).min(self.latencies.len() - 1)]) / 1000.0
    }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

/// The same statements on the same tables and settings, group after group from one thread.
fn measure_bare(parent: &Path, group: u64) -> Run {
    let folder = tempfile::tempdir_in(parent).unwrap();
    let connection = rusqlite::Connection::open(folder.path().join("bare.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2000; PRAGMA cache_size=-16384;
             CREATE TABLE seen(id BLOB PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID;
             CREATE TABLE value(id INTEGER PRIMARY KEY, row BLOB NOT NULL);
             CREATE TABLE meta(id INTEGER PRIMARY KEY, row BLOB NOT NULL);",
        )
        .unwrap();
    let seed = pdata::Seed::random();
    let mut begin = connection.prepare("BEGIN IMMEDIATE").unwrap();
    let mut commit = connection.prepare("COMMIT").unwrap();
    let mut remember = connection.prepare("INSERT OR IGNORE INTO seen VALUES(?1, ?2)").unwrap();
    let mut write = connection.prepare("INSERT OR REPLACE INTO value VALUES(?1, ?2)").unwrap();
    let mut books = connection.prepare("INSERT OR REPLACE INTO meta VALUES(2, ?1)").unwrap();
    let (began, cpu_before, mut events) = (Instant::now(), cpu(), 0_u64);
    while began.elapsed() < SPAN {
        begin.execute([]).unwrap();
        for _ in 0..group {
            let id = seed.fingerprint(&events.to_le_bytes());
            let mut key = [0; 16];
            key[..8].copy_from_slice(&id.0[0].to_be_bytes());
            key[8..].copy_from_slice(&id.0[1].to_be_bytes());
            remember.execute((key, 14_600_000_000_000_i64)).unwrap();
            events += 1;
        }
        for series in 0..group.min(SERIES) {
            write.execute((series.cast_signed(), [7_u8; 24])).unwrap();
        }
        books.execute([[7_u8; 60]]).unwrap();
        commit.execute([]).unwrap();
    }
    Run { events, took: began.elapsed(), cpu: cpu() - cpu_before, latencies: vec![0] }
}

fn open(folder: &Path, max_series: usize) -> Ledger {
    let options = LedgerOptions { max_series, ..LedgerOptions::default() };
    let table = SeriesTable::with_defaults();
    Ledger::open(folder, "bench", options, &Clock::system(), &table, &Meters::unread(), &Health::default()).unwrap()
}

fn measure_ledger(parent: &Path, waiters: u64) -> Run {
    let folder = tempfile::tempdir_in(parent).unwrap();
    let ledger = open(folder.path(), 100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let family = family();
    let (began, cpu_before) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..waiters)
        .map(|_| {
            let (ledger, next, family) = (ledger.clone(), next.clone(), family.clone());
            runtime.spawn(async move {
                let mut latencies = Vec::new();
                while began.elapsed() < SPAN {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let mut entry = Entry::new().with_id(ledger.event("bench", &id.to_le_bytes()));
                    entry.add(ledger.track(identity(&family, id % SERIES)).unwrap(), Number::Int(1));
                    let sent = Instant::now();
                    ledger.submit(entry).await.unwrap();
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
                }
                latencies
            })
        })
        .collect();
    let latencies: Vec<u32> = tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect();
    Run { events: latencies.len() as u64, took: began.elapsed(), cpu: cpu() - cpu_before, latencies }
}

type Family = (Arc<Origin>, Arc<Metric>);

fn family() -> Family {
    (Arc::new(Origin::default()), Arc::new(Metric::new("events_total", Kind::COUNTER)))
}

fn identity((origin, metric): &Family, number: u64) -> Identity {
    let (tenant, kind) = (format!("tenant-{number}"), if number.is_multiple_of(3) { "reserve" } else { "commit" });
    let attributes = [("tenant", tenant.as_str()), ("event_type", kind), ("source", "cycles"), ("outcome", "ok")];
    Identity { origin: origin.clone(), metric: metric.clone(), attributes: Attributes::from_pairs(attributes) }
}

fn million(parent: &Path) {
    let folder = tempfile::tempdir_in(parent).unwrap();
    let (family, runtime) = (family(), tokio::runtime::Builder::new_current_thread().build().unwrap());
    let mut ledger = open(folder.path(), 2_000_000);
    let began = Instant::now();
    for thousand in 0..1000 {
        let mut entry = Entry::new();
        for number in thousand * 1000..(thousand + 1) * 1000 {
            entry.add(ledger.track(identity(&family, number)).unwrap(), Number::Int(1));
        }
        runtime.block_on(ledger.submit(entry)).unwrap();
    }
    println!("1 M series: written in {:?}", began.elapsed());
    drop(ledger);
    for _ in 0..3 {
        let (began, cpu_before) = (Instant::now(), cpu());
        ledger = open(folder.path(), 2_000_000);
        println!("opened in {:?} ({:?} CPU), ", began.elapsed(), cpu() - cpu_before);
        for which in ["first", "second"] {
            let (began, cpu_before) = (Instant::now(), cpu());
            let points: usize = ledger.snapshot().points(UnixNanos(1), 8192).map(|batch| batch.points.len()).sum();
            println!("  {which} emission of {points} points in {:?} ({:?} CPU)", began.elapsed(), cpu() - cpu_before);
        }
        drop(ledger);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
    let bytes = std::fs::metadata(folder.path().join("ledger.db")).unwrap().len();
    println!("on disk: {} bytes a series", bytes / 1_000_000);
}
