//! Conditions and attributes: what the rules of metrics and of logs are made of.

use config::{Problem, StringList};
use pipeline::mapping::CellType;
use pipeline::mapping::counted::{AllowList, Condition, CountAttribute, Test};
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Check;

/// One element of `when`: a field, and one thing that must be true of it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct When {
    /// The field.
    pub(super) field: String,
    /// It is this text, or this number.
    pub(super) equals: Option<String>,
    /// It is one of these.
    pub(super) r#in: StringList,
    /// It begins so.
    pub(super) starts_with: Option<String>,
    /// This regular expression matches somewhere in it.
    pub(super) matches: Option<String>,
    /// It is this: `boolean`, `number`, `string`, `object` or `array`.
    pub(super) r#type: Option<TypeWord>,
    /// `true`: it is there and not null; `false`: it is not.
    pub(super) exists: Option<bool>,
    /// Turns the condition round.
    pub(super) not: bool,
}

/// The key `type` of a condition: what JSON calls the types of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TypeWord {
    /// `true` or `false`.
    Boolean,
    /// A number, whole or not.
    Number,
    /// A text.
    String,
    /// Named values.
    Object,
    /// Values in a row.
    Array,
}

/// One element of `attributes`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Attribute {
    /// Its key. Required.
    pub(super) name: String,
    /// The field with its value; the one called like the key by default.
    pub(super) field: Option<String>,
    /// Whether there is such an attribute at all, `true` by default: a switch for labels that not every installation wants.
    pub(super) enabled: Option<bool>,
    /// What stands for a field that is missing, null or blank. By default a missing or null one has no attribute.
    pub(super) null: Option<String>,
    /// Whether upper-case letters become lower-case ones.
    pub(super) lower_case: bool,
    /// The values that may be; all others become `other`.
    pub(super) allow: Vec<String>,
    /// What stands for values that `allow` does not name, `other` by default.
    pub(super) other: Option<String>,
    /// Longer text is cut to so many bytes, 256 by default.
    pub(super) max_bytes: Option<usize>,
}

/// Longest attribute that may be asked for: a ledger keeps 8 KiB of attributes a series.
const ATTRIBUTE_BYTES_MAX: usize = 4096;
/// The largest automaton of a condition, 1 MiB.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl When {
    /// The condition that stands at `path`.
    pub(super) fn condition(&self, path: &str, check: &mut Check<'_>) -> Option<Condition> {
        let cell = check.field(path, "field", &self.field);
        let mut tests = Vec::new();
        let mut not = self.not;
        if let Some(text) = &self.equals {
            tests.push(Test::In([text.as_str().into()].into()));
        }
        if !self.r#in.is_empty() {
            tests.push(Test::In(self.r#in.iter().map(|text| text.as_str().into()).collect()));
        }
        if let Some(text) = &self.starts_with {
            tests.push(Test::StartsWith(text.as_str().into()));
        }
        if let Some(word) = self.r#type {
            tests.push(Test::Is(word.into()));
        }
        if let Some(exists) = self.exists {
            not ^= !exists;
            tests.push(Test::Exists);
        }
        if let Some(pattern) = &self.matches {
            match regex::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build() {
                Ok(regex) => tests.push(Test::Matches(regex)),
                Err(error) => {
                    check.error(path, "matches", &format!("this regular expression cannot be used: {error}"));
                    return None;
                }
            }
        }
        let count = tests.len();
        match (tests.pop(), count) {
            (Some(test), 1) => Some(Condition { cell: cell?, test, not }),
            _ => {
                let what = format!("a condition says one thing of its field, and this one says {count}");
                check.problem(path, "", &what, Some("one of equals, in, starts_with, matches, type, exists"));
                None
            }
        }
    }
}

impl From<TypeWord> for CellType {
    fn from(word: TypeWord) -> Self {
        match word {
            TypeWord::Boolean => Self::Boolean,
            TypeWord::Number => Self::Number,
            TypeWord::String => Self::String,
            TypeWord::Object => Self::Object,
            TypeWord::Array => Self::Array,
        }
    }
}

impl Attribute {
    /// The rule of the attribute that stands at `path`.
    pub(super) fn rule(&self, path: &str, check: &mut Check<'_>) -> Option<CountAttribute> {
        if self.name.is_empty() {
            check.error(path, "name", "'name' is missing: an attribute needs a key");
        }
        let field = self.field.as_deref().unwrap_or(&self.name);
        let cell = check.field(path, "field", field);
        if self.other.is_some() && self.allow.is_empty() {
            check.error(path, "other", "'other' needs an 'allow' list: without one no value is another");
        }
        let max_bytes = self.max_bytes.unwrap_or(256);
        if !(1..=ATTRIBUTE_BYTES_MAX).contains(&max_bytes) {
            check.error(path, "max_bytes", &format!("'max_bytes' must be between 1 and {ATTRIBUTE_BYTES_MAX}"));
        }
        let other = self.other.as_deref().unwrap_or("other");
        let allow = || AllowList::new(self.allow.iter().map(|value| value.as_str().into()), other);
        Some(CountAttribute {
            null: self.null.as_deref().map(Into::into),
            lower_case: self.lower_case,
            allow: (!self.allow.is_empty()).then(allow),
            max_bytes,
            ..CountAttribute::new(self.name.as_str(), cell?)
        })
    }
}

impl Check<'_> {
    /// The conditions of a list that stands at `path`.
    pub(super) fn conditions(&mut self, path: &str, list: &[When]) -> Vec<Condition> {
        let each = list.iter().enumerate();
        each.filter_map(|(at, when)| when.condition(&format!("{path}[{at}]"), self)).collect()
    }

    /// The attributes of a list that stands at `path`.
    pub(super) fn attributes(&mut self, path: &str, list: &[Attribute]) -> Vec<CountAttribute> {
        for (at, attribute) in list.iter().enumerate() {
            if list[..at].iter().any(|other| other.name == attribute.name) {
                let what = format!("the attribute {:?} stands twice", attribute.name);
                self.error(&format!("{path}[{at}]"), "name", &what);
            }
        }
        let each = list.iter().enumerate();
        // What is switched off must be right all the same: somebody will switch it on.
        let each = each.map(|(at, attribute)| (attribute, attribute.rule(&format!("{path}[{at}]"), self)));
        each.filter(|(attribute, _)| attribute.enabled != Some(false)).filter_map(|(_, rule)| rule).collect()
    }

    pub(super) fn error(&mut self, path: &str, key: &str, what: &str) {
        self.problem(path, key, what, None);
    }

    pub(super) fn problem(&mut self, path: &str, key: &str, what: &str, help: Option<&str>) {
        let at = if key.is_empty() { path.to_owned() } else { format!("{path}.{key}") };
        let problem: Problem = self.section.error(&at, what);
        self.problems.push(match help {
            Some(help) => problem.with_help(help),
            None => problem,
        });
    }

    /// The place of a field that the key `key` names.
    pub(super) fn field(&mut self, path: &str, key: &str, name: &str) -> Option<usize> {
        if name.is_empty() {
            self.problem(path, key, &format!("'{key}' must name a field"), Some("such as data.amount or /data/amount"));
            return None;
        }
        self.fields.place(name).map_err(|what| self.error(path, key, &what)).ok()
    }
}
