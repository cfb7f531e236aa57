//! Spans of time as the Collector's users write them: `300ms`, `1h30m`, `1.5s`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A span of time, written as Go writes it (`time.ParseDuration`), without a sign.
///
/// Units are `ns`, `us`, `µs`, `ms`, `s`, `m`, `h`; `0` needs none. Any other number without a unit is refused: the
/// Collector reads `5` as five nanoseconds, which nobody means. The longest is about 292 years, as in Go.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Longest unit first, as they are written.
const UNITS: &[(&str, u64)] = &[
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ns", 1),
];

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(std::time::Duration::ZERO);

    /// From milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// From seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// As the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether it is no time at all, which often means "switched off".
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("time: invalid duration {text:?}");
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        if unsigned == "0" || unsigned == "-0" {
            return Ok(Self::ZERO);
        }
        if let Some(positive) = unsigned.strip_prefix('-') {
            return match positive.parse::<Duration>() {
                Ok(_) => Err(format!("duration {text:?} is negative")),
                Err(_) => Err(invalid()),
            };
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        let mut rest = unsigned;
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(number_end);
            if number.is_empty() || number == "." || number.matches('.').count() > 1 {
                return Err(invalid());
            }
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            if unit.is_empty() {
                return Err(missing_unit(text));
            }
            let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
            };
            nanos = scaled(number, *size).and_then(|part| nanos.checked_add(part)).ok_or_else(invalid)?;
            rest = tail;
        }
        if nanos > i64::MAX as u64 {
            return Err(invalid());
        }
        Ok(Self(std::time::Duration::from_nanos(nanos)))
    }
}

/// A decimal number of units in nanoseconds; what is finer than a nanosecond is dropped, as Go does.
fn scaled(number: &str, size: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(size)?;
    let mut unit = u128::from(size) * 1_000_000_000_000_000_000;
    let mut part: u128 = 0;
    for digit in fraction.bytes().take(18) {
        unit /= 10;
        part += u128::from(digit - b'0') * unit;
    }
    nanos = nanos.checked_add(u64::try_from(part / 1_000_000_000_000_000_000).ok()?)?;
    Some(nanos)
}

fn missing_unit(text: &str) -> String {
    format!("time: missing unit in duration {text:?}: write a unit, such as \"{text}s\"")
}

impl fmt::Display for Duration {
    /// The fewest units that say it exactly: `1h30m`, `1.5s` as `1s500ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS.iter().filter(|(unit, _)| unit.is_ascii()) {
            let size = u128::from(*size);
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 30s")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Duration, E> {
        match number {
            0 => Ok(Duration::ZERO),
            _ => Err(E::custom(format_args!(
                "time: missing unit in duration \"{number}\": a bare number means nanoseconds ({number} ns) to the \
                 Collector; write a unit, such as \"{number}s\""
            ))),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Duration, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format_args!("duration \"{number}\" is negative"))),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Duration, E> {
        Err(E::custom(missing_unit(&number.to_string())))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of time with units ns, us, ms, s, m, h, such as 300ms or 1h30m.",
            "pattern": r"^(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$|\$\{",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;

    #[test]
    fn units_add_up() {
        for (text, millis) in [
            ("300ms", 300),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("+2m", 120_000),
            (".5s", 500),
            ("1s1ms", 1_001),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!("1.5µs".parse::<Duration>().unwrap().get().as_nanos(), 1_500);
        assert_eq!("0.000000001s".parse::<Duration>().unwrap().get().as_nanos(), 1);
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (text, message) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
            ("1s5", "time: missing unit in duration \"1s5\""),
            (".s", "time: invalid duration \".s\""),
            ("1 s", "time: unknown unit \" s\" in duration \"1 s\""),
            ("-5s", "duration \"-5s\" is negative"),
            ("300000000h", "time: invalid duration \"300000000h\""),
        ] {
            assert!(text.parse::<Duration>().unwrap_err().starts_with(message), "{text}");
        }
    }
}
