//! Folding in memory: the whole way from an inbox to a server that is down for hours, in stepped time.

use std::sync::Arc;

use pdata::{Kind, Metrics, Number, SeriesTable, UnixNanos};
use pipeline::drive::{ExportCounts, drive};
use pipeline::testing::{identity, push};
use pipeline::{Batch, Inbox, Receipt, Verdict, Waiter};

use super::telemetry::gunzip;
use super::*;

/// A round of an agent that counts: so many counters, and a gauge in every hundredth.
fn round(table: &Arc<SeriesTable>, series: u64, round: u64) -> Batch {
    let mut metrics = Metrics::new(table.pin());
    for place in 0..series + u64::from(round.is_multiple_of(100)) {
        let kind = if place == series { Kind::Gauge } else { Kind::COUNTER };
        let series = table.intern(identity("m", kind, &[("place", &place.to_string())]));
        push(&mut metrics, &series, Number::Int(round as i64), round);
        metrics.points.last_mut().unwrap().start = UnixNanos(1);
    }
    Batch::new(metrics, NOW)
}

#[tokio::test(start_paused = true)]
async fn six_hours_of_outage_cost_a_counter_in_memory_one_point_and_no_sender_his_answer() {
    const SERIES: u64 = 50;
    const ROUNDS: u64 = 6 * 3600;
    let server = Server::http(vec![]).ill_for(secs(ROUNDS), Reply::status(503));
    let yaml = "retry_on_failure: {randomization_factor: 0, max_elapsed_time: 0s}\n\
        sending_queue: {fold_superseded: true, sizer: items, queue_size: 1000, num_consumers: 2}\n";
    let section = section("otlp_http", &format!("endpoint: http://otel.example:4318\n{yaml}"));
    let mut plan = super::super::http::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let context = surroundings("otlp_http");
    let exporter = plan.ready(&context).unwrap();
    let meters = context.meters;
    let dropped = meters.count("dropped", "", "", vec![]);
    let (port, inbox) = Inbox::new(exporter.intake().limits);
    let port = port.with_policy(exporter.intake().policy, dropped.clone());
    let counts = ExportCounts::new(&meters, "otlp_http").with_folding(&meters, "otlp_http");
    let driving = tokio::spawn(drive(Arc::new(exporter), inbox, counts));
    let (table, began) = (SeriesTable::with_defaults(), tokio::time::Instant::now());
    let (mut waiters, mut most, mut sent): (Vec<Waiter>, _, _) = (Vec::new(), 0, 0);
    for number in 1..=ROUNDS {
        tokio::time::sleep_until(began + secs(number)).await;
        let mut batch = round(&table, SERIES, number);
        sent += batch.items() as u64;
        // Some senders wait for as long as it takes.
        if number % 60 == 0 {
            let (receipt, waiter) = Receipt::pair();
            waiters.push(waiter);
            batch = batch.with_receipt(receipt);
        }
        port.send(batch).await;
        most = most.max(port.queued_items());
    }
    drop(port);
    driving.await.unwrap();
    let gauges = ROUNDS / 100;
    assert!(most as u64 <= 2 * SERIES + gauges, "{most} points waited");
    for waiter in waiters {
        assert_eq!(waiter.verdict().await, Verdict::Delivered);
    }
    let (mut arrived, mut last, mut gauges_seen) = (0, std::collections::BTreeMap::new(), Vec::new());
    let decoder = pdata::otlp::MetricsDecoder::new(SeriesTable::with_defaults());
    for request in server.requests().into_iter().filter(|request| request.at >= secs(ROUNDS)) {
        let metrics = decoder.decode(&gunzip(&request.body)).unwrap().data;
        arrived += metrics.points.len() as u64;
        for point in &metrics.points {
            let series = metrics.series(point.series);
            match series.metric().kind {
                Kind::Gauge => gauges_seen.push(point.time.0),
                _ => {
                    let newest = last.entry(series.fingerprint()).or_insert(0);
                    *newest = point.time.0.max(*newest);
                }
            }
        }
    }
    assert_eq!(last.into_values().collect::<Vec<_>>(), [ROUNDS; SERIES as usize]);
    gauges_seen.sort_unstable();
    assert_eq!(
        gauges_seen,
        (1..=gauges).map(|number| number * 100).collect::<Vec<_>>(),
        "each value of a gauge is news"
    );
    let (delivered, folded) =
        (count(&meters, "otelcol_exporter_sent_metric_points"), count(&meters, "weir_queue_folded_items"));
    assert_eq!((delivered, dropped.value()), (arrived, 0));
    assert_eq!(sent, delivered + folded, "the books balance");
    assert!(folded > sent / 100 * 95, "{folded} of {sent}");
}
