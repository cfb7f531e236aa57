//! What was asked for on the command line: some benchmarks, an answer, or a mistake. Nothing runs before all of it is understood.

use std::fmt::Write as _;

use crate::{ALL, Bench};

const LARGE: &str = "--large";

/// What this program is to do.
#[derive(Debug)]
pub enum Request {
    /// Run these, in the order of [`ALL`].
    Run(Vec<&'static Bench>),
    /// Say what there is.
    Help,
}

impl Request {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in one line.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Vec::new();
        for argument in arguments {
            match argument.as_str() {
                "-h" | "--help" => return Ok(Self::Help),
                LARGE => {}
                flag if flag.starts_with('-') => return Err(format!("no flag {flag}: --help tells which there are")),
                name if ALL.iter().any(|bench| bench.name == name) => wanted.push(argument),
                name => return Err(format!("no benchmark {name:?}; there are: {}", names())),
            }
        }
        let all = wanted.is_empty();
        Ok(Self::Run(ALL.iter().filter(|bench| all || wanted.iter().any(|name| name == bench.name)).collect()))
    }
}

/// Whether the sizes that take minutes are wanted too.
pub fn large() -> bool {
    std::env::args().any(|argument| argument == LARGE)
}

/// The benchmarks by name, a line each, and the flags.
pub fn help() -> String {
    let mut text = "Benchmarks of weir: all of them, or those that are named.

Usage: cargo run --release -p benches -- [NAME]... [--large]

Benchmarks (* starts weir: `cargo build --release -p agent` first):
"
    .to_owned();
    for Bench { name, about, starts_weir, .. } in ALL {
        let mark = if *starts_weir { '*' } else { ' ' };
        writeln!(text, "{mark} {name:<11} {about}").expect("writing to a String cannot fail");
    }
    text + "
Options:
  --large     Also the sizes that take minutes
  -h, --help  Print this
"
}

fn names() -> String {
    ALL.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Result<Request, String> {
        Request::read(arguments.split_whitespace().map(str::to_owned))
    }

    fn run(arguments: &str) -> Vec<&'static str> {
        match read(arguments).unwrap() {
            Request::Run(benches) => benches.iter().map(|bench| bench.name).collect(),
            Request::Help => panic!("{arguments} asks for help"),
        }
    }

    #[test]
    fn all_run_unless_some_are_named() {
        assert_eq!(run("").len(), ALL.len());
        assert_eq!(run("--large").len(), ALL.len());
        assert_eq!(run("webhook --large rows"), ["rows", "webhook"]);
    }

    #[test]
    fn nothing_runs_for_who_asks_for_help_or_mistypes() {
        assert!(matches!(read("rows --help"), Ok(Request::Help)));
        assert!(matches!(read("-h"), Ok(Request::Help)));
        assert_eq!(read("--larg").unwrap_err(), "no flag --larg: --help tells which there are");
        let error = read("rows row").unwrap_err();
        assert!(error.starts_with("no benchmark \"row\"; there are: series, rows"), "{error}");
    }

    #[test]
    fn help_names_every_benchmark_in_a_line() {
        let help = help();
        for bench in ALL {
            assert!(help.lines().any(|line| line.contains(bench.name) && line.ends_with(bench.about)), "{help}");
        }
        assert!(help.lines().all(|line| line.len() <= 100), "{help}");
    }
}
