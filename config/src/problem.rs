//! Something wrong in what the user wrote, for the one who wrote it.

use crate::place::Place;

/// How many problems are kept; a file with more than this is wrong as a whole.
const MAX_PROBLEMS: usize = 1_000;

/// Whether a problem stops the agent from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but does not say what its writer meant, or is about to stop working.
    Warning,
}

/// One thing that is wrong: where, what was found, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Where it stands; `None` for what no file holds, such as a missing `--config`.
    pub place: Option<Place>,
    /// The keys that lead to it, such as `receivers::sql_query/inventory::queries[0]::timeout`; empty at the root.
    pub path: String,
    /// What is wrong; begins as the Collector's message does where it has one.
    pub message: String,
    /// What would be right, when that is known.
    pub help: Option<String>,
    /// Other places that belong to it, such as the first of two equal keys.
    pub related: Vec<Related>,
}

/// A second place that a problem speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// What stands there, such as `first defined`.
    pub label: &'static str,
    /// Where.
    pub place: Place,
}

/// Problems of one or many files.
///
/// At most a thousand are kept; the rest are only counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    /// Problems past the bound, told as one line at the end.
    omitted: usize,
    /// Whether one of the omitted was an error.
    omitted_error: bool,
}

impl Problem {
    /// An error without a place.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message.into())
    }

    /// A warning without a place.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message.into())
    }

    fn new(severity: Severity, message: String) -> Self {
        Self { severity, place: None, path: String::new(), message, help: None, related: Vec::new() }
    }

    /// Says where it stands; [`Place::NOWHERE`] leaves it without a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place.is_written().then_some(place);
        self
    }

    /// Says which keys lead to it.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Says what would be right.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Points at a second place.
    #[must_use]
    pub fn with_related(mut self, label: &'static str, place: Place) -> Self {
        if place.is_written() {
            self.related.push(Related { label, place });
        }
        self
    }

    /// Whether it stops the agent from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl Problems {
    /// No problems.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.omitted += 1;
            self.omitted_error |= problem.is_error();
        }
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// How many were found past the bound and not kept.
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    /// Whether more would only be counted; then there is no use in looking for the right word.
    pub(crate) fn is_full(&self) -> bool {
        self.list.len() >= MAX_PROBLEMS
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.omitted_error || self.list.iter().any(Problem::is_error)
    }

    /// All that are kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Puts them in the order of the files, lines and columns; those without a place come first. Equal ones are
    /// kept once: a part that is used twice through an alias would tell its problem twice.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            a.place.cmp(&b.place).then(a.severity.cmp(&b.severity)).then_with(|| a.message.cmp(&b.message))
        });
        self.list.dedup();
    }

    /// # Errors
    /// Gives the problems back when one of them is an error; warnings alone are dropped.
    pub fn into_result(self) -> Result<(), Problems> {
        if self.has_errors() { Err(self) } else { Ok(()) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::new();
        problems.push(problem);
        problems
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        for problem in problems {
            self.push(problem);
        }
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut all = Self::new();
        all.extend(problems);
        all
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{}:{}: ", place.line, place.column)?;
        }
        write!(f, "{}: ", self.severity)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl std::error::Error for Problems {}
