//! Signals as libraries send them: one object, an array, or one object a line.
//!
//! The fields are fluxgate's (`circuit_name`, `old_state`, `new_state`, `timestamp` in seconds), with `instance` and `seq` where a
//! sender can give them, and `kind: snapshot` for a state that is told and not entered.

use std::borrow::Cow;

use pdata::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::events::items;

/// A change of state, or a state told, that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signal<'a> {
    pub(super) circuit: Cow<'a, str>,
    pub(super) instance: Option<Cow<'a, str>>,
    pub(super) sequence: Option<u64>,
    /// By place in the list of states; none in a snapshot.
    pub(super) old_state: Option<usize>,
    pub(super) new_state: usize,
    pub(super) time: UnixNanos,
}

/// A signal that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RefusedSignal {
    /// Its place in the request, from 0.
    pub(super) index: usize,
    /// What is wrong with it, naming what was found.
    #[serde(rename = "error")]
    pub(super) why: String,
}

/// Why a whole body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBody {
    /// No signal in it.
    Empty,
    /// Not UTF-8.
    NoText,
    /// More signals than one request may have.
    TooMany,
}

/// Who the signals are for: what a signal itself does not say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    /// The names of all states.
    pub(super) states: &'a [String],
    /// The circuit of signals that name none.
    pub(super) circuit: Option<&'a str>,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    circuit_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    instance: Option<Cow<'a, str>>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    old_state: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    new_state: Option<Cow<'a, str>>,
    #[serde(default)]
    timestamp: Option<f64>,
}

/// Signals in one request at most: a listener that was cut off for hours sends its queue in pieces of hundreds.
const SIGNALS_MAX: usize = 10_000;

/// Longest name of a circuit or instance, in bytes: longer ones are mistakes, and would be kept for ever.
pub(super) const NAME_BYTES_MAX: usize = 256;

/// Longest piece of a refused name that an answer repeats.
const ECHO_CHARS: usize = 40;

/// Signals, and refused ones, of one request.
pub(super) type Signals<'a> = Vec<Result<Signal<'a>, RefusedSignal>>;

impl<'a> Reading<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// When nothing of it can be read; see [`BadBody`].
    pub(super) fn read(&self, body: &'a [u8]) -> Result<Signals<'a>, BadBody> {
        let text = std::str::from_utf8(body).map_err(|_| BadBody::NoText)?.trim_ascii();
        let signals: Signals<'a> = if text.starts_with('[') {
            match items(text, SIGNALS_MAX) {
                Ok(items) if items.len() > SIGNALS_MAX => return Err(BadBody::TooMany),
                Ok(items) => items.iter().enumerate().map(|(index, item)| self.signal(index, item.get())).collect(),
                Err(error) => vec![Err(RefusedSignal { index: 0, why: format!("not a JSON array: {error}") })],
            }
        } else {
            self.objects(text)?
        };
        if signals.is_empty() { Err(BadBody::Empty) } else { Ok(signals) }
    }

    /// One object, over one line or many, or one a line.
    fn objects(&self, text: &'a str) -> Result<Signals<'a>, BadBody> {
        if !text.is_empty() && serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() {
            return Ok(vec![self.signal(0, text)]);
        }
        let lines = || text.lines().map(str::trim_ascii).filter(|line| !line.is_empty());
        if lines().nth(SIGNALS_MAX).is_some() {
            return Err(BadBody::TooMany);
        }
        Ok(lines().enumerate().map(|(index, line)| self.signal(index, line)).collect())
    }

    fn signal(&self, index: usize, text: &'a str) -> Result<Signal<'a>, RefusedSignal> {
        let raw = serde_json::from_str::<Raw<'a>>(text).map_err(|error| error.to_string());
        raw.and_then(|raw| self.check(raw)).map_err(|why| RefusedSignal { index, why })
    }

    fn check(&self, raw: Raw<'a>) -> Result<Signal<'a>, String> {
        let snapshot = match raw.kind.as_deref() {
            None | Some("transition") => false,
            Some("snapshot") => true,
            Some(other) => return Err(format!("kind is {:?}; \"transition\" or \"snapshot\" would do", echo(other))),
        };
        let given = raw.circuit_name.filter(|name| !name.is_empty());
        let circuit = given.or_else(|| self.circuit.map(|name| Cow::Owned(name.to_owned())));
        let circuit = circuit.ok_or("circuit_name is missing, and the configuration names no circuit")?;
        for (field, name) in [("circuit_name", Some(&circuit)), ("instance", raw.instance.as_ref())] {
            if name.is_some_and(|name| name.len() > NAME_BYTES_MAX) {
                return Err(format!("{field} is longer than {NAME_BYTES_MAX} bytes"));
            }
        }
        let old_state = if snapshot { None } else { Some(self.state("old_state", raw.old_state)?) };
        let new_state = self.state("new_state", raw.new_state)?;
        let seconds = raw.timestamp.ok_or("timestamp is missing; seconds since 1970 are wanted")?;
        // 0 means unknown, and the year 2500 is a time in milliseconds read as seconds.
        if !(seconds > 0.0 && seconds < 16_725_225_600.0) {
            return Err(format!("timestamp is {seconds}; seconds since 1970 are wanted"));
        }
        let time = UnixNanos::from_seconds(seconds);
        let instance = raw.instance.filter(|name| !name.is_empty());
        Ok(Signal { circuit, instance, sequence: raw.seq, old_state, new_state, time })
    }

    fn state(&self, field: &str, name: Option<Cow<'a, str>>) -> Result<usize, String> {
        let name = name.ok_or_else(|| format!("{field} is missing"))?;
        self.states.iter().position(|state| *state == *name).ok_or_else(|| {
            format!("{field} is {:?}, which is no known state; known are {}", echo(&name), self.states.join(", "))
        })
    }
}

impl std::fmt::Display for BadBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the body has no signal in it"),
            Self::NoText => f.write_str("the body is not UTF-8"),
            Self::TooMany => write!(f, "the body has more than {SIGNALS_MAX} signals"),
        }
    }
}

pub(super) fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::preset::Preset;

    fn states() -> Vec<String> {
        Preset::Fluxgate.states().iter().map(|state| (*state).to_owned()).collect()
    }

    fn read(body: &str) -> Vec<Result<String, String>> {
        let states = states();
        let reading = Reading { states: &states, circuit: None };
        let show = |signal: Signal<'_>| {
            let old = signal.old_state.map_or("", |old| &states[old]);
            format!("{} {old}>{} {}", signal.circuit, states[signal.new_state], signal.time.0)
        };
        reading
            .read(body.as_bytes())
            .unwrap()
            .into_iter()
            .map(|s| s.map(show).map_err(|r| format!("{}: {}", r.index, r.why)))
            .collect()
    }

    const GOOD: &str = r#"{"circuit_name":"pay","old_state":"closed","new_state":"open","timestamp":1700000000.25}"#;

    #[test]
    fn one_object_an_array_and_lines_are_read_alike() {
        let one = vec![Ok("pay closed>open 1700000000250000000".to_owned())];
        assert_eq!(read(GOOD), one);
        assert_eq!(read(&GOOD.replace(',', ",\n ")), one, "over many lines");
        assert_eq!(read(&format!(" [{GOOD}]\n")), one);
        assert_eq!(read(&format!("{GOOD}\n\n{GOOD}\r\n")), [one.clone(), one].concat());
    }

    #[test]
    fn a_snapshot_needs_no_old_state() {
        let body = r#"{"kind":"snapshot","circuit_name":"pay","new_state":"half_open","timestamp":1}"#;
        assert_eq!(read(body), [Ok("pay >half_open 1000000000".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_told_by_name_and_place_and_the_rest_is_read() {
        let body = format!(
            r#"[{GOOD},{{"circuit_name":"pay","old_state":"ajar","new_state":"open","timestamp":1}},{{"old_state":"open"}},7,
            {{"circuit_name":"a","old_state":"open","new_state":"open","timestamp":1700000000000}},{{"kind":"guess"}}]"#
        );
        let told: Vec<_> = read(&body).into_iter().filter_map(Result::err).collect();
        assert_eq!(
            told[0],
            "1: old_state is \"ajar\", which is no known state; known are closed, open, half_open, metrics_only, disabled, forced_open"
        );
        assert_eq!(told[1], "2: circuit_name is missing, and the configuration names no circuit");
        assert!(told[2].starts_with("3: invalid type: integer `7`"), "{}", told[2]);
        assert_eq!(told[3], "4: timestamp is 1700000000000; seconds since 1970 are wanted");
        assert_eq!(told[4], "5: kind is \"guess\"; \"transition\" or \"snapshot\" would do");
    }

    #[test]
    fn a_signal_without_a_name_belongs_to_the_configured_circuit() {
        let (states, body) = (states(), GOOD.replace(r#""circuit_name":"pay","#, ""));
        let reading = Reading { states: &states, circuit: Some("orders") };
        assert_eq!(reading.read(body.as_bytes()).unwrap()[0].as_ref().unwrap().circuit, "orders");
    }

    #[test]
    fn bodies_without_signals_are_refused_whole() {
        let states = states();
        let reading = Reading { states: &states, circuit: None };
        assert_eq!(reading.read(b" \n"), Err(BadBody::Empty));
        assert_eq!(reading.read(b"[]"), Err(BadBody::Empty));
        assert_eq!(reading.read(b"\xff"), Err(BadBody::NoText));
        assert_eq!(reading.read("{}\n".repeat(SIGNALS_MAX + 1).as_bytes()), Err(BadBody::TooMany));
        assert_eq!(
            reading.read(format!("[{}]", vec!["{}"; SIGNALS_MAX + 1].join(",")).as_bytes()),
            Err(BadBody::TooMany)
        );
    }

    #[test]
    fn names_without_end_are_refused() {
        let body = GOOD.replace("pay", &"x".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(read(&body), [Err("0: circuit_name is longer than 256 bytes".to_owned())]);
    }
}
