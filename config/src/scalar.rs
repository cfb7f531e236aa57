//! What a plain scalar means: the YAML core schema as the Collector's parser reads it.
//!
//! That is YAML 1.2 with leftovers of 1.1 that its users rely on: `0123` is octal, digits may be parted by `_`.
//! `yes`, `no`, `on` and `off` are text.

/// The meaning of a plain scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

impl Meaning {
    /// The name of the type in the Collector's messages.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Meaning::Null => "nil",
            Meaning::Bool(_) => "bool",
            Meaning::Int(_) => "int",
            Meaning::Float(_) => "float64",
            Meaning::Text => "string",
        }
    }
}

/// Reads a plain scalar.
pub(crate) fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Meaning::Text;
    }
    if let Some(int) = integer(text) {
        return Meaning::Int(int);
    }
    float(text).map_or(Meaning::Text, Meaning::Float)
}

/// `12`, `-3`, `0x1f`, `0o17`, `017`, `0b11`; 64 bits, signed or not.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, base).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    let exponent_ok = exponent.is_none_or(|part| digits(part.strip_prefix(['-', '+']).unwrap_or(part)));
    if !(mantissa_ok && exponent_ok) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::{Meaning, meaning};

    #[test]
    fn integers_follow_the_collectors_parser() {
        for (text, value) in [
            ("0", 0),
            ("123", 123),
            ("-7", -7),
            ("+7", 7),
            ("0123", 83),
            ("0o17", 15),
            ("0xdeadbeef", 3_735_928_559),
            ("0b101", 5),
            ("1_000", 1000),
            ("-0x10", -16),
            ("18446744073709551615", i128::from(u64::MAX)),
        ] {
            assert_eq!(meaning(text), Meaning::Int(value), "{text}");
        }
    }

    #[test]
    fn floats_follow_the_collectors_parser() {
        for (text, value) in [
            ("1.10", 1.1),
            ("-.5", -0.5),
            ("1.", 1.0),
            ("1e3", 1e3),
            ("08", 8.0),
            ("18446744073709551616", 1.844_674_407_370_955_2e19),
        ] {
            assert_eq!(meaning(text), Meaning::Float(value), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "no",
            "yes",
            "on",
            "off",
            "y",
            "1.2.3",
            "12s",
            "0x",
            "--1",
            "-",
            "+",
            ".",
            "1e",
            "2026-01-01",
            "0xfg",
            "e3",
            "t",
            "0x-1",
        ] {
            assert_eq!(meaning(text), Meaning::Text, "{text}");
        }
    }

    #[test]
    fn nulls_and_bools_have_three_spellings_each() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(meaning(text), Meaning::Null, "{text:?}");
        }
        assert_eq!(meaning("True"), Meaning::Bool(true));
        assert_eq!(meaning("tRue"), Meaning::Text);
    }
}
