use super::*;
use crate::meter::Meters;

fn roster(connections: usize, connections_per_address: usize) -> (Meters, Arc<Roster>) {
    let meters = Meters::unread();
    let limits = LimitsConfig { connections, connections_per_address, ..LimitsConfig::default() };
    let counts = Counts::new(&meters, "exporter", "a");
    (meters, Roster::new(limits, counts))
}

fn count(meters: &Meters, reason: &str) -> u64 {
    let is = |labels: &crate::meter::Labels| labels.iter().any(|(_, value)| value == reason);
    meters.counts().iter().filter(|(_, labels, _)| is(labels)).map(|(.., value)| value).sum()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_oldest_half_open_connection_of_a_full_address_makes_room() {
    let (meters, roster) = roster(100, 2);
    let busy = roster.enter(ip("10.0.0.1")).unwrap();
    assert!(busy.settle());
    let half = roster.enter(ip("10.0.0.1")).unwrap();
    tokio::time::advance(GRACE).await;
    let new = roster.enter(ip("::ffff:10.0.0.1")).unwrap();
    assert!(!half.settle() && new.settle());
    assert!(roster.enter(ip("10.0.0.1")).is_none());
    assert!(roster.enter(ip("10.0.0.2")).is_some());
    assert_eq!((count(&meters, "half_open"), count(&meters, "connections_per_address")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn who_has_just_come_is_not_pushed_out_by_its_address_but_does_not_stay_past_its_grace() {
    let (meters, roster) = roster(100, 2);
    let seats: Vec<_> = (0..10).map(|_| roster.enter(ip("10.0.0.1")).unwrap()).collect();
    assert_eq!((count(&meters, "half_open"), roster.counts.open.value()), (0, 10));
    let settled: Vec<_> = seats.iter().map(Seat::settle).collect();
    assert_eq!(settled.iter().filter(|settled| **settled).count(), 2);
    let at = roster.sweep_at().unwrap();
    tokio::time::advance(at - Instant::now()).await;
    roster.sweep();
    assert_eq!((count(&meters, "half_open"), roster.sweep_at()), (8, None));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_half_open_connection_of_a_full_house_makes_room() {
    let (meters, roster) = roster(2, 2);
    let _half = roster.enter(ip("10.0.0.1")).unwrap();
    let busy = roster.enter(ip("10.0.0.2")).unwrap();
    assert!(busy.settle());
    let other = roster.enter(ip("10.0.0.3")).unwrap();
    assert!(other.settle());
    assert!(roster.enter(ip("10.0.0.4")).is_none());
    assert_eq!((count(&meters, "half_open"), count(&meters, "connections")), (1, 1));
    assert_eq!(roster.counts.open.value(), 2);
    drop((busy, other));
    assert_eq!(roster.counts.open.value(), 0);
    assert!(roster.table().homes.is_empty());
}

#[test]
fn an_ipv6_network_is_one_address() {
    let (_, roster) = roster(10, 1);
    let seat = roster.enter(ip("2001:db8::1")).unwrap();
    assert!(seat.settle());
    assert!(roster.enter(ip("2001:db8::2:1")).is_none());
    assert!(roster.enter(ip("2001:db8:0:1::1")).is_some());
}

#[tokio::test]
async fn who_makes_room_is_ended() {
    let (_, roster) = roster(1, 1);
    let seat = roster.enter(ip("10.0.0.1")).unwrap();
    let id = seat.id();
    let task = tokio::spawn(async move {
        let _seat = seat;
        std::future::pending::<()>().await;
    });
    roster.served_by(id, task.abort_handle());
    let _new = roster.enter(ip("10.0.0.1")).unwrap();
    assert!(task.await.unwrap_err().is_cancelled());
}
