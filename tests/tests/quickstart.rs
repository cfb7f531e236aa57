//! What README.md promises to who has just cloned the project.

use tests::exposition::Exposition;
use tests::{Prometheus, Target, Weir, judges, repository};

const CONFIG: &str = "examples/quickstart/weir.yaml";

#[test]
fn prometheus_scrapes_the_quickstart() {
    let weir = Weir::run(CONFIG).start();
    let prometheus = Prometheus::scraping(&[Target::weir("quickstart", &weir)]);
    assert_eq!(prometheus.number("sum(inventory_devices{job='quickstart'})"), 8.0);
    assert_eq!(prometheus.number("inventory_devices{site='cellar',kind='server'}"), 2.0);
    assert_eq!(prometheus.query("inventory_devices{kind='ap'}"), [], "relabelled away");
    assert_eq!(prometheus.number("sum(inventory_devices{kind='access_point'})"), 2.0);
}

#[test]
fn every_body_of_the_quickstart_passes_the_judges() {
    judges::accept(&Weir::run(CONFIG).start(), None, judges::Names::Ours);
}

#[test]
fn readme_shows_what_the_quickstart_serves() {
    let weir = Weir::run(CONFIG).start();
    let served = weir.scrape();
    let shown: Vec<String> = repository::text("README.md")
        .lines()
        .filter(|line| line.starts_with("inventory_"))
        .map(str::to_owned)
        .collect();
    assert!(!shown.is_empty(), "README.md shows no sample of the quickstart");
    for line in shown {
        assert!(
            served.text().lines().any(|served| served == line),
            "README.md shows {line:?}; served:\n{}",
            served.text()
        );
    }
}

#[test]
fn the_data_endpoint_tells_that_the_database_was_read() {
    let weir = Weir::run(CONFIG).start();
    let served = Exposition::read(weir.scrape().text());
    let up: Vec<_> = served.named("weir_sql_up").collect();
    assert_eq!(up.len(), 1, "{up:?}");
    assert_eq!(up[0].number(), 1.0);
    assert_eq!(up[0].labels.get("receiver").map(String::as_str), Some("sql_query/inventory"));
    assert!(up[0].labels.contains_key("query"));
}

#[test]
fn own_telemetry_passes_the_judges() {
    let weir = Weir::run(CONFIG).start();
    weir.scrape();
    let response = tests::http::get(weir.telemetry, "/metrics", &[tests::http::TEXT]).expect("own telemetry answers");
    assert_eq!(response.status, 200);
    judges::promtool(&response.body, judges::Names::Given);
    assert!(response.text().contains("otelcol_"), "{}", response.text());
}

#[test]
fn sigterm_ends_it_with_success() {
    let weir = Weir::run(CONFIG).start();
    weir.scrape();
    let outcome = weir.stop();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
}

#[test]
fn once_prints_the_exposition_and_ends() {
    let outcome = Weir::command(&["run", "--once", "--config", CONFIG], &[("WEIR_LISTEN", "127.0.0.1:0")]);
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let printed = Exposition::read(&outcome.stdout);
    assert_eq!(printed.value("inventory_devices", &[("site", "cellar"), ("kind", "server")]), Some(2.0));
}
