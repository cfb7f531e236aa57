//! What the processor does to batches.

use pdata::{Exemplar, Histogram};
use pipeline::collection::{Collection, OnFailure, Page, SourceId};
use pipeline::{Processor, Receipt, Verdict};

use super::*;

const MERGE: &str = "metric_relabel_configs: [{regex: pod, action: labeldrop}]";

#[tokio::test(start_paused = true)]
async fn counters_that_become_one_add_up_their_increases() {
    let mut rig = Rig::new(MERGE);
    // Their history (100 and 50) was counted before anyone watched; from there on every increase counts.
    assert_eq!(
        rig.send(vec![counter(&[("pod", "a")], 1001, 100), counter(&[("pod", "b")], 1001, 50)]),
        ["c{} 1000..1001 0"]
    );
    assert_eq!(
        rig.send(vec![counter(&[("pod", "a")], 1011, 103), counter(&[("pod", "b")], 1012, 54)]),
        ["c{} 1000..1012 7"]
    );
    assert_eq!(rig.send(vec![counter(&[("pod", "b")], 1021, 55)]), ["c{} 1000..1021 8"]);
    assert_eq!(rig.count("weir_relabel_merged_points", ""), 5);
    assert_eq!(rig.count("weir_relabel_created_points", ""), 3);
    assert_eq!(rig.count("weir_relabel_baselined_inputs", ""), 2);
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_began_under_watch_counts_from_zero() {
    let mut rig = Rig::new(MERGE);
    let points = vec![
        counter(&[("pod", "a")], 1010, 100).starting(500),
        counter(&[("pod", "b")], 1010, 5).starting(1005),
        // OTLP: a start at the point's own time says that the start is unknown.
        counter(&[("pod", "c")], 1010, 7).starting(1010),
    ];
    assert_eq!(rig.send(points), ["c{} 1000..1010 5"]);
}

#[tokio::test(start_paused = true)]
async fn first_points_may_count_in_full_or_not_at_all() {
    let points = || vec![counter(&[("pod", "a")], 1010, 100), counter(&[("pod", "b")], 1010, 5).starting(1005)];
    let say = |policy: &str| Rig::new(&format!("{MERGE}\nfirst_point: {policy}\n")).send(points());
    assert_eq!(say("zero"), ["c{} 1000..1010 105"]);
    assert_eq!(say("baseline"), ["c{} 1000..1010 0"]);
    assert_eq!(say("auto"), ["c{} 1000..1010 5"]);
}

#[tokio::test(start_paused = true)]
async fn one_input_passes_untouched_and_a_second_goes_on_from_what_was_shown() {
    let mut rig = Rig::new(MERGE);
    assert_eq!(rig.send(vec![counter(&[("pod", "a")], 1001, 100).starting(10)]), ["c{} 10..1001 100"]);
    assert_eq!(rig.send(vec![counter(&[("pod", "a")], 1011, 110).starting(10)]), ["c{} 10..1011 110"]);
    // b joins before a speaks again: a's next increase is not lost, b's history is not added.
    assert_eq!(rig.send(vec![counter(&[("pod", "b")], 1015, 1000)]), ["c{} 10..1015 110"]);
    let both = vec![counter(&[("pod", "b")], 1025, 1001), counter(&[("pod", "a")], 1021, 120).starting(10)];
    assert_eq!(rig.send(both), ["c{} 10..1025 121"]);
}

#[tokio::test(start_paused = true)]
async fn whole_numbers_past_i64_begin_a_new_stream_and_lose_nothing() {
    let mut rig = Rig::new(MERGE);
    let big = 1i64 << 62;
    let points = |time, add: i64| {
        vec![
            counter(&[("pod", "a")], time, big + add).starting(1001),
            counter(&[("pod", "b")], time, big - 1 + add).starting(1001),
        ]
    };
    assert_eq!(rig.send(points(1010, 0)), [format!("c{{}} 1000..1010 {}", i64::MAX)]);
    // One more does not fit: the stream begins anew at its last point, with what came since.
    assert_eq!(rig.send(points(1020, 3)), ["c{} 1010..1020 6"]);
    assert_eq!(rig.send(points(1030, 4)), ["c{} 1010..1030 8"]);
    let level = |labels: &[(&str, &str)], value: i64| {
        sent(identity("u", Kind::UP_DOWN_COUNTER, labels), 1010, Number::Int(value))
    };
    let points = vec![level(&[("pod", "a")], big), level(&[("pod", "b")], big)];
    assert_eq!(rig.send(points), ["u{} 1000..1010 9.223372036854776e18"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_double_begins_a_new_stream_of_doubles() {
    let mut rig = Rig::new(MERGE);
    let point = |pod, time, value| sent(identity("c", Kind::COUNTER, &[("pod", pod)]), time, value).starting(1001);
    assert_eq!(
        rig.send(vec![point("a", 1010, Number::Int(3)), point("b", 1010, Number::Int(4))]),
        ["c{} 1000..1010 7"]
    );
    assert_eq!(rig.send(vec![point("b", 1020, Number::Double(4.5))]), ["c{} 1010..1020 0.5"]);
    assert_eq!(rig.send(vec![point("a", 1030, Number::Int(5))]), ["c{} 1010..1030 2.5"]);
}

#[tokio::test(start_paused = true)]
async fn points_that_say_nothing_new_are_left_out_and_counted() {
    let mut rig = Rig::new(MERGE);
    rig.send(vec![counter(&[("pod", "a")], 1010, 5).starting(1001), counter(&[("pod", "b")], 1010, 5).starting(1001)]);
    let odd = vec![
        counter(&[("pod", "a")], 1010, 5).starting(1001),
        counter(&[("pod", "a")], 1005, 4).starting(1001),
        counter(&[("pod", "a")], 1020, 9).starting(900),
        counter(&[("pod", "a")], 1020, -1).starting(1001),
        sent(identity("c", Kind::COUNTER, &[("pod", "b")]), 1020, Number::Double(f64::NAN)),
    ];
    assert_eq!(rig.send(odd), Vec::<String>::new());
    for (reason, expected) in [("duplicate", 1), ("out_of_order", 1), ("overlap", 1), ("invalid", 2)] {
        assert_eq!(rig.count("weir_relabel_dropped_points", reason), expected, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn gauges_are_put_together_from_what_their_inputs_say_now() {
    let table = [
        ("max", ["9", "7", "3", "7"]),
        ("min", ["2", "3", "3", "3"]),
        ("sum", ["11", "10", "3", "10"]),
        ("avg", ["5.5", "5.0", "3.0", "5.0"]),
        ("last", ["2", "3", "3", "7"]),
    ];
    for (function, expected) in table {
        let mut rig = Rig::new(&format!("{MERGE}\naggregate: {{gauge: {function}}}\n"));
        let rounds = [
            vec![gauge(&[("pod", "a")], 1001, 9), gauge(&[("pod", "b")], 1002, 2)],
            vec![gauge(&[("pod", "a")], 1011, 7), gauge(&[("pod", "b")], 1012, 3)],
            vec![gauge(&[("pod", "a")], 1021, 0).ended()],
            vec![gauge(&[("pod", "a")], 1031, 7)],
        ];
        for (round, expected) in rounds.into_iter().zip(expected) {
            let said = rig.send(round);
            assert_eq!(said.len(), 1, "{function}: {said:?}");
            assert!(said[0].ends_with(&format!(" {expected}")), "{function}: {said:?}, expected {expected}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_marker_takes_its_input_out_and_the_last_one_ends_the_output() {
    let mut rig = Rig::new(MERGE);
    let held = PointFlags::HELD;
    let up = |labels: &[(&str, &str)], time, value: i64| {
        sent(identity("u", Kind::UP_DOWN_COUNTER, labels), time, Number::Int(value))
    };
    rig.send(vec![up(&[("pod", "a")], 1001, 5).flagged(held), up(&[("pod", "b")], 1001, 6)]);
    assert_eq!(rig.send(vec![up(&[("pod", "b")], 1010, 0).ended()]), ["u{} 1000..1010 5 held"]);
    assert_eq!(rig.send(vec![up(&[("pod", "a")], 1020, 0).ended()]), ["u{} 1000..1020 end"]);
    assert_eq!(rig.send(vec![up(&[("pod", "a")], 1021, 0).ended()]), Vec::<String>::new());
    assert_eq!(rig.send(vec![up(&[("pod", "a")], 1030, 2)]), ["u{} 1000..1030 2"]);
    // A counter keeps what was counted; the end of one input says nothing.
    rig.send(vec![counter(&[("pod", "a")], 1010, 5).starting(1001), counter(&[("pod", "b")], 1010, 6).starting(1001)]);
    assert_eq!(rig.send(vec![counter(&[("pod", "a")], 1020, 0).ended()]), Vec::<String>::new());
    assert_eq!(rig.send(vec![counter(&[("pod", "b")], 1030, 8).starting(1001)]), ["c{} 1000..1030 13"]);
    let last = vec![counter(&[("pod", "b")], 1040, 9).starting(1001), counter(&[("pod", "b")], 1041, 0).ended()];
    assert_eq!(rig.send(last), ["c{} 1000..1041 14", "c{} 1000..1041.000000001 end"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_still_holds_is_said_again_though_nothing_changed() {
    let mut rig = Rig::new(MERGE);
    let both = || {
        let held = |pod, value| gauge(&[("pod", pod)], 1001, value).flagged(PointFlags::HELD);
        vec![held("a", 1), held("b", 2)]
    };
    assert_eq!(rig.send(both()), ["g{} 0..1001 2 held"]);
    // Rows that are dated by a column: read again, same time.
    assert_eq!(rig.send(both()), ["g{} 0..1001.000000001 2 held"]);
    assert_eq!(rig.send(vec![gauge(&[("pod", "b")], 1001, 3)]), ["g{} 0..1001.000000002 3 held"]);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_a_receiver_ended_is_forgotten_in_time() {
    let mut rig = Rig::new(MERGE);
    let end = PointFlags::HELD.with(PointFlags::NO_RECORDED_VALUE);
    for pod in ["a", "b"] {
        rig.send(vec![gauge(&[("pod", pod)], 1001, 1).flagged(PointFlags::HELD)]);
        rig.send(vec![gauge(&[("pod", pod)], 1002, 1).flagged(end)]);
    }
    for _ in 0..12 {
        let at = rig.processor.wake_at().unwrap();
        rig.processor.wake(at, &mut |batch| panic!("nothing is said: {:?}", lines(&batch)));
    }
    assert_eq!((rig.processor.inputs(), rig.processor.remembered()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_input_that_leaves_as_another_comes_does_not_end_the_output() {
    let mut rig = Rig::new(MERGE);
    assert_eq!(rig.send(vec![gauge(&[("pod", "a")], 1001, 1)]), ["g{} 0..1001 1"]);
    let moved = vec![gauge(&[("pod", "b")], 1011, 1), gauge(&[("pod", "a")], 1011, 0).ended()];
    assert_eq!(rig.send(moved), ["g{} 0..1011 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_prometheus_stale_marker_ends_as_well() {
    let mut rig = Rig::new(MERGE);
    let point = |pod, time, value| sent(identity("g", Kind::Gauge, &[("pod", pod)]), time, Number::Double(value));
    rig.send(vec![point("a", 1001, 5.0), point("b", 1001, 3.0)]);
    assert_eq!(rig.send(vec![point("a", 1002, f64::from_bits(0x7ff0_0000_0000_0002))]), ["g{} 0..1002 3.0"]);
    assert_eq!(rig.send(vec![point("b", 1003, f64::NAN)]), ["g{} 0..1003 end"]);
}

#[tokio::test(start_paused = true)]
async fn deltas_add_up_per_batch() {
    let kind = Kind::Sum { monotonic: true, temporality: pdata::Temporality::Delta };
    let mut rig = Rig::new(MERGE);
    let point =
        |pod, start, time, value| sent(identity("d", kind, &[("pod", pod)]), time, Number::Int(value)).starting(start);
    assert_eq!(rig.send(vec![point("a", 1001, 1002, 5), point("b", 1000, 1003, 6)]), ["d{} 1000..1003 11"]);
    assert_eq!(rig.send(vec![point("b", 1003, 1004, 1)]), ["d{} 1003..1004 1"]);
}

#[tokio::test(start_paused = true)]
async fn histograms_add_up_at_the_bounds_that_all_have() {
    let mut rig = Rig::new(MERGE);
    let kind = Kind::Histogram { temporality: pdata::Temporality::Cumulative };
    let point = |pod, time, bounds: &[f64], counts: &[u64]| {
        let histogram = Histogram {
            count: counts.iter().sum(),
            sum: Some(counts.iter().sum::<u64>() as f64),
            min: Some(0.0),
            max: Some(9.0),
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
        };
        sent(identity("h", kind, &[("pod", pod)]), time, PointValue::Histogram(Box::new(histogram))).starting(1001)
    };
    let value = |rig: &mut Rig, points| {
        let batch = rig.batch(points);
        let made = process(&mut rig.processor, batch);
        let metrics = made[0].metrics().unwrap();
        let PointValue::Histogram(histogram) = &metrics.points[0].value else { panic!("no histogram") };
        assert_eq!((metrics.points.len(), histogram.min), (1, None));
        (metrics.points[0].start.as_seconds(), histogram.bounds.clone(), histogram.counts.clone(), histogram.sum)
    };
    let first = vec![point("a", 1010, &[1.0, 2.0], &[1, 2, 3]), point("b", 1010, &[1.0, 2.0], &[1, 1, 1])];
    assert_eq!(value(&mut rig, first), (1000.0, vec![1.0, 2.0], vec![2, 3, 4], Some(9.0)));
    // A third with other bounds: the stream begins anew with what came since, at the bounds that are left.
    let third = vec![point("a", 1020, &[1.0, 2.0], &[2, 2, 3]), point("c", 1020, &[2.0, 5.0], &[1, 1, 1])];
    assert_eq!(value(&mut rig, third), (1010.0, vec![2.0], vec![2, 2], Some(4.0)));
    let fourth = vec![point("b", 1030, &[1.0, 2.0], &[1, 1, 5])];
    assert_eq!(value(&mut rig, fourth), (1010.0, vec![2.0], vec![2, 6], Some(8.0)));
}

#[tokio::test(start_paused = true)]
async fn collisions_may_be_rejected_until_the_first_is_gone() {
    let mut rig = Rig::new(&format!("{MERGE}\non_collision: reject\n"));
    let both = |time| vec![gauge(&[("pod", "a")], time, 1), gauge(&[("pod", "b")], time, 2)];
    assert_eq!(rig.send(both(1001)), ["g{} 0..1001 1"]);
    assert_eq!(rig.count("weir_relabel_dropped_points", "collision"), 1);
    assert_eq!(rig.send(vec![gauge(&[("pod", "a")], 1002, 0).ended()]), ["g{} 0..1002 end"]);
    assert_eq!(rig.send(both(1003)), ["g{} 0..1003 1"]);
    rig.send(vec![gauge(&[("pod", "a")], 1004, 0).ended()]);
    assert_eq!(rig.send(vec![gauge(&[("pod", "b")], 1005, 2)]), ["g{} 0..1005 2"]);
    assert_eq!(rig.send(vec![gauge(&[("pod", "a")], 1006, 1)]), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn collisions_may_pass_as_in_prometheus() {
    let mut rig = Rig::new(&format!("{MERGE}\non_collision: pass\n"));
    let both = vec![gauge(&[("pod", "a")], 1001, 1), gauge(&[("pod", "b")], 1001, 2)];
    assert_eq!(rig.send(both), ["g{} 0..1001 1", "g{} 0..1001 2"]);
}

fn page(batch: Batch, source: &str, sequence: u64, page: Page) -> Batch {
    batch.with_collection(Collection { source: SourceId(source.into()), sequence, page })
}

#[tokio::test(start_paused = true)]
async fn an_output_speaks_once_a_read_at_its_last_page() {
    let mut rig = Rig::new(MERGE);
    let mut send = |sent, which, read, source: &str| {
        let batch = page(rig.batch(sent), source, read, which);
        let made = process(&mut rig.processor, batch);
        assert_eq!(made.len(), 1, "a page is passed on, even empty");
        assert!(made[0].collection.is_some());
        lines(&made[0])
    };
    let a = |time, value| vec![gauge(&[("pod", "a")], time, value)];
    let b = |time, value| vec![gauge(&[("pod", "b")], time, value)];
    assert_eq!(send(a(1001, 1), Page::More, 1, "one"), ["g{} 0..1001 1"]);
    assert_eq!(send(b(1001, 5), Page::Last, 1, "one"), ["g{} 0..1001.000000001 5"]);
    assert_eq!(send(a(1011, 7), Page::More, 2, "one"), Vec::<String>::new());
    // Another source in between has its own say.
    assert_eq!(
        send(vec![gauge(&[("pod", "x"), ("job", "other")], 1012, 3)], Page::Last, 1, "two"),
        ["g{job=other} 0..1012 3"]
    );
    assert_eq!(send(b(1011, 6), Page::Last, 2, "one"), ["g{} 0..1011 7"]);
    // A failed read says nothing; the next one says it all.
    assert_eq!(send(a(1021, 9), Page::More, 3, "one"), Vec::<String>::new());
    assert_eq!(send(vec![], Page::Failed(OnFailure::Omit), 3, "one"), Vec::<String>::new());
    assert_eq!(send(b(1031, 6), Page::Last, 4, "one"), ["g{} 0..1031 9"]);
}

#[tokio::test(start_paused = true)]
async fn two_sources_into_one_output_add_up() {
    let mut rig = Rig::new("metric_relabel_configs: [{regex: source, action: labeldrop}]");
    let mut send = |source: &str, time, value| {
        let sent = counter(&[("source", source)], time, value).starting(1001);
        let batch = page(rig.batch(vec![sent]), source, time, Page::Last);
        lines(&process(&mut rig.processor, batch)[0])
    };
    assert_eq!(send("one", 1010, 5), ["c{} 1001..1010 5"]);
    assert_eq!(send("two", 1011, 7), ["c{} 1001..1011 12"]);
    // Its clock is behind: the output's time still rises.
    assert_eq!(send("one", 1010 + 1, 6), ["c{} 1001..1011.000000001 13"]);
    assert_eq!(send("two", 1012, 8), ["c{} 1001..1012 14"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_which_nothing_is_left_is_settled_as_discarded_unless_it_is_a_page() {
    let mut rig = Rig::new("metric_relabel_configs: [{regex: m.*, source_labels: [__name__], action: drop}]");
    let (receipt, waiter) = Receipt::pair();
    let batch = rig.batch(vec![sent(identity("m", Kind::Gauge, &[]), 1, Number::Int(1))]).with_receipt(receipt);
    assert!(process(&mut rig.processor, batch).is_empty());
    assert_eq!(waiter.verdict().await, Verdict::Discarded);
    let batch = rig.batch(vec![sent(identity("m", Kind::Gauge, &[]), 1, Number::Int(1))]);
    let made = process(&mut rig.processor, page(batch, "one", 1, Page::Last));
    assert_eq!(made[0].items(), 0);
    assert_eq!(rig.count("weir_relabel_dropped_points", "rule"), 2);
}

#[tokio::test(start_paused = true)]
async fn who_else_reads_a_batch_sees_it_unchanged() {
    let mut rig = Rig::new(MERGE);
    let batch = rig.batch(vec![gauge(&[("pod", "a")], 1001, 1), gauge(&[("pod", "b")], 1001, 2)]);
    let fork = batch.fork();
    assert_eq!(process(&mut rig.processor, batch).iter().flat_map(lines).collect::<Vec<_>>(), ["g{} 0..1001 2"]);
    assert_eq!(lines(&fork), ["g{pod=a} 0..1001 1", "g{pod=b} 0..1001 2"]);
}

#[tokio::test(start_paused = true)]
async fn logs_pass() {
    let mut rig = Rig::new(MERGE);
    let batch = Batch::new(pdata::Logs::default(), UnixNanos(1));
    assert_eq!(process(&mut rig.processor, batch).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn identities_at_first_sight_are_relabelled_without_a_place_in_the_memo() {
    let mut rig = Rig::new(MERGE);
    let once = |rig: &Rig| {
        let points = vec![
            counter(&[("pod", "a"), ("x", "1")], 1010, 5).starting(1001),
            counter(&[("pod", "b"), ("x", "1")], 1010, 6).starting(1001),
            counter(&[("pod", "b"), ("x", "2")], 1010, 1).starting(1001),
            sent(identity("dropped", Kind::Gauge, &[]), 1010, Number::Int(1)),
        ];
        rig.batch_by(points, SeriesTable::sight)
    };
    let batch = once(&rig);
    assert_eq!(batch.metrics().unwrap().inline().len(), 4);
    let made = process(&mut rig.processor, batch);
    assert_eq!(lines(&made[0]), ["c{x=2} 1001..1010 1", "dropped{} 0..1010 1", "c{x=1} 1000..1010 11"]);
    assert_eq!(rig.processor.remembered(), 0);
    // At second sight they have slots; state goes by fingerprint, so nothing is counted twice.
    let batch = once(&rig);
    assert!(batch.metrics().unwrap().inline().is_empty());
    let made = process(&mut rig.processor, batch);
    assert_eq!(lines(&made[0]), ["c{x=2} 1001..1010 1", "dropped{} 0..1010 1"]);
    assert_eq!(rig.count("weir_relabel_dropped_points", "duplicate"), 2);
    assert_eq!(rig.processor.remembered(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_memo_costs_time_and_nothing_else() {
    let mut rig = Rig::new(&format!("{MERGE}\nmemo: {{max_series: 1}}\n"));
    for time in [1001, 1002] {
        let points = vec![
            gauge(&[("pod", "a")], time, 1),
            gauge(&[("pod", "b")], time, 2),
            gauge(&[("pod", "c"), ("x", "1")], time, 3),
        ];
        let said = rig.send(points);
        assert_eq!(said, [format!("g{{x=1}} 0..{time} 3"), format!("g{{}} 0..{time} 2")]);
    }
    assert_eq!(rig.processor.remembered(), 1);
    assert_eq!(rig.count("weir_relabel_memo_full", ""), 4);
}

#[tokio::test(start_paused = true)]
async fn a_full_series_table_makes_outputs_travel_with_their_batch() {
    let mut rig = Rig::new(MERGE);
    rig.table =
        SeriesTable::new(pdata::Seed::from_bytes([1; 16]), pdata::Limits { series: 3, ..pdata::Limits::default() });
    let section = Section::from_yaml("relabel", MERGE).unwrap();
    let clock = Clock::stepped(UnixNanos(1000 * SECOND));
    rig.processor = Relabel::from_section(&section, rig.table.clone(), clock, &rig.meters).unwrap();
    for time in [1001, 1002] {
        let points = vec![
            gauge(&[("pod", "a")], time, 1),
            gauge(&[("pod", "b")], time, 2),
            gauge(&[("pod", "c"), ("x", "1")], time, 3),
        ];
        assert_eq!(rig.send(points), [format!("g{{x=1}} 0..{time} 3"), format!("g{{}} 0..{time} 2")]);
    }
}

#[tokio::test(start_paused = true)]
async fn past_its_bound_new_inputs_are_refused_and_live_ones_stay() {
    let mut rig = Rig::new(&format!("{MERGE}\nmax_input_series: 2\n"));
    let points = |time, value| {
        vec![
            counter(&[("pod", "a")], time, value).starting(1001),
            counter(&[("pod", "b")], time, value).starting(1001),
            // No room, and the output has others: dropped.
            counter(&[("pod", "c")], time, value).starting(1001),
            // No room, but nobody else is known to share its output: passed.
            counter(&[("pod", "d"), ("x", "1")], time, value).starting(1001),
        ]
    };
    assert_eq!(rig.send(points(1010, 5)), ["c{x=1} 1001..1010 5", "c{} 1000..1010 10"]);
    assert_eq!(rig.send(points(1020, 6)), ["c{x=1} 1001..1020 6", "c{} 1000..1020 12"]);
    assert_eq!(rig.count("weir_relabel_dropped_points", "refused_input"), 2);
}

#[tokio::test(start_paused = true)]
async fn idle_inputs_are_forgotten_and_their_outputs_end() {
    let mut rig = Rig::new(&format!("{MERGE}\ninput_ttl: 100s\n"));
    let held = PointFlags::HELD;
    let gauges = |time, value| vec![gauge(&[("pod", "a")], time, value), gauge(&[("pod", "b")], time, value + 1)];
    rig.send(gauges(1001, 1));
    rig.send(vec![
        gauge(&[("h", "1"), ("pod", "a")], 1001, 1).flagged(held),
        gauge(&[("h", "1"), ("pod", "b")], 1001, 2).flagged(held),
    ]);
    let mut said = Vec::new();
    for step in 0..14 {
        let at = rig.processor.wake_at().unwrap();
        tokio::time::advance(at - tokio::time::Instant::now()).await;
        if step == 5 {
            // b stays: the output goes down to it when a is forgotten.
            rig.send(vec![gauge(&[("pod", "a")], 1050, 1)]);
        }
        rig.processor.wake(at, &mut |batch| said.extend(lines(&batch)));
    }
    assert_eq!(said, ["g{} 0..1050.000000001 1"]);
    for _ in 0..6 {
        let at = rig.processor.wake_at().unwrap();
        rig.processor.wake(at, &mut |batch| said.extend(lines(&batch)));
    }
    assert_eq!(said[1..], ["g{} 0..1050.000000002 end"]);
    assert_eq!(rig.send(vec![gauge(&[("h", "1"), ("pod", "a")], 2001, 3).flagged(held)]), ["g{h=1} 0..2001 3 held"]);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_returns_after_it_was_forgotten_is_not_counted_twice() {
    let mut rig = Rig::new(&format!("{MERGE}\ninput_ttl: 100s\n"));
    let point = |pod, time, value| counter(&[("pod", pod)], time, value).starting(1001);
    rig.send(vec![point("a", 1010, 100), point("b", 1010, 100)]);
    let mut said = Vec::new();
    for step in 0..15 {
        said = rig.send(vec![point("b", 1020 + step, 101)]);
        let at = rig.processor.wake_at().unwrap();
        rig.processor.wake(at, &mut |_| {});
    }
    assert_eq!(said, ["c{} 1000..1034 201"]);
    // a was forgotten at its last point (1010): it began before, so its 150 are history. What began after counts in full.
    assert_eq!(rig.send(vec![point("a", 1040, 150)]), ["c{} 1000..1040 201"]);
    assert_eq!(rig.send(vec![point("a", 1041, 151)]), ["c{} 1000..1041 202"]);
    assert_eq!(rig.send(vec![counter(&[("pod", "n")], 1042, 7).starting(1035)]), ["c{} 1000..1042 209"]);
}

#[tokio::test(start_paused = true)]
async fn exemplars_follow_their_points() {
    let mut rig = Rig::new(MERGE);
    let example = |point, time| Exemplar {
        point,
        time: UnixNanos(time),
        value: Number::Int(1),
        trace_id: [1; 16],
        span_id: [2; 8],
        filtered_attributes: pdata::Attributes::from_pairs([("k", "v")]),
    };
    let mut batch = rig.batch(vec![
        gauge(&[("pod", "a")], 1001, 1),
        gauge(&[("pod", "b")], 1001, 2),
        gauge(&[("x", "1")], 1001, 3),
    ]);
    batch.metrics_mut().unwrap().exemplars = vec![example(0, 7), example(1, 6), example(2, 5)];
    let made = process(&mut rig.processor, batch);
    let metrics = made[0].metrics().unwrap();
    assert_eq!(lines(&made[0]), ["g{x=1} 0..1001 3", "g{} 0..1001 2"]);
    let merged = pdata::Attributes::from_pairs([("k", "v"), ("pod", "a")]);
    assert_eq!(metrics.exemplars, [example(0, 5), Exemplar { filtered_attributes: merged, ..example(1, 7) }]);
}
