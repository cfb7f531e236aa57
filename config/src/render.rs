//! Problems as text for a terminal and as JSON for an editor.

use serde_json::{Value, json};

use crate::files::Files;
use crate::place::Place;
use crate::problem::{Problem, Problems};

/// The widest part of a source line that is shown; longer lines are cut around the caret.
const MAX_SHOWN_CHARS: usize = 140;

impl Problems {
    /// All problems as text: `file:line:column: severity: message`, the source line, a caret, the path, the help.
    pub fn render(&self, files: &Files) -> String {
        let mut out = String::new();
        let mut source = SourceLine::default();
        for problem in self {
            if !out.is_empty() {
                out.push('\n');
            }
            render_one(&mut out, problem, files, &mut source);
        }
        if self.omitted() > 0 {
            out.push_str(&format!("\n… and {} more problems\n", self.omitted()));
        }
        out
    }

    /// All problems as a JSON array of `{severity, file, line, column, path, message, help, related}`; `file`, `line`,
    /// `column` and `help` are null when there are none.
    pub fn to_json(&self, files: &Files) -> Value {
        self.iter().map(|problem| json_one(problem, files)).collect()
    }
}

/// The last line that was fetched: problems stand in order, and redacting a line of a mebibyte once is enough.
#[derive(Default)]
struct SourceLine {
    at: Option<(u32, u32)>,
    text: Option<String>,
}

impl SourceLine {
    fn fetch(&mut self, place: Place, files: &Files) -> Option<&str> {
        let at = Some((place.file, place.line));
        if self.at != at {
            self.text = files.line(place);
            self.at = at;
        }
        self.text.as_deref()
    }
}

fn render_one(out: &mut String, problem: &Problem, files: &Files, source: &mut SourceLine) {
    if let Some(place) = problem.place {
        out.push_str(&printable(&files.locate(place)));
        out.push_str(": ");
    }
    out.push_str(&format!("{}: {}\n", problem.severity, printable(&problem.message)));
    let shown = problem.place.and_then(|place| Some((place, source.fetch(place, files)?)));
    let gutter = problem.place.map_or(0, |place| place.line.to_string().len());
    if let Some((place, line)) = shown {
        let (line, column) = cut(line, place.column as usize);
        let pad: String = line.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        out.push_str(&format!(" {} | {}\n", place.line, printable(&line)));
        out.push_str(&format!(" {:gutter$} | {pad}^\n", ""));
    }
    for related in &problem.related {
        out.push_str(&format!(" {:gutter$} = {} at {}\n", "", related.label, printable(&files.locate(related.place))));
    }
    if !problem.path.is_empty() {
        out.push_str(&format!(" {:gutter$} = path: {}\n", "", printable(&problem.path)));
    }
    if let Some(help) = &problem.help {
        out.push_str(&format!(" {:gutter$} = help: {}\n", "", printable(help)));
    }
}

fn json_one(problem: &Problem, files: &Files) -> Value {
    json!({
        "severity": problem.severity.to_string(),
        "file": problem.place.map(|place| files.name(place)),
        "line": problem.place.map(|place| place.line),
        "column": problem.place.map(|place| place.column),
        "path": problem.path,
        "message": problem.message,
        "help": problem.help,
        "related": problem.related.iter().map(|related| json!({
            "label": related.label,
            "file": files.name(related.place),
            "line": related.place.line,
            "column": related.place.column,
        })).collect::<Vec<_>>(),
    })
}

/// Cuts a line to what fits around `column` (from 1) and gives the column in what is left.
fn cut(line: &str, column: usize) -> (String, usize) {
    let length = line.chars().count();
    let column = column.clamp(1, length + 1);
    if length <= MAX_SHOWN_CHARS {
        return (line.to_owned(), column);
    }
    let from = column.saturating_sub(MAX_SHOWN_CHARS / 2).min(length - MAX_SHOWN_CHARS);
    let mut part: String = line.chars().skip(from).take(MAX_SHOWN_CHARS).collect();
    let mut column = column - from;
    if from > 0 {
        part.insert(0, '…');
        column += 1;
    }
    if from + MAX_SHOWN_CHARS < length {
        part.push('…');
    }
    (part, column)
}

/// Replaces characters that would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
