//! What decoding promises.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Duration, MapEnvironment, Optional, Problems, Secret, Section, StringList};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Config {
    driver: String,
    int: i64,
    small: u8,
    flag: bool,
    ratio: f64,
    timeout: Duration,
    list: Vec<String>,
    names: StringList,
    labels: BTreeMap<String, String>,
    queries: Vec<Query>,
    mode: Mode,
    token: Secret,
    tls: Optional<Tls>,
    maybe: Option<i64>,
    any: serde_json::Value,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Query {
    sql: String,
    #[serde(default)]
    timeout: Duration,
    #[serde(default)]
    max_rows: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Tls {
    insecure: bool,
    ca_file: String,
}

#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Interval,
    OnScrape,
}

fn read(yaml: &str) -> Result<Config, Problems> {
    Section::from_yaml("sql_query/x", yaml).unwrap().decode()
}

fn read_with(yaml: &str, value: &str) -> Result<Config, Problems> {
    let env = MapEnvironment::new().with("X", value);
    Section::from_yaml_with_env("sql_query/x", yaml, &env).unwrap().decode()
}

fn messages(problems: &Problems) -> Vec<&str> {
    problems.iter().map(|problem| problem.message.as_str()).collect()
}

#[test]
fn all_problems_of_a_section_are_told_at_once() {
    let problems = read(
        "drivr: x\nint: many\nsmall: 300\nflag: 1\nratio: [1]\ntimeout: 5\nqueries:\n  - sqll: select 1\n    timeout: 1x\n  \
         - {sql: 1, max_rows: -1}\nmode: on_scrap\nlabels: {a: [1], b: x}\n",
    )
    .unwrap_err();
    assert_eq!(
        messages(&problems),
        [
            "'sql_query/x' has invalid keys: drivr",
            "'int' expected type 'int', got unconvertible type 'string'",
            "'small' cannot parse value, 300 overflows uint8",
            "'flag' expected type 'bool', got unconvertible type 'int'",
            "'ratio' expected type 'float64', got unconvertible type '[]interface {}'",
            "'timeout' time: missing unit in duration \"5\": a bare number means nanoseconds (5 ns) to the Collector; write a \
             unit, such as \"5s\"",
            "'queries[0]' has invalid keys: sqll",
            "'queries[0].timeout' time: unknown unit \"x\" in duration \"1x\"",
            "'queries[1].sql' expected type 'string', got unconvertible type 'int'",
            "'queries[1].max_rows' cannot parse value, -1 overflows uint32",
            "'mode' has unknown value \"on_scrap\" (valid values: [interval on_scrape])",
            "'labels[a]' expected type 'string', got unconvertible type '[]interface {}'",
        ]
    );
    let first = problems.iter().next().unwrap();
    assert_eq!(first.help.as_deref(), Some("did you mean `driver`?"));
    assert_eq!((first.place.unwrap().line, first.place.unwrap().column), (1, 1));
    assert_eq!(problems.iter().nth(7).unwrap().path, "sql_query/x::queries[0]::timeout");
}

#[test]
fn null_keeps_the_default_and_optional_sections_have_three_states() {
    let config = read("driver:\nint: ~\ntls:\nmaybe: null\nlist:\nqueries: null\nmode:\ntimeout:\n").unwrap();
    assert_eq!(config, Config { tls: Optional::Present(Tls::default()), ..Config::default() });
    assert_eq!(read("").unwrap().tls, Optional::Absent);
    assert_eq!(read("tls: {}").unwrap().tls, Optional::Present(Tls::default()));
    assert_eq!(read("tls: {enabled: false, nonsense: 1}").unwrap().tls, Optional::Disabled);
    let tls = Tls { insecure: true, ca_file: String::new() };
    assert_eq!(read("tls: {enabled: true, insecure: true}").unwrap().tls, Optional::Present(tls));
    assert_eq!(
        messages(&read("tls: {enabled: 3, insecur: true}").unwrap_err()),
        ["'tls.enabled' expected type 'bool', got unconvertible type 'int'", "'tls' has invalid keys: insecur"]
    );
}

#[test]
fn one_text_is_a_list_split_at_commas() {
    assert_eq!(read("list: 'a, b'").unwrap().list, ["a", " b"]);
    assert_eq!(read("names: 'a, b,'").unwrap().names.0, ["a", "b"]);
    assert_eq!(read("list: ''").unwrap().list, Vec::<String>::new());
    assert_eq!(read_with("list: ${env:X}", "[a,b]").unwrap().list, ["a", "b"]);
    assert_eq!(messages(&read("list: 3").unwrap_err()), ["'list' source data must be an array or slice, got int"]);
    assert_eq!(messages(&read("queries: a,b").unwrap_err()), ["'queries' expected a map or struct, got \"string\"",]);
}

/// The table of the Collector's end-to-end test for values from the environment.
#[test]
fn values_from_the_environment_keep_their_text_for_strings() {
    for (value, int, text) in [
        ("123", Some(123), Some("123")),
        ("0123", Some(83), Some("0123")),
        ("0xdeadbeef", Some(3_735_928_559), Some("0xdeadbeef")),
        ("\"0123\"", None, Some("\"0123\"")),
        ("t", None, Some("t")),
        ("[\"a\",", None, Some("[\"a\",")),
        ("$$ENV", None, Some("$ENV")),
        ("$${env:X}", None, Some("${env:X}")),
        ("true # c ${env:bad.name}", None, None),
    ] {
        let read_int = read_with("int: ${env:X}", value).map(|config| config.int).ok();
        assert_eq!(read_int, int, "int from {value}");
        let read_text = read_with("driver: ${env:X}", value).map(|config| config.driver).ok();
        assert_eq!(read_text.as_deref(), text, "text from {value}");
        let inside = Section::from_yaml_with_env("a", "driver: a-${env:X}-b", &MapEnvironment::new().with("X", value));
        let inside = inside.ok().map(|section| section.decode::<Config>().unwrap().driver);
        assert_eq!(inside, text.map(|text| format!("a-{text}-b")), "inside from {value}");
    }
    assert!(read_with("flag: ${env:X}", "true # c ${env:bad.name}").unwrap().flag);
    for value in ["t", "23"] {
        assert!(read_with("flag: ${env:X}", value).is_err());
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Shapes {
    #[serde(alias = "old_name")]
    name: String,
    pair: (String, u8),
    boxed: Option<Box<Query>>,
    wrapped: Wrapped,
    choice: Choice,
    by_mode: BTreeMap<Mode, i32>,
    maybes: Vec<Option<i64>>,
    big: u64,
    float: f64,
    letter: char,
    address: Option<std::net::IpAddr>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
struct Wrapped(Vec<u8>);

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    #[default]
    None,
    Size(u32),
    Both {
        left: u8,
        right: u8,
    },
}

fn shapes(yaml: &str) -> Result<Shapes, Problems> {
    Section::from_yaml("a", yaml).unwrap().decode()
}

#[test]
fn serdes_shapes_are_read() {
    let yaml = "old_name: x\npair: [a, 2]\nboxed: {sql: a}\nwrapped: [1, 2]\nchoice: {both: {left: 1, right: 2}}\nby_mode: \
                {on_scrape: 1e3}\nmaybes: [1, ~, 3]\nbig: 18446744073709551615\nfloat: 3\nletter: é\naddress: ::1\n";
    let expected = Shapes {
        name: "x".to_owned(),
        pair: ("a".to_owned(), 2),
        boxed: Some(Box::new(Query { sql: "a".to_owned(), ..Query::default() })),
        wrapped: Wrapped(vec![1, 2]),
        choice: Choice::Both { left: 1, right: 2 },
        by_mode: BTreeMap::from([(Mode::OnScrape, 1_000)]),
        maybes: vec![Some(1), None, Some(3)],
        big: u64::MAX,
        float: 3.0,
        letter: 'é',
        address: "::1".parse().ok(),
    };
    assert_eq!(shapes(yaml).unwrap(), expected);
    assert_eq!(shapes("choice: {size: 5}").unwrap().choice, Choice::Size(5));
    assert_eq!(shapes("choice: none").unwrap().choice, Choice::None);
}

#[test]
fn mistakes_in_serdes_shapes_are_told_at_their_place() {
    let told = |yaml: &str| {
        let problems = shapes(yaml).unwrap_err();
        let problem = problems.iter().next().unwrap();
        assert_eq!(problems.len(), 1, "{problems}");
        format!("{}:{} {}", problem.place.unwrap().line, problem.place.unwrap().column, problem.message)
    };
    assert_eq!(told("pair: [a]"), "1:7 'pair' has 1 elements, expected a tuple of size 2");
    assert_eq!(told("choice: size"), "1:9 'choice' has the value \"size\" without its settings");
    assert_eq!(told("choice: {sise: 5}"), "1:9 'choice' has an unknown value (valid values: [none size both])");
    assert_eq!(
        told("choice: {both: {left: x, right: 1}}"),
        "1:23 'choice.both.left' expected type 'uint', got unconvertible type 'string'"
    );
    assert_eq!(
        told("by_mode: {never: 1}"),
        "1:11 'by_mode[never]' has unknown value \"never\" (valid values: [interval on_scrape])"
    );
    assert_eq!(told("address: here"), "1:10 'address' invalid IP address syntax");
    assert_eq!(told("old_name: x\nname: y"), "1:1 'a' duplicate field `name`");
    assert_eq!(told("letter: ab"), "1:9 'letter' has invalid value \"ab\", expected a character");
}

#[test]
fn a_value_whose_reference_failed_is_told_once() {
    let sources = crate::Sources {
        configs: vec!["yaml:receivers: {a: {driver: '${1}', int: x}, b: {driver: '${1}'}}".to_owned()],
        sets: vec![],
    };
    let loaded = crate::load(&sources, &MapEnvironment::new());
    assert_eq!(loaded.problems.len(), 2, "{}", loaded.problems);
    let receivers = loaded.document.unwrap().receivers;
    let told = receivers[0].decode::<Config>().unwrap_err();
    assert_eq!(messages(&told), ["'int' expected type 'int', got unconvertible type 'string'"]);
    assert!(receivers[1].decode::<Config>().unwrap_err().is_empty());
}
