use std::sync::Arc;

use pdata::{Kind, Number, PointFlags, Series, SeriesTable};
use proptest::prelude::*;

use super::*;
use crate::budget::Budget;
use crate::inbox::{Inbox, InboxLimits, Port, PortPolicy};
use crate::receipt::Receipt;
use crate::testing::{batch_of, identity};

const KINDS: [Kind; 3] = [Kind::COUNTER, Kind::Gauge, Kind::Sum { monotonic: true, temporality: Temporality::Delta }];

/// Series, kind, start, time, whether it ends the series.
type Line = (u8, usize, u64, u64, bool);

fn metrics(table: &Arc<SeriesTable>, lines: &[Line]) -> Metrics {
    let mut metrics = Metrics::new(table.pin());
    for (index, (name, kind, start, time, end)) in lines.iter().enumerate() {
        let identity = identity(&format!("{name}-{kind}"), KINDS[*kind], &[]);
        // Every other series travels in its batch.
        let fingerprint = identity.fingerprint(table.seed());
        let series = if name % 2 == 0 { table.intern(identity) } else { Series::inline(identity, fingerprint) };
        let id = metrics.adopt(&series);
        let flags = if *end { PointFlags::NO_RECORDED_VALUE } else { PointFlags::empty() };
        let value = Number::Int(index as i64).into();
        metrics.points.push(Point { series: id, start: UnixNanos(*start), time: UnixNanos(*time), value, flags });
    }
    metrics
}

fn line_of(metrics: &Metrics, point: &Point) -> Line {
    let series = metrics.series(point.series);
    let (name, kind) = series.metric().name.split_once('-').unwrap();
    (name.parse().unwrap(), kind.parse().unwrap(), point.start.0, point.time.0, point.is_end())
}

/// The rule of queues on disk, from the newest to the oldest, over all that waits.
fn plain(waits: &[Vec<Line>]) -> Vec<Vec<Line>> {
    let mut newest = std::collections::HashMap::new();
    let mut keeps = |(name, kind, start, time, end): &Line| {
        if *kind != 0 || *start == 0 {
            return true;
        }
        if *end {
            newest.remove(name);
            return true;
        }
        let superseded = newest.get(name).is_some_and(|(s, t)| s == start && *t >= *time);
        if !superseded {
            newest.insert(*name, (*start, *time));
        }
        !superseded
    };
    let mut kept: Vec<Vec<Line>> = waits
        .iter()
        .rev()
        .map(|lines| {
            let mut kept: Vec<_> = lines.iter().rev().filter(|line| keeps(line)).copied().collect();
            kept.reverse();
            kept
        })
        .filter(|kept| !kept.is_empty())
        .collect();
    kept.reverse();
    kept
}

fn queue() -> (Port, Inbox, Waiting, Count) {
    let (port, inbox) = Inbox::new(InboxLimits { batches: 1000, ..InboxLimits::default() });
    let counts = Folds::default();
    let folded = counts.left_out.clone();
    (port, inbox, Waiting::new(counts), folded)
}

/// Sends a batch the whole way in.
fn send(port: &Port, inbox: &mut Inbox, waiting: &mut Waiting, batch: Batch) {
    let sending = async {
        port.send(batch).await;
        waiting.push(inbox.queued().await.unwrap());
    };
    futures_util::future::FutureExt::now_or_never(sending).expect("there is room");
}

fn lines_of(batch: &Batch) -> Vec<Line> {
    let metrics = batch.metrics().unwrap();
    metrics.points.iter().map(|point| line_of(metrics, point)).collect()
}

fn any_line() -> impl Strategy<Value = Line> {
    (
        0..4_u8,
        prop_oneof![4 => Just(0_usize), 1 => Just(1), 1 => Just(2)],
        0..3_u64,
        0..6_u64,
        prop::bool::weighted(0.1),
    )
}

proptest! {
    #[test]
    fn what_is_left_is_what_a_look_over_all_that_waits_would_leave(
        batches in prop::collection::vec(prop::collection::vec(any_line(), 1..6), 1..16)
    ) {
        let table = SeriesTable::with_defaults();
        let (port, mut inbox, mut waiting, folded) = queue();
        for lines in &batches {
            let batch = Batch::new(metrics(&table, lines), UnixNanos(1));
            send(&port, &mut inbox, &mut waiting, batch);
        }
        let sent: usize = batches.iter().map(Vec::len).sum();
        let left: Vec<_> = std::iter::from_fn(|| waiting.pop()).map(|batch| lines_of(&batch)).collect();
        prop_assert_eq!(&left, &plain(&batches));
        prop_assert_eq!(left.iter().map(Vec::len).sum::<usize>() + folded.value() as usize, sent);
        prop_assert!(waiting.lines.is_empty(), "nothing is known of what left");
        prop_assert_eq!((port.queued_batches(), port.queued_items(), port.queued_bytes()), (0, 0, 0));
    }

    #[test]
    fn in_any_order_of_coming_and_going_every_sender_learns_the_fate_of_what_stands_for_him(
        steps in prop::collection::vec((prop::collection::vec(any_line(), 1..5), 0..3_u8, any::<bool>()), 1..24)
    ) {
        let table = SeriesTable::with_defaults();
        let (port, mut inbox, mut waiting, folded) = queue();
        let (mut waiters, mut taken, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        let mut sent = 0;
        let mut take = |waiting: &mut Waiting, fails: bool, taken: &mut Vec<Line>| {
            let Some(batch) = waiting.pop() else { return };
            taken.extend(lines_of(&batch));
            if fails {
                lost.extend(lines_of(&batch));
            }
            batch.settle(if fails { Verdict::Lost } else { Verdict::Delivered });
        };
        for (lines, pops, fails) in &steps {
            let (receipt, waiter) = Receipt::pair();
            waiters.push((lines.clone(), waiter));
            sent += lines.len();
            let batch = Batch::new(metrics(&table, lines), UnixNanos(1)).with_receipt(receipt);
            send(&port, &mut inbox, &mut waiting, batch);
            (0..*pops).for_each(|_| take(&mut waiting, *fails, &mut taken));
        }
        while !waiting.held.is_empty() {
            take(&mut waiting, false, &mut taken);
        }
        prop_assert_eq!(taken.len() + folded.value() as usize, sent);
        for (lines, mut waiter) in waiters {
            let verdict = futures_util::future::FutureExt::now_or_never(waiter.ended());
            let verdict = verdict.expect("everybody is told");
            if verdict == Verdict::Delivered {
                // Each of its points is there, or one that says at least as much.
                for (name, kind, start, time, end) in lines {
                    let says = |other: &&Line| {
                        (other.0, other.1, other.2, other.4) == (name, kind, start, end)
                            && (other.3 == time || (kind == 0 && start != 0 && !end && other.3 >= time))
                    };
                    let told = taken.iter().filter(says).count();
                    let failed = lost.iter().filter(says).count();
                    prop_assert!(told > failed, "{name} {kind} {start} {time} {end}");
                }
            }
        }
    }
}

fn counter(table: &Arc<SeriesTable>, time: u64) -> Batch {
    Batch::new(metrics(table, &[(0, 0, 1, time, false)]), UnixNanos(1))
}

#[tokio::test]
async fn a_sender_whose_points_were_superseded_learns_what_became_of_those_that_say_more() {
    for verdict in [Verdict::Delivered, Verdict::Rejected, Verdict::Lost] {
        let table = SeriesTable::with_defaults();
        let (port, mut inbox, mut waiting, folded) = queue();
        let waiters: Vec<_> = (1..=3)
            .map(|time| {
                let (receipt, waiter) = Receipt::pair();
                send(&port, &mut inbox, &mut waiting, counter(&table, time).with_receipt(receipt));
                waiter
            })
            .collect();
        assert_eq!((port.queued_batches(), folded.value()), (1, 2), "one point is worth sending");
        let batch = waiting.pop().unwrap();
        assert_eq!(lines_of(&batch), [(0, 0, 1, 3, false)]);
        batch.settle(verdict);
        for waiter in waiters {
            assert_eq!(waiter.verdict().await, verdict);
        }
    }
}

#[tokio::test]
async fn what_is_folded_makes_room_for_what_comes_and_gives_its_bytes_back() {
    let table = SeriesTable::with_defaults();
    let budget = Budget::new(1 << 20);
    let (port, mut inbox) = Inbox::new(InboxLimits { batches: 3, items: 12, ..InboxLimits::default() });
    let dropped = Count::default();
    let port = port.with_policy(PortPolicy::DropNewest, dropped.clone());
    let mut waiting = Waiting::new(Folds::default());
    for time in 1..=100 {
        // A gauge and four counters: the gauge is news each time.
        let mut lines: Vec<Line> = (0..4).map(|name| (name * 2, 0, 1, time, false)).collect();
        if time == 1 {
            lines.push((0, 1, 1, time, false));
        }
        let metrics = metrics(&table, &lines);
        let permit = budget.take(metrics.heap_bytes()).unwrap();
        send(&port, &mut inbox, &mut waiting, Batch::new(metrics, UnixNanos(1)).with_permit(permit));
    }
    assert_eq!((dropped.value(), port.queued_batches(), port.queued_items()), (0, 2, 5));
    assert_eq!(budget.used(), port.queued_bytes(), "of what was left out nothing is held");
    // What cannot be folded meets the bounds: of batches first, then of items.
    port.send(batch_of(5)).await;
    port.send(batch_of(1)).await;
    assert_eq!(dropped.value(), 1, "a third waits, and no fourth");
    waiting.push(inbox.queued().await.unwrap());
    drop(waiting.pop().unwrap());
    port.send(batch_of(5)).await;
    assert_eq!(dropped.value(), 6, "nine wait, and no five more");
    drop(waiting);
    assert_eq!((port.queued_batches(), budget.used()), (0, 0));
}

#[test]
fn late_points_are_kept_and_cost_no_more_than_others() {
    let table = SeriesTable::with_defaults();
    let (port, mut inbox, mut waiting, folded) = queue();
    for time in (1..=500).rev() {
        send(&port, &mut inbox, &mut waiting, counter(&table, time));
    }
    assert!(waiting.lines.values().all(|line| line.places.len() <= LATE_MAX));
    assert_eq!((folded.value(), port.queued_batches()), (0, 500));
    send(&port, &mut inbox, &mut waiting, counter(&table, 1000));
    assert_eq!(folded.value(), LATE_MAX as u64, "those that are still known");
}
