//! From what the user wrote to what can run.

use std::sync::Arc;

use config::{Problems, Section};
use pdata::{Attributes, Origin};
use pipeline::mapping::counted::{Condition, CountRules, TimeCell};
use pipeline::net::{Endpoint, Gates};
use pipeline::state::LedgerOptions;

use super::field::{FieldList, FieldMap};
use super::logs::LogRules;
use super::once::OnceRule;
use super::settings::{self, Settings};
use super::verify::Verifier;
use crate::events::settings::{
    Place, door_problems, endpoint, flush_problem, ledger_options, ledger_problems, path_problem, place,
};

/// A section that holds together.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) settings: Settings,
    pub(super) place: Place,
    pub(super) gates: Gates,
    pub(super) origin: Arc<Origin>,
    pub(super) sources: Vec<SourcePlan>,
    pub(super) warnings: Problems,
}

/// A source that holds together.
#[derive(Debug)]
pub(super) struct SourcePlan {
    pub(super) settings: settings::Source,
    pub(super) path: String,
    pub(super) scope: String,
    pub(super) verifier: Verifier,
    pub(super) fields: FieldMap,
    /// The fields that are an event's id.
    pub(super) id: Vec<usize>,
    pub(super) time: Option<TimeCell>,
    pub(super) challenge: Option<Echo>,
    pub(super) rules: Arc<CountRules>,
    /// Metrics that count things, each by itself.
    pub(super) once: Vec<OnceRule>,
    pub(super) logs: Option<LogRules>,
}

/// A challenge that comes as an event.
#[derive(Debug)]
pub(super) struct Echo {
    pub(super) field: usize,
    pub(super) when: Vec<Condition>,
}

/// One source on its way.
pub(super) struct Check<'a> {
    pub(super) section: &'a Section,
    pub(super) problems: &'a mut Problems,
    pub(super) fields: FieldList<'a>,
}

/// Sources of one receiver at most.
const SOURCES_MAX: usize = 1_000;
/// Metrics of one source at most.
const METRICS_MAX: usize = 1_000;
/// The largest body that may be asked for: GitHub's are the largest known, 25 MB.
const BODY_BYTES_MAX: u64 = 64 << 20;

impl Checked {
    /// Decodes and checks a section.
    ///
    /// # Errors
    /// All problems that can be found.
    pub(super) fn of(section: &Section) -> Result<Self, Problems> {
        let settings: Settings = section.decode()?;
        let mut problems = ledger_problems(section, &settings.dedup, settings.max_series);
        settings.check(section, &mut problems);
        let place =
            place(section, &settings.storage, settings.durability).map_err(|problem| problems.push(problem)).ok();
        let missing = "'endpoint' is missing: events are sent to an address";
        let endpoint =
            endpoint(section, &settings.endpoint, missing, "write host:port, such as endpoint: localhost:9466");
        let endpoint = endpoint.map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, "gates", settings.gates.as_ref());
        let gates = gates.map_err(|more| problems.extend(more)).ok();
        let resource = settings.resource_attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let origin = Arc::new(Origin { resource: Attributes::from_pairs(resource), ..Origin::default() });
        let loopback = endpoint.as_ref().is_some_and(Endpoint::is_loopback);
        let mut sources = Vec::new();
        for (at, source) in settings.sources.iter().enumerate() {
            let path = format!("sources[{at}]");
            sources.extend(source.plan(section, &path, &origin, loopback, &mut problems));
        }
        settings.check_sources(section, &mut problems);
        let (Some(place), Some(endpoint), Some(gates)) = (place, endpoint, gates) else { return Err(problems) };
        // Without gates the sources' own verification stands at the door, and says by itself where there is none.
        if settings.gates.is_some() {
            problems.extend(gates.review(section, &endpoint, settings.tls.as_ref(), "send events"));
        }
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Self { settings, place, gates, origin, sources, warnings: problems })
    }

    pub(super) fn ledger_options(&self) -> LedgerOptions {
        let Settings { durability, dedup, max_series, .. } = &self.settings;
        ledger_options(dedup, *durability, *max_series)
    }

    /// Whether any source makes metrics, or the receiver itself.
    pub(super) fn has_metrics(&self) -> bool {
        self.settings.refused_metric.is_some() || self.sources.iter().any(SourcePlan::has_metrics)
    }

    /// Whether any source makes log records.
    pub(super) fn has_logs(&self) -> bool {
        self.sources.iter().any(|source| source.logs.is_some())
    }

    /// The largest body that any source takes.
    pub(super) fn max_body(&self) -> u64 {
        self.sources.iter().map(|source| source.settings.max_request_body_size.get()).max().unwrap_or_default()
    }
}

impl SourcePlan {
    fn has_metrics(&self) -> bool {
        !(self.rules.metrics.is_empty() && self.once.is_empty())
    }
}

impl Settings {
    fn check(&self, section: &Section, problems: &mut Problems) {
        problems.extend(door_problems(section, &self.limits, &self.tls));
        problems.extend(flush_problem(section, self.flush_interval));
        if self.refused_metric.as_deref() == Some("") {
            problems.push(section.error("refused_metric", "a metric's name must not be empty"));
        }
        if !(1..=SOURCES_MAX).contains(&self.sources.len()) {
            let what = format!("'sources' has {} elements; 1 to {SOURCES_MAX} would do", self.sources.len());
            let help = "each names who sends, such as sources: [{name: github, verify: {…}, metrics: […]}]";
            problems.push(section.error("sources", what).with_help(help));
        }
        if self.spool.max_bytes.get() == 0 {
            problems.push(section.error("spool.max_bytes", "'max_bytes' must be more than 0: no record could wait"));
        }
    }

    /// What clashes between sources.
    fn check_sources(&self, section: &Section, problems: &mut Problems) {
        for (at, source) in self.sources.iter().enumerate() {
            let earlier = &self.sources[..at];
            let place = |other: usize, key: &str| section.place(&format!("sources[{other}].{key}"));
            if let Some(other) = earlier.iter().position(|other| other.name == source.name && !source.name.is_empty()) {
                let what =
                    format!("two sources are called {:?}: their ids and numbers could not be told apart", source.name);
                let problem = section.error(&format!("sources[{at}].name"), what);
                problems.push(problem.with_related("first used", place(other, "name")));
            }
            if let Some(other) = earlier.iter().position(|other| other.path() == source.path()) {
                let what = format!("two sources have the path {}: only one of them would ever be asked", source.path());
                let problem = section.error(&format!("sources[{at}].path"), what);
                problems.push(problem.with_related("first used", place(other, "path")));
            }
        }
        let metrics = |source: usize| self.sources[source].metrics.iter();
        for source in 0..self.sources.len() {
            for (at, metric) in metrics(source).enumerate() {
                let mut others = (0..=source).flat_map(metrics).take_while(|other| !std::ptr::eq(*other, metric));
                let clash = others.find(|other| {
                    other.metric_name == metric.metric_name
                        && (other.data_type, &other.unit) != (metric.data_type, &metric.unit)
                });
                if clash.is_some() {
                    let what = format!("another metric {:?} has another data_type or unit", metric.metric_name);
                    problems.push(section.error(&format!("sources[{source}].metrics[{at}].metric_name"), what));
                }
            }
        }
    }
}

impl settings::Source {
    fn path(&self) -> String {
        self.path.clone().unwrap_or_else(|| format!("/{}", self.name))
    }

    /// The plan of the source that stands at `at`; `None` when something is wrong with it.
    fn plan(
        &self,
        section: &Section,
        at: &str,
        origin: &Arc<Origin>,
        loopback: bool,
        problems: &mut Problems,
    ) -> Option<SourcePlan> {
        let verifier = Verifier::plan(section, &format!("{at}.verify"), self.verify.as_ref(), loopback);
        let verifier = match verifier {
            Ok(verifier) => {
                problems.extend(verifier.warnings().clone());
                Some(verifier)
            }
            Err(more) => {
                problems.extend(more);
                None
            }
        };
        let trusted: Vec<String> = self.trusted_headers.iter().cloned().collect();
        let mut check = Check { section, problems, fields: FieldList::new(&trusted) };
        self.check(at, &mut check);
        let id = self.id.iter().enumerate().map(|(place, field)| check.field(at, &format!("id[{place}]"), field));
        let mut id: Vec<_> = id.flatten().collect();
        let mut time = self.time.as_deref().and_then(|field| check.field(at, "time", field));
        if self.format == settings::Format::Cloudevents {
            // What CloudEvents 1.0 says of every event (sections 3.1.1 and 3.1.3).
            if self.id.is_empty() {
                id = ["/source", "/id"].iter().filter_map(|field| check.field(at, "id", field)).collect();
            }
            time = time.or_else(|| check.field(at, "time", "/time"));
        }
        let (mut metrics, mut once) = (Vec::new(), Vec::new());
        for (n, metric) in self.metrics.iter().enumerate() {
            let path = format!("{at}.metrics[{n}]");
            let Some(rule) = metric.rule(&path, &mut check) else { continue };
            if metric.once_per.is_empty() {
                metrics.push(rule);
            } else {
                once.push(OnceRule::new(metric, rule, &path, origin, &mut check));
            }
        }
        let logs = self.logs.as_ref().map(|logs| logs.rules(&format!("{at}.logs"), origin, &mut check));
        let challenge = self.challenge.as_ref().and_then(|challenge| challenge.plan(at, &mut check));
        let fields = check.fields.finish();
        Some(SourcePlan {
            path: self.path(),
            scope: self.dedup_scope.clone().unwrap_or_else(|| self.name.clone()),
            verifier: verifier?,
            fields,
            id,
            time: time.map(|cell| TimeCell { cell, unit: self.time_unit.into() }),
            challenge,
            rules: Arc::new(CountRules { origin: origin.clone(), metrics }),
            once,
            logs,
            settings: self.clone(),
        })
    }

    fn check(&self, at: &str, check: &mut Check<'_>) {
        let clean = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(clean) {
            let what = format!("'name' must have 1 to 64 letters, digits, '_', '-' or '.', got {:?}", self.name);
            check.error(at, "name", &what);
        } else if let Some(what) = path_problem(&self.path()) {
            check.problem(at, "path", &what, Some("such as /github"));
        }
        let bytes = self.max_request_body_size.get();
        if !(1..=BODY_BYTES_MAX).contains(&bytes) {
            let what = format!("'max_request_body_size' must be between 1 byte and {}MiB", BODY_BYTES_MAX >> 20);
            check.error(at, "max_request_body_size", &what);
        }
        if ![200, 401].contains(&self.stale) {
            check.error(at, "stale", &format!("'stale' is 200 or 401, got {}", self.stale));
        }
        if self.requests_per_second == Some(0) {
            check.error(at, "requests_per_second", "'requests_per_second' must be at least 1: nothing could be sent");
        }
        if self.metrics.len() > METRICS_MAX {
            check.error(at, "metrics", &format!("'metrics' has more than {METRICS_MAX} elements"));
        }
        if self.metrics.is_empty() && self.logs.is_none() {
            let what = "this source has neither metrics nor logs: its events would be taken and forgotten";
            check.error(at, "", what);
        }
        if !self.json_fields.is_empty() && !matches!(self.format, settings::Format::Auto | settings::Format::Form) {
            check.error(at, "json_fields", "'json_fields' are fields of a form, and this source takes none");
        }
        if self.max_age.is_some() && self.time.is_none() && self.format != settings::Format::Cloudevents {
            let what = "'max_age' is held against an event's time: name the field under 'time'";
            let help = "the time that a scheme signs is held against verify.tolerance";
            check.problem(at, "max_age", what, Some(help));
        }
    }
}

impl settings::Challenge {
    fn plan(&self, at: &str, check: &mut Check<'_>) -> Option<Echo> {
        let at = format!("{at}.challenge");
        let when = check.conditions(&format!("{at}.when"), &self.when);
        match (&self.query, &self.field) {
            (Some(_), Some(_)) => {
                check.error(&at, "field", "'query' and 'field' exclude each other: a sender asks in one way")
            }
            (None, None) => {
                let help = "query: hub.challenge for a GET, or field: challenge for an event";
                check.problem(&at, "", "'query' or 'field' is missing: what should be echoed?", Some(help));
            }
            _ => {}
        }
        if self.token_query.is_some() == self.token.expose().is_empty() {
            check.error(&at, "token_query", "'token_query' and 'token' belong together");
        }
        if self.token_query.is_some() && self.query.is_none() {
            check.error(&at, "token_query", "'token_query' goes with 'query'");
        }
        if self.field.is_none() && !self.when.is_empty() {
            check.error(&at, "when", "'when' goes with 'field'");
        }
        let field = self.field.as_deref().and_then(|field| check.field(&at, "field", field))?;
        Some(Echo { field, when })
    }
}
