use super::*;
use crate::graph::Surroundings;
use crate::testing::{journal, source, sum, surroundings};

fn start(yaml: &str) -> (Running, Surroundings) {
    let around = surroundings();
    let examined = source(yaml).examine();
    let plan = examined.plan.unwrap_or_else(|| panic!("{}", examined.problems));
    let graph = plan.build(&around).unwrap();
    (graph.start(&Vitals::new(around.clock.clone())), around)
}

async fn stop_within(running: Running, seconds: u64) -> Drained {
    running.stop(Duration::from_secs(seconds), &Queues::default()).await
}

fn owed(before: &str, items: u64) -> Owed {
    Owed { before: before.into(), items }
}

/// Lets everybody do what they can do now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn exporters_start_before_receivers_and_end_after_what_was_held_back() {
    let (running, _) = start(
        "receivers: {source: {batches: 3, journal: order}}
processors: {thin: {hold: true, journal: order}}
exporters: {sink: {journal: order}}
service: {pipelines: {metrics: {receivers: [source], processors: [thin], exporters: [sink]}}}",
    );
    settle().await;
    assert!(stop_within(running, 20).await.is_clean());
    assert_eq!(
        journal("order"),
        [
            "built sink below []",
            "built source",
            "started sink",
            "started source",
            "ended source",
            "finished thin",
            "ended sink with 2"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_books_balance_at_rest_with_drops_and_refusals() {
    let (running, around) = start(
        "receivers: {source: {batches: 10, items: 7}, source/b: {batches: 5, items: 3}}
processors: {thin: }
exporters: {sink: {refuse_every: 3}, sink/b: }
service:
  pipelines:
    metrics: {receivers: [source, source/b], processors: [thin], exporters: [sink, sink/b]}
    metrics/whole: {receivers: [source], exporters: [sink]}",
    );
    settle().await;
    assert_eq!(running.owed(), []);
    assert!(stop_within(running, 20).await.is_clean());
    let total = |name: &str| sum(&around.meters, name);
    assert_eq!(total("otelcol_receiver_accepted_metric_points"), 85);
    assert_eq!(total("otelcol_processor_incoming_items"), 85);
    let passed = total("otelcol_processor_outgoing_items");
    let sent = total("otelcol_exporter_sent_metric_points");
    let failed = total("otelcol_exporter_send_failed_metric_points");
    assert!(passed < 85 && failed > 0);
    assert_eq!(sent + failed, 2 * passed + 70, "two exporters behind the processor, one behind the whole");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_handed_over_at_the_deadline_is_lost_and_counted() {
    let (running, around) = start(
        "receivers: {source: {batches: 200, items: 2}}
exporters: {sink: {stuck: true}}
service: {pipelines: {metrics: {receivers: [source], exporters: [sink]}}}",
    );
    settle().await;
    let began = Instant::now();
    let drained = stop_within(running, 20).await;
    assert_eq!(began.elapsed(), Duration::from_secs(20));
    assert_eq!(drained.cut_off, ["source", "metrics", "sink"]);
    let lost: u64 = drained.lost.iter().map(|owed| owed.items).sum();
    assert_eq!(lost, sum(&around.meters, "otelcol_receiver_accepted_metric_points"), "nothing was handed over");
    drained.tell(&around.meters);
    assert_eq!(sum(&around.meters, "weir_drain_lost_items"), lost);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_uses_half_of_the_time_and_costs_nobody_else() {
    let (running, around) = start(
        "receivers: {source: {batches: 5}, source/deaf: {then: hang}}
exporters: {sink: }
service: {pipelines: {metrics: {receivers: [source, source/deaf], exporters: [sink]}}}",
    );
    settle().await;
    let began = Instant::now();
    let drained = stop_within(running, 20).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(drained, Drained { lost: vec![], cut_off: vec!["source/deaf".into()] });
    assert_eq!(sum(&around.meters, "otelcol_exporter_sent_metric_points"), 5);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_go_on_is_told_with_its_id() {
    for (then, text) in [("fault", "source/a: the spring is dry"), ("panic", "source/a: panicked: no water")] {
        let (mut running, _) = start(&format!(
            "receivers: {{source/a: {{then: {then}}}}}
exporters: {{sink: }}
service: {{pipelines: {{metrics: {{receivers: [source/a], exporters: [sink]}}}}}}"
        ));
        assert_eq!(running.fault().await.to_string(), text);
        assert!(stop_within(running, 20).await.is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn an_exporter_sees_the_receivers_above_it_that_collect() {
    let (running, _) = start(
        "receivers: {source/a: {then: collect}, source/b: {then: collect}, source/push: }
exporters: {sink/all: {journal: upstream}, sink/b: {journal: upstream}}
service:
  pipelines:
    metrics: {receivers: [source/a, source/push], exporters: [sink/all]}
    metrics/b: {receivers: [source/b], exporters: [sink/b, sink/all]}",
    );
    assert_eq!(journal("upstream")[..2], ["built sink/all below [source/a source/b]", "built sink/b below [source/b]"]);
    stop_within(running, 20).await;
}

#[tokio::test(start_paused = true)]
async fn queues_are_seen_while_the_graph_runs_and_let_go_when_it_stops() {
    let (running, _) = start(
        "receivers: {source: {batches: 9}}
exporters: {sink: {stuck: true}}
service: {pipelines: {metrics: {receivers: [source], exporters: [sink]}}}",
    );
    settle().await;
    let gauges = Queues::default();
    gauges.replace(running.queues());
    assert_eq!(gauges.fill(), [("sink".to_owned(), 8, 64)], "one of nine is in hand");
    assert_eq!(running.owed(), [owed("exporter sink", 9)]);
    running.stop(Duration::from_secs(1), &gauges).await;
    assert_eq!(gauges.fill(), []);
}
