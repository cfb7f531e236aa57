//! Where a component sends.

use arc_swap::ArcSwap;
use std::sync::Arc;

use crate::batch::{Batch, Payload};
use crate::component::Signals;
use crate::inbox::{Port, PortPolicy};
use crate::meter::Count;
use crate::receipt::Verdict;

/// The ports of a component. The list is one atomic pointer, so that a reload exchanges edges without stopping anybody.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ports: ArcSwap<Vec<Port>>,
    counts: OutletCounts,
}

/// Counters of an outlet: what went through, and what no port takes.
#[derive(Clone, Debug, Default)]
pub struct OutletCounts {
    /// Metric points sent.
    pub points: Count,
    /// Log records sent.
    pub records: Count,
    /// Spans sent.
    pub spans: Count,
    /// Points, records or spans that no port takes: they end as discarded.
    pub unrouted: Count,
}

impl Outlet {
    /// An outlet with these ports.
    #[must_use]
    pub fn new(ports: Vec<Port>, counts: OutletCounts) -> Self {
        Self(Arc::new(Inner { ports: ArcSwap::from_pointee(ports), counts }))
    }

    /// Sends a batch through all ports that take its signal, at the same time; waits while a blocking one is full. The last port
    /// gets the batch itself, the others forks. Safe to drop: what was not taken yet counts as lost.
    pub async fn send(&self, batch: Batch) {
        let ports = self.0.ports.load_full();
        let counts = &self.0.counts;
        let count = match batch.payload {
            Payload::Metrics(_) => &counts.points,
            Payload::Logs(_) => &counts.records,
            Payload::Traces(_) => &counts.spans,
        };
        count.add(batch.items() as u64);
        let mut copies = share_out(&ports, batch.payload.signal().into(), batch, &counts.unrouted);
        if copies.len() == 1
            && let Some((port, batch)) = copies.pop()
        {
            return ports[port].send(batch).await;
        }
        // All ports are filled at the same time, so that one full inbox delays the sender and not the other inboxes.
        futures_util::future::join_all(copies.into_iter().map(|(port, batch)| ports[port].send(batch))).await;
    }

    /// Exchanges the ports.
    pub fn replace(&self, ports: Vec<Port>) {
        self.0.ports.store(Arc::new(ports));
    }

    /// The ports, for gauges.
    #[must_use]
    pub fn ports(&self) -> Arc<Vec<Port>> {
        self.0.ports.load_full()
    }
}

type Copies = smallvec::SmallVec<[(usize, Batch); 4]>;

/// Which port gets which copy: the last that counts gets the batch itself.
fn share_out(ports: &[Port], signal: Signals, batch: Batch, unrouted: &Count) -> Copies {
    let takers = || ports.iter().enumerate().filter(|(_, port)| port.takes(signal));
    let mut copies: Copies = takers()
        .filter(|(_, port)| port.policy() == PortPolicy::BestEffort)
        .map(|(index, _)| (index, batch.fork_without_promise()))
        .collect();
    let mut counting = takers().filter(|(_, port)| port.policy() != PortPolicy::BestEffort).map(|(index, _)| index);
    let Some(first) = counting.next() else {
        if copies.is_empty() {
            unrouted.add(batch.items() as u64);
        }
        // Nobody holds the promise: there is no destination, or only such as may not fail the sender.
        batch.settle(Verdict::Discarded);
        return copies;
    };
    copies.extend(counting.map(|index| (index, batch.fork())));
    copies.push((first, batch));
    copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Inbox, InboxLimits};
    use crate::receipt::Receipt;
    use crate::testing::batch_of;

    const SMALL: InboxLimits = InboxLimits { batches: 1, bytes: 1 << 20, items: usize::MAX };

    #[tokio::test]
    async fn all_ports_get_the_batch_and_the_worst_verdict_wins() {
        let ((first, mut one), (second, mut two)) = (Inbox::new(SMALL), Inbox::new(SMALL));
        let outlet = Outlet::new(vec![first, second], OutletCounts::default());
        let (receipt, waiter) = Receipt::pair();
        outlet.send(batch_of(3).with_receipt(receipt)).await;
        one.next().await.unwrap().settle(Verdict::Delivered);
        two.next().await.unwrap().settle(Verdict::Rejected);
        assert_eq!(waiter.verdict().await, Verdict::Rejected);
    }

    #[tokio::test]
    async fn a_best_effort_port_neither_holds_back_nor_fails_the_others() {
        let ((first, mut counted), (second, full)) = (Inbox::new(SMALL), Inbox::new(SMALL));
        let second = second.with_policy(PortPolicy::BestEffort, Count::default());
        for order in [vec![first.clone(), second.clone()], vec![second, first]] {
            let outlet = Outlet::new(order, OutletCounts::default());
            let (receipt, waiter) = Receipt::pair();
            outlet.send(batch_of(1).with_receipt(receipt)).await;
            counted.next().await.unwrap().settle(Verdict::Delivered);
            assert_eq!(waiter.verdict().await, Verdict::Delivered);
        }
        drop(full);
    }

    #[tokio::test]
    async fn what_no_port_takes_is_counted() {
        let (port, _inbox) = Inbox::new(SMALL);
        let counts = OutletCounts::default();
        let outlet = Outlet::new(vec![port.for_signals(Signals::LOGS)], counts.clone());
        let (receipt, waiter) = Receipt::pair();
        outlet.send(batch_of(4).with_receipt(receipt)).await;
        assert_eq!((waiter.verdict().await, counts.unrouted.value()), (Verdict::Discarded, 4));
    }
}
