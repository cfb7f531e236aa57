//! A queue on disk that is there to be killed: `queue_crash <folder>`.
//!
//! Its first line is `ready <damaged places> <ids>`: what the queue held before it was opened, partition after partition. Then it reads lines: an id is stored at
//! once, and answered by `A id` when the queue says that it is on disk, or `R id` when it was refused; `d` delivers some of each partition,
//! with `T id` for each before it is done; `e` delivers everything, and says `E` when nothing is left; `f` folds, and says `F` when it has; `?` asks how it is, `up` or `down`; `.` ends it in order.
//!
//! `WEIR_MUTANT=early` answers before the store, so that the tests can show that they would notice.

use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use pipeline::spool::{Kind, Offline, Parcel, Sieve, Sifted, Spool, SpoolOptions, Stored, WhenFull};
use pipeline::{Clock, Health, Meters};

/// Tenants, of which one more than there may be partitions.
const TENANTS: [&str; 4] = ["", "a", "b", "c"];

fn main() {
    let folder = std::env::args().nth(1).expect("the folder is named");
    let early = std::env::var("WEIR_MUTANT").is_ok_and(|mutant| mutant == "early");
    let held = held(Path::new(&folder));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (meters, health) = (Meters::unread(), Health::default());
    let options = SpoolOptions {
        max_bytes: 4 << 20,
        partition_bytes: 2 << 20,
        max_partitions: 2,
        dead_bytes: 0,
        when_full: WhenFull::Refuse,
        fold: true,
    };
    let spool = Spool::open(Path::new(&folder), options, &Clock::system(), &meters, &health, "crash");
    let spool = match spool {
        Ok(spool) => Arc::new(spool),
        Err(fault) => return say(&format!("fault {fault}")),
    };
    say(&format!("ready {} {held}", damaged(&meters)));
    let (lines, mut read) = tokio::sync::mpsc::channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    runtime.block_on(async move {
        let tended = spool.clone();
        let tending = tokio::spawn(async move { tended.tend().await });
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(line) = read.recv().await {
            match line.as_str() {
                "." => break,
                "?" => say(if health.complaint().is_none() { "up" } else { "down" }),
                "d" => {
                    deliver(&spool, 4000).await;
                }
                "e" => {
                    while deliver(&spool, usize::MAX).await > 0 {}
                    say("E");
                }
                "f" => {
                    let spool = spool.clone();
                    tasks.spawn(async move { fold(&spool).await });
                }
                id => {
                    let id: u64 = id.parse().expect("an id");
                    if early {
                        say(&format!("A {id}"));
                    }
                    let spool = spool.clone();
                    tasks.spawn(async move {
                        let stored = spool.store(TENANTS[(id % 4) as usize], parcel(id)).await;
                        if !early {
                            say(&format!("{} {id}", if stored.is_ok() { 'A' } else { 'R' }));
                        }
                    });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        tending.abort();
        spool.close().await;
    });
}

/// Sizes around those of sectors and segments; every byte says whose it is.
fn parcel(id: u64) -> Parcel {
    let mut body = id.to_le_bytes().to_vec();
    let length = match id % 50 {
        0 => 70_000,
        other => 8 + other * 37 % 1200,
    };
    body.resize(usize::try_from(length).expect("small").max(8), id as u8);
    Parcel { items: 1, signal: config::Signal::Logs, body: body.into(), ..Parcel::default() }
}

fn id_of(stored: &Stored) -> u64 {
    let id = u64::from_le_bytes(*stored.body.first_chunk().expect("eight bytes"));
    assert!(stored.body == parcel(id).body, "a parcel is whole");
    id
}

fn held(folder: &Path) -> String {
    let mut ids = Vec::new();
    let mut note = |_: &str, stored: Stored| {
        ids.push(id_of(&stored).to_string());
        Ok(())
    };
    // A folder that was never a queue holds nothing.
    if let Ok(offline) = Offline::open(folder) {
        offline.read(Kind::Queue, None, &mut note).expect("a queue can be read beside nobody");
    }
    ids.join(" ")
}

/// Delivers so many bytes of each partition, and gives how many parcels that were.
async fn deliver(spool: &Spool, bytes: usize) -> usize {
    let mut count = 0;
    for partition in spool.partitions() {
        for stored in partition.take(bytes).await.expect("the test's own folder") {
            say(&format!("T {}", id_of(&stored)));
            partition.done(stored.seq);
            count += 1;
        }
    }
    count
}

/// Of each series the newest parcel is needed.
#[derive(Default)]
struct Newest(HashSet<u64>);

impl Sieve for Newest {
    fn sift(&mut self, stored: &Stored) -> Sifted {
        if self.0.insert(queue_crash::series_of(id_of(stored))) { Sifted::Whole } else { Sifted::Nothing }
    }

    fn gap(&mut self) {
        self.0.clear();
    }
}

async fn fold(spool: &Spool) {
    for partition in spool.partitions() {
        partition.fold(Box::<Newest>::default()).await.expect("the test's own folder");
    }
    say("F");
}

fn damaged(meters: &Meters) -> u64 {
    let counts = meters.counts();
    counts.iter().filter(|(name, ..)| *name == "weir_queue_damaged").map(|(.., count)| count).sum()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone ends this process anyway.
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).ok();
}
