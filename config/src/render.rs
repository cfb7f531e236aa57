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

#[cfg(test)]
mod tests {
    use super::{MAX_SHOWN_CHARS, cut, printable};
    use crate::{Files, Place, Problem, Problems};

    #[test]
    fn the_caret_stands_under_its_column_in_a_cut_line() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let (shown, column) = cut(&line, 501);
        assert_eq!(shown.chars().nth(column - 1), Some('X'));
        assert_eq!(shown.chars().count(), MAX_SHOWN_CHARS + 2);
        assert_eq!(cut("short", 99), ("short".to_owned(), 6));
        let (shown, column) = cut(&line, 1);
        assert!(column == 1 && !shown.starts_with('…') && shown.ends_with('…'));
    }

    #[test]
    fn tabs_keep_their_width_and_nothing_steers_the_terminal() {
        let mut files = Files::default();
        let file = files.add("a\u{1b}.yaml", "\tx: \u{1b}[31m\n");
        let place = Place { file, line: 1, column: 2 };
        let problems: Problems = [Problem::warning("bad\u{7}\nworse").at(place)].into_iter().collect();
        let shown = problems.render(&files);
        assert_eq!(shown, "a\u{fffd}.yaml:1:2: warning: bad\u{fffd}\u{fffd}worse\n 1 | \tx: \u{fffd}[31m\n   | \t^\n");
        assert_eq!(printable("a\tb"), "a\tb");
    }

    #[test]
    fn more_problems_than_are_kept_are_counted() {
        let mut problems: Problems = (0..1_200).map(|n| Problem::warning(n.to_string())).collect();
        assert!(!problems.has_errors());
        problems.push(Problem::error("last"));
        assert!(problems.has_errors() && problems.len() == 1_000);
        assert!(problems.render(&Files::default()).ends_with("\n… and 201 more problems\n"));
    }
}
