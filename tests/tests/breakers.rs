//! Breakers that are asked, by a real agent of a real library: shown, counted, ended, and down when nobody answers.

use std::path::Path;

use tests::exposition::Exposition;
use tests::judges::Pybreaker;
use tests::{PATIENCE, Weir, http, within};

fn weir(service: &Pybreaker, state: &Path, collection: &str) -> Weir {
    let yaml = format!(
        "
receivers:
  breaker:
    storage: file_storage
    state_names: common
    time_in_state: true
    pull:
      {collection}
      targets:
        - name: shop
          url: http://{}/breakers
          format: json
          preset: pybreaker
          transitions: observed
          fields: {{list: breakers}}
          attributes: {{service: shop}}
exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
extensions:
  file_storage: {{directory: '{}', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [breaker], exporters: [prometheus]}}}}
",
        service.address,
        state.display()
    );
    Weir::run_text(&yaml).start()
}

/// The current states, as `circuit=state`.
fn states(shown: &Exposition) -> Vec<String> {
    let active = shown.named("circuit_breaker_state").filter(|sample| sample.number() == 1.0);
    active.map(|sample| format!("{}={}", sample.labels["circuit_name"], sample.labels["state"])).collect()
}

fn transitions(shown: &Exposition) -> Vec<String> {
    let name = |label: &str, sample: &tests::exposition::Sample| sample.labels[label].clone();
    let mut told: Vec<_> = shown
        .named("circuit_breaker_state_transition_total")
        .map(|sample| {
            let [circuit, old, new] = ["circuit_name", "old_state", "new_state"].map(|label| name(label, sample));
            format!("{circuit} {old}>{new} {}", sample.number())
        })
        .collect();
    told.sort();
    told
}

#[test]
fn a_scrape_shows_what_pybreakers_breakers_are_in_now() {
    let state = tempfile::tempdir().expect("there is room");
    let service = Pybreaker::start();
    let weir = weir(&service, state.path(), "collection: on_scrape");
    let scrape = || Exposition::read(weir.scrape().text());
    let shown = scrape();
    assert_eq!(states(&shown), ["pay=closed", "ship=closed"]);
    assert!(shown.named("circuit_breaker_state").all(|sample| sample.labels["service"] == "shop"));
    service.tell("/fail?pay");
    assert_eq!(states(&scrape()), ["pay=closed", "ship=closed"], "one failure trips nothing");
    service.tell("/fail?pay");
    assert_eq!(states(&scrape()), ["pay=open", "ship=closed"]);
    service.tell("/half_open?pay");
    let shown = scrape();
    assert_eq!(states(&shown), ["pay=half_open", "ship=closed"], "half-open by its common name");
    assert_eq!(transitions(&shown), ["pay closed>open 1", "pay open>half_open 1"], "a scrape counts what it has found");
    assert!(shown.named("circuit_breaker_time_in_state_seconds_total").count() >= 3);
    service.tell("/forget?ship");
    assert_eq!(states(&scrape()), ["pay=half_open"], "a breaker that is gone is not shown any more");
    let up = |shown: &Exposition| shown.named("weir_breaker_up").map(|sample| sample.number()).collect::<Vec<_>>();
    assert_eq!(up(&scrape()), [1.0]);
    service.end();
    let shown = scrape();
    assert_eq!((up(&shown), states(&shown)), (vec![0.0], Vec::new()), "nobody answers");
    assert_eq!(transitions(&shown), ["pay closed>open 1", "pay open>half_open 1"], "what was counted stays");
    weir.stop();
}

/// How often the agent has asked, by its own telemetry.
fn polls(weir: &Weir) -> f64 {
    let told = http::get(weir.telemetry, "/metrics", &[http::TEXT]).expect("own telemetry answers");
    Exposition::read(told.text()).named("weir_breaker_polls").map(|sample| sample.number()).sum()
}

#[test]
fn a_polled_breaker_is_followed_without_a_scrape() {
    let state = tempfile::tempdir().expect("there is room");
    let service = Pybreaker::start();
    let weir = weir(&service, state.path(), "collection_interval: 100ms");
    let shows = |wanted: &[&str]| {
        let what = format!("{wanted:?}");
        within(PATIENCE, &what, || {
            let shown = Exposition::read(weir.scrape().text());
            (states(&shown) == wanted).then_some(())
        });
    };
    shows(&["pay=closed", "ship=closed"]);
    service.tell("/open?ship");
    shows(&["pay=closed", "ship=open"]);
    service.tell("/close?ship");
    // The one that may be under way, one that begins now, and the next, before which it is counted; nobody looks.
    let before = polls(&weir);
    within(PATIENCE, "three polls", || (polls(&weir) >= before + 3.0).then_some(()));
    let shown = Exposition::read(weir.scrape().text());
    assert_eq!(transitions(&shown), ["ship closed>open 1", "ship open>closed 1"]);
    weir.stop();
}
