//! Regular expressions in Go's dialect (package `regexp/syntax`, Perl flags), as Prometheus reads them.
//!
//! The pattern is parsed as Go parses it, with Go's refusals and Go's words for them, into the syntax tree that the `regex`
//! crate compiles. So `\d`, `\w`, `\s` and `\b` are ASCII, `\Q…\E` quotes, a repetition counts at most to 1000, `[a&&b]` is a
//! plain class, and groups may be named `1x`. Differences that remain: expressions that nest deeper than [`DEPTH_MAX`] (Go:
//! 1000) or compile to more than [`COMPILED_BYTES_MAX`] are refused.

mod class;
mod parser;
#[cfg(test)]
mod tests;
mod tree;
mod unicode;

use regex::{CaptureLocations, Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};

/// An expression anchored at both ends, its groups' names, and room for one match.
pub(crate) struct GoRegex {
    pattern: Box<str>,
    regex: Regex,
    groups: Vec<Group>,
    places: CaptureLocations,
}

/// A group of the pattern as Go counts them; the first is the whole match.
struct Group {
    name: Option<Box<str>>,
    /// Its number in the compiled expression; none when it can never take part, as in `(a){0}`.
    compiled: Option<usize>,
}

/// How deep an expression may nest: compiling recurses. A database of published rules nests 6 deep at most.
const DEPTH_MAX: usize = 250;

/// What a compiled expression may take; it is allocated at start, from configuration only.
const COMPILED_BYTES_MAX: usize = 10 << 20;

impl GoRegex {
    /// Compiles `^(?s:pattern)$`, put together as text: that is what Prometheus does, odd alternations included.
    ///
    /// # Errors
    /// Go's message for what is wrong.
    pub(crate) fn anchored(pattern: &str) -> Result<Self, String> {
        let parsed = parser::parse(&format!("^(?s:{pattern})$"))?;
        // The parser counts its own tree; printing adds a group around each node at most.
        let nest = u32::try_from(DEPTH_MAX * 4).expect("a small constant");
        let regex = RegexBuilder::new(&parsed.tree.to_string())
            .nest_limit(nest)
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))?;
        let places = regex.capture_locations();
        let left = captures(&parsed.tree);
        let compiled =
            |group: usize| if group == 0 { Some(0) } else { Some(1 + left.iter().position(|&g| g == group)?) };
        let groups = parsed.names.into_iter().enumerate();
        let groups = groups.map(|(group, name)| Group { name, compiled: compiled(group) }).collect();
        Ok(Self { pattern: pattern.into(), regex, groups, places })
    }

    /// Where the compiled expression keeps group `number`, if it has it and it can match.
    pub(crate) fn numbered(&self, number: usize) -> Option<usize> {
        self.groups.get(number)?.compiled
    }

    /// The same for all groups with this name; Go lets several share one.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.groups.iter().filter(move |group| group.name.as_deref() == Some(name)).filter_map(|group| group.compiled)
    }

    /// Whether it matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The first match, if any: where each group stands.
    pub(crate) fn find(&mut self, text: &str) -> Option<&CaptureLocations> {
        self.regex.captures_read(&mut self.places, text)?;
        Some(&self.places)
    }

    /// Calls `each` with every match, in order.
    pub(crate) fn find_all<'t>(&self, text: &'t str, each: impl FnMut(regex::Captures<'t>)) {
        self.regex.captures_iter(text).for_each(each);
    }
}

/// The capture groups that are left in a tree, in order. Simplification drops what repeats zero times.
fn captures(tree: &Hir) -> Vec<usize> {
    let mut left = Vec::new();
    let mut waiting = vec![tree];
    while let Some(node) = waiting.pop() {
        if let HirKind::Capture(capture) = node.kind() {
            left.push(capture.index as usize);
        }
        waiting.extend(node.kind().subs().iter().rev());
    }
    left
}

impl std::fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GoRegex({:?})", self.pattern)
    }
}
