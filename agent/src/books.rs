//! The books: what went in and what came out of each queue, compared when the agent stops.
//!
//! At rest, what receivers sent is what lanes took, and what lanes gave is what exporters handed over or were refused. Whatever
//! is missing waited in an inbox or was in somebody's hand when the deadline passed: it is lost, and said aloud.

use pipeline::Count;

/// The accounts of one graph.
#[derive(Debug, Default)]
pub(crate) struct Books(Vec<Account>);

/// One edge of the graph: points or records that went in against those that came out.
#[derive(Debug)]
struct Account {
    name: String,
    incoming: Vec<Tally>,
    outgoing: Vec<Tally>,
}

/// A count since the graph began to run: counts outlive a graph, because a reload keeps their names.
#[derive(Debug)]
struct Tally {
    count: Count,
    base: u64,
}

/// What one edge still owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The pipeline or exporter in front of which it waits.
    pub before: String,
    /// Points or records.
    pub items: u64,
}

impl Books {
    /// Opens an account: what `incoming` counts should come out as counted by `outgoing`.
    pub(crate) fn open(
        &mut self,
        name: impl Into<String>,
        incoming: impl IntoIterator<Item = Count>,
        outgoing: impl IntoIterator<Item = Count>,
    ) {
        self.0.push(Account {
            name: name.into(),
            incoming: incoming.into_iter().map(Tally::new).collect(),
            outgoing: outgoing.into_iter().map(Tally::new).collect(),
        });
    }

    /// Counts from now on. The graph before this one must have ended: both count under the same names.
    pub(crate) fn begin(&mut self) {
        for account in &mut self.0 {
            for tally in account.incoming.iter_mut().chain(&mut account.outgoing) {
                tally.base = tally.count.value();
            }
        }
    }

    /// All that went in and did not come out. Empty at rest.
    #[must_use]
    pub(crate) fn owed(&self) -> Vec<Owed> {
        let owed = self.0.iter().map(|account| Owed { before: account.name.clone(), items: account.owed() });
        owed.filter(|owed| owed.items > 0).collect()
    }
}

impl Account {
    fn owed(&self) -> u64 {
        let sum = |tallies: &[Tally]| tallies.iter().map(Tally::value).sum::<u64>();
        // Read the way out first: what comes out in between then shows as owed, never as a negative balance.
        let outgoing = sum(&self.outgoing);
        sum(&self.incoming).saturating_sub(outgoing)
    }
}

impl Tally {
    fn new(count: Count) -> Self {
        Self { base: 0, count }
    }

    fn value(&self) -> u64 {
        self.count.value().saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_in_since_the_graph_began_is_owed() {
        let (incoming, outgoing) = (Count::default(), Count::default());
        incoming.add(100);
        let mut books = Books::default();
        books.open("metrics", [incoming.clone()], [outgoing.clone()]);
        books.begin();
        assert_eq!(books.owed(), []);
        incoming.add(7);
        outgoing.add(5);
        assert_eq!(books.owed(), [Owed { before: "metrics".into(), items: 2 }]);
    }
}
