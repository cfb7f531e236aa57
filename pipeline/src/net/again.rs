//! A connection that wakes itself goes on at once.
//!
//! hyper's reader and its writer are one task and wake each other through it: a body is asked for, and comes, at the price of a wake-up each.
//! The runtime takes that for a yield: it puts the task last in its queue and wakes another thread, which finds nothing to do, or takes the
//! task to where none of its bytes are in a cache. So who is woken while it is polled is polled again here, a few times in a row.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::task::coop::has_budget_remaining;

/// A future that is polled again at once when it was woken meanwhile.
#[derive(Debug)]
pub(super) struct Again<F> {
    future: F,
    bell: Arc<Bell>,
    waker: Waker,
}

/// What the future wakes.
#[derive(Debug, Default)]
struct Bell {
    /// [`POLLED`] and [`RUNG`].
    state: AtomicU8,
    /// The task around the future.
    task: AtomicWaker,
}

/// The future is being polled.
const POLLED: u8 = 1;
/// It was woken since the last poll began.
const RUNG: u8 = 2;

/// Polls in a row: a request takes two or three. What goes on for longer lets others run.
const ROUNDS: usize = 8;

impl<F: Future + Unpin> Again<F> {
    pub(super) fn new(future: F) -> Self {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(bell.clone());
        Self { future, bell, waker }
    }

    /// The future, to tell it something.
    pub(super) const fn inner(&mut self) -> &mut F {
        &mut self.future
    }
}

impl<F: Future + Unpin> Future for Again<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, bell, waker } = self.get_mut();
        // Before the first poll: a wake-up from another thread after the last one must find it.
        bell.task.register(cx.waker());
        for _ in 0..ROUNDS {
            bell.state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(end) = Pin::new(&mut *future).poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(end);
            }
            if bell.state.compare_exchange(POLLED, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
            if !has_budget_remaining() {
                break;
            }
        }
        bell.state.swap(0, Ordering::AcqRel);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Also when it has rung already: what was done before this must be seen by the poll that comes.
        if self.state.fetch_or(RUNG, Ordering::AcqRel) == 0 {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A task that counts how often it was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Task {
        fn polls<F: Future + Unpin>(self: &Arc<Self>, future: &mut Again<F>) -> Poll<F::Output> {
            Pin::new(future).poll(&mut Context::from_waker(&Waker::from(self.clone())))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn who_wakes_itself_goes_on_without_its_task_being_woken() {
        let (task, mut polls) = (Arc::new(Task::default()), 0);
        let mut future = Again::new(poll_fn(|cx| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready(polls);
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        assert_eq!((task.polls(&mut future), task.woken()), (Poll::Ready(3), 0));
    }

    #[test]
    fn who_wakes_itself_for_ever_lets_others_run_and_is_woken_for_more() {
        let (task, polls) = (Arc::new(Task::default()), AtomicUsize::new(0));
        let mut future = Again::new(poll_fn(|cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(task.polls(&mut future).is_pending());
        assert_eq!((polls.load(Ordering::Relaxed), task.woken()), (ROUNDS, 1));
        assert!(task.polls(&mut future).is_pending());
        assert_eq!((polls.load(Ordering::Relaxed), task.woken()), (2 * ROUNDS, 2));
    }

    #[test]
    fn who_is_woken_while_it_rests_wakes_its_task_once_a_poll() {
        let (task, waker) = (Arc::new(Task::default()), Mutex::new(None));
        let mut future = Again::new(poll_fn(|cx| {
            *waker.lock().unwrap() = Some(cx.waker().clone());
            Poll::<()>::Pending
        }));
        for woken in 1..3 {
            assert!(task.polls(&mut future).is_pending());
            let waker = waker.lock().unwrap().clone().unwrap();
            waker.wake_by_ref();
            waker.wake();
            assert_eq!(task.woken(), woken);
        }
    }
}
