//! Benchmarks of weir. `cargo run --release -p benches` runs all; names run some. `--large` adds
//! the sizes that take minutes. `webhook`, `gateway`, `databases`, `footprint` and `peers` want `cargo build --release -p agent` first.

#![allow(clippy::disallowed_types, reason = "benchmarks measure real time")]

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

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

type Bench = (&'static str, fn());

const ALL: &[Bench] = &[
    ("series", series::run),
    ("rows", rows::run),
    ("databases", databases::run),
    ("relabel", relabel::run),
    ("exposition", exposition::run),
    ("otlp", otlp::run),
    ("signatures", signatures::run),
    ("events", events::run),
    ("webhook", webhook::run),
    ("footprint", footprint::run),
    ("gateway", gateway::run),
    ("peers", peers::run),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(webhook::bare::ARGUMENT) {
        let address = arguments.next().and_then(|address| address.parse().ok());
        return webhook::bare::serve(address.expect("an address follows"));
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    for name in &wanted {
        if !ALL.iter().any(|(known, _)| known == name) {
            eprintln!(
                "no benchmark {name:?}; there are: {}",
                ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            );
            std::process::exit(2);
        }
    }
    println!("# weir benchmarks");
    for (name, run) in ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
}
