//! `weir ledger ls | verify | export`: looks into a ledger on disk, beside a running agent or without one. Never writes to it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use pipeline::Fault;
use pipeline::state::{Cursor, Listed, Offline, Standing};

use super::{Exit, folders, print};

/// What to do with a ledger.
#[derive(Debug, Subcommand)]
pub(super) enum LedgerVerb {
    /// List the series with their values, and the cursors.
    Ls(LedgerArgs),
    /// Read all of it, and say what is damaged. Exit code 1 when something is.
    Verify(LedgerArgs),
    /// Print all of it as JSON, one object a line.
    Export(LedgerArgs),
}

#[derive(Debug, Args)]
pub(super) struct LedgerArgs {
    /// The ledger's folder, `<directory of the storage>/receivers/<receiver>`, or its database.
    path: PathBuf,
}

/// Does what the verb says.
pub(super) fn ledger(verb: &LedgerVerb, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let (LedgerVerb::Ls(LedgerArgs { path })
    | LedgerVerb::Verify(LedgerArgs { path })
    | LedgerVerb::Export(LedgerArgs { path })) = verb;
    let result = match verb {
        LedgerVerb::Ls(args) => list(args, out),
        LedgerVerb::Verify(args) => verify(args, out),
        LedgerVerb::Export(args) => {
            Offline::open(&args.path).and_then(|ledger| ledger.export(out)).map(|()| Exit::Success)
        }
    };
    result.unwrap_or_else(|fault| {
        write!(err, "{fault}\n{}", folders(path, "receivers").unwrap_or_default()).ok();
        Exit::Failure
    })
}

fn list(args: &LedgerArgs, out: &mut dyn Write) -> Result<Exit, Fault> {
    let ledger = Offline::open(&args.path)?;
    let mut lines = ledger.series()?.iter().map(line).collect::<String>();
    lines.extend(ledger.cursors()?.iter().map(cursor_line));
    Ok(print(out, &lines))
}

/// Cursors that are no text hold keys of rows, or what only their component reads.
fn cursor_line(cursor: &Cursor) -> String {
    let value = match std::str::from_utf8(&cursor.value) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("({} bytes)", cursor.value.len()),
    };
    let token = if cursor.token == 0 { String::new() } else { format!(" token {}", cursor.token) };
    format!("cursor {:?} {value}{token}\n", cursor.key)
}

fn line(listed: &Listed) -> String {
    let pairs = listed.series.attributes().iter().map(|(key, value)| format!("{key}={:?}", value.to_string()));
    let labels = pairs.collect::<Vec<_>>().join(",");
    let value = match &listed.standing {
        Standing::Sum(number) | Standing::Gauge(number, _) => match number {
            pdata::Number::Int(int) => int.to_string(),
            pdata::Number::Double(double) => double.to_string(),
        },
        Standing::Histogram(bins) => format!("{bins:?}"),
    };
    format!("{}{{{labels}}} {value}\n", listed.series.metric().name)
}

fn verify(args: &LedgerArgs, out: &mut dyn Write) -> Result<Exit, Fault> {
    let findings = Offline::open(&args.path)?.verify()?;
    let mut text = format!(
        "{} series, {} ids, {} records in the spool, {} cursors, {} commits\n",
        findings.series, findings.ids, findings.spooled, findings.cursors, findings.commits
    );
    findings.problems.iter().for_each(|problem| text.extend([problem.as_str(), "\n"]));
    let printed = print(out, &text);
    Ok(if findings.problems.is_empty() { printed } else { Exit::Failure })
}
