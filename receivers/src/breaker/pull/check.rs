//! From what stands under `pull` to targets that can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::{Problems, Section};
use http::Uri;
use pipeline::OnFailure;
use pipeline::mapping::select::Selector;
use pipeline::net::client::{HeaderSource, TlsClientConfig, is_guarded};

use super::document::Shape;
use super::settings::{Failure, Fields, Format, Pull, TargetSettings, Transitions, When};
use crate::breaker::check::{check_states, states_of};
use crate::breaker::kin::Kin;
use crate::breaker::preset::Preset;
use crate::breaker::settings::StateNames;

/// Targets that can be asked.
#[derive(Clone, Debug)]
pub(in crate::breaker) struct CheckedPull {
    /// How often they are asked; none: when a scrape asks.
    pub(super) interval: Option<Duration>,
    pub(super) timeout: Duration,
    pub(super) max_body: usize,
    pub(super) max_circuits: usize,
    pub(super) on_failure: OnFailure,
    pub(super) targets: Vec<CheckedTarget>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct CheckedTarget {
    pub(super) name: String,
    pub(super) url: Uri,
    pub(super) events: Option<Uri>,
    pub(super) shape: Shape,
    pub(super) transitions: Transitions,
    pub(super) kin: Kin,
    pub(super) headers: Arc<HeaderSource>,
    pub(super) tls: TlsClientConfig,
    pub(super) allow_link_local: bool,
}

/// Targets at most: each has a task, a connection and its series.
const TARGETS_MAX: usize = 1000;

/// The largest answer that may be allowed: it is read into memory as a whole, and its document takes many times as much.
const BODY_MAX: u64 = 64 << 20;

impl CheckedPull {
    /// Whether something is counted, for which a place on disk is needed.
    pub(in crate::breaker) fn counts(&self) -> bool {
        self.targets.iter().any(|target| target.transitions != Transitions::None)
    }

    /// Whether scrapes ask.
    pub(in crate::breaker) fn on_demand(&self) -> bool {
        self.interval.is_none()
    }
}

impl Pull {
    /// The targets; what is wrong with them goes to `problems`. `own` are the receiver's own breakers.
    pub(in crate::breaker) fn check(
        &self,
        section: &Section,
        own: &Kin,
        names: StateNames,
        problems: &mut Problems,
    ) -> Option<CheckedPull> {
        let mut wrong = |key: &str, what: &str| problems.push(section.error(&format!("pull.{key}"), what));
        if self.targets.is_empty() {
            wrong("targets", "'targets' is empty: nobody would be asked");
        }
        if self.targets.len() > TARGETS_MAX {
            wrong("targets", "'targets' has more than 1000 entries");
        }
        if self.timeout.get() < Duration::from_millis(1) {
            wrong("timeout", "'timeout' must be at least 1ms");
        }
        if self.collection_interval.get() < Duration::from_millis(100) {
            wrong("collection_interval", "'collection_interval' must be at least 100ms");
        }
        let on_scrape = self.collection == When::OnScrape;
        if on_scrape && section.has("pull.collection_interval") {
            wrong("collection_interval", "'collection_interval' means nothing with collection: on_scrape");
        }
        if !(1..=BODY_MAX).contains(&self.max_response_body_size.get()) {
            wrong("max_response_body_size", "'max_response_body_size' must be from 1B to 64MiB");
        }
        if self.max_circuits == 0 {
            wrong("max_circuits", "'max_circuits' must be at least 1");
        }
        let mut targets: Vec<CheckedTarget> = Vec::with_capacity(self.targets.len());
        for (index, target) in self.targets.iter().enumerate() {
            let check = TargetCheck { section, path: format!("pull.targets[{index}]"), target, own, names };
            let Some(target) = check.target(problems) else { continue };
            if targets.iter().any(|other| other.name == target.name) {
                let what = format!("there is a target {:?} already; give one of them a 'name' of its own", target.name);
                problems.push(section.error(&format!("pull.targets[{index}].name"), what));
            }
            targets.push(target);
        }
        Some(CheckedPull {
            interval: (!on_scrape).then(|| self.collection_interval.get()),
            timeout: self.timeout.get(),
            max_body: usize::try_from(self.max_response_body_size.get()).unwrap_or(usize::MAX),
            max_circuits: self.max_circuits,
            on_failure: match self.on_failure {
                Failure::Omit => OnFailure::Omit,
                Failure::Last => OnFailure::Last,
            },
            targets,
        })
    }
}

/// One target on its way to be asked.
struct TargetCheck<'a> {
    section: &'a Section,
    path: String,
    target: &'a TargetSettings,
    own: &'a Kin,
    names: StateNames,
}

impl TargetCheck<'_> {
    fn target(&self, problems: &mut Problems) -> Option<CheckedTarget> {
        let target = self.target;
        let url = self.url("url", &target.url, problems);
        let events = self.events(url.as_ref(), problems);
        let (states, shown) = self.states(problems);
        let shape = self.shape(&states, problems);
        let headers = target.headers.plan(self.section, &self.key("headers"));
        let headers = headers.map_err(|more| problems.extend(more)).ok();
        problems.extend(target.tls.problems(self.section, &self.key("tls")));
        if target.tls.insecure_skip_verify {
            let what =
                "`insecure_skip_verify` takes any certificate: whoever is on the way can say what the states are";
            problems.push(self.section.warning(&self.key("tls.insecure_skip_verify"), what));
        }
        for key in target.attributes.keys() {
            if ["circuit_name", "state", "old_state", "new_state", "instance"].contains(&key.as_str()) {
                let what = format!("the attribute {key:?} is set by the receiver itself");
                problems.push(self.section.error(&self.key("attributes"), what));
            }
        }
        let (url, shape, headers) = (url?, shape?, headers?);
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        let name = if target.name.is_empty() { authority } else { target.name.clone() };
        let attributes = target.attributes.clone().into_iter().collect();
        let kin = Kin {
            states,
            shown,
            attributes,
            target: name.clone(),
            instance_label: self.own.instance_label,
            ..Kin::default()
        };
        Some(CheckedTarget {
            name,
            url,
            events,
            shape,
            transitions: target.transitions,
            kin,
            headers: Arc::new(headers),
            tls: target.tls.clone(),
            allow_link_local: target.allow_link_local,
        })
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn url(&self, key: &str, text: &str, problems: &mut Problems) -> Option<Uri> {
        let mut wrong = |what: String| problems.push(self.section.error(&self.key(key), what));
        if text.is_empty() {
            wrong("'url' is missing: where is the target asked?".to_owned());
            return None;
        }
        let url = text.parse::<Uri>().ok().filter(|url| url.host().is_some_and(|host| !host.is_empty()));
        let Some(url) = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https"))) else {
            wrong("is no URL that begins with http:// or https:// and names a host".to_owned());
            return None;
        };
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            wrong("has a user in it; write the header Authorization under 'headers' instead".to_owned());
            return None;
        }
        let address = url.host().and_then(|host| host.trim_matches(['[', ']']).parse().ok());
        if !self.target.allow_link_local && address.is_some_and(is_guarded) {
            wrong(
                "is an address on which clouds answer the host itself; set 'allow_link_local' if that is meant"
                    .to_owned(),
            );
            return None;
        }
        Some(url)
    }

    fn events(&self, url: Option<&Uri>, problems: &mut Problems) -> Option<Uri> {
        let TargetSettings { transitions, format, events_url, .. } = self.target;
        let mut wrong = |key: &str, what: &str| problems.push(self.section.error(&self.key(key), what));
        match (transitions, format) {
            (Transitions::Events, Format::Actuator) => {}
            (Transitions::Events, Format::Json) => {
                wrong("transitions", "only format: actuator has 'events'; 'observed' would do");
                return None;
            }
            _ => {
                if !events_url.is_empty() {
                    wrong("events_url", "'events_url' means nothing without transitions: events");
                }
                return None;
            }
        }
        if !events_url.is_empty() {
            return self.url("events_url", events_url, problems);
        }
        let text = url?.to_string();
        let Some((before, "")) = text.trim_end_matches('/').rsplit_once("/circuitbreakers") else {
            wrong(
                "events_url",
                "'events_url' is missing: 'url' does not end in /circuitbreakers, beside which it would stand",
            );
            return None;
        };
        format!("{before}/circuitbreakerevents").parse().ok()
    }

    fn states(&self, problems: &mut Problems) -> (Vec<String>, Vec<String>) {
        let TargetSettings { preset, states, format, .. } = self.target;
        if self.section.has(&self.key("states")) {
            if preset.is_some() {
                let what = "'states' and 'preset' exclude each other: both say which states there are";
                problems.push(self.section.error(&self.key("states"), what));
            }
            check_states(self.section, &self.key("states"), states, problems);
            return (states.clone(), states.clone());
        }
        match (preset, format) {
            (Some(preset), _) => states_of(*preset, self.names),
            (None, Format::Actuator) => states_of(Preset::Resilience4j, self.names),
            (None, Format::Json) => (self.own.states.clone(), self.own.shown.clone()),
        }
    }

    fn shape(&self, states: &[String], problems: &mut Problems) -> Option<Shape> {
        let TargetSettings { format, fields, values, .. } = self.target;
        if *format == Format::Actuator {
            for key in ["fields", "values"] {
                if self.section.has(&self.key(key)) {
                    let what = format!("'{key}' means nothing with format: actuator, whose shape is known");
                    problems.push(self.section.error(&self.key(key), what));
                }
            }
            return Some(Shape::actuator());
        }
        let mut path = |key: &str, text: &str| {
            let path = text.parse::<Selector>();
            path.map_err(|what| problems.push(self.section.error(&self.key(&format!("fields.{key}")), what))).ok()
        };
        let Fields { list, name, state, time, instance } = fields;
        let (list, name, state) = (path("list", list), path("name", name), path("state", state));
        let (time, instance) = (path("time", time), path("instance", instance));
        let mut known = BTreeMap::new();
        for (value, state) in values {
            match states.iter().position(|known| known == state) {
                Some(place) => drop(known.insert(value.clone(), place)),
                None => {
                    let what = format!("{state:?} is no known state; known are {}", states.join(", "));
                    problems.push(self.section.error(&self.key(&format!("values[{value}]")), what));
                }
            }
        }
        Some(Shape { list: list?, name: name?, state: state?, time: time?, instance: instance?, values: known })
    }
}
