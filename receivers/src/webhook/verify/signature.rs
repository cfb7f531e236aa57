//! Signature headers, taken apart.

use smallvec::SmallVec;

use super::scheme::Form;
use super::{Flaw, SIGNATURES_MAX};

/// What a signature header holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed<'a> {
    pub(super) signatures: SmallVec<[&'a str; 2]>,
    pub(super) timestamp: Option<&'a str>,
}

/// Takes a header's value apart. At least one signature of the wanted version must be in it.
pub(super) fn parse<'a>(form: &Form, value: &'a str) -> Result<Parsed<'a>, Flaw> {
    let parsed = match form {
        Form::Prefixed(prefix) => {
            let code = value.strip_prefix(&**prefix).ok_or(Flaw::Malformed)?;
            Parsed { signatures: SmallVec::from_slice(&[code]), timestamp: None }
        }
        Form::Versions(version) => Parsed {
            signatures: value.split(' ').filter_map(|entry| pair(entry, ',', version)).take(SIGNATURES_MAX).collect(),
            timestamp: None,
        },
        Form::Fields { time, code } => fields(value, time, code)?,
    };
    if parsed.signatures.is_empty() || parsed.signatures.iter().any(|code| code.is_empty()) {
        return Err(Flaw::Malformed);
    }
    Ok(parsed)
}

fn fields<'a>(value: &'a str, time: &str, code: &str) -> Result<Parsed<'a>, Flaw> {
    let entries = || value.split(',').map(str::trim);
    let mut times = entries().filter_map(|entry| pair(entry, '=', time));
    let timestamp = times.next().ok_or(Flaw::Malformed)?;
    if times.next().is_some() {
        return Err(Flaw::Repeated);
    }
    let signatures = entries().filter_map(|entry| pair(entry, '=', code)).take(SIGNATURES_MAX).collect();
    Ok(Parsed { signatures, timestamp: Some(timestamp) })
}

/// What stands behind `key` and the separator, when the entry begins so.
fn pair<'a>(entry: &'a str, separator: char, key: &str) -> Option<&'a str> {
    entry.split_once(separator).and_then(|(found, value)| (found == key).then_some(value))
}
