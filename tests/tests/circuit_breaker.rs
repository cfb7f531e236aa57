//! The example that serves Circuit Breaker's whole metrics reference, on databases that nobody planned for.

use std::collections::BTreeMap;

use tests::exposition::{Exposition, Sample};
use tests::judges::{self, Names};
use tests::{Inventory, Launch, PATIENCE, Prometheus, Target, Traffic, Weir, http, within};

const TOKEN: &str = "a-token-of-proper-length";
const VERSION: &str = "0.2.0";

/// The page's example queries and panels, and with how many series the household answers. The one without an answer has none
/// in any Prometheus: the left side carries job and instance, the right side nothing.
const QUERIES: &[(&str, usize)] = &[
    (r#"circuitbreaker_service_status{status=~"stopped|degraded"} == 1"#, 2),
    (r#"sum(circuitbreaker_service_status{status="running"} == 1)"#, 1),
    (r#"sum by (environment) (circuitbreaker_service_status{status="running"} == 1)"#, 2),
    ("circuitbreaker_storage_used_gb / circuitbreaker_storage_capacity_gb", 2),
    ("sum(circuitbreaker_storage_used_gb_total) / sum(circuitbreaker_storage_capacity_gb_total) * 100", 1),
    ("sum(circuitbreaker_hardware_memory_configured_gb)", 1),
    ("sum(circuitbreaker_compute_unit_memory_configured_mb) / 1024", 1),
    ("circuitbreaker_compute_units_total", 2),
    (r#"circuitbreaker_services_total - sum(circuitbreaker_service_status{status="running"} == 1)"#, 0),
    ("sum by (status) (circuitbreaker_service_status == 1)", 3),
    (r#"sum(circuitbreaker_service_status{status=~"stopped|degraded"} == 1)"#, 1),
    ("circuitbreaker_hardware_total", 1),
    ("circuitbreaker_services_total", 1),
    ("circuitbreaker_hardware_memory_configured_gb", 2),
    ("circuitbreaker_storage_capacity_gb", 2),
];

fn reads(inventory: &Inventory) -> Launch {
    Weir::run("examples/circuit-breaker/weir.yaml")
        .listen("CB_LISTEN", "/api/v1/metrics")
        .env("CB_DATABASE", inventory.path())
        .env("CB_VERSION", VERSION)
}

/// Compares a scrape with the oracle, and says all differences. Labels without a value must be shown, as the application shows
/// them.
fn differences(served: &Exposition, inventory: &Inventory) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().expect("the oracle writes text").to_owned();
    let mut expected = BTreeMap::new();
    for row in judges::circuit_breaker(&inventory.path(), VERSION).as_array().expect("a list") {
        let labels = row[1].as_object().expect("labels").iter().map(|(key, value)| (key.clone(), text(value)));
        expected.insert((text(&row[0]), labels.collect::<BTreeMap<_, _>>()), text(&row[2]));
    }
    let mut differences = Vec::new();
    for sample in served.samples.iter().filter(|sample| sample.name.starts_with("circuitbreaker_")) {
        match expected.remove(&(sample.name.clone(), sample.labels.clone())) {
            None => differences.push(format!("not expected: {sample:?}")),
            Some(number) if !same(&number, sample) => differences.push(format!("expected {number}: {sample:?}")),
            Some(_) => {}
        }
    }
    differences.extend(expected.into_iter().map(|(series, number)| format!("missing: {series:?} {number}")));
    differences
}

/// Integers to the last digit; doubles but for the order in which they were added.
fn same(expected: &str, sample: &Sample) -> bool {
    let (served, double) = (sample.number(), expected.parse::<f64>().expect("the oracle writes numbers"));
    if expected.parse::<i64>().is_ok() {
        return sample.value == expected || (served == double && served.abs() < 9e15);
    }
    served == double || (served - double).abs() <= double.abs() * 1e-12
}

#[test]
fn every_example_query_of_the_page_answers() {
    let inventory = Inventory::household();
    let weir = reads(&inventory).start();
    let prometheus = Prometheus::scraping(&[Target::weir("circuit-breaker", &weir)]);
    assert_eq!(prometheus.number("up{job='circuit-breaker'}"), 1.0);
    for &(query, series) in QUERIES {
        let answer = prometheus.query(query);
        assert_eq!(answer.len(), series, "{query}: {answer:?}");
    }
    assert_eq!(
        prometheus.number(
            "circuitbreaker_services_total - scalar(sum(circuitbreaker_service_status{status='running'} == 1))"
        ),
        3.0
    );
    assert_eq!(prometheus.number("circuitbreaker_external_nodes_total{provider='unknown'}"), 2.0);
    assert_eq!(prometheus.number("circuitbreaker_info{version='0.2.0'}"), 1.0);
}

#[test]
fn fifty_hostile_databases_read_as_the_oracle_reads_them() {
    let mut failures = Vec::new();
    for seed in 0..50 {
        let traffic = if seed % 2 == 0 { Traffic::Quiet } else { Traffic::InFlight };
        let inventory = Inventory::hostile(seed, traffic);
        let weir = reads(&inventory).start();
        let served = Exposition::read(weir.scrape().text());
        let found = differences(&served, &inventory);
        if !found.is_empty() {
            failures.push(format!(
                "seed {seed}, {traffic:?}: {} differences, first {:#?}",
                found.len(),
                &found[..found.len().min(4)]
            ));
        }
    }
    assert!(failures.is_empty(), "{} of 50\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_body_of_hostile_databases_passes_the_judges() {
    for seed in [1, 2, 3, 4, 5, 6] {
        let inventory = Inventory::hostile(seed, Traffic::InFlight);
        judges::accept(&reads(&inventory).start(), None, Names::Given);
    }
    judges::accept(&reads(&Inventory::household()).start(), None, Names::Given);
}

#[test]
fn prometheus_takes_hostile_databases() {
    let inventories: Vec<_> = (100..104).map(|seed| Inventory::hostile(seed, Traffic::InFlight)).collect();
    let weirs: Vec<_> = inventories.iter().map(|inventory| reads(inventory).start()).collect();
    let jobs = ["first", "second", "third", "fourth"];
    let targets: Vec<_> = jobs.iter().zip(&weirs).map(|(job, weir)| Target::weir(job, weir)).collect();
    let prometheus = Prometheus::scraping(&targets);
    for job in jobs {
        assert_eq!(prometheus.number(&format!("up{{job='{job}'}}")), 1.0, "{}", prometheus.last_error(job));
        let kept = prometheus.number(&format!("scrape_samples_post_metric_relabeling{{job='{job}'}}"));
        assert_eq!(prometheus.number(&format!("scrape_samples_scraped{{job='{job}'}}")), kept);
    }
    assert!(!prometheus.log().contains("duplicate"), "{}", prometheus.log());
}

#[test]
fn an_empty_database_shows_zeros_and_no_groups() {
    let inventory = Inventory::empty();
    let weir = reads(&inventory).start();
    let served = Exposition::read(weir.scrape().text());
    assert_eq!(differences(&served, &inventory), Vec::<String>::new());
    assert_eq!(served.value("circuitbreaker_storage_capacity_gb_total", &[]), Some(0.0));
    assert_eq!(served.named("circuitbreaker_services_by_status_total").count(), 4);
    assert_eq!(served.named("circuitbreaker_compute_units_total").count(), 0);
    judges::accept(&weir, None, Names::Given);
}

#[test]
fn sums_past_sixty_four_bits_break_no_scrape() {
    let inventory = Inventory::empty();
    inventory.execute(
        "insert into storage (name, kind, capacity_gb, used_gb) values
           ('a', 'pool', 4611686018427387904, 4611686018427387904),
           ('b', 'pool', 4611686018427387904, 4611686018427387903),
           ('c', 'pool', 4611686018427387904, 0.25)",
    );
    let weir = reads(&inventory).start();
    let served = Exposition::read(weir.scrape().text());
    assert_eq!(served.value("circuitbreaker_storage_capacity_gb_total", &[]), Some(3.0 * 2f64.powi(62)));
    assert_eq!(served.value("circuitbreaker_storage_used_gb", &[("name", "c")]), Some(0.25));
    let exact = served.named("circuitbreaker_storage_used_gb").find(|sample| sample.labels["name"] == "b");
    assert_eq!(exact.expect("it is set").value, "4611686018427387903");
}

#[test]
fn families_carry_the_type_and_help_of_the_page() {
    let inventory = Inventory::household();
    let weir = reads(&inventory).start();
    let served = Exposition::read(weir.scrape().text());
    let families: Vec<_> = served.types.iter().filter(|(name, _)| name.starts_with("circuitbreaker_")).collect();
    assert_eq!(families.len(), 23, "{families:?}");
    for (name, kind) in families {
        assert_eq!(kind, "gauge", "{name}");
        assert!(served.helps.contains_key(name), "{name} has no help");
    }
    assert_eq!(served.helps["circuitbreaker_hardware_total"], "Total hardware nodes in inventory");
}

#[test]
fn a_row_is_in_the_next_scrape_after_its_commit() {
    let inventory = Inventory::household();
    let weir = reads(&inventory).start();
    for round in 0..20_u32 {
        inventory.execute("insert into tags (name) select 'tag ' || count(*) from tags");
        let served = Exposition::read(weir.scrape().text());
        assert_eq!(served.value("circuitbreaker_tags_total", &[]), Some(f64::from(round + 2)));
    }
    inventory.execute("delete from hardware where name = 'hive'");
    let served = Exposition::read(weir.scrape().text());
    assert_eq!(served.value("circuitbreaker_hardware_memory_configured_gb", &[("name", "hive")]), None);
}

#[test]
fn scrapes_during_writes_show_one_moment() {
    // Each transaction adds one row to each of two tables: seen in one snapshot the counts are equal.
    let inventory = Inventory::empty();
    let weir = reads(&inventory).start();
    std::thread::scope(|scope| {
        let (done, stop) = std::sync::mpsc::channel::<()>();
        let path = inventory.path();
        scope.spawn(move || {
            let writer = rusqlite::Connection::open(path).expect("the database is there");
            writer.busy_timeout(PATIENCE).expect("a timeout can be set");
            while matches!(stop.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                let both = "begin immediate; insert into networks default values; insert into logs (level, category) values ('a', 'b'); commit";
                writer.execute_batch(both).expect("the writer is never in the way of a reader");
            }
        });
        for _ in 0..100 {
            let served = Exposition::read(weir.scrape().text());
            let networks = served.value("circuitbreaker_networks_total", &[]);
            let entries = served.named("circuitbreaker_audit_log_entries_total").map(Sample::number).sum::<f64>();
            assert_eq!(networks, Some(entries));
        }
        drop(done);
    });
}

#[test]
fn without_a_token_everyone_may_scrape() {
    let inventory = Inventory::household();
    for launch in [reads(&inventory), reads(&inventory).env("CB_API_TOKEN", "")] {
        let weir = launch.start();
        assert_eq!(weir.get(&[]).status, 200);
        assert_eq!(weir.get(&[("Authorization", "Bearer whatever")]).status, 200);
        assert_eq!(
            http::get(weir.address, "/metrics", &[]).expect("an answer").status,
            404,
            "only the page's path is there"
        );
    }
}

#[test]
fn with_a_token_only_its_bearer_may_scrape() {
    let inventory = Inventory::household();
    let weir = reads(&inventory).env("CB_API_TOKEN", TOKEN).start();
    let right = format!("Bearer {TOKEN}");
    assert_eq!(weir.get(&[("Authorization", &right)]).status, 200);
    let refused = weir.get(&[]);
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    assert!(!String::from_utf8_lossy(&refused.body).contains("circuitbreaker"));
    let wrong = [
        format!("Bearer {TOKEN}x"),
        format!("Basic {TOKEN}"),
        TOKEN.into(),
        "Bearer".into(),
        format!("Bearer  {TOKEN}y"),
    ];
    for wrong in &wrong {
        assert_eq!(weir.get(&[("Authorization", wrong)]).status, 401, "{wrong:?}");
    }
    judges::accept(&weir, Some(TOKEN), Names::Given);
    assert!(!weir.stderr().contains(TOKEN), "the token stands in the log");
}

#[test]
fn prometheus_scrapes_with_the_token() {
    let inventory = Inventory::household();
    let weir = reads(&inventory).env("CB_API_TOKEN", TOKEN).start();
    let target = Target { token: Some(TOKEN), ..Target::weir("circuit-breaker", &weir) };
    assert_eq!(Prometheus::scraping(&[target]).number("circuitbreaker_hardware_total"), 3.0);
}

#[test]
fn a_name_with_any_character_keeps_its_scrape() {
    let inventory = Inventory::household();
    inventory.execute(
        "insert into hardware (name, memory_gb) values ('nul' || char(0) || 'inside', 1), (cast(x'ff61' as text), 2)",
    );
    let weir = reads(&inventory).start();
    let prometheus = Prometheus::scraping(&[Target::weir("circuit-breaker", &weir)]);
    assert_eq!(prometheus.number("sum(circuitbreaker_hardware_memory_configured_gb)"), 68.0);
    judges::accept(&weir, None, Names::Given);
}

#[test]
fn a_database_that_comes_later_is_read_then() {
    let inventory = Inventory::household();
    inventory.checkpoint();
    let late = inventory.folder().join("late.db");
    let weir = reads(&inventory).env("CB_DATABASE", &late).start();
    let served = Exposition::read(weir.scrape().text());
    assert!(served.named("weir_sql_up").all(|up| up.number() == 0.0));
    std::fs::copy(inventory.path(), &late).expect("a copy can be made");
    within(PATIENCE, "the database to be found", || {
        Exposition::read(weir.scrape().text()).value("circuitbreaker_hardware_total", &[])
    });
}
