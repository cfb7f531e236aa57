//! The request to finish.
//!
//! Only receivers and servers are told to stop; everything below them ends because its inbox was closed and emptied.

use tokio::sync::watch;

/// Heard by whoever is to finish. Clones hear the same request.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Asks for the stop. Dropping it asks too: an abandoned component must not run for ever.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

impl Stop {
    /// The one who asks and the one who hears.
    #[must_use]
    pub fn pair() -> (Stopper, Self) {
        let (tell, hear) = watch::channel(false);
        (Stopper(tell), Self(hear))
    }

    /// Ends when the stop was asked for. Safe to drop and to call again.
    pub async fn requested(&mut self) {
        // An error means that the stopper is gone, which asks for the stop too.
        self.0.wait_for(|stop| *stop).await.ok();
    }

    /// Whether the stop was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Stopper {
    /// Asks for the stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_clones_hear_the_request() {
        let (stopper, mut stop) = Stop::pair();
        let mut clone = stop.clone();
        assert!(!stop.is_requested());
        stopper.stop();
        stop.requested().await;
        clone.requested().await;
        assert!(clone.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_stopper_stops_too() {
        let (stopper, mut stop) = Stop::pair();
        drop(stopper);
        stop.requested().await;
        assert!(stop.is_requested());
    }
}
