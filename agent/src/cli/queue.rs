//! `weir queue ls | verify | export | purge`: looks into an exporter's queue on disk. All but the last work beside a running agent.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use config::Signal;
use pdata::UnixNanos;
use pipeline::spool::{Holding, Kind, Listed, Offline, Stored};
use pipeline::{Clock, Fault};

use super::{Exit, folders, print};

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub(super) enum QueueVerb {
    /// List the partitions with what waits in them, and the dead letters.
    Ls(QueueArgs),
    /// Read all of it, and say what is damaged. Exit code 1 when something is.
    Verify(QueueArgs),
    /// Print the batches that wait, or the dead letters, as OTLP requests.
    Export(ExportArgs),
    /// Delete the batches that wait, or the dead letters. Refused while an agent has the queue open.
    Purge(PurgeArgs),
}

#[derive(Debug, Args)]
pub(super) struct QueueArgs {
    /// The queue's folder: `<directory of the storage>/exporters/<exporter>`.
    path: PathBuf,
}

/// Which batches.
#[derive(Debug, Args)]
pub(super) struct Which {
    #[command(flatten)]
    queue: QueueArgs,
    /// The dead letters instead of what waits.
    #[arg(long)]
    dead_letters: bool,
    /// One partition, by its key; the common one is the empty key.
    #[arg(long, value_name = "KEY", conflicts_with = "dead_letters")]
    partition: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// One signal only.
    #[arg(long, value_enum)]
    signal: Option<SignalWord>,
    /// json: a line a batch, the request as any OTLP/HTTP server takes it with `Content-Type: application/json`; described: the same within an
    /// object that says its number, partition, and why it was refused; protobuf: requests one after another, each behind its length as a varint.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// Write each request into a file of its own in this folder, as `<number>.<signal>.pb`: what `curl --data-binary @FILE` sends.
    #[arg(long, value_name = "FOLDER", conflicts_with = "format")]
    to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    which: Which,
    /// Really delete: without it, what would be deleted is only told.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SignalWord {
    Metrics,
    Logs,
    Traces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Json,
    Described,
    Protobuf,
}

/// Does what the verb says.
pub(super) fn queue(verb: &QueueVerb, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let result = match verb {
        QueueVerb::Ls(args) => list(args, out),
        QueueVerb::Verify(args) => verify(args, out),
        QueueVerb::Export(args) => export(args, out, err),
        QueueVerb::Purge(args) => purge(args, out),
    };
    result.unwrap_or_else(|fault| {
        let path = match verb {
            QueueVerb::Ls(args) | QueueVerb::Verify(args) => &args.path,
            QueueVerb::Export(ExportArgs { which, .. }) | QueueVerb::Purge(PurgeArgs { which, .. }) => {
                &which.queue.path
            }
        };
        write!(err, "{fault}\n{}", folders(path, "exporters").unwrap_or_default()).ok();
        Exit::Failure
    })
}

fn list(args: &QueueArgs, out: &mut dyn Write) -> Result<Exit, Fault> {
    let now = Clock::system().wall();
    let lines = Offline::open(&args.path)?.list()?.iter().map(|listed| line(listed, now)).collect::<String>();
    Ok(print(out, &lines))
}

fn line(listed: &Listed, now: UnixNanos) -> String {
    let Holding { batches, items, bytes, segments, oldest } = listed.holding;
    let name = match listed.kind {
        Kind::DeadLetters => "dead letters".to_owned(),
        Kind::Queue if listed.key.is_empty() => "common partition".to_owned(),
        Kind::Queue => format!("partition {:?}", listed.key),
    };
    let age = oldest.map(|oldest| format!(", oldest {} s", now.0.saturating_sub(oldest) / 1_000_000_000));
    let age = age.unwrap_or_default();
    format!("{name}: {batches} batches, {items} items, {bytes} bytes in {segments} files{age}\n")
}

fn verify(args: &QueueArgs, out: &mut dyn Write) -> Result<Exit, Fault> {
    let now = Clock::system().wall();
    let findings = Offline::open(&args.path)?.verify()?;
    let mut text = findings.partitions.iter().map(|listed| line(listed, now)).collect::<String>();
    findings.problems.iter().for_each(|problem| text.extend([problem.as_str(), "\n"]));
    if findings.put_aside > 0 {
        text += &format!("{} damaged places were put aside earlier\n", findings.put_aside);
    }
    let printed = print(out, &text);
    Ok(if findings.problems.is_empty() { printed } else { Exit::Failure })
}

fn export(args: &ExportArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Fault> {
    let mut exit = Exit::Success;
    let mut give = |key: &str, stored: Stored| {
        if args.signal.is_some_and(|signal| signal.signal() != stored.signal) {
            return Ok(());
        }
        let body = exporters::unpacked(&stored.body, stored.encoding)?;
        let written = match (&args.to, args.format) {
            (Some(folder), _) => {
                std::fs::write(folder.join(format!("{:020}.{}.pb", stored.seq, stored.signal.as_str())), &body)
            }
            (None, Format::Protobuf) => delimited(out, &body),
            (None, format) => match exporters::json_of(stored.signal, &body) {
                Ok(request) if format == Format::Json => out.write_all(&request).and_then(|()| out.write_all(b"\n")),
                Ok(request) => described(out, key, &stored, &request),
                Err(why) => {
                    exit = Exit::Failure;
                    let seq = stored.seq;
                    writeln!(
                        err,
                        "batch {seq} is left out, it is no OTLP request: {why}; --to FOLDER gives it as it is"
                    )
                }
            },
        };
        written.map_err(|error| Fault::new("cannot write").caused_by(error))
    };
    let Which { queue, dead_letters, partition } = &args.which;
    Offline::open(&queue.path)?.read(kind(*dead_letters), partition.as_deref(), &mut give)?;
    Ok(exit)
}

/// A line with a request and what the queue knows of it.
fn described(out: &mut dyn Write, key: &str, stored: &Stored, request: &[u8]) -> std::io::Result<()> {
    let mut line = serde_json::json!({
        "seq": stored.seq,
        "signal": stored.signal.as_str(),
        "items": stored.items,
        "stored_unix_nano": stored.time,
    });
    if !key.is_empty() {
        line["partition"] = key.into();
    }
    if !stored.note.is_empty() {
        line["refused"] = stored.note.as_str().into();
    }
    // The request as its text: doubles and integers stay as they are written.
    let line = line.to_string();
    let line = line.strip_suffix('}').unwrap_or(&line);
    write!(out, "{line},\"request\":")?;
    out.write_all(request)?;
    out.write_all(b"}\n")
}

fn delimited(out: &mut dyn Write, body: &[u8]) -> std::io::Result<()> {
    let mut length = body.len();
    let mut head = Vec::new();
    while length >= 0x80 {
        head.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    head.push(length as u8);
    out.write_all(&head)?;
    out.write_all(body)
}

fn purge(args: &PurgeArgs, out: &mut dyn Write) -> Result<Exit, Fault> {
    let Which { queue, dead_letters, partition } = &args.which;
    let (offline, kind) = (Offline::open(&queue.path)?, kind(*dead_letters));
    let holding = if args.yes {
        offline.purge(kind, partition.as_deref())?
    } else {
        let chosen = |listed: &Listed| listed.kind == kind && partition.as_ref().is_none_or(|key| *key == listed.key);
        let listed = offline.list()?.into_iter().filter(chosen);
        listed.fold(Holding::default(), |mut sum, listed| {
            sum.batches += listed.holding.batches;
            sum.items += listed.holding.items;
            sum
        })
    };
    let (what, batches, items) =
        (if args.yes { "deleted" } else { "would delete (write --yes)" }, holding.batches, holding.items);
    Ok(print(out, &format!("{what} {batches} batches, {items} items\n")))
}

const fn kind(dead_letters: bool) -> Kind {
    if dead_letters { Kind::DeadLetters } else { Kind::Queue }
}

impl SignalWord {
    const fn signal(self) -> Signal {
        match self {
            Self::Metrics => Signal::Metrics,
            Self::Logs => Signal::Logs,
            Self::Traces => Signal::Traces,
        }
    }
}
