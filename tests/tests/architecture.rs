//! The house keeps its shape: which way arrows may fall, how long a page may be, what no page may say.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};
use tests::repository;

/// Who may stand on whom. A crate that is not named here may stand on nobody.
const ARROWS: &[(&str, &[&str])] = &[
    ("pipeline", &["pdata", "config"]),
    ("receivers", &["pipeline", "pdata", "config"]),
    ("processors", &["pipeline", "pdata", "config"]),
    ("exporters", &["pipeline", "pdata", "config"]),
    ("agent", &["receivers", "processors", "exporters", "pipeline", "pdata", "config"]),
    ("tests", EVERYONE),
    ("benches", &["receivers", "processors", "exporters", "pipeline", "pdata", "config", "tally", "tests"]),
    ("ledger-crash", &["pipeline", "pdata"]),
    ("queue-crash", &["config", "ledger-crash", "pipeline"]),
];
const EVERYONE: &[&str] = &["agent", "receivers", "processors", "exporters", "pipeline", "pdata", "config", "tally"];
/// Beside the house, not part of the product: may look in at every window, but nobody may stand on them.
const BESIDE: &[&str] = &["tests", "benches", "ledger-crash", "queue-crash", "tally"];
/// The longest a page of the product may be, tests not counted.
const LONGEST: usize = 500;

/// The product's source files: path and text without its tests.
fn product() -> Vec<(String, String)> {
    let crates = ["agent", "receivers", "processors", "exporters", "pipeline", "pdata", "config"];
    let mut found = Vec::new();
    for name in crates {
        for path in repository::files(&format!("{name}/src"), ".rs") {
            let tests = path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/testing");
            if !tests {
                let text = repository::text(&path);
                let own = text.split("#[cfg(test)]\nmod tests {").next().expect("a split has a first part").to_owned();
                found.push((path, own));
            }
        }
    }
    assert!(found.len() > 20, "the walk found only {} files", found.len());
    found
}

/// A file's lines without comments, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line.split("//").next().expect("a split has a first part")))
}

#[test]
fn arrows_only_fall() {
    let metadata =
        MetadataCommand::new().current_dir(repository::root()).no_deps().exec().expect("cargo knows the workspace");
    let members: Vec<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let below = allowed.get(package.name.as_str()).copied().unwrap_or(&[]);
        for dependency in package.dependencies.iter().filter(|dependency| members.contains(&dependency.name)) {
            // The counting allocator may be looked at from any crate's own tests.
            let tally = dependency.name == "tally" && dependency.kind == DependencyKind::Development;
            if !below.contains(&dependency.name.as_str()) && !tally {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "these arrows run up or across: {wrong:?}");
}

#[test]
fn every_crate_stands_in_a_folder_of_its_name_and_keeps_the_lints() {
    let metadata =
        MetadataCommand::new().current_dir(repository::root()).no_deps().exec().expect("cargo knows the workspace");
    assert!(repository::text("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().and_then(|folder| folder.file_name()).unwrap_or_default();
        assert_eq!(folder, package.name.as_str());
        let manifest = std::fs::read_to_string(&package.manifest_path).expect("cargo has just read it");
        let lints = manifest.contains("[lints]\nworkspace = true");
        let own = BESIDE.contains(&package.name.as_str()) && manifest.contains("unsafe_code = \"forbid\"");
        assert!(lints || own || package.name == "tally", "{} does not keep the workspace's lints", package.name);
    }
}

#[test]
fn only_the_counting_allocator_says_unsafe() {
    for path in repository::files("", ".rs") {
        if path.starts_with("tests/tally/") || path == "tests/tests/architecture.rs" {
            continue;
        }
        let text = repository::text(&path);
        let said = code(&text)
            .find(|(_, line)| line.contains("unsafe fn") || line.contains("unsafe {") || line.contains("unsafe impl"));
        assert!(said.is_none(), "{path} says unsafe: {said:?}");
    }
    let lines = repository::files("tests/tally", ".rs")
        .iter()
        .map(|path| repository::text(path).lines().count())
        .sum::<usize>();
    assert!(lines < 150, "the one crate with unsafe has grown to {lines} lines");
}

#[test]
fn no_page_is_longer_than_a_reader_can_hold() {
    let mut pages: Vec<_> = product().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    pages.sort_unstable_by(|a, b| b.cmp(a));
    let long: Vec<_> = pages.iter().take_while(|(lines, _)| *lines > LONGEST).collect();
    assert!(long.is_empty(), "over {LONGEST} lines: {long:?}");
}

#[test]
fn nothing_is_left_undone_or_unwrapped() {
    let banned = ["todo!(", "unimplemented!(", ".unwrap()", "dbg!("];
    let mut found = Vec::new();
    for (path, text) in product() {
        for (line, code) in code(&text) {
            found.extend(
                banned.iter().filter(|word| code.contains(**word)).map(|word| format!("{path}:{line}: {word}")),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn no_page_knows_the_machine_it_was_written_on() {
    // Joined here, so that this page does not find itself.
    let homes = ["/wo", "/ho", "/ro"].map(|start| start.to_owned()).into_iter().zip(["rk/", "me/", "ot/"]);
    let homes: Vec<String> = homes.map(|(start, end)| start + end).collect();
    for ending in [".rs", ".toml", ".md", ".yaml", ".sh", ".py", ".sql", "ci/run"] {
        for path in repository::files("", ending) {
            let text = repository::text(&path);
            let found = text.lines().position(|line| {
                homes.iter().any(|home| line.contains(&format!(" {home}")) || line.contains(&format!("\"{home}")))
            });
            assert!(found.is_none(), "{path}:{} names a folder of one machine", found.map_or(0, |line| line + 1));
        }
    }
}

#[test]
fn every_component_is_a_feature_of_the_agent_and_built_alone() {
    let metadata =
        MetadataCommand::new().current_dir(repository::root()).no_deps().exec().expect("cargo knows the workspace");
    let agent = metadata.packages.iter().find(|package| package.name == "agent").expect("there is an agent");
    let script = repository::text(".ci/run");
    assert!(script.contains("--no-default-features --features"), ".ci/run builds each feature alone");
    for crate_name in ["receivers", "processors", "exporters"] {
        let package = metadata.packages.iter().find(|package| package.name == crate_name).expect("it is a member");
        for feature in package.features.keys().filter(|feature| *feature != "default") {
            let passed = format!("{crate_name}/{feature}");
            let offered = agent.features.values().flatten().any(|enables| *enables == passed);
            // What several components share is no component: they turn it on.
            let shared = package.features.values().flatten().any(|enables| enables == feature);
            assert!(offered || shared, "no feature of the agent turns {passed} on");
        }
    }
}
