//! Errors for those who run the agent, and for the machine.

use std::time::Duration;

/// Why a component cannot go on. Read by whoever runs the agent.
#[derive(Debug)]
pub struct Fault {
    component: Option<String>,
    what: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a batch was not taken. Read by the machine: try again, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Taking it later may work.
    Retry {
        /// How long the other side asked to wait, if it did.
        after: Option<Duration>,
        /// One line, for logs.
        why: String,
    },
    /// It will never be taken.
    Reject {
        /// One line, for logs.
        why: String,
    },
    /// Some of it will never be taken; the rest was.
    Partial {
        /// Points or records that were not taken.
        rejected: u64,
        /// One line, for logs.
        why: String,
    },
}

impl Fault {
    /// What was tried and did not work, lower case, without a full stop.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { component: None, what: what.into(), source: None }
    }

    /// Why it did not work.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Which component speaks, unless that is already said.
    #[must_use]
    pub fn of(self, component: impl std::fmt::Display) -> Self {
        let component = self.component.or_else(|| Some(component.to_string()));
        Self { component, ..self }
    }
}

impl std::fmt::Display for Fault {
    /// The whole chain in one line: who, what, why.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(component) = &self.component {
            write!(f, "{component}: ")?;
        }
        f.write_str(&self.what)?;
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Retry { why, .. } | Self::Reject { why } | Self::Partial { why, .. } => f.write_str(why),
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_tells_who_what_and_why_in_one_line() {
        let fault = Fault::new("cannot listen on 127.0.0.1:80").caused_by(std::io::Error::other("denied"));
        assert_eq!(
            fault.of("prometheus/a").of("later").to_string(),
            "prometheus/a: cannot listen on 127.0.0.1:80: denied"
        );
    }
}
