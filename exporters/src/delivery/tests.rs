//! The stack in stepped time, before a destination that follows a script.

use std::sync::{Arc, Mutex};

use config::Duration as Span;

use pipeline::drive::{ExportCounts, drive};
use pipeline::testing::batch_of;
use pipeline::{Batch, Exporter, Inbox, Intake, Receipt, Verdict, Withdrawal};

use super::*;

type Script = Arc<dyn Fn(Duration) -> Answer + Send + Sync>;

/// What the destination does with a try.
enum Answer {
    Says(Result<Taken, Miss>),
    /// Takes it, after a second.
    TakesTime,
    Hangs,
}

/// A destination whose answer depends on the time since the test began.
#[derive(Clone)]
struct Destination {
    began: Instant,
    script: Script,
    /// When tries came, in milliseconds.
    tries: Arc<Mutex<Vec<u64>>>,
}

impl Destination {
    fn new(script: impl Fn(Duration) -> Answer + Send + Sync + 'static) -> Self {
        Self { began: Instant::now(), script: Arc::new(script), tries: Arc::default() }
    }

    /// Out of order for that long, well afterwards.
    fn ill_for(span: Duration) -> Self {
        Self::new(move |since| if since < span { unavailable(None) } else { taken() })
    }

    fn tries(&self) -> Vec<u64> {
        self.tries.lock().unwrap().clone()
    }
}

impl Service<Parcel> for Destination {
    type Response = Taken;
    type Error = Miss;
    type Future = BoxFuture<'static, Result<Taken, Miss>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Miss>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Parcel) -> Self::Future {
        let since = self.began.elapsed();
        self.tries.lock().unwrap().push(since.as_millis() as u64);
        match (self.script)(since) {
            Answer::Says(outcome) => Box::pin(std::future::ready(outcome)),
            Answer::TakesTime => Box::pin(async {
                tokio::time::sleep(secs(1)).await;
                Ok(Taken::default())
            }),
            Answer::Hangs => Box::pin(std::future::pending()),
        }
    }
}

fn taken() -> Answer {
    Answer::Says(Ok(Taken::default()))
}

fn unavailable(after: Option<Duration>) -> Answer {
    Answer::Says(Err(Miss::retry(Reason::Unavailable, after, "503")))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn parcel() -> Parcel {
    Parcel {
        signal: Signal::Metrics,
        body: Bytes::from_static(b"x"),
        encoding: Encoding::Identity,
        items: 10,
        began: Instant::now(),
        withdrawal: Withdrawal::default(),
    }
}

/// No jitter, so that times are exact; no breaker unless a test wants one.
fn settings() -> DeliverySettings {
    DeliverySettings {
        timeout: secs(5),
        retry: RetrySettings { randomization_factor: 0.0, ..RetrySettings::default() },
        queue: QueueSettings::default(),
        queued: true,
        breaker: BreakerSettings { enabled: false, ..BreakerSettings::default() },
        spool: None,
    }
}

fn for_ever() -> RetrySettings {
    RetrySettings { max_elapsed_time: Span::ZERO, ..settings().retry }
}

fn with_breaker() -> DeliverySettings {
    DeliverySettings { breaker: BreakerSettings::default(), retry: for_ever(), ..settings() }
}

fn delivery(settings: &DeliverySettings, destination: &Destination) -> (Delivery, Meters) {
    let meters = Meters::unread();
    (Delivery::new(settings, destination.clone(), &meters, &Clock::system(), "otlp_http"), meters)
}

fn count(meters: &Meters, name: &str) -> u64 {
    meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
}

fn state(meters: &Meters) -> Vec<&'static str> {
    let current = |state: &&str| {
        let labels = vec![("circuit_name", "otlp_http".to_owned()), ("state", (*state).to_owned())];
        meters.level("circuit_breaker_state", "", "", labels).value() == 1
    };
    ["closed", "open", "half_open"].into_iter().filter(current).collect()
}

#[tokio::test(start_paused = true)]
async fn waits_grow_until_the_time_is_over_and_the_batch_counts_as_lost() {
    let destination = Destination::new(|_| unavailable(None));
    let (delivery, meters) = delivery(&settings(), &destination);
    let refusal = delivery.deliver(parcel()).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Retry { .. }), "{refusal:?}");
    let tries = destination.tries();
    assert_eq!(tries[..7], [0, 5_000, 12_500, 23_750, 40_625, 65_938, 95_938]);
    assert!(tries.iter().all(|try_at| *try_at <= 300_000) && tries.last() > Some(&270_000), "{tries:?}");
    assert_eq!(count(&meters, "weir_exporter_retries"), tries.len() as u64 - 1);
    assert_eq!(count(&meters, "weir_exporter_retries_exhausted"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_longer_of_back_off_and_the_servers_delay_is_kept() {
    let destination = Destination::new(|since| match since.as_secs() {
        0 => unavailable(Some(secs(1))),
        5 => unavailable(Some(secs(40))),
        // Longer than max_elapsed_time leaves: it is kept, and one more try follows.
        45 => unavailable(Some(secs(400))),
        _ => unavailable(None),
    });
    let (delivery, _) = delivery(&settings(), &destination);
    delivery.deliver(parcel()).await.unwrap_err();
    assert_eq!(destination.tries(), [0, 5_000, 45_000, 445_000]);
}

#[tokio::test(start_paused = true)]
async fn no_server_can_silence_an_exporter_for_longer_than_an_hour() {
    let destination =
        Destination::new(|since| if since < secs(1) { unavailable(Some(Duration::MAX)) } else { taken() });
    let (delivery, _) = delivery(&settings(), &destination);
    delivery.deliver(parcel()).await.unwrap();
    assert_eq!(destination.tries(), [0, 3_600_000]);
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_is_not_tried_again() {
    let destination = Destination::new(|_| Answer::Says(Err(Miss::Reject { why: "400".into() })));
    let (delivery, _) = delivery(&settings(), &destination);
    assert_eq!(delivery.deliver(parcel()).await, Err(Refusal::Reject { why: "400".into() }));
    assert_eq!(destination.tries(), [0]);
}

#[tokio::test(start_paused = true)]
async fn without_retries_a_batch_has_one_try() {
    let once = RetrySettings { enabled: false, ..RetrySettings::default() };
    let destination = Destination::new(|_| unavailable(Some(secs(9))));
    let (delivery, _) = delivery(&DeliverySettings { retry: once, ..settings() }, &destination);
    assert_eq!(delivery.deliver(parcel()).await, Err(Refusal::Retry { after: Some(secs(9)), why: "503".into() }));
    assert_eq!(destination.tries(), [0]);
}

#[tokio::test(start_paused = true)]
async fn every_try_has_its_own_time_and_none_lasts_longer() {
    let destination = Destination::new(|since| if since < secs(15) { Answer::Hangs } else { taken() });
    let (delivery, meters) = delivery(&settings(), &destination);
    delivery.deliver(parcel()).await.unwrap();
    assert_eq!(destination.tries(), [0, 10_000, 22_500], "5 s each, and the waits between");
    let timeouts = vec![("exporter", "otlp_http".to_owned()), ("reason", "timeout".to_owned())];
    assert_eq!(meters.count("weir_exporter_retries", "", "", timeouts).value(), 2);
    let in_flight =
        meters.level("otelcol_exporter_in_flight_requests", "", "", vec![("exporter", "otlp_http".to_owned())]);
    assert_eq!(in_flight.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn points_that_are_rejected_out_of_a_batch_are_counted() {
    let partial = || Taken { rejected: 3, message: "too\nold".into() };
    let destination = Destination::new(move |_| Answer::Says(Ok(partial())));
    let (delivery, meters) = delivery(&settings(), &destination);
    let refusal = delivery.deliver(parcel()).await;
    assert_eq!(refusal, Err(Refusal::Partial { rejected: 3, why: "too\\nold".into() }));
    assert_eq!((destination.tries().len(), count(&meters, "weir_exporter_rejected_items")), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn data_is_held_while_credentials_are_refused_however_long_that_takes() {
    let destination = Destination::new(|since| match since.as_secs() {
        0..7200 => Answer::Says(Err(Miss::Held { why: "401".into() })),
        // Then it is down for a while: only this counts against the batch.
        7200..7400 => unavailable(None),
        _ => taken(),
    });
    let (delivery, meters) = delivery(&settings(), &destination);
    let delivering = tokio::spawn(async move { delivery.deliver(parcel()).await });
    tokio::time::sleep(secs(3600)).await;
    let held = meters.level("weir_exporter_auth_held_batches", "", "", vec![("exporter", "otlp_http".to_owned())]);
    assert_eq!(held.value(), 1, "somebody can see it");
    delivering.await.unwrap().unwrap();
    assert_eq!(held.value(), 0);
    assert_eq!(count(&meters, "weir_exporter_auth_refused"), 120, "once a minute");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_lets_one_probe_through_at_a_time() {
    let ill = secs(100);
    let destination = Destination::new(move |since| if since < ill { unavailable(None) } else { Answer::TakesTime });
    let (delivery, meters) = delivery(&with_breaker(), &destination);
    let delivering: Vec<_> = (0..10)
        .map(|_| {
            let delivery = delivery.clone();
            tokio::spawn(async move { delivery.deliver(parcel()).await })
        })
        .collect();
    tokio::time::sleep(secs(95)).await;
    let tries = destination.tries();
    assert_eq!(tries[..5], [0; 5], "the fifth failure opens it");
    assert!(tries[5..].windows(2).all(|pair| pair[1] - pair[0] >= 10_000), "one probe per 10 s: {tries:?}");
    assert_eq!(state(&meters), ["open"]);
    for delivering in delivering {
        delivering.await.unwrap().unwrap();
    }
    assert_eq!(state(&meters), ["closed"]);
    let since_recovery: Vec<_> = destination.tries().into_iter().filter(|try_at| *try_at >= 100_000).collect();
    assert_eq!(since_recovery.len(), 10);
    let probe = since_recovery[0];
    assert!(
        since_recovery[1..].iter().all(|try_at| *try_at == probe + 1_000),
        "its success wakes all: {since_recovery:?}"
    );
    let transitions =
        meters.counts().into_iter().filter(|(name, ..)| *name == "circuit_breaker_state_transition_total");
    let transitions: Vec<_> =
        transitions.map(|(_, labels, value)| (labels[1].1.clone(), labels[2].1.clone(), value)).collect();
    let probes = tries.len() as u64 - 5 + 1;
    let to = |old: &str, new: &str, times| (old.to_owned(), new.to_owned(), times);
    assert_eq!(
        transitions,
        [
            to("closed", "open", 1),
            to("open", "half_open", probes),
            to("half_open", "open", probes - 1),
            to("half_open", "closed", 1),
            to("open", "closed", 0)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_off_leaves_its_place_to_another() {
    let destination = Destination::new(|since| match since.as_secs() {
        0..5 => unavailable(None),
        5..20 => Answer::Hangs,
        _ => taken(),
    });
    let mut settings = with_breaker();
    settings.breaker.failure_threshold = 1;
    let (delivery, meters) = delivery(&settings, &destination);
    let first = tokio::spawn({
        let delivery = delivery.clone();
        async move { delivery.deliver(parcel()).await }
    });
    tokio::time::sleep(secs(11)).await;
    assert_eq!(state(&meters), ["half_open"]);
    first.abort();
    first.await.unwrap_err();
    assert_eq!(state(&meters), ["open"]);
    tokio::time::sleep(secs(10)).await;
    delivery.deliver(parcel()).await.unwrap();
    assert_eq!(destination.tries().last(), Some(&21_000), "at once");
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_between_two_tries_is_not_tried_again() {
    let destination = Destination::new(|_| unavailable(None));
    let (delivery, _) = delivery(&with_breaker(), &destination);
    let (receipt, waiter) = Receipt::pair();
    let delivering = tokio::spawn({
        let parcel = Parcel { withdrawal: receipt.withdrawal(), ..parcel() };
        async move { delivery.deliver(parcel).await }
    });
    tokio::time::sleep(secs(6)).await;
    assert_eq!(destination.tries(), [0, 5_000]);
    waiter.withdraw();
    assert!(matches!(delivering.await.unwrap(), Err(Refusal::Retry { .. })));
    assert_eq!(destination.tries(), [0, 5_000]);
}

#[tokio::test(start_paused = true)]
async fn what_was_withdrawn_leaves_the_probe_to_another() {
    let destination = Destination::ill_for(secs(5));
    let mut settings = with_breaker();
    settings.breaker.failure_threshold = 1;
    let (delivery, meters) = delivery(&settings, &destination);
    let (receipt, waiter) = Receipt::pair();
    let withdrawn = Parcel { withdrawal: receipt.withdrawal(), ..parcel() };
    let first = tokio::spawn({
        let delivery = delivery.clone();
        async move { delivery.deliver(withdrawn).await }
    });
    tokio::time::sleep(secs(2)).await;
    waiter.withdraw();
    delivery.deliver(parcel()).await.unwrap();
    first.await.unwrap().unwrap_err();
    assert_eq!((destination.tries(), state(&meters)), (vec![0, 10_000], vec!["closed"]));
}

#[test]
fn text_of_servers_is_cut_and_cannot_forge_lines() {
    assert_eq!(short(" bad\r\nline\u{1b}[31m "), "bad\\r\\nline\\u{1b}[31m");
    let long = short(&"é".repeat(5_000));
    assert!(long.len() <= TEXT_MAX + '…'.len_utf8() && long.ends_with('…'));
}

/// An exporter that is nothing but delivery.
struct Push {
    delivery: Delivery,
    intake: Intake,
}

impl Exporter for Push {
    fn export<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<(), Refusal>> {
        let parcel = Parcel { items: batch.items() as u64, ..parcel() };
        Box::pin(self.delivery.deliver(parcel))
    }

    fn intake(&self) -> Intake {
        self.intake
    }
}

/// What became of an outage with 100 batches a second.
struct Outage {
    delivered: u64,
    lost: u64,
    most_waiting: usize,
    tries_in_outage: usize,
    /// From the end of the outage until nothing waits.
    caught_up_in: Duration,
}

async fn outage(seconds: u64, block_on_overflow: bool) -> Outage {
    let destination = Destination::ill_for(secs(seconds));
    let mut settings =
        DeliverySettings { breaker: BreakerSettings::default(), retry: RetrySettings::default(), ..settings() };
    settings.retry.max_elapsed_time = Span::ZERO;
    settings.queue.block_on_overflow = block_on_overflow;
    let (delivery, meters) = delivery(&settings, &destination);
    let intake = settings.intake();
    let (port, inbox) = Inbox::new(intake.limits);
    let port = port.with_policy(intake.policy, meters.count("dropped", "", "", vec![]));
    let driving = tokio::spawn(drive(Arc::new(Push { delivery, intake }), inbox, ExportCounts::new(&meters, "push")));

    let (base, mut most_waiting, mut waiters) = (batch_of(1), 0, Vec::new());
    let began = Instant::now();
    for index in 0..seconds * 100 {
        tokio::time::sleep_until(began + Duration::from_millis(index * 10)).await;
        let (receipt, waiter) = Receipt::pair();
        waiters.push(waiter);
        port.send(base.fork_without_promise().with_receipt(receipt)).await;
        most_waiting = most_waiting.max(port.queued_batches());
    }
    drop(port);
    driving.await.unwrap();
    let caught_up_in = began.elapsed() - secs(seconds);
    let (mut delivered, mut lost) = (0, 0);
    for waiter in waiters {
        match waiter.verdict().await {
            Verdict::Delivered => delivered += 1,
            Verdict::Lost => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    let tries_in_outage = destination.tries().iter().filter(|try_at| **try_at < seconds * 1000).count();
    Outage { delivered, lost, most_waiting, tries_in_outage, caught_up_in }
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_outage_loses_nothing_when_senders_wait() {
    let outage = outage(3600, true).await;
    assert_eq!((outage.delivered, outage.lost), (360_000, 0));
    assert!(outage.most_waiting <= 1000, "{}", outage.most_waiting);
    assert!(outage.tries_in_outage <= 370, "one probe in 10 s from all ten consumers: {}", outage.tries_in_outage);
    assert!(outage.caught_up_in <= secs(60), "{:?}", outage.caught_up_in);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_newest_and_tells_every_sender() {
    let outage = outage(600, false).await;
    assert_eq!(outage.delivered + outage.lost, 60_000, "every sender learns how its batch ended");
    assert!((1000..=1100).contains(&outage.delivered), "{}: the queue and what was in hand", outage.delivered);
    assert_eq!(outage.most_waiting, 1000);
}
