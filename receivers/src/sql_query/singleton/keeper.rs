//! Keeps one lock: takes it when it is free, asks about it while it is held, and answers who wants to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pipeline::{Clock, Count, Meters, Stop};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ASKS, Ask, Contended, Lock, Seat, Standing, TRY};
use crate::sql_query::source::{ReadError, Reason};

/// The keeper of one lock.
pub(crate) struct Keeper {
    lock: Box<dyn Lock>,
    contended: Arc<Contended>,
    asks: mpsc::Receiver<Ask>,
    lease: Duration,
    clock: Clock,
    receiver: Arc<str>,
    target: Option<Arc<str>>,
    /// What was last told, so that it is not told again.
    told: Option<Standing>,
    losses: Count,
}

impl Keeper {
    /// A keeper, and the seat that it answers for. `lease`: how long a holder that says nothing is believed.
    pub(crate) fn new(
        lock: Box<dyn Lock>,
        lease: Duration,
        clock: Clock,
        meters: &Meters,
        receiver: Arc<str>,
        target: Option<Arc<str>>,
    ) -> (Self, Seat) {
        let (send, asks) = mpsc::channel(ASKS);
        let contended = Arc::new(Contended { asks: send, term: AtomicU64::new(0) });
        let seat = Seat(Some(contended.clone()));
        let labels = [("receiver", receiver.to_string()), ("target", target.as_deref().unwrap_or_default().to_owned())];
        let about = "Times that the lock of a singleton was lost while it was held.";
        let losses = meters.count("weir_sql_lock_losses", about, "{losses}", labels.into());
        (Self { lock, contended, asks, lease, clock, receiver, target, told: None, losses }, seat)
    }

    /// Keeps it until asked to stop, and then gives it back.
    pub(crate) async fn keep(mut self, mut stop: Stop) {
        loop {
            let standing = self.stand().await;
            let pause = match standing {
                Standing::Leads(_) => self.lease / 4,
                _ => TRY.min(self.lease / 4),
            };
            let mut waiting = Vec::new();
            tokio::select! {
                biased;
                () = stop.requested() => break,
                // The answer must be newer than the question, so the lock is asked once for all who wait now.
                asked = self.asks.recv_many(&mut waiting, ASKS) => if asked == 0 { break },
                () = self.clock.sleep(pause) => continue,
            }
            let standing = self.stand().await;
            // Who has gone away wants no answer.
            waiting.into_iter().for_each(|ask| drop(ask.send(standing.clone())));
        }
        self.contended.term.store(0, Ordering::Release);
        timeout(self.lease, self.lock.release()).await.ok();
    }

    /// Asks the lock, or tries to take it.
    async fn stand(&mut self) -> Standing {
        let term = self.contended.term.load(Ordering::Acquire);
        if term > 0 {
            match timeout(self.lease / 2, self.lock.check()).await.unwrap_or_else(|_| Err(late())) {
                Ok(()) => return Standing::Leads(term),
                Err(error) => self.lost(&error),
            }
        }
        let taken = timeout(self.lease / 2, self.lock.take()).await.unwrap_or_else(|_| Err(late()));
        let standing = match taken {
            Ok(Some(term)) => {
                self.contended.term.store(term, Ordering::Release);
                Standing::Leads(term)
            }
            Ok(None) => Standing::StandsBy,
            Err(error) => Standing::Unknown(error),
        };
        self.tell(&standing);
        standing
    }

    fn lost(&mut self, error: &ReadError) {
        self.contended.term.store(0, Ordering::Release);
        self.losses.add(1);
        let (receiver, target) = (&self.receiver, self.target.as_deref());
        tracing::warn!(%receiver, target, "this agent no longer holds the lock (singleton): {error}");
    }

    fn tell(&mut self, standing: &Standing) {
        if self.told.as_ref() == Some(standing) {
            return;
        }
        let (receiver, target) = (&self.receiver, self.target.as_deref());
        match standing {
            Standing::Leads(term) => tracing::info!(%receiver, target, term, "this agent reads (singleton)"),
            Standing::StandsBy => {
                tracing::info!(%receiver, target, "another agent reads; this one stands by (singleton)")
            }
            Standing::Unknown(error) => {
                tracing::warn!(%receiver, target, "the lock cannot be asked, so nothing is read (singleton): {error}");
            }
        }
        self.told = Some(standing.clone());
    }
}

fn late() -> ReadError {
    ReadError::new(Reason::Timeout, "the lock did not answer in time")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use pipeline::BoxFuture;

    use super::*;

    /// A lock whose holder a test decides.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Mutex<Script>>);

    #[derive(Default)]
    struct Script {
        terms: u64,
        /// Somebody else holds it.
        taken: bool,
        broken: bool,
        held: bool,
        hangs: bool,
    }

    impl Lock for Scripted {
        fn take(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
            Box::pin(async move {
                let mut script = self.0.lock().unwrap();
                if script.broken {
                    return Err(ReadError::new(Reason::Unavailable, "broken"));
                }
                script.held = !script.taken;
                script.terms += 1;
                Ok(script.held.then_some(script.terms))
            })
        }

        fn check(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
            Box::pin(async move {
                if self.0.lock().unwrap().hangs {
                    std::future::pending::<()>().await;
                }
                let held = self.0.lock().unwrap().held;
                held.then_some(()).ok_or_else(|| ReadError::new(Reason::Unavailable, "gone"))
            })
        }

        fn release(&mut self) -> BoxFuture<'_, ()> {
            Box::pin(async move { self.0.lock().unwrap().held = false })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_answered_by_the_lock_as_it_is_now() {
        let script = Scripted::default();
        let set = |change: &dyn Fn(&mut Script)| change(&mut script.0.lock().unwrap());
        let lease = Duration::from_secs(8);
        let meters = Meters::unread();
        let lock = Box::new(script.clone());
        let (keeper, seat) = Keeper::new(lock, lease, Clock::system(), &meters, "sql_query/x".into(), None);
        let (stopper, stop) = Stop::pair();
        let task = tokio::spawn(keeper.keep(stop));
        assert_eq!(seat.standing().await, Standing::Leads(1));
        assert_eq!(seat.term(), 1);
        set(&|script| (script.held, script.taken) = (false, true));
        assert_eq!(seat.standing().await, Standing::StandsBy);
        assert_eq!(seat.term(), 0);
        set(&|script| script.broken = true);
        assert!(matches!(seat.standing().await, Standing::Unknown(_)));
        // Nobody asks: it is taken within a try of its becoming free.
        set(&|script| (script.broken, script.taken) = (false, false));
        tokio::time::sleep(TRY + Duration::from_millis(1)).await;
        assert!(seat.term() > 1);
        let before = seat.term();
        set(&|script| script.hangs = true);
        // What does not answer is not held; it may be taken again, in a new term.
        assert!(matches!(seat.standing().await, Standing::Leads(term) if term > before));
        let losses = meters.counts().into_iter().find(|(name, ..)| *name == "weir_sql_lock_losses").unwrap();
        assert_eq!(losses.2, 2);
        set(&|script| script.hangs = false);
        stopper.stop();
        task.await.unwrap();
        assert!(!script.0.lock().unwrap().held);
        assert!(matches!(seat.standing().await, Standing::Unknown(ReadError { reason: Reason::Stopped, .. })));
    }
}
