//! Measuring: CPU time of this thread or of a process, allocations, memory.
//!
//! CPU time and not wall time, because the machines that run this are shared; best of several rounds, because noise only adds.

use std::fmt::Write as _;

/// One figure of a report.
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The figure with its unit.
    pub value: String,
    /// The goal it is held against, if there is one.
    pub goal: Option<String>,
}

/// Figures under a heading, printed as a Markdown table so that `docs/performance.md` can hold them as they are.
pub struct Report {
    title: &'static str,
    figures: Vec<Figure>,
}

/// What a piece of work cost per item.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Nanoseconds of CPU time per item, best round.
    pub ns: f64,
    /// Allocations per item in that round.
    pub allocations: f64,
}

impl Report {
    pub fn new(title: &'static str) -> Self {
        Self { title, figures: Vec::new() }
    }

    pub fn figure(&mut self, what: impl Into<String>, value: impl Into<String>, goal: Option<&str>) {
        self.figures.push(Figure { what: what.into(), value: value.into(), goal: goal.map(Into::into) });
    }

    /// Adds a cost in ns and allocations per `item`.
    pub fn cost(&mut self, what: impl Into<String>, cost: Cost, item: &str, goal: Option<&str>) {
        let value = format!("{:.1} ns, {:.3} allocations per {item}", cost.ns, cost.allocations);
        self.figure(what, value, goal);
    }

    pub fn print(&self) {
        let mut text = format!("\n## {}\n\n| what | figure | goal |\n|---|---|---|\n", self.title);
        for Figure { what, value, goal } in &self.figures {
            writeln!(text, "| {what} | {value} | {} |", goal.as_deref().unwrap_or(""))
                .expect("writing to a String cannot fail");
        }
        println!("{text}");
    }
}

/// CPU time of this thread so far, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// CPU time of a process so far, in nanoseconds: its threads' times added up.
pub fn process_cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks.flatten().map(|task| cpu_ns(&task.path().join("schedstat").to_string_lossy())).sum()
}

/// Resident memory of a process, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Runs `work` `rounds` times over `items` items and keeps the cheapest round.
pub fn best_of(rounds: usize, items: usize, mut work: impl FnMut()) -> Cost {
    let mut best = Cost { ns: f64::INFINITY, allocations: 0.0 };
    for _ in 0..rounds {
        let before = thread_cpu_ns();
        let ((), allocated) = tally::allocated(&mut work);
        let ns = (thread_cpu_ns() - before) as f64 / items as f64;
        if ns < best.ns {
            best = Cost { ns, allocations: allocated.count as f64 / items as f64 };
        }
    }
    best
}

fn cpu_ns(path: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0)
}
