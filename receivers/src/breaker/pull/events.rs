//! The events that resilience4j's actuator keeps: the last hundred or so of each breaker, transitions among them.

use std::borrow::Cow;

use serde::Deserialize;

use super::document::{date, text};
use crate::breaker::signal::{NAME_BYTES_MAX, Signal, echo};

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "circuitBreakerEvents")]
    events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow, default)]
    circuit_breaker_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    creation_time: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    state_transition: Option<Cow<'a, str>>,
}

/// The transitions in a document, the oldest first, and why others are left out.
///
/// # Errors
/// Why it is no such document.
pub(super) fn read<'a>(body: &'a [u8], states: &[String]) -> Result<(Vec<Signal<'a>>, Vec<String>), String> {
    let document: Document<'_> =
        serde_json::from_str(text(body)?).map_err(|error| format!("the answer holds no events: {error}"))?;
    let (mut signals, mut refused) = (Vec::new(), Vec::new());
    for (index, event) in document.events.into_iter().enumerate() {
        // Calls are events too.
        let Some(transition) = event.state_transition.clone() else { continue };
        match signal(event, &transition, states) {
            Ok(signal) => signals.push(signal),
            Err(why) => refused.push(format!("event {index}: {why}")),
        }
    }
    signals.sort_by_key(|signal| signal.time);
    Ok((signals, refused))
}

fn signal<'a>(event: Event<'a>, transition: &str, states: &[String]) -> Result<Signal<'a>, String> {
    let circuit = event.circuit_breaker_name.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
    let circuit = circuit.ok_or("it names no circuit")?;
    let time = event.creation_time.as_deref().and_then(date).ok_or("its creationTime is no date")?;
    let (old, new) = transition.split_once("_TO_").ok_or_else(|| format!("{:?} is no transition", echo(transition)))?;
    let place = |state: &str| {
        let place = states.iter().position(|known| known == state);
        place.ok_or_else(|| format!("{:?} is no known state; known are {}", echo(state), states.join(", ")))
    };
    Ok(Signal { circuit, instance: None, sequence: None, old_state: Some(place(old)?), new_state: place(new)?, time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::preset::Preset;

    #[test]
    fn transitions_are_picked_from_among_the_calls_and_put_in_order() {
        let body = r#"{"circuitBreakerEvents":[
            {"circuitBreakerName":"a","type":"STATE_TRANSITION","creationTime":"2024-03-09T12:00:02.5Z[UTC]","stateTransition":"OPEN_TO_HALF_OPEN"},
            {"circuitBreakerName":"a","type":"SUCCESS","creationTime":"2024-03-09T12:00:00Z","durationInMs":3,"stateTransition":null},
            {"circuitBreakerName":"a","type":"STATE_TRANSITION","creationTime":"2024-03-09T13:00:01+01:00[Europe/Berlin]","stateTransition":"CLOSED_TO_OPEN"},
            {"circuitBreakerName":"b","type":"STATE_TRANSITION","creationTime":"soon","stateTransition":"CLOSED_TO_OPEN"},
            {"circuitBreakerName":"b","type":"STATE_TRANSITION","creationTime":"2024-03-09T12:00:01Z","stateTransition":"CLOSED_TO_AJAR"}
        ]}"#;
        let states: Vec<_> = Preset::Resilience4j.states().iter().map(|state| (*state).to_owned()).collect();
        let (signals, refused) = read(body.as_bytes(), &states).unwrap();
        let told = |signal: &Signal<'_>| {
            let old = &states[signal.old_state.unwrap()];
            format!("{} {old}>{} {}", signal.circuit, states[signal.new_state], signal.time.as_millis() % 60_000)
        };
        assert_eq!(signals.iter().map(told).collect::<Vec<_>>(), ["a CLOSED>OPEN 1000", "a OPEN>HALF_OPEN 2500"]);
        assert_eq!(refused[0], "event 3: its creationTime is no date");
        assert!(refused[1].starts_with("event 4: \"AJAR\" is no known state"), "{}", refused[1]);
        assert!(read(b"[]", &states).is_err() && read(b"{}", &states).is_err());
    }
}
