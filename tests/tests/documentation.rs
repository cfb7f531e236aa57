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

/// The parts of a configuration that hold components.
const CLASSES: [&str; 4] = ["receivers", "processors", "exporters", "extensions"];

/// Makes a whole configuration of a snippet, as docs/README.md says. `None`: another program's file.
fn whole(snippet: &Snippet) -> Option<String> {
    let first = snippet.text.lines().next().unwrap_or_default();
    let under = |key: &str, by: &str| {
        let lines = snippet.text.lines().map(|line| format!("{by}{line}\n"));
        format!("{key}\n{}", lines.collect::<String>())
    };
    let at_the_margin =
        |key: &str| snippet.text.lines().any(|line| line.starts_with(key) && line[key.len()..].starts_with(':'));
    if CLASSES.iter().chain(&["service"]).any(|key| at_the_margin(key)) {
        return Some(complete(&snippet.text));
    }
    match first.trim_start_matches("# ").split_whitespace().collect::<Vec<_>>().as_slice() {
        [class] if CLASSES.contains(class) => Some(complete(&under(&format!("{class}:"), "  "))),
        ["service"] => Some(complete(&under("service:", "  "))),
        [class, id] if CLASSES.contains(&format!("{class}s").as_str()) => {
            Some(complete(&under(&format!("{class}s:\n  {id}:"), "    ")))
        }
        [file] if first.starts_with("# ") && file.contains('.') => None,
        _ => panic!("{}:{}: docs/README.md says how such a block must begin", snippet.page, snippet.line),
    }
}

/// Puts the rest of a house around some of its parts: a pipeline through all components that are there, and others where it
/// would have none.
fn complete(parts: &str) -> String {
    const RECEIVER: &str = "{driver: sqlite, datasource: around.db, queries: [{sql: select 1 as one, metrics: [{metric_name: one, value_column: one}]}]}";
    const AROUND: [(&str, &str); 4] =
        [("sql_query/around", RECEIVER), ("", ""), ("prometheus/around", "{endpoint: '127.0.0.1:9999'}"), ("", "")];
    let mut yaml = parts.to_owned();
    let mut used = Vec::new();
    for (class, (id, body)) in CLASSES.into_iter().zip(AROUND) {
        let mut ids = ids_under(class, parts);
        let written = parts.lines().any(|line| line.starts_with(&format!("{class}:")));
        if !written && !body.is_empty() {
            // A block that writes its pipelines has named what it leaves out.
            let named = parts.split(&format!(" {class}: [")).nth(1).and_then(|rest| rest.split([']', ',']).next());
            let id = named.unwrap_or(id);
            yaml.push_str(&format!("{class}:\n  {id}: {body}\n"));
            ids.push(id.to_owned());
        }
        // `exporters::prometheus::endpoint` names a component too.
        let paths = parts.lines().filter_map(|line| line.strip_prefix(class)?.strip_prefix("::")?.split("::").next());
        ids.extend(paths.map(str::to_owned));
        used.push(ids.join(", "));
    }
    let pipelines = format!(
        "  pipelines:\n    metrics: {{receivers: [{}], processors: [{}], exporters: [{}]}}\n",
        used[0], used[1], used[2]
    );
    let extensions = format!("  extensions: [{}]\n", used[3]);
    match (yaml.contains("\nservice:\n") || yaml.starts_with("service:\n"), yaml.contains("\n  pipelines:")) {
        (true, true) => yaml,
        (true, false) => yaml.replace("service:\n", &format!("service:\n{pipelines}")),
        (false, _) => format!("{yaml}service:\n{extensions}{pipelines}"),
    }
}

/// The ids that stand under a key at the left margin.
fn ids_under(class: &str, parts: &str) -> Vec<String> {
    let mut lines = parts.lines().skip_while(|line| *line != format!("{class}:"));
    lines.next();
    let inside = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '#']));
    let ids =
        inside.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with([' ', '#']))?.split_once(':'));
    ids.map(|(id, _)| id.to_owned()).collect()
}

fn validated(config: &str) -> Outcome {
    let environment = [
        ("CB_DATABASE", "circuitbreaker.db"),
        ("DATABASE", "some.db"),
        ("WEIR_DATABASE", "weir.db"),
        ("CB_DB_URL", "postgresql://weir:secret@db/circuitbreaker"),
        ("BB_DB_URL", "postgresql://reader:secret@db/bigbrotr"),
        ("RM_DATABASE", "restic-manager.db"),
        ("RM_METRICS_TOKEN", "a-token-of-proper-length"),
        ("CYCLES_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef"),
    ];
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
        let links = index.matches(&format!("({name})")).count();
        assert_eq!(links, usize::from(name != "README.md"), "docs/README.md links {name} {links} times");
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
