//! Answers: which circuits a document tells of, and in which states they are.

use std::collections::BTreeMap;

use pdata::UnixNanos;
use pipeline::mapping::select::{DEPTH_MAX, Selector, check_depth};
use pipeline::mapping::{Cell, time_of};
use serde_json::Value;

use crate::breaker::signal::{NAME_BYTES_MAX, echo};

/// Where a document has what we want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// The circuits, as an array or an object.
    pub(super) list: Selector,
    /// From an entry on; empty: its key.
    pub(super) name: Selector,
    /// From an entry on; empty: the entry itself.
    pub(super) state: Selector,
    pub(super) time: Selector,
    pub(super) instance: Selector,
    /// States by the values that stand for them, beside their names.
    pub(super) values: BTreeMap<String, usize>,
}

/// A circuit as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) circuit: String,
    pub(super) instance: String,
    pub(super) state: usize,
    /// When it entered the state, where the document says so.
    pub(super) time: Option<UnixNanos>,
}

/// What a document says: circuits, and why others are left out.
pub(super) type Reading = (Vec<Found>, Vec<String>);

impl Shape {
    /// resilience4j's: `{"circuitBreakers": {"name": {"state": "CLOSED", …}}}`.
    pub(super) fn actuator() -> Self {
        let path = |step: &str| step.parse::<Selector>().unwrap_or_default();
        Self {
            list: path("circuitBreakers"),
            name: Selector::default(),
            state: path("state"),
            time: Selector::default(),
            instance: Selector::default(),
            values: BTreeMap::new(),
        }
    }

    /// Reads a document. One circuit that cannot be read costs itself only, unless there is no other.
    ///
    /// # Errors
    /// Why it tells of no circuits, for people.
    pub(super) fn read(&self, body: &[u8], states: &[String], max: usize) -> Result<Reading, String> {
        let document: Value =
            serde_json::from_str(text(body)?).map_err(|error| format!("the answer is no JSON: {error}"))?;
        let here = at(&self.list);
        let list = find(&self.list, &document).ok_or_else(|| format!("the answer has nothing at {here}"))?;
        let entries: Vec<(Option<&str>, &Value)> = match list {
            Value::Array(entries) => entries.iter().map(|entry| (None, entry)).collect(),
            Value::Object(entries) => entries.iter().map(|(key, entry)| (Some(key.as_str()), entry)).collect(),
            _ => return Err(format!("what the answer has at {here} is neither a list nor an object")),
        };
        if entries.len() > max {
            return Err(format!("the answer has {} circuits, more than max_circuits ({max})", entries.len()));
        }
        let (mut found, mut refused) = (Vec::with_capacity(entries.len()), Vec::new());
        for (index, (key, entry)) in entries.into_iter().enumerate() {
            match self.entry(key, entry, states) {
                Ok(circuit) => found.push(circuit),
                Err(why) => refused.push(format!("circuit {index}: {why}")),
            }
        }
        match refused.first() {
            Some(first) if found.is_empty() => Err(first.clone()),
            _ => Ok((found, refused)),
        }
    }

    fn entry(&self, key: Option<&str>, entry: &Value, states: &[String]) -> Result<Found, String> {
        let text = |what: &str, selector: &Selector| {
            let text =
                find(selector, entry).and_then(scalar).ok_or_else(|| format!("no {what} at {}", at(selector)))?;
            if text.len() > NAME_BYTES_MAX {
                return Err(format!("its {what} is longer than {NAME_BYTES_MAX} bytes"));
            }
            Ok(text)
        };
        let circuit = match key {
            Some(key) if self.name.steps().is_empty() && key.len() <= NAME_BYTES_MAX => key.to_owned(),
            _ => text("name", &self.name)?,
        };
        let state = text("state", &self.state).map_err(|why| format!("{:?} has {why}", echo(&circuit)))?;
        let place = self.values.get(&state).copied().or_else(|| states.iter().position(|known| *known == state));
        let place = place.ok_or_else(|| {
            let (circuit, state) = (echo(&circuit), echo(&state));
            format!("{circuit:?} is {state:?}, which is no known state; known are {}", states.join(", "))
        })?;
        let instance = if self.instance.steps().is_empty() { String::new() } else { text("instance", &self.instance)? };
        let time = (!self.time.steps().is_empty()).then(|| find(&self.time, entry).and_then(time)).flatten();
        Ok(Found { circuit, instance, state: place, time })
    }
}

/// The text of an answer, unless it is nested too deep to be read.
pub(super) fn text(body: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
    check_depth(text).map_err(|_| format!("the answer is nested deeper than {DEPTH_MAX} levels"))?;
    Ok(text)
}

/// A date, or seconds or milliseconds since 1970.
pub(super) fn time(value: &Value) -> Option<UnixNanos> {
    match value {
        Value::String(text) => date(text),
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| *number > 0.0)?;
            // In seconds the year 5138; in milliseconds 1973.
            Some(UnixNanos::from_seconds(if number > 1e11 { number / 1e3 } else { number }))
        }
        _ => None,
    }
}

/// A date with its zone, which Java writes a second time by name: `…+02:00[Europe/Berlin]`.
pub(super) fn date(text: &str) -> Option<UnixNanos> {
    let date = text.split_once('[').map_or(text, |(date, _)| date);
    // What is all digits would be taken for nanoseconds.
    date.contains('-').then(|| time_of(Cell::Text(date.as_bytes())))?
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What stands there.
fn find<'v>(selector: &Selector, from: &'v Value) -> Option<&'v Value> {
    selector.steps().iter().try_fold(from, |value, step| match value {
        Value::Object(entries) => entries.get(&**step),
        Value::Array(entries) => entries.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// A place for people.
fn at(selector: &Selector) -> String {
    if selector.steps().is_empty() { "its top".to_owned() } else { selector.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(list: &str, name: &str, state: &str) -> Shape {
        let path = |text: &str| text.parse().unwrap();
        Shape { list: path(list), name: path(name), state: path(state), ..Shape::actuator() }
    }

    fn read(shape: &Shape, body: &str) -> Result<Vec<String>, String> {
        let states = ["CLOSED", "OPEN"].map(ToOwned::to_owned);
        let (found, refused) = shape.read(body.as_bytes(), &states, 3)?;
        let found = found.into_iter().map(|circuit| format!("{}={}", circuit.circuit, states[circuit.state]));
        Ok(found.chain(refused).collect())
    }

    #[test]
    fn the_actuators_circuits_are_named_by_their_keys() {
        let body = r#"{"circuitBreakers":{"a":{"failureRate":"-1.0%","state":"OPEN"},"b":{"state":"CLOSED"}}}"#;
        assert_eq!(read(&Shape::actuator(), body), Ok(vec!["a=OPEN".to_owned(), "b=CLOSED".to_owned()]));
        assert_eq!(read(&Shape::actuator(), r#"{"circuitBreakers":{}}"#), Ok(Vec::new()));
    }

    #[test]
    fn other_documents_are_read_where_their_paths_lead() {
        let listed = r#"{"data":{"all":[{"id":7,"now":{"st.ate":"OPEN"}}]}}"#;
        assert_eq!(read(&shape("data.all", "id", "/now/st.ate"), listed), Ok(vec!["7=OPEN".to_owned()]));
        assert_eq!(read(&shape("", "", ""), r#"{"a":"CLOSED"}"#), Ok(vec!["a=CLOSED".to_owned()]));
        let flags = Shape { values: [("true".to_owned(), 1)].into(), ..shape("", "", "isOpen") };
        assert_eq!(read(&flags, r#"{"a":{"isOpen":true}}"#), Ok(vec!["a=OPEN".to_owned()]));
    }

    #[test]
    fn one_bad_circuit_costs_itself_and_the_last_one_the_whole_answer() {
        let body = r#"{"circuitBreakers":{"a":{"state":"AJAR"},"b":{"state":"OPEN"},"c":{}}}"#;
        let told = [
            "b=OPEN",
            r#"circuit 0: "a" is "AJAR", which is no known state; known are CLOSED, OPEN"#,
            r#"circuit 2: "c" has no state at /state"#,
        ];
        assert_eq!(read(&Shape::actuator(), body), Ok(told.map(ToOwned::to_owned).to_vec()));
        for (body, told) in [
            (r#"{"circuitBreakers":{"a":{"state":"AJAR"}}}"#, "no known state"),
            (r#"{"circuitBreakers":["a","b"]}"#, "circuit 0: \"a\" has no state at /state"),
            (r#"{"circuitBreakers":7}"#, "neither a list nor an object"),
            ("{}", "nothing at /circuitBreakers"),
            ("<html>", "no JSON"),
            (r#"{"circuitBreakers":{"a":{},"b":{},"c":{},"d":{}}}"#, "4 circuits, more than max_circuits (3)"),
        ] {
            let error = read(&Shape::actuator(), body).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_before_it_is_built() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(text(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert!(text(deep(DEPTH_MAX + 1).as_bytes()).unwrap_err().contains("deeper than 64"));
    }

    #[test]
    fn times_are_dates_with_any_zone_seconds_or_milliseconds() {
        let of = |json: &str| time(&serde_json::from_str(json).unwrap()).map(|time| time.0);
        assert_eq!(of("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(of("1700000000500"), Some(1_700_000_000_500_000_000));
        assert_eq!(of(r#""2023-11-14T23:13:20.5+01:00[Europe/Berlin]""#), Some(1_700_000_000_500_000_000));
        assert_eq!(of(r#""2023-11-14T22:13:20.500Z""#), Some(1_700_000_000_500_000_000));
        assert_eq!((of(r#""soon""#), of("-1"), of("null")), (None, None, None));
    }
}
