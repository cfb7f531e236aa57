//! The corpus of mistakes: each `corpus/*.yaml` gives exactly the text in the `.txt` beside it.
//!
//! Comments at the head of a file set the scene: `#! env NAME=value` sets a variable, `#! set key=value` adds a
//! `--set`, `#! config URI` adds a `--config` after the file, `#! alone` leaves the file itself out.
//! `WEIR_UPDATE_GOLDEN=1 cargo test -p config --test corpus` writes the expected texts anew: read the difference.

mod components;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Once;

use config::{Loaded, MapEnvironment, Problems, Sources, check, load};

/// How many mistakes the corpus must hold.
const AT_LEAST: usize = 80;

/// A value that must never be shown.
const CANARY: &str = "c4n4ry";

/// Goes to the corpus, so that names of files are short in the messages.
fn enter_corpus() {
    static ENTER: Once = Once::new();
    ENTER.call_once(|| {
        let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        std::env::set_current_dir(corpus).expect("the corpus is part of the crate");
    });
}

/// The names of all files with this ending, without it.
fn names(ending: &str) -> BTreeSet<String> {
    enter_corpus();
    let entries = std::fs::read_dir(".").expect("the corpus can be listed");
    let names = entries.map(|entry| entry.expect("an entry can be read").file_name().into_string().expect("UTF-8"));
    names.filter_map(|name| name.strip_suffix(ending).map(str::to_owned)).collect()
}

/// Loads one case as the agent would: document, types and references, every component.
fn judge(name: &str) -> (Loaded, Problems) {
    let file = format!("{name}.yaml");
    let bytes = std::fs::read(&file).expect("the case can be read");
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut env = MapEnvironment::new();
    let mut sources = Sources { configs: vec![file], sets: Vec::new() };
    for line in head.lines().map_while(|line| line.strip_prefix("#! ")) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("env", pair) => {
                let (name, value) = pair.split_once('=').expect("env NAME=value");
                env = env.with(name, value.replace("\\n", "\n"));
            }
            ("set", argument) => sources.sets.push(argument.to_owned()),
            ("config", uri) => sources.configs.push(uri.to_owned()),
            ("alone", _) => drop(sources.configs.remove(0)),
            other => panic!("{name}: unknown directive {other:?}"),
        }
    }
    let loaded = load(&sources, &env);
    let mut problems = loaded.problems.clone();
    if let Some(document) = &loaded.document {
        problems.extend(check(document, &components::known()));
        problems.extend(components::decode_all(document));
    }
    problems.sort();
    (loaded, problems)
}

#[test]
fn every_mistake_gets_its_exact_message() {
    let update = std::env::var_os("WEIR_UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for name in names(".yaml") {
        let (loaded, problems) = judge(&name);
        let shown = problems.render(&loaded.files);
        let path = format!("{name}.txt");
        if update {
            std::fs::write(&path, &shown).expect("the expected text can be written");
        }
        match std::fs::read_to_string(&path) {
            Ok(expected) if expected == shown => {}
            Ok(expected) => wrong.push(format!("== {name}\n-- expected\n{expected}-- found\n{shown}")),
            Err(error) => wrong.push(format!("== {name}: no {path}: {error}\n{shown}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_complete() {
    let cases = names(".yaml");
    assert!(cases.len() >= AT_LEAST, "{} cases", cases.len());
    assert_eq!(cases, names(".txt"), "each case has its text, each text its case");
}

#[test]
fn every_case_is_a_mistake_and_shows_its_place() {
    for name in names(".yaml") {
        let (loaded, problems) = judge(&name);
        assert!(!problems.is_empty(), "{name} has no problem");
        let json = problems.to_json(&loaded.files);
        let list = json.as_array().expect("problems are a list");
        assert_eq!(list.len(), problems.len());
        for (problem, json) in problems.iter().zip(list) {
            assert_eq!(json["message"], problem.message.as_str());
            assert_eq!(json["severity"], problem.severity.to_string());
            assert_eq!(json["line"].as_u64(), problem.place.map(|place| u64::from(place.line)), "{name}");
            assert_eq!(json["file"].is_string(), problem.place.is_some(), "{name}");
        }
    }
}

#[test]
fn no_secret_is_ever_shown() {
    for name in names(".yaml") {
        let (loaded, problems) = judge(&name);
        for shown in [problems.render(&loaded.files), problems.to_json(&loaded.files).to_string(), problems.to_string()]
        {
            assert!(!shown.contains(CANARY), "{name}:\n{shown}");
        }
        assert!(!config::print(&loaded, true).contains(CANARY), "{name}");
        assert!(!format!("{loaded:?}").contains(CANARY), "{name}");
    }
}
