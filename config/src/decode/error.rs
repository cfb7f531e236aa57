//! What serde reports, and how it is told.

use std::fmt::{self, Display};

use serde::de::{Expected, Unexpected};

use crate::place::Place;
use crate::problem::Problem;
use crate::{redact, suggest};

/// An error on its way up to the one who started decoding.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) kind: Kind,
    /// Where it came up; the innermost cursor says it.
    pub(super) spot: Option<Box<Spot>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// This type was wanted, by its name in the Collector.
    Type(&'static str),
    /// The number does not fit the type.
    Range(&'static str),
    MissingField(&'static str),
    UnknownVariant {
        expected: &'static [&'static str],
    },
    /// In the words of the type that was to be made.
    Custom(String),
    /// A null that leaves the default: no problem.
    KeepDefault,
    /// The problem has been told elsewhere.
    Told,
}

/// The value an error is about.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) node: usize,
    pub(super) ancestors: Vec<usize>,
    /// Whether the error only comes from a gap that another problem left.
    pub(super) follows: bool,
    pub(super) place: Place,
    /// What messages call it.
    pub(super) name: String,
    /// All keys that lead to it.
    pub(super) path: String,
    /// The type that was found.
    pub(super) found: &'static str,
    pub(super) value: Option<String>,
    pub(super) quoted: bool,
    /// Whether the value must not be shown.
    pub(super) secret: bool,
    pub(super) reference: Option<String>,
}

impl Error {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, spot: None }
    }
}

impl Kind {
    pub(super) fn message(&self) -> String {
        match self {
            Kind::Custom(message) => message.clone(),
            Kind::Type(expected) => format!("expected type '{expected}'"),
            Kind::Range(expected) => format!("overflows {}", go_name(expected)),
            Kind::MissingField(field) => format!("has no key '{field}'"),
            Kind::UnknownVariant { expected } => {
                format!("has an unknown value (valid values: [{}])", words(expected))
            }
            Kind::KeepDefault | Kind::Told => "has no value".to_owned(),
        }
    }
}

impl Spot {
    /// The problem as the user sees it.
    pub(super) fn problem(&self, kind: &Kind) -> Problem {
        let value = self.value.as_deref().unwrap_or_default();
        let shown = if self.secret { redact::REDACTED } else { value };
        let message = match kind {
            Kind::Type(expected) => format!("expected type '{expected}', got unconvertible type '{}'", self.found),
            Kind::Range(expected) => format!("cannot parse value, {shown} overflows {}", go_name(expected)),
            Kind::UnknownVariant { expected } if self.value.is_some() => {
                format!("has unknown value \"{shown}\" (valid values: [{}])", words(expected))
            }
            // Only words of the type itself may hold the value.
            Kind::Custom(text) if self.secret => redact::message(text, value),
            kind => kind.message(),
        };
        let mut problem = Problem::error(format!("'{}' {message}", self.name)).at(self.place).with_path(&*self.path);
        problem.help = self.help(kind, value);
        problem
    }

    fn help(&self, kind: &Kind, value: &str) -> Option<String> {
        if let Some(reference) = &self.reference {
            return Some(format!("the value comes from {reference}"));
        }
        match kind {
            Kind::Type("string") if self.value.is_some() => Some("put the value in quotes to make it text".to_owned()),
            Kind::Type("int" | "uint" | "float64" | "bool") if self.quoted => {
                Some("the quotes make it text: remove them".to_owned())
            }
            Kind::Type("bool") if self.found == "string" => Some("write true or false".to_owned()),
            Kind::MissingField(field) => Some(format!("add `{field}:`")),
            Kind::UnknownVariant { expected } if !self.secret => {
                suggest::nearest(value, expected.iter().copied().filter(|word| !word.is_empty()))
                    .map(|word| format!("did you mean `{word}`?"))
            }
            _ => None,
        }
    }
}

/// What may be written. That an empty text may stand for one of the words need not be said.
fn words(expected: &[&str]) -> String {
    expected.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

impl serde::de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(Kind::Custom(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, got unconvertible type '{}'", type_name(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("has invalid value {}, expected {expected}", Shown(&found)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("has {length} elements, expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::UnknownVariant { expected })
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::custom(format_args!("has invalid keys: {field}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::MissingField(field))
    }
}

/// A value as a message shows it: text in quotes, so that it can be found and redacted.
struct Shown<'a>(&'a Unexpected<'a>);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => write!(f, "{text:?}"),
            Unexpected::Unsigned(number) => write!(f, "{number}"),
            Unexpected::Signed(number) => write!(f, "{number}"),
            other => write!(f, "{other}"),
        }
    }
}

/// A number type's name in Go: `u16` is `uint16`.
fn go_name(name: &str) -> String {
    match name.strip_prefix('u') {
        Some(bits) => format!("uint{bits}"),
        None => name.replacen('i', "int", 1),
    }
}

/// A type's name in the Collector's messages.
fn type_name(found: &Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "int",
        Unexpected::Float(_) => "float64",
        Unexpected::Unit | Unexpected::Option => "nil",
        Unexpected::Seq | Unexpected::Bytes(_) => "[]interface {}",
        Unexpected::Map => "map[string]interface {}",
        _ => "string",
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind.message())
    }
}

impl std::error::Error for Error {}
