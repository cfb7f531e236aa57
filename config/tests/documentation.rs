//! What `docs/configuration.md` shows of problems is what is given. (That its YAML loads is tested with the real components, in
//! `tests/tests/documentation.rs`.)

use config::{Loaded, MapEnvironment, Problems, Sources, check, load};

mod components;

const PAGE: &str = include_str!("../../docs/configuration.md");

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = PAGE.split(&opening).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

fn judge(texts: &[&str]) -> (Loaded, Problems) {
    let sources = Sources { configs: texts.iter().map(|text| format!("yaml:{text}")).collect(), sets: Vec::new() };
    let env = MapEnvironment::new().with("DATABASE", "/var/lib/app/app.db");
    let loaded = load(&sources, &env);
    let mut problems = loaded.problems.clone();
    let document = loaded.document.as_ref().expect("a snippet is a configuration");
    problems.extend(check(document, &components::known()));
    problems.extend(components::decode_all(document));
    (loaded, problems)
}

#[test]
fn the_problem_on_the_page_is_what_is_given() {
    let mistake = blocks("yaml")[0].replace("- sql:", "- sqll:");
    let (loaded, problems) = judge(&[&mistake]);
    let shown = problems.render(&loaded.files).replace("--config yaml", "weir.yaml");
    assert!(blocks("text").contains(&shown), "{shown}");
    let json = problems.to_json(&loaded.files).to_string().replace("--config yaml", "weir.yaml");
    let on_page: serde_json::Value = serde_json::from_str(&blocks("json")[0]).expect("the page shows JSON");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).expect("JSON is given"), on_page);
}
