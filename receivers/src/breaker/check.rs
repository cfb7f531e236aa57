//! From what the user wrote to a section that holds together.

use config::{Problem, Problems, Section};
use pipeline::Collects;
use pipeline::net::Gates;
use pipeline::state::LedgerOptions;

use super::kin::Kin;
use super::life::Wanted;
use super::preset::Preset;
use super::pull::CheckedPull;
use super::settings::{Settings, StateNames};
use super::signal::NAME_BYTES_MAX;
use crate::events::settings::{
    Place, door_problems, endpoint, flush_problem, ledger_options, ledger_problems, path_problem, place,
};

/// A section that holds together.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) settings: Settings,
    /// Where something is counted.
    /// Where something is counted.
    pub(super) place: Option<Place>,
    /// Who may send signals, where they are sent.
    pub(super) door: Option<Gates>,
    /// Those who send.
    pub(super) kin: Kin,
    pub(super) pull: Option<CheckedPull>,
    pub(super) warnings: Problems,
}

/// States at most: each circuit has a series for every state, and may have one for every pair.
const STATES_MAX: usize = 64;

/// What a preset, or a list of names, says of states: as breakers name them, and as labels do.
pub(super) fn states_of(preset: Preset, names: StateNames) -> (Vec<String>, Vec<String>) {
    let owned = |states: &[&str]| states.iter().map(|state| (*state).to_owned()).collect::<Vec<_>>();
    let shown = match names {
        StateNames::Library => preset.states(),
        StateNames::Common => preset.common(),
    };
    (owned(preset.states()), owned(shown))
}

impl Checked {
    /// Decodes and checks a section.
    ///
    /// # Errors
    /// All problems that can be found.
    pub(super) fn of(section: &Section) -> Result<Self, Problems> {
        let settings: Settings = section.decode()?;
        let mut problems = Problems::new();
        settings.check_door(section, &mut problems);
        settings.check_names(section, &mut problems);
        settings.check_bounds(section, &mut problems);
        let (states, shown) = settings.states(section, &mut problems);
        let Settings { circuit_name, instance_label, .. } = &settings;
        let (circuit, instance_label) = (circuit_name.clone(), *instance_label);
        let kin = Kin { states, shown, circuit, instance_label, ..Kin::default() };
        let pull =
            settings.pull.as_ref().and_then(|pull| pull.check(section, &kin, settings.state_names, &mut problems));
        let door = settings.door(section, &mut problems);
        let counts = door.is_some()
            || pull.as_ref().is_some_and(|pull| pull.counts() || settings.time_in_state || settings.flapping.is_some());
        let place = settings.place(section, counts).map_err(|problem| problems.push(problem)).unwrap_or_default();
        if problems.has_errors() {
            return Err(problems);
        }
        Ok(Self { settings, place, door, kin, pull, warnings: problems })
    }

    /// When it reads: with a ledger a scrape shows all that was answered before it.
    pub(super) fn collects(&self) -> Collects {
        let asked = self.pull.as_ref().is_some_and(CheckedPull::on_demand);
        if asked || self.place.is_some() { Collects::OnDemand } else { Collects::Interval }
    }

    /// Which of the metrics that change with time are wanted.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        let Settings { metrics, time_in_state, flapping, .. } = &self.settings;
        Wanted::of(metrics, *time_in_state, flapping.as_ref().map(|flapping| flapping.window.get()))
    }

    pub(super) fn ledger_options(&self) -> LedgerOptions {
        let Settings { durability, dedup, max_series, .. } = &self.settings;
        ledger_options(dedup, *durability, *max_series)
    }
}

impl Settings {
    /// Who may send signals; none when the section only asks.
    fn door(&self, section: &Section, problems: &mut Problems) -> Option<Gates> {
        if self.endpoint.trim().is_empty() && self.pull.is_some() {
            return None;
        }
        let missing = "'endpoint' is missing: signals are sent to an address";
        let help = "write host:port, such as endpoint: localhost:9464; or name breakers to ask under pull";
        let endpoint = endpoint(section, &self.endpoint, missing, help);
        let endpoint = endpoint.map_err(|problem| problems.push(problem)).ok();
        let gates = Gates::plan(section, "gates", self.gates.as_ref());
        let gates = gates.map_err(|more| problems.extend(more)).ok();
        let (endpoint, gates) = endpoint.zip(gates)?;
        problems.extend(gates.review(section, &endpoint, self.tls.as_ref(), "send signals"));
        Some(gates)
    }

    fn place(&self, section: &Section, counts: bool) -> Result<Option<Place>, Problem> {
        if self.storage.is_empty() && !counts {
            return Ok(None);
        }
        place(section, &self.storage, self.durability).map(Some)
    }

    fn states(&self, section: &Section, problems: &mut Problems) -> (Vec<String>, Vec<String>) {
        if !section.has("states") {
            return states_of(self.preset, self.state_names);
        }
        for (key, what) in [
            ("preset", "'states' and 'preset' exclude each other: both say which states there are"),
            ("state_names", "'states' and 'state_names' exclude each other: only states of a preset have common names"),
        ] {
            if section.has(key) {
                problems.push(section.error("states", what));
            }
        }
        check_states(section, "states", &self.states, problems);
        (self.states.clone(), self.states.clone())
    }

    fn check_door(&self, section: &Section, problems: &mut Problems) {
        if let Some(what) = path_problem(&self.path) {
            problems.push(section.error("path", what).with_help("such as /signals"));
        }
        problems.extend(door_problems(section, &self.limits, &self.tls));
    }

    fn check_names(&self, section: &Section, problems: &mut Problems) {
        let names = &self.metrics;
        let names = [
            ("metrics.state", &names.state),
            ("metrics.transitions", &names.transitions),
            ("metrics.time_in_state", &names.time_in_state),
            ("metrics.last_transition", &names.last_transition),
            ("metrics.recent_transitions", &names.recent_transitions),
        ];
        for (at, (key, name)) in names.iter().enumerate() {
            if name.is_empty() {
                problems.push(section.error(key, "a metric's name must not be empty"));
            } else if names[..at].iter().any(|(_, other)| other == name) {
                problems.push(section.error(key, "two metrics need different names"));
            }
        }
        let fits = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
        if !self.circuit_name.as_ref().is_none_or(fits) {
            let what = format!("'circuit_name' must have 1 to {NAME_BYTES_MAX} bytes");
            problems.push(
                section.error("circuit_name", what).with_help("leave it out when all signals name their circuit"),
            );
        }
    }

    fn check_bounds(&self, section: &Section, problems: &mut Problems) {
        problems.extend(ledger_problems(section, &self.dedup, self.max_series));
        problems.extend(flush_problem(section, self.flush_interval));
        let mut wrong = |key: &str, what: String| problems.push(section.error(key, what));
        if self.max_request_body_size.get() == 0 {
            wrong(
                "max_request_body_size",
                "'max_request_body_size' must be at least 1: nothing could be sent".to_owned(),
            );
        }
        if self.flapping.as_ref().is_some_and(|flapping| flapping.window.is_zero()) {
            wrong("flapping.window", "'window' must be longer than 0: no transition would be in it".to_owned());
        }
    }
}

/// Says what is wrong with a list of names of states.
pub(super) fn check_states(section: &Section, path: &str, states: &[String], problems: &mut Problems) {
    if !(1..=STATES_MAX).contains(&states.len()) {
        let what = format!("'states' has {} names; 1 to {STATES_MAX} would do", states.len());
        problems.push(section.error(path, what));
    }
    for (at, state) in states.iter().enumerate() {
        let what = match state.as_str() {
            "" => "a state's name is empty".to_owned(),
            long if long.len() > NAME_BYTES_MAX => format!("a state's name is longer than {NAME_BYTES_MAX} bytes"),
            _ if states[..at].contains(state) => format!("the state {state:?} is named twice"),
            _ => continue,
        };
        problems.push(section.error(&format!("{path}.{at}"), what));
    }
}
