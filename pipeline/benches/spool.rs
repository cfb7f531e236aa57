//! What a queue on disk costs, beside bare fdatasync and a queue in memory, in one run on one disk:
//! `cargo bench -p pipeline --features spool --profile iter --bench spool`.
//!
//! Bodies are 8 KiB, as a compressed request of a thousand points has. CPU is that of the whole process, synced bytes are counted once.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pdata::Logs;
use pipeline::inbox::InboxLimits;
use pipeline::spool::{Parcel, Spool, SpoolOptions, WhenFull};
use pipeline::{Batch, Clock, Health, Inbox, Meters};

const BODY: usize = 8 << 10;
const SPAN: Duration = Duration::from_secs(3);

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn report(what: &str, senders: usize, batches: u64, clock: &Clock, began: tokio::time::Instant, used: Duration) {
    let seconds = (clock.now() - began).as_secs_f64();
    let mebibytes = (batches * BODY as u64) as f64 / f64::from(1 << 20);
    println!(
        "{what:<28} {senders:>4} senders {:>9.0} batches/s {:>8.1} MiB/s {:>7.2} CPU-ms/MiB",
        batches as f64 / seconds,
        mebibytes / seconds,
        used.as_secs_f64() * 1e3 / mebibytes
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Beside the build, which lies on a disk; /tmp may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let clock = Clock::system();
    runtime.block_on(async {
        bare(folder.path(), &clock);
        for senders in [1, 16, 64, 256] {
            disk(folder.path(), senders, &clock).await;
        }
        memory(&clock).await;
    });
}

/// Append and fdatasync, one after the other: what one sender can have at best.
fn bare(folder: &std::path::Path, clock: &Clock) {
    let mut file = File::create(folder.join("bare")).unwrap();
    let (body, began, used, mut batches) = (vec![7; BODY], clock.now(), cpu(), 0);
    while clock.now() - began < SPAN {
        file.write_all(&body).unwrap();
        file.sync_data().unwrap();
        batches += 1;
    }
    report("append + fdatasync", 1, batches, clock, began, cpu() - used);
}

/// Stored, synced, read back and done.
async fn disk(folder: &std::path::Path, senders: usize, clock: &Clock) {
    let options = SpoolOptions { when_full: WhenFull::Wait, max_bytes: 1 << 30, ..SpoolOptions::default() };
    let path = folder.join(format!("queue{senders}"));
    let spool = Arc::new(Spool::open(&path, options, clock, &Meters::unread(), &Health::default(), "bench").unwrap());
    let body = Bytes::from(vec![7; BODY]);
    let (began, used) = (clock.now(), cpu());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..senders {
        let (spool, body, clock) = (spool.clone(), body.clone(), clock.clone());
        tasks.spawn(async move {
            let mut stored = 0_u64;
            while clock.now() - began < SPAN {
                spool.store("", Parcel { items: 1000, body: body.clone(), ..Parcel::default() }).await.unwrap();
                stored += 1;
            }
            stored
        });
    }
    let reading = spool.clone();
    let reading = tokio::spawn(async move {
        loop {
            let Some(partition) = reading.partitions().into_iter().next() else {
                reading.opening().await;
                continue;
            };
            partition.arrival().await;
            for stored in partition.take(256 << 10).await.unwrap() {
                partition.done(stored.seq);
            }
        }
    });
    let mut batches = 0;
    while let Some(stored) = tasks.join_next().await {
        batches += stored.unwrap();
    }
    report("queue on disk", senders, batches, clock, began, cpu() - used);
    reading.abort();
    spool.close().await;
}

/// An inbox: what a batch costs that is not encoded, not stored, and lost with the process.
async fn memory(clock: &Clock) {
    let (port, mut inbox) = Inbox::new(InboxLimits::default());
    let reading = tokio::spawn(async move { while inbox.next().await.is_some() {} });
    let (began, used, mut batches) = (clock.now(), cpu(), 0);
    while clock.now() - began < SPAN {
        for _ in 0..64 {
            port.send(Batch::new(Logs::default(), pdata::UnixNanos(1))).await;
        }
        batches += 64;
    }
    report("queue in memory", 1, batches, clock, began, cpu() - used);
    drop(port);
    reading.await.unwrap();
}
