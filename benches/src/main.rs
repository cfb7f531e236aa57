//! Benchmarks of weir. `cargo run --release -p benches` runs all; `--help` tells what else it does.

#![allow(clippy::disallowed_types, reason = "benchmarks measure real time")]

mod arguments;
mod calls;
mod databases;
mod events;
mod exposition;
mod footprint;
mod gateway;
mod measure;
mod otlp;
mod peers;
mod process;
mod relabel;
mod rows;
mod series;
mod signatures;
mod webhook;

use arguments::Request;

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

/// One benchmark: it prints its figures as a table.
#[derive(Debug)]
struct Bench {
    name: &'static str,
    /// What it measures, in a line.
    about: &'static str,
    /// Whether it starts the release binary, which cargo does not build for it.
    starts_weir: bool,
    run: fn(),
}

const ALL: &[Bench] = &[
    Bench::alone("series", "what a series' identity costs: at first sight, and after", series::run),
    Bench::alone("rows", "SQLite rows to points, beside a bare SELECT", rows::run),
    Bench::of_weir("databases", "PostgreSQL and MariaDB: rows, millions of rows, a thousand queries", databases::run),
    Bench::alone("relabel", "points through chains of relabel rules", relabel::run),
    Bench::alone("exposition", "the endpoint's table and its text, without a socket", exposition::run),
    Bench::alone("otlp", "OTLP requests to points, and back", otlp::run),
    Bench::alone("signatures", "checking signatures of webhooks, good and forged", signatures::run),
    Bench::alone("events", "JSON of an event to what it changes in a ledger", events::run),
    Bench::of_weir("webhook", "signed events over a socket, beside hyper alone and Debian's webhook", webhook::run),
    Bench::of_weir("footprint", "size of the binary, start, memory and CPU when idle", footprint::run),
    Bench::of_weir("gateway", "OTLP through the agent, beside rotel", gateway::run),
    Bench::of_weir("peers", "scrapes over a socket, beside pushgateway", peers::run),
];

impl Bench {
    const fn alone(name: &'static str, about: &'static str, run: fn()) -> Self {
        Self { name, about, starts_weir: false, run }
    }

    const fn of_weir(name: &'static str, about: &'static str, run: fn()) -> Self {
        Self { name, about, starts_weir: true, run }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(webhook::bare::ARGUMENT) {
        let address = arguments.next().and_then(|address| address.parse().ok());
        return webhook::bare::serve(address.expect("an address follows"));
    }
    match Request::read(std::env::args().skip(1)) {
        Ok(Request::Help) => print!("{}", arguments::help()),
        Ok(Request::Run(benches)) => {
            println!("# weir benchmarks");
            benches.iter().for_each(|bench| (bench.run)());
        }
        Err(mistake) => {
            eprintln!("{mistake}");
            std::process::exit(2);
        }
    }
}
