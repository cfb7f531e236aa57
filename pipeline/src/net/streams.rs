//! The requests of an HTTP/2 connection, in the task of their connection.
//!
//! hyper wants a task for each. The runtime gives these away to other threads while the bytes that they wait for are in this one's cache,
//! and wakes a thread for many an answer that the connection is to write: an eighth of what a small request costs. Here they run in turns
//! with their connection, as requests of HTTP/1 do. So one connection keeps one core busy at most; bodies that take long to decode are
//! given to other threads by who decodes them, and what a connection may hold unread bounds the work that comes at once.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;

use crate::BoxFuture;

/// Requests that a connection has begun and that do not run yet.
#[derive(Clone, Default)]
pub(super) struct Begun(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    requests: Mutex<Vec<BoxFuture<'static, ()>>>,
    /// Whether there are any: of HTTP/1 there never are.
    any: AtomicBool,
}

/// A connection and its requests. They end with it.
pub(super) struct Together<C> {
    connection: Pin<Box<C>>,
    begun: Begun,
    running: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Begun {
    fn execute(&self, request: F) {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).push(Box::pin(request));
        self.0.any.store(true, Ordering::Release);
    }
}

impl Begun {
    /// Gives them all away; false when there are none.
    fn join(&self, running: &FuturesUnordered<BoxFuture<'static, ()>>) -> bool {
        if !self.0.any.load(Ordering::Acquire) {
            return false;
        }
        let mut begun = self.0.requests.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.any.store(false, Ordering::Relaxed);
        begun.drain(..).for_each(|request| running.push(request));
        true
    }
}

impl<C> Together<C> {
    /// A connection that begins its requests by `begun`.
    pub(super) fn new(connection: C, begun: Begun) -> Self {
        Self { connection: Box::pin(connection), begun, running: FuturesUnordered::new() }
    }

    pub(super) fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let Self { connection, begun, running } = self.get_mut();
        loop {
            // Requests first: what they have to say leaves with what the connection writes next.
            while !running.is_empty() && running.poll_next_unpin(cx).is_ready() {}
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            if !begun.join(running) {
                return Poll::Pending;
            }
        }
    }
}
