//! What a section promises.

use crate::{MapEnvironment, Place, Section};

fn at(place: Place) -> (u32, u32) {
    (place.line, place.column)
}

const TEXT: &str = "driver: sqlite\nqueries:\n  - sql: a\n    timeout: 5s\n  - {sql: b, labels: {a.b: c}}\nempty:\n";

#[test]
fn a_path_finds_its_value_or_the_nearest_one_above() {
    let section = Section::from_yaml("sql_query", TEXT).unwrap();
    assert_eq!(at(section.place("queries[0].timeout")), (4, 14));
    assert_eq!(at(section.place("queries[1].labels[a.b]")), (5, 28));
    assert_eq!(at(section.place("queries[1].timeout")), (5, 5));
    assert_eq!(at(section.place("queries[7].sql")), (3, 3));
    assert_eq!(at(section.place("nothing.at.all")), at(section.place("")));
    assert_eq!(at(section.place("queries::[0]::sql")), (3, 10));
}

#[test]
fn a_text_finds_the_value_that_is_written_so() {
    let section = Section::from_yaml("sql_query", TEXT).unwrap();
    assert_eq!(section.place_of_text("5s").map(at), Some((4, 14)));
    assert_eq!(section.place_of_text("c").map(at), Some((5, 28)));
    assert_eq!(section.place_of_text("labels"), None, "a key is no value");
}

#[test]
fn null_counts_as_written() {
    let section = Section::from_yaml("sql_query", TEXT).unwrap();
    assert!(section.has("empty") && section.has("queries[1].sql") && section.has(""));
    assert!(!section.has("queries[1].timeout") && !section.has("driver.name"));
}

#[test]
fn problems_carry_the_whole_path() {
    let section = Section::from_yaml("sql_query/x", TEXT).unwrap();
    let problem = section.error("queries[0].timeout", "too short");
    assert_eq!((problem.path.as_str(), at(problem.place.unwrap())), ("sql_query/x::queries[0]::timeout", (4, 14)));
    assert!(!section.warning("", "x").is_error());
    assert_eq!(Section::empty("a".parse().unwrap()).error("x", "y").place, None);
}

#[test]
fn a_components_own_message_never_shows_what_the_environment_gave() {
    let env = MapEnvironment::new().with("PW", "c4n4ry");
    let section = Section::from_yaml_with_env("a", "host: ${env:PW}", &env).unwrap();
    assert_eq!(section.error("host", "cannot resolve c4n4ry").message, "cannot resolve [REDACTED]");
    assert!(!format!("{section:?}").contains("c4n4ry"));
}

#[test]
fn sections_are_equal_when_they_mean_the_same() {
    let section = |text: &str| Section::from_yaml("a", text).unwrap();
    assert_eq!(section("a: 0x10\nb: [x, 'y']\n"), section("# moved\nb:\n  - \"x\"\n  - y\na: 16\n"));
    for (one, other) in
        [("a: 1", "a: '1'"), ("a: 1.10", "a: 1.1"), ("a: [1, 2]", "a: [2, 1]"), ("a: 1", ""), ("a:", "a: {}")]
    {
        assert_ne!(section(one), section(other), "{one} and {other}");
    }
}

#[test]
fn without_an_environment_references_stay_as_they_are() {
    #[derive(serde::Deserialize)]
    struct Config {
        a: String,
    }
    let config: Config = Section::from_yaml("a", "a: $${x} ${env:X}").unwrap().decode().unwrap();
    assert_eq!(config.a, "$${x} ${env:X}");
    let problems = Section::from_yaml_with_env("a", "a: ${1}", &MapEnvironment::new()).unwrap_err();
    assert!(problems.has_errors());
}

#[test]
fn a_wrong_id_or_wrong_yaml_is_a_problem() {
    assert!(Section::from_yaml("a b", "").is_err());
    assert!(Section::from_yaml("a", "a: [").is_err());
    assert!(Section::from_yaml("a", "a: 1\na: 2").is_err());
}
