//! What the pages say is true: their configurations load, their commands exist, their examples agree with their files.

use rusqlite::Connection;
use tests::{Outcome, Weir, repository};

/// A fenced block of a page.
struct Snippet {
    page: String,
    /// The line its fence stands on, from 1.
    line: usize,
    language: String,
    text: String,
}

/// All fenced blocks of all pages.
fn snippets() -> Vec<Snippet> {
    let mut found = Vec::new();
    for page in repository::files("", ".md") {
        let text = repository::text(&page);
        let mut open: Option<Snippet> = None;
        for (at, line) in text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    let language = info.trim().to_owned();
                    open = Some(Snippet { page: page.clone(), line: at + 1, language, text: String::new() });
                }
                (Some(_), Some(_)) => found.extend(open.take()),
                (None, Some(snippet)) => snippet.text.push_str(&format!("{line}\n")),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{page} has a fence that is never closed");
    }
    found
}

/// Makes a whole configuration of a snippet, as docs/README.md says: a whole one stands for itself; one whose first line is
/// `# receivers`, `# processors`, `# exporters`, `# extensions` or `# service` holds what is written under that key, and
/// `# receiver sql_query` (processor, exporter, extension) the body of one component. `None`: another tool's file,
/// named in the first line as `# prometheus.yml`.
fn whole(snippet: &Snippet) -> Option<String> {
    let first = snippet.text.lines().next().unwrap_or_default();
    let Some(says) =
        first.strip_prefix("# ").filter(|_| !snippet.text.lines().any(|line| line.starts_with("service:")))
    else {
        return Some(snippet.text.clone());
    };
    let indented = |by: &str| snippet.text.lines().map(|line| format!("{by}{line}\n")).collect::<String>();
    let words: Vec<&str> = says.split_whitespace().collect();
    match words.as_slice() {
        [class @ ("receivers" | "processors" | "exporters" | "extensions")] => {
            let own = format!("{class}:\n{}", indented("  "));
            let ids = snippet.text.lines().filter(|line| !line.starts_with([' ', '#']));
            let ids: Vec<&str> = ids.filter_map(|line| line.split_once(':')).map(|(id, _)| id.trim()).collect();
            Some(around(class, &own, &ids))
        }
        ["service"] => Some(around("service", &format!("service:\n{}", indented("  ")), &[])),
        [class @ ("receiver" | "processor" | "exporter" | "extension"), id] => {
            let own = format!("{class}s:\n  {id}:\n{}", indented("    "));
            Some(around(&format!("{class}s"), &own, &[id]))
        }
        [file] if file.contains('.') => None,
        _ => panic!("{}:{}: the first line {first:?} is none that docs/README.md knows", snippet.page, snippet.line),
    }
}

/// Puts the rest of a house around one section.
fn around(class: &str, own: &str, ids: &[&str]) -> String {
    const RECEIVER: &str = "sql_query/around: {driver: sqlite, datasource: around.db, queries: [{sql: select 1 as one, metrics: [{metric_name: one, value_column: one}]}]}";
    const EXPORTER: &str = "prometheus/around: {endpoint: '127.0.0.1:9999'}";
    let used = |which: &str, other: &str| if class == which { ids.join(", ") } else { other.to_owned() };
    let mut yaml = own.to_owned();
    if class != "receivers" {
        yaml.push_str(&format!("receivers:\n  {RECEIVER}\n"));
    }
    if class != "exporters" {
        yaml.push_str(&format!("exporters:\n  {EXPORTER}\n"));
    }
    if class != "service" {
        yaml.push_str(&format!(
            "service:\n  extensions: [{}]\n  pipelines:\n    metrics: {{receivers: [{}], processors: [{}], exporters: [{}]}}\n",
            used("extensions", ""),
            used("receivers", "sql_query/around"),
            used("processors", ""),
            used("exporters", "prometheus/around"),
        ));
    }
    yaml
}

fn validated(config: &str) -> Outcome {
    let environment = [("CB_DATABASE", "circuitbreaker.db"), ("WEIR_DATABASE", "weir.db")];
    Weir::command(&["validate", "--config", config], &environment)
}

#[test]
fn every_configuration_in_the_pages_loads() {
    let mut wrong = Vec::new();
    for snippet in snippets().iter().filter(|snippet| snippet.language == "yaml") {
        let Some(yaml) = whole(snippet) else { continue };
        let outcome = validated(&format!("yaml:{yaml}"));
        if outcome.code() != 0 {
            wrong.push(format!("{}:{}\n{yaml}\n{}", snippet.page, snippet.line, outcome.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_loads_without_a_word() {
    let examples: Vec<String> = repository::files("examples", ".yaml");
    assert!(examples.len() >= 2);
    for path in examples {
        let outcome = validated(&path);
        assert_eq!(outcome.code(), 0, "{path}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("warning"), "{path}: {}", outcome.stderr);
        let text = repository::text(&path);
        assert!(text.contains("${env:WEIR_TELEMETRY:-localhost:8888}"), "{path} cannot run beside another weir");
    }
}

#[test]
fn commands_in_the_pages_exist() {
    let verbs = Weir::command(&["--help"], &[]);
    assert_eq!(verbs.code(), 0);
    let mut seen = 0;
    for snippet in snippets().iter().filter(|snippet| ["sh", "console"].contains(&snippet.language.as_str())) {
        for line in snippet.text.lines() {
            let line = line.trim_start_matches("$ ");
            for start in ["./", "bash "] {
                if let Some(script) = line.strip_prefix(start).and_then(|rest| rest.split_whitespace().next()) {
                    assert!(
                        repository::root().join(script).is_file(),
                        "{}:{}: no file {script}",
                        snippet.page,
                        snippet.line
                    );
                    seen += 1;
                }
            }
            let after = line
                .split_once("weir ")
                .or_else(|| line.split_once("cargo run --release -p agent -- "))
                .map(|(_, after)| after);
            if let Some(verb) =
                after.and_then(|after| after.split_whitespace().next()).filter(|verb| !verb.starts_with('-'))
            {
                assert!(
                    verbs.stdout.contains(&format!("\n  {verb}")),
                    "{}:{}: no command `weir {verb}`",
                    snippet.page,
                    snippet.line
                );
                seen += 1;
            }
            for path in line.split_whitespace().filter(|word| word.starts_with("examples/") && !word.contains('*')) {
                assert!(repository::root().join(path).exists(), "{}:{}: no file {path}", snippet.page, snippet.line);
            }
        }
    }
    assert!(seen >= 3, "the pages show only {seen} commands");
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in repository::files("", ".md") {
        let folder = repository::root().join(&page);
        let folder = folder.parent().expect("a page stands in a folder");
        for link in repository::text(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            let outside = link.contains("://") || path.is_empty();
            assert!(outside || folder.join(path).exists(), "{page} links to {link}, which is not there");
        }
    }
}

#[test]
fn the_index_knows_every_page() {
    let index = repository::text("docs/README.md");
    for page in repository::files("docs", ".md") {
        let name = page.trim_start_matches("docs/");
        assert!(name == "README.md" || index.contains(&format!("({name})")), "docs/README.md does not link {name}");
    }
}

#[test]
fn the_changelog_has_room_for_what_comes() {
    let text = repository::text("CHANGELOG.md");
    let unreleased =
        text.lines().position(|line| line == "## Unreleased").expect("CHANGELOG.md has an Unreleased section");
    let first = text.lines().position(|line| line.starts_with("## ")).expect("it has sections");
    assert_eq!(unreleased, first, "Unreleased stands first");
}

#[test]
fn the_inventory_is_what_its_sql_says() {
    let committed = Connection::open_with_flags(
        repository::root().join("examples/quickstart/inventory.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .expect("the database is committed");
    let made = Connection::open_in_memory().expect("memory is there");
    made.execute_batch(&repository::text("examples/quickstart/inventory.sql")).expect("it is SQL");
    let dump = |connection: &Connection| -> Vec<String> {
        let mut rows = connection.prepare("select sql from sqlite_schema order by name").expect("SQL");
        let schema = rows.query_map([], |row| row.get::<_, String>(0)).expect("SQL").map(Result::unwrap);
        let mut lines: Vec<String> = schema.collect();
        let mut rows = connection.prepare("select id || '|' || name || '|' || site || '|' || kind || '|' || coalesce(memory_gb, 'null') from devices order by id").expect("SQL");
        lines.extend(rows.query_map([], |row| row.get::<_, String>(0)).expect("SQL").map(Result::unwrap));
        lines
    };
    assert_eq!(dump(&committed), dump(&made), "make it again: sqlite3 inventory.db < inventory.sql");
    assert_eq!(committed.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)), Ok("delete".into()));
}

#[test]
fn the_quickstart_is_short() {
    let text = repository::text("examples/quickstart/weir.yaml");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')).count();
    assert!(lines <= 15, "{lines} lines are no quickstart");
}
