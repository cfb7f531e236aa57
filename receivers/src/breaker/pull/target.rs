//! One target at work: asks, reads, counts, sends.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use pdata::{Metric, UnixNanos};
use pipeline::collection::Collected;
use pipeline::mapping::{
    AttributeRule, Cell, Encoding, Mapper, MapperRules, MetricRule, OnDuplicate, OnUnknown, StartRule, StateRule,
    ValueRule,
};
use pipeline::net::client::{Client, ClientSettings, Connector, Tls, Version, tcp};
use pipeline::{Count, Fault, Meters, OnFailure, SourceId};
use tokio::time::Instant;

use super::check::{CheckedPull, CheckedTarget};
use super::document::Found;
use super::events;
use super::vitals::{Last, Vitals};
use crate::breaker::counter::Counter;
use crate::breaker::life::Lives;
use crate::breaker::signal::{Signal, Signals, echo};
use crate::events::{Sender, Ways};

/// One target between and during its polls.
#[derive(Debug)]
pub(super) struct Target {
    receiver: String,
    plan: CheckedTarget,
    rules: Rules,
    client: Client,
    mapper: Mapper,
    sender: Sender,
    vitals: Vitals,
    counting: Counting,
    /// The states of the last successful poll, by circuit and instance.
    states: HashMap<(String, String), usize>,
    /// The events of the last successful poll: most of them are there again at the next.
    events: HashSet<(String, UnixNanos, usize)>,
    back_off: BackOff,
    last: Last,
    told: Option<String>,
    polls: [Count; 2],
    refused: Count,
}

/// Where transitions and times are counted.
#[derive(Debug, Default)]
pub(super) struct Counting {
    pub(super) counter: Option<Counter>,
    pub(super) lives: Option<Lives>,
}

/// What is the same for all targets.
#[derive(Clone, Copy, Debug)]
struct Rules {
    timeout: Duration,
    max_circuits: usize,
    on_failure: OnFailure,
}

/// When a target that failed may be asked again.
#[derive(Debug, Default)]
struct BackOff {
    failures: u32,
    until: Option<Instant>,
}

/// Waits after failures: from, and at most. A target is back for at most so long before it is seen.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How long an idle connection is kept: longer than the usual interval between polls.
const IDLE: Duration = Duration::from_secs(90);

/// The columns of a circuit's record.
const COLUMNS: [&str; 3] = ["circuit_name", "instance", "state"];

impl Target {
    /// # Errors
    /// What is wrong with the certificates now, though they were good when the section was checked.
    pub(super) fn new(
        receiver: &str,
        pull: &CheckedPull,
        plan: CheckedTarget,
        state: &Arc<Metric>,
        (ways, meters): (&Ways, &Meters),
        counting: Counting,
    ) -> Result<Self, Fault> {
        let tls = (plan.url.scheme_str() == Some("https") || plan.events.as_ref().is_some_and(is_https))
            .then(|| Tls::new(&plan.tls, b"http/1.1"))
            .transpose()
            .map_err(|wrong| Fault::new(format!("target {:?}", plan.name)).caused_by(wrong))?;
        let settings = ClientSettings {
            version: Version::Http1,
            max_idle: 1,
            idle_timeout: IDLE,
            read_max: pull.max_body,
            keep_max: pull.max_body,
        };
        let client = Client::new(Connector::new(tcp(plan.allow_link_local), tls.map(Arc::new)), settings);
        let mapper = Mapper::new(Arc::new(mapping(state, &plan)), ways.table.clone(), ways.clock.wall());
        let labels = |more: &[(&'static str, &str)]| {
            let own = [("receiver", receiver), ("target", &plan.name)];
            own.iter().chain(more).map(|(key, value)| (*key, (*value).to_owned())).collect::<Vec<_>>()
        };
        let polls = ["ok", "failed"].map(|outcome| {
            meters.count(
                "weir_breaker_polls",
                "Polls of a target, by how they ended.",
                "{polls}",
                labels(&[("outcome", outcome)]),
            )
        });
        let about = "Circuits and events of polls that could not be read.";
        Ok(Self {
            receiver: receiver.to_owned(),
            rules: Rules { timeout: pull.timeout, max_circuits: pull.max_circuits, on_failure: pull.on_failure },
            client,
            mapper,
            sender: Sender::new(SourceId(format!("{receiver}@{}", plan.name).into()), ways.clone()),
            vitals: Vitals::new(receiver, &plan.name, &plan.kin.attributes, ways),
            counting,
            states: HashMap::new(),
            events: HashSet::new(),
            back_off: BackOff::default(),
            last: Last::default(),
            told: None,
            polls,
            refused: meters.count("weir_breaker_poll_refused", about, "{circuits}", labels(&[])),
            plan,
        })
    }

    /// Until when it is better not asked; none when it may be now.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.back_off.until
    }

    #[cfg(test)]
    pub(super) fn at_once(&mut self) {
        self.back_off.until = None;
    }

    /// Asks once and sends what comes of it. `until`: when nobody wants it any more.
    pub(super) async fn poll(&mut self, until: Option<Instant>) -> Vec<Collected> {
        let (began, time) = (self.sender.ways.clock.now(), self.sender.ways.clock.wall());
        let deadline = began + self.rules.timeout;
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        let read = match self.back_off.until.filter(|until| began < *until) {
            Some(until) => {
                let why = self.told.clone().unwrap_or_default();
                let wait = (until - began).as_secs_f64();
                Err((format!("{why} (asked again in {wait:.1}s)"), false))
            }
            None => self.read(time, deadline).await.map_err(|why| (why, true)),
        };
        self.last.took = self.sender.ways.clock.now() - began;
        let sent = match read {
            Ok(found) => self.send(&found, time, deadline).await.map_err(|why| (why, true)),
            Err(error) => Err(error),
        };
        self.last.up = sent.is_ok();
        self.polls[usize::from(sent.is_err())].add(1);
        match sent {
            Ok(circuits) => {
                (self.last.circuits, self.last.success) = (circuits, time);
                self.back_off = BackOff::default();
                if self.told.take().is_some() {
                    tracing::info!(receiver = %self.receiver, target = %self.plan.name, "the target answers again");
                }
            }
            Err((why, asked)) => self.failed(why, asked).await,
        }
        let vitals = self.vitals.send(&self.last, deadline).await;
        [Some(self.sender.last()), vitals].into_iter().flatten().collect()
    }

    /// Asks for states, and for events where they are wanted; counts what has changed.
    async fn read(&mut self, now: UnixNanos, deadline: Instant) -> Result<Vec<Found>, String> {
        let body = self.ask(&self.plan.url, deadline).await?;
        let (found, refused) = self.plan.shape.read(&body, &self.plan.kin.states, self.rules.max_circuits)?;
        self.tell_refused(&refused);
        match self.plan.events.clone() {
            Some(url) => {
                let body = self.ask(&url, deadline).await?;
                self.count_events(&body).await?;
            }
            None => self.count_observed(&found, now).await?,
        }
        if let Some(lives) = &self.counting.lives {
            found.iter().for_each(|one| lives.seen(&one.instance, &one.circuit, one.state, now));
            let there: HashSet<_> = found.iter().map(|one| (one.instance.as_str(), one.circuit.as_str())).collect();
            let instance = |named: &str| if self.plan.kin.instance_label { named.to_owned() } else { String::new() };
            let shown: HashSet<_> = there.iter().map(|(named, circuit)| (instance(named), *circuit)).collect();
            lives.lose(|instance, circuit| shown.contains(&(instance.to_owned(), circuit)));
        }
        Ok(found)
    }

    async fn ask(&self, url: &Uri, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))));
        self.plan.headers.put(headers);
        let answer = tokio::time::timeout_at(deadline, self.client.send(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {:?}", self.rules.timeout))?;
        let answer = answer.map_err(|broken| broken.to_string())?;
        match answer.status {
            StatusCode::OK if answer.too_large => Err("the answer is larger than max_response_body_size".to_owned()),
            StatusCode::OK => Ok(answer.kept),
            status if status.is_redirection() => {
                let to = answer.headers.get(LOCATION).map(|to| echo(&String::from_utf8_lossy(to.as_bytes())));
                Err(format!("{status}: redirects are not followed; it leads to {:?}", to.unwrap_or_default()))
            }
            status => Err(format!("the answer is {status}, not 200")),
        }
    }

    async fn count_events(&mut self, body: &[u8]) -> Result<(), String> {
        let (signals, refused) = events::read(body, &self.plan.kin.states)?;
        self.tell_refused(&refused);
        let states = self.plan.kin.states.len();
        let name = |signal: &Signal<'_>| {
            let pair = signal.old_state.unwrap_or_default() * states + signal.new_state;
            (signal.circuit.clone().into_owned(), signal.time, pair)
        };
        let there: HashSet<_> = signals.iter().map(name).collect();
        let new = signals.into_iter().filter(|signal| !self.events.contains(&name(signal)));
        self.count(new.map(Ok).collect()).await?;
        self.events = there;
        Ok(())
    }

    async fn count_observed(&mut self, found: &[Found], now: UnixNanos) -> Result<(), String> {
        let before = |one: &Found| self.states.get(&(one.circuit.clone(), one.instance.clone())).copied();
        let changed = found.iter().filter_map(|one| before(one).filter(|old| *old != one.state).map(|old| (one, old)));
        let signal = |(one, old): (&Found, usize)| Signal {
            circuit: one.circuit.clone().into(),
            instance: (!one.instance.is_empty()).then(|| one.instance.clone().into()),
            sequence: None,
            old_state: Some(old),
            new_state: one.state,
            // A target whose clock is ours.
            time: one.time.unwrap_or(now),
        };
        self.count(changed.map(signal).map(Ok).collect()).await?;
        self.states = found.iter().map(|one| ((one.circuit.clone(), one.instance.clone()), one.state)).collect();
        Ok(())
    }

    async fn count(&self, signals: Signals<'_>) -> Result<(), String> {
        let (Some(counter), false) = (&self.counting.counter, signals.is_empty()) else { return Ok(()) };
        let outcome = counter.count(signals).await.map_err(|_| "the ledger cannot be written now".to_owned())?;
        let why = outcome.refused.into_iter().next().map(|refused| refused.why);
        why.map_or(Ok(()), Err)
    }

    async fn send(&mut self, found: &[Found], time: UnixNanos, deadline: Instant) -> Result<usize, String> {
        self.mapper.begin(&COLUMNS, time).map_err(|error| error.to_string())?;
        for one in found {
            let state = &self.plan.kin.shown[one.state];
            let instance = match self.plan.kin.instance(&one.instance) {
                "" => Cell::Null,
                instance => Cell::Text(instance.as_bytes()),
            };
            let record = [Cell::Text(one.circuit.as_bytes()), instance, Cell::Text(state.as_bytes())];
            self.mapper.record(record.as_slice()).map_err(|error| error.to_string())?;
        }
        self.mapper.finish();
        let mut last = false;
        let mapper = &mut self.mapper;
        let pages = std::iter::from_fn(|| {
            let page = (!last).then(|| mapper.next_page())?;
            last = page.1;
            Some(page.0)
        });
        // What waits for its share of the byte budget may wait a little longer than for the answer.
        let deadline = deadline + self.rules.timeout;
        self.sender.send(pages, deadline).await.map_err(|refusal| refusal.to_string())?;
        self.mapper.commit();
        Ok(found.len())
    }

    async fn failed(&mut self, why: String, asked: bool) {
        if let Some(lives) = &self.counting.lives {
            lives.lose(|_, _| false);
        }
        self.sender.fail(self.rules.on_failure).await;
        if !asked {
            return;
        }
        self.back_off.failed(self.sender.ways.clock.now());
        let (receiver, target) = (&self.receiver, &self.plan.name);
        // The same line again is no news.
        if self.told.as_ref() == Some(&why) {
            tracing::debug!(%receiver, %target, "poll failed: {why}");
        } else {
            tracing::warn!(%receiver, %target, "poll failed: {why}");
            self.told = Some(why);
        }
    }

    fn tell_refused(&self, refused: &[String]) {
        self.refused.add(refused.len() as u64);
        if let Some(first) = refused.first() {
            tracing::warn!(receiver = %self.receiver, target = %self.plan.name, left_out = refused.len(), "{first}");
        }
    }
}

impl BackOff {
    fn failed(&mut self, now: Instant) {
        let most = BACK_OFF.0.saturating_mul(1 << self.failures.min(16)).min(BACK_OFF.1);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(nanos / 2 + RandomState::new().hash_one(self.failures) % (nanos / 2).max(1));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }
}

fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

/// A circuit's record becomes one series for each state.
fn mapping(state: &Arc<Metric>, plan: &CheckedTarget) -> MapperRules {
    let kin = &plan.kin;
    let boxed = |text: &String| text.as_str().into();
    let attribute = |column: &str| AttributeRule { column: column.into(), null: None };
    let attributes = ["circuit_name"].into_iter().chain(kin.instance_label.then_some("instance"));
    MapperRules {
        metrics: vec![MetricRule {
            metric: state.clone(),
            value: ValueRule::State(StateRule {
                column: "state".into(),
                label: "state".into(),
                states: kin.shown.iter().map(boxed).collect(),
                encoding: Encoding::All,
                unknown: OnUnknown::Error,
                null: None,
            }),
            attributes: attributes.map(attribute).collect(),
            static_attributes: kin.attributes.iter().map(|(key, value)| (boxed(key), boxed(value))).collect(),
            start_column: None,
            time_column: None,
            start: StartRule::Unset,
            on_duplicate: OnDuplicate::Last,
        }],
        ..MapperRules::default()
    }
}
