//! One rule: what it says, and what it does to a label set.

use md5::{Digest, Md5};

use super::case;
use super::labels::Labels;
use super::names::NameScheme;
use super::regexp::GoRegex;
use super::template::Template;

/// What a rule does (Prometheus `relabel.Action`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Action {
    #[default]
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// A rule that can be applied: checked, its expression compiled, its templates read.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) source_labels: Vec<String>,
    pub(crate) separator: String,
    pub(crate) step: Step,
}

/// What to do with the joined source values.
#[derive(Debug)]
pub(crate) enum Step {
    Keep(GoRegex),
    Drop(GoRegex),
    KeepEqual { target: String },
    DropEqual { target: String },
    Replace { regex: GoRegex, target: Template, replacement: Template },
    HashMod { modulus: u64, target: String },
    Case { target: String, change: fn(&str) -> String },
    LabelMap { regex: GoRegex, replacement: Template },
    LabelDrop(GoRegex),
    LabelKeep(GoRegex),
}

/// Whether a series goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Dropped,
}

impl Action {
    pub(crate) const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// By its name, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let lower = case::lower(name);
        Self::ALL.into_iter().find(|action| action.name() == lower)
    }
}

impl Rule {
    /// Whether it can change an identity, not only keep or drop it.
    pub(crate) fn rewrites(&self) -> bool {
        !matches!(self.step, Step::Keep(_) | Step::Drop(_) | Step::KeepEqual { .. } | Step::DropEqual { .. })
    }

    /// Applies the rule. After [`Fate::Dropped`] the labels mean nothing.
    pub(crate) fn apply(&mut self, labels: &mut Labels<'_>, names: NameScheme) -> Fate {
        let keep = |keep: bool| if keep { Fate::Kept } else { Fate::Dropped };
        let value = join(&self.source_labels, &self.separator, labels);
        match &mut self.step {
            Step::Keep(regex) => return keep(regex.is_match(&value)),
            Step::Drop(regex) => return keep(!regex.is_match(&value)),
            Step::KeepEqual { target } => return keep(labels.get(target) == value),
            Step::DropEqual { target } => return keep(labels.get(target) != value),
            Step::Replace { regex, target, replacement } => {
                if let Some(places) = regex.find(&value) {
                    let (mut name, mut text) = (String::new(), String::new());
                    target.expand(&value, places, &mut name);
                    // A name that came out wrong leaves everything as it was.
                    if names.is_label(&name) {
                        replacement.expand(&value, places, &mut text);
                        labels.set(&name, text);
                    }
                }
            }
            Step::HashMod { modulus, target } => {
                let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
                let half = u64::from_be_bytes(digest[8..].try_into().expect("half of 16 bytes"));
                labels.set(target, (half % *modulus).to_string());
            }
            Step::Case { target, change } => labels.set(target, change(&value)),
            Step::LabelMap { regex, replacement } => {
                for (name, value) in labels.snapshot() {
                    if regex.is_match(&name) {
                        labels.set(&replace_all(regex, &name, replacement), value);
                    }
                }
            }
            Step::LabelDrop(regex) => labels.retain(|name| !regex.is_match(name)),
            Step::LabelKeep(regex) => labels.retain(|name| regex.is_match(name)),
        }
        Fate::Kept
    }
}

fn join(sources: &[String], separator: &str, labels: &Labels<'_>) -> String {
    let mut joined = String::new();
    for (index, source) in sources.iter().enumerate() {
        joined.push_str(if index > 0 { separator } else { "" });
        joined.push_str(labels.get(source));
    }
    joined
}

/// All matches replaced; there is more than one only when an alternation broke the anchors apart.
fn replace_all(regex: &GoRegex, text: &str, replacement: &Template) -> String {
    let (mut out, mut end) = (String::new(), 0);
    regex.find_all(text, |captures| {
        let found = captures.get_match();
        out.push_str(&text[end..found.start()]);
        replacement.expand_captures(&captures, &mut out);
        end = found.end();
    });
    out.push_str(&text[end..]);
    out
}
