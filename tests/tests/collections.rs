//! When what is in the database is on the endpoint: on an interval, on demand, never half.

use std::time::Duration;

use tests::exposition::Exposition;
use tests::{Inventory, Launch, PATIENCE, Weir, at_best, http, within};

/// A pipeline with these receivers, their YAML indented by two.
fn with(receivers: &str, used: &str) -> Launch {
    Weir::run_text(&format!(
        "receivers:\n{receivers}\nexporters:\n  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}\nservice:\n  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}\n  pipelines:\n    metrics: {{receivers: [{used}], exporters: [prometheus]}}\n"
    ))
}

fn scrape(weir: &Weir) -> Exposition {
    Exposition::read(weir.scrape().text())
}

fn tags(served: &Exposition) -> Option<f64> {
    served.value("tags", &[])
}

const TAGS: &str = "{sql: select count(*) as n from tags, metrics: [{metric_name: tags, value_column: n}]}";

#[test]
fn the_first_answer_of_an_interval_receiver_is_whole() {
    // The query takes a moment, so that an empty body would be seen.
    let slow = "with recursive n(i) as (values (1) union all select i + 1 from n where i < 300000) select count(*) as n from n";
    let receiver = format!(
        "  sql_query:\n    driver: sqlite\n    datasource: ${{env:DATABASE}}\n    initial_delay: 300ms\n    collection_interval: 10s\n    queries: [{{sql: '{slow}', metrics: [{{metric_name: slow, value_column: n}}]}}]"
    );
    let inventory = Inventory::household();
    for _ in 0..3 {
        let weir = with(&receiver, "sql_query").env("DATABASE", inventory.path()).start();
        assert_eq!(scrape(&weir).value("slow", &[]), Some(300_000.0), "the first answer but 503 holds everything");
    }
}

#[test]
fn an_interval_receiver_reads_again_and_lets_go() {
    let inventory = Inventory::household();
    let receiver = "  sql_query:\n    driver: sqlite\n    datasource: ${env:DATABASE}\n    initial_delay: 0s\n    collection_interval: 200ms\n    queries: [{sql: 'select name, memory_gb as n from hardware where memory_gb is not null', metrics: [{metric_name: memory, value_column: n, attribute_columns: [name]}]}]";
    let weir = with(receiver, "sql_query").env("DATABASE", inventory.path()).start();
    assert_eq!(scrape(&weir).named("memory").count(), 2);
    inventory
        .execute("delete from hardware where name = 'gate'; insert into hardware (name, memory_gb) values ('new', 2)");
    within(PATIENCE, "the new row without the old one", || {
        let served = scrape(&weir);
        let names: Vec<_> = served.named("memory").map(|sample| sample.labels["name"].clone()).collect();
        assert!(names.len() <= 2, "old and new together: {names:?}");
        (names == ["hive", "new"]).then_some(())
    });
}

#[test]
fn min_interval_caps_how_often_scrapes_read() {
    let inventory = Inventory::household();
    let receiver = format!(
        "  sql_query:\n    driver: sqlite\n    datasource: ${{env:DATABASE}}\n    collection: on_scrape\n    min_interval: 1h\n    queries: [{TAGS}]"
    );
    let weir = with(&receiver, "sql_query").env("DATABASE", inventory.path()).start();
    assert_eq!(tags(&scrape(&weir)), Some(1.0));
    inventory.execute("insert into tags (name) values ('later')");
    assert_eq!(tags(&scrape(&weir)), Some(1.0), "within the hour nothing is read");
}

#[test]
fn one_failing_receiver_leaves_the_others_on_the_endpoint() {
    let inventory = Inventory::household();
    let both = format!(
        "  sql_query/good: {{driver: sqlite, datasource: '${{env:DATABASE}}', collection: on_scrape, queries: [{TAGS}]}}\n  sql_query/bad: {{driver: sqlite, datasource: '${{env:DATABASE}}', collection: on_scrape, queries: [{{sql: select n from nowhere, metrics: [{{metric_name: never, value_column: n}}]}}]}}"
    );
    let weir = with(&both, "sql_query/good, sql_query/bad").env("DATABASE", inventory.path()).start();
    let served = scrape(&weir);
    assert_eq!(tags(&served), Some(1.0));
    assert_eq!(served.value("weir_sql_up", &[("receiver", "sql_query/good")]), Some(1.0));
    assert_eq!(served.value("weir_sql_up", &[("receiver", "sql_query/bad")]), Some(0.0));
}

#[test]
fn a_slow_receiver_is_not_waited_for_past_the_scrape() {
    let inventory = Inventory::household();
    let endless = "with recursive n(i) as (values (1) union all select i + 1 from n) select count(*) as n from n";
    let both = format!(
        "  sql_query/good: {{driver: sqlite, datasource: '${{env:DATABASE}}', collection: on_scrape, queries: [{TAGS}]}}\n  sql_query/slow: {{driver: sqlite, datasource: '${{env:DATABASE}}', collection: on_scrape, queries: [{{sql: '{endless}', timeout: 1h, metrics: [{{metric_name: never, value_column: n}}]}}]}}"
    );
    let weir = with(&both, "sql_query/good, sql_query/slow").env("DATABASE", inventory.path()).start();
    at_best(Duration::from_millis(2_200), "a scrape that waits for 2 s", || {
        let response = weir.get(&[http::TEXT, ("X-Prometheus-Scrape-Timeout-Seconds", "2")]);
        assert_eq!(response.status, 200);
        assert_eq!(tags(&Exposition::read(response.text())), Some(1.0), "what was read in time is served");
        response.took
    });
}

#[test]
fn many_scrapes_at_once_all_see_a_row_that_was_there_before() {
    let inventory = Inventory::household();
    let receiver = format!(
        "  sql_query: {{driver: sqlite, datasource: '${{env:DATABASE}}', collection: on_scrape, queries: [{TAGS}]}}"
    );
    let weir = with(&receiver, "sql_query").env("DATABASE", inventory.path()).start();
    for round in 0..20_u32 {
        inventory.execute("insert into tags (name) select 'tag ' || count(*) from tags");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(tags(&scrape(&weir)), Some(f64::from(round + 2))));
            }
        });
    }
}
