use std::time::Duration;

use super::*;

fn progress() -> Arc<Progress> {
    Progress::new(Timeouts::default(), Instant::now())
}

async fn overdue_after(progress: &Progress) -> (u64, Option<Closed>) {
    let began = Instant::now();
    let why = progress.overdue().await;
    (began.elapsed().as_secs(), why)
}

#[tokio::test(start_paused = true)]
async fn the_first_head_has_five_seconds() {
    assert_eq!(overdue_after(&progress()).await, (5, Some(Closed::Head)));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_has_a_minute_and_a_begun_head_five_seconds() {
    let progress = progress();
    let running = progress.begin(false);
    tokio::time::advance(Duration::from_secs(1_000)).await;
    drop(running);
    assert_eq!(overdue_after(&progress).await, (60, Some(Closed::Idle)));
    let stream = Tracked::new(tokio::io::empty(), progress.clone());
    stream.note_read();
    tokio::time::advance(Duration::from_secs(1)).await;
    stream.note_read();
    assert_eq!(overdue_after(&progress).await, (4, Some(Closed::Head)));
}

#[tokio::test(start_paused = true)]
async fn a_running_request_has_all_the_time_it_wants() {
    let progress = progress();
    let _running = progress.begin(false);
    tokio::time::timeout(Duration::from_secs(100_000), progress.overdue()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_piece_that_is_not_taken_has_thirty_seconds() {
    let progress = progress();
    let running = progress.begin(true);
    let mut answer = running.answer(super::super::response::full("x"));
    let piece = std::future::poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await;
    assert!(piece.is_some());
    assert_eq!(overdue_after(&progress).await, (30, Some(Closed::Write)));
    drop(answer);
    assert_eq!(overdue_after(&progress).await, (60, Some(Closed::Idle)));
}
