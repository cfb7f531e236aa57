//! A pipeline's processors in one task.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use tokio::time::Instant;

use crate::batch::Batch;
use crate::component::Processor;
use crate::fault::Fault;
use crate::inbox::Inbox;
use crate::outlet::Outlet;

/// Takes batches from an inbox through processors, called one after another, to an outlet. Ends when its inbox does, after the
/// processors gave what they held back.
pub struct Lane {
    inbox: Inbox,
    processors: Vec<Box<dyn Processor>>,
    outlet: Outlet,
    /// What one call made, before it is sent: processors do not await, sends do.
    made: VecDeque<Batch>,
}

impl Lane {
    /// A lane that is not running yet.
    #[must_use]
    pub fn new(inbox: Inbox, processors: Vec<Box<dyn Processor>>, outlet: Outlet) -> Self {
        Self { inbox, processors, outlet, made: VecDeque::new() }
    }

    /// Runs until the inbox ends.
    ///
    /// # Errors
    /// When a processor panics: the batch in hand counts as lost, and the lane cannot trust its processors any more.
    pub async fn run(mut self) -> Result<(), Fault> {
        // One timer for all batches: it is set anew only when a processor wants to be woken at another time.
        let mut alarm = pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            let wake_at = self.wake_at();
            if let Some(at) = wake_at.filter(|at| *at != alarm.deadline()) {
                alarm.as_mut().reset(at);
            }
            tokio::select! {
                // Both arms are safe to drop: `next` takes a batch only when it returns it.
                batch = self.inbox.next() => match batch {
                    Some(batch) => self.guard(|lane| lane.pass(0, batch))?,
                    None => break,
                },
                () = alarm.as_mut(), if wake_at.is_some() => self.guard(Self::wake)?,
            }
            self.send().await;
        }
        self.guard(Self::finish)?;
        self.send().await;
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.processors.iter().filter_map(|processor| processor.wake_at()).min()
    }

    /// Takes a batch through the processors from `from` on.
    fn pass(&mut self, from: usize, batch: Batch) {
        pass(&mut self.processors[from..], batch, &mut |batch| self.made.push_back(batch));
    }

    fn wake(&mut self) {
        let now = Instant::now();
        for index in 0..self.processors.len() {
            if self.processors[index].wake_at().is_some_and(|at| at <= now) {
                self.call(index, |processor, out| processor.wake(now, out));
            }
        }
    }

    fn finish(&mut self) {
        for index in 0..self.processors.len() {
            self.call(index, |processor, out| processor.finish(out));
        }
    }

    /// Calls one processor and takes what it gives through those after it.
    fn call(&mut self, index: usize, call: impl FnOnce(&mut dyn Processor, &mut dyn FnMut(Batch))) {
        let (before, after) = self.processors.split_at_mut(index + 1);
        let made = &mut self.made;
        call(&mut *before[index], &mut |batch| pass(after, batch, &mut |batch| made.push_back(batch)));
    }

    fn guard(&mut self, work: impl FnOnce(&mut Self)) -> Result<(), Fault> {
        std::panic::catch_unwind(AssertUnwindSafe(|| work(self))).map_err(|panic| {
            let what = panic.downcast_ref::<&str>().map(ToString::to_string);
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Fault::new(format!("a processor panicked: {what}"))
        })
    }

    async fn send(&mut self) {
        while let Some(batch) = self.made.pop_front() {
            self.outlet.send(batch).await;
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("processors", &self.processors.len()).finish_non_exhaustive()
    }
}

fn pass(processors: &mut [Box<dyn Processor>], batch: Batch, out: &mut dyn FnMut(Batch)) {
    match processors.split_first_mut() {
        Some((first, rest)) => first.process(batch, &mut |batch| pass(rest, batch, out)),
        None => out(batch),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::inbox::InboxLimits;
    use crate::outlet::OutletCounts;
    use crate::receipt::{Receipt, Verdict};
    use crate::testing::batch_of;

    /// Holds one batch back for a second, or until the end.
    #[derive(Default)]
    struct Hold(Option<(Instant, Batch)>);

    impl Processor for Hold {
        fn process(&mut self, batch: Batch, out: &mut dyn FnMut(Batch)) {
            self.finish(out);
            self.0 = Some((Instant::now() + Duration::from_secs(1), batch));
        }
        fn wake_at(&self) -> Option<Instant> {
            self.0.as_ref().map(|(at, _)| *at)
        }
        fn wake(&mut self, _: Instant, out: &mut dyn FnMut(Batch)) {
            self.finish(out);
        }
        fn finish(&mut self, out: &mut dyn FnMut(Batch)) {
            self.0.take().into_iter().for_each(|(_, batch)| out(batch));
        }
    }

    struct Panic;

    impl Processor for Panic {
        fn process(&mut self, _: Batch, _: &mut dyn FnMut(Batch)) {
            panic!("no");
        }
    }

    fn lane(processors: Vec<Box<dyn Processor>>) -> (crate::Port, Inbox, Lane) {
        let (to, from) = Inbox::new(InboxLimits::default());
        let (out, end) = Inbox::new(InboxLimits::default());
        (to, end, Lane::new(from, processors, Outlet::new(vec![out], OutletCounts::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_processor_holds_back_passes_those_after_it_when_it_wakes() {
        let (to, mut end, lane) = lane(vec![Box::<Hold>::default(), Box::<Hold>::default()]);
        tokio::spawn(lane.run());
        to.send(batch_of(1)).await;
        let began = Instant::now();
        assert_eq!(end.next().await.unwrap().items(), 1);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_ends_gives_what_its_processors_held_back() {
        let (to, mut end, lane) = lane(vec![Box::<Hold>::default(), Box::<Hold>::default()]);
        to.send(batch_of(1)).await;
        drop(to);
        lane.run().await.unwrap();
        assert_eq!(end.next().await.unwrap().items(), 1);
        assert!(end.next().await.is_none());
    }

    #[tokio::test]
    async fn a_panic_in_a_processor_is_a_fault_and_its_batch_is_lost() {
        let (to, _end, lane) = lane(vec![Box::new(Panic)]);
        let (receipt, waiter) = Receipt::pair();
        to.send(batch_of(1).with_receipt(receipt)).await;
        let fault = lane.run().await.unwrap_err();
        assert_eq!(fault.to_string(), "a processor panicked: no");
        assert_eq!(waiter.verdict().await, Verdict::Lost);
    }
}
