//! What is often wrong where YAML cannot be read: the parser stops behind the mistake and names a rule of its own.

use crate::files::lines;

/// Advice for a syntax error in a line (from 1).
pub(super) fn syntax(text: &str, line: usize, message: &str) -> Option<String> {
    let index = line.saturating_sub(1);
    let mut before = lines(text).take(index).enumerate().collect::<Vec<_>>();
    before.retain(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let current = lines(text).nth(index).unwrap_or("");
    if let Some(advice) = own_line(current, message) {
        return Some(advice.to_owned());
    }
    let (above, line) = before.last()?;
    let above = above + 1;
    let content = outside_quotes(line);
    if content.matches(['[', '{']).count() > content.matches([']', '}']).count() {
        return Some(format!("the bracket in line {above} may not be closed"));
    }
    if line.matches('"').count() % 2 == 1 {
        return Some(format!("the quote in line {above} may not be closed"));
    }
    if content.contains(':') && !content.contains(": ") && !content.trim_end().ends_with(':') {
        return Some(format!("line {above} may lack a space after `:`"));
    }
    if message.contains("expected key") {
        return Some(match current.trim_start().starts_with("- ") {
            true => "a list item cannot stand beside keys: indent it under its key".to_owned(),
            false => "this line is indented otherwise than the keys it stands with".to_owned(),
        });
    }
    None
}

/// What the line itself shows.
fn own_line(line: &str, message: &str) -> Option<&'static str> {
    let content = line.trim_start();
    let indent = &line[..line.len() - content.len()];
    if indent.contains('\t') {
        return Some("YAML is indented with spaces: replace the tab");
    }
    let value = content.split_once(": ").map_or(content, |(_, value)| value.trim_start());
    let flow = value.starts_with(['[', '{']);
    if flow && line.contains("${") {
        return Some("inside [ ] and { } a reference stands in quotes: \"${env:NAME}\"");
    }
    if value.starts_with(['@', '`', '%']) {
        return Some("a value that starts with this character stands in quotes");
    }
    if message.contains("escape") {
        return Some("in double quotes `\\` begins an escape: use single quotes to keep it as text");
    }
    if value.starts_with('*') {
        return Some("a value that starts with `*` is an alias; put it in quotes to keep it as text");
    }
    if content.matches(": ").count() > 1 && !flow && !value.starts_with(['"', '\'']) {
        return Some("a value that holds `: ` stands in quotes");
    }
    None
}

/// A line without what stands in double quotes.
fn outside_quotes(line: &str) -> String {
    line.split('"').step_by(2).collect()
}
