//! The window in which ids are remembered: what is too old, and what may be forgotten.
//!
//! Everything is measured against the *horizon*, not against the wall clock: a row is forgotten when its stamp lies before the
//! horizon, and an event whose signed time lies before the horizon is too old. One number for both makes the promise exact: an
//! event that is not too old has not been forgotten, whatever clocks do.
//!
//! The horizon only rises, and at most a quarter faster than the monotonic clock, so a wall clock that jumps forwards forgets
//! nothing early: a row lives at least 4/5 of the window in running time (76.8 h of the default 96 h; the longest schedule
//! of retries known, Standard Webhooks', spans 75.6 h). After downtime the window is longer until the horizon has caught up.
//! Only one thing moves it faster: ids past `max_bytes`.

use std::time::Duration;

use pdata::UnixNanos;
use tokio::time::Instant;

/// Bookkeeping of remembered ids.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    length: Duration,
    max_bytes: u64,
    /// What one id takes.
    row_bytes: u64,
    /// What lies before it is too old, and may be forgotten.
    horizon: UnixNanos,
    /// When the horizon was moved last, by the monotonic clock.
    moved: Option<Instant>,
    /// How many rows there are by stamp: slots in order. A statistic: it decides when to sweep and how far
    /// to shorten, never what is forgotten.
    slots: Vec<Slot>,
}

/// The window as it is configured: its length and the bytes that ids may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowLimits {
    pub(super) length: Duration,
    pub(super) max_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// First stamp, seconds since 1970.
    from: u64,
    /// Last stamp.
    to: u64,
    rows: u64,
}

/// What an id takes of the file: 28 bytes of cell in a tree that random keys fill to 88 % while it grows (measured in
/// `ids_take_no_more_than_the_window_reckons_with`) and somewhat less when ids come and go.
pub(super) const ROW_BYTES: u64 = 36;

/// Slots at most; at a bound two neighbours become one.
const SLOTS_MAX: usize = 128;

impl Window {
    /// An empty window that ends now.
    pub(super) fn new(length: Duration, max_bytes: u64, wall: UnixNanos) -> Self {
        let horizon = UnixNanos(wall.0.saturating_sub(nanos(length)));
        Self { length, max_bytes, row_bytes: ROW_BYTES, horizon, moved: None, slots: Vec::new() }
    }

    /// The same, of ids that take so many bytes each.
    pub(super) fn of_rows(self, row_bytes: u64) -> Self {
        Self { row_bytes, ..self }
    }

    /// A window as it was kept on disk. A length that the operator has shortened since counts at once.
    pub(super) fn restored(
        length: Duration,
        max_bytes: u64,
        was: Duration,
        horizon: UnixNanos,
        slots: impl Iterator<Item = [u64; 3]>,
    ) -> Self {
        let horizon = horizon.plus(was.saturating_sub(length));
        let slots = slots.map(|[from, to, rows]| Slot { from, to, rows }).collect();
        Self { length, max_bytes, row_bytes: ROW_BYTES, horizon, moved: None, slots }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn horizon(&self) -> UnixNanos {
        self.horizon
    }

    pub(super) fn slots(&self) -> impl ExactSizeIterator<Item = [u64; 3]> {
        self.slots.iter().map(|slot| [slot.from, slot.to, slot.rows])
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, wall: UnixNanos, now: Instant) {
        let elapsed = self.moved.map_or(Duration::ZERO, |moved| now.saturating_duration_since(moved));
        self.moved = Some(now);
        let aim = wall.0.saturating_sub(nanos(self.length));
        let step = nanos(elapsed).saturating_mul(5) / 4;
        self.horizon.0 = self.horizon.0.max(aim.min(self.horizon.0.saturating_add(step)));
        self.shorten();
    }

    /// Whether an event of this signed time may have been forgotten.
    pub(super) fn is_too_old(&self, signed: UnixNanos) -> bool {
        signed.is_set() && seconds(signed) < self.floor()
    }

    /// What stands before this stamp (seconds since 1970) may be forgotten.
    pub(super) fn floor(&self) -> u64 {
        seconds(self.horizon)
    }

    /// The stamp of an id seen now: never before its signed time, so that a row outlives the time at which its event is too old.
    /// A signed time further ahead than a window is taken as a window ahead, or it would never be swept.
    pub(super) fn stamp(&self, signed: Option<UnixNanos>, wall: UnixNanos) -> u64 {
        let now = wall.max(self.horizon.plus(self.length));
        let signed = signed.unwrap_or_default().min(now.plus(self.length));
        seconds(now.max(signed))
    }

    /// How long ids are remembered by now: the window, longer after downtime, shorter at `max_bytes`.
    pub(super) fn real_length(&self, wall: UnixNanos) -> Duration {
        wall.since(self.horizon)
    }

    /// Ids that are remembered.
    pub(super) fn rows(&self) -> u64 {
        self.slots.iter().map(|slot| slot.rows).sum()
    }

    /// Counts a row in.
    pub(super) fn remember(&mut self, stamp: u64) {
        let width = (self.length.as_secs() / 64).max(1);
        let full = self.max_bytes / self.row_bytes / 32;
        let new = Slot { from: stamp, to: stamp, rows: 1 };
        match self.slots.partition_point(|slot| slot.from <= stamp) {
            // Before all others: as when the clock was set back.
            0 => self.slots.insert(0, new),
            at => {
                let slot = &mut self.slots[at - 1];
                let is_over = stamp - slot.from >= width || slot.rows >= full;
                if is_over && stamp > slot.to {
                    self.slots.insert(at, new);
                } else {
                    slot.to = slot.to.max(stamp);
                    slot.rows += 1;
                }
            }
        }
        if self.slots.len() > SLOTS_MAX {
            self.merge();
        }
    }

    /// Counts a row out.
    pub(super) fn forget(&mut self, stamp: u64) {
        let at = self.slots.partition_point(|slot| slot.from <= stamp);
        if let Some(slot) = at.checked_sub(1).and_then(|at| self.slots.get_mut(at)) {
            slot.rows = slot.rows.saturating_sub(1);
        }
    }

    /// After a pass over all rows: nothing stands before `floor` any more.
    pub(super) fn swept(&mut self, floor: u64) {
        let below = self.below(floor);
        self.slots.drain(..below);
    }

    /// Whether a pass over all rows is worth its while: an eighth can go, or ids take too much. Each row is then read about
    /// eight times in its life.
    pub(super) fn is_due(&self) -> bool {
        let floor = self.floor();
        let gone: u64 = self.slots[..self.below(floor)].iter().map(|slot| slot.rows).sum();
        gone > 0 && (gone * 8 >= self.rows() || self.is_pressed())
    }

    /// Whether ids take more than 15/16 of their bytes.
    pub(super) fn is_pressed(&self) -> bool {
        self.rows() * self.row_bytes >= self.max_bytes / 16 * 15
    }

    /// At the bound, moves the horizon until what stays is 7/8 of it.
    fn shorten(&mut self) {
        if !self.is_pressed() {
            return;
        }
        let mut kept: u64 = self.slots[self.below(self.floor())..].iter().map(|slot| slot.rows).sum();
        let below = self.below(self.floor());
        // The newest slot stays: who shortens the window to nothing counts twice.
        let newest = self.slots.len().saturating_sub(1);
        for slot in self.slots.get(below..newest).unwrap_or_default() {
            if kept * self.row_bytes <= self.max_bytes / 8 * 7 {
                return;
            }
            kept -= slot.rows;
            self.horizon = self.horizon.max(UnixNanos((slot.to + 1).saturating_mul(1_000_000_000)));
        }
    }

    /// How many slots lie wholly before `floor`.
    fn below(&self, floor: u64) -> usize {
        self.slots.iter().take_while(|slot| slot.to < floor).count()
    }

    fn merge(&mut self) {
        let pair = |at: &usize| self.slots[*at].rows + self.slots[at + 1].rows;
        let smallest = (0..self.slots.len() - 1).min_by_key(pair).expect("there are more than 128 slots");
        let next = self.slots.remove(smallest + 1);
        self.slots[smallest].rows += next.rows;
        self.slots[smallest].to = self.slots[smallest].to.max(next.to);
    }
}

fn seconds(time: UnixNanos) -> u64 {
    time.0 / 1_000_000_000
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const START: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

    fn window() -> (Window, Instant) {
        let (mut window, now) = (Window::new(96 * HOUR, u64::MAX, START), Instant::now());
        window.advance(START, now);
        (window, now)
    }

    #[test]
    fn with_an_honest_clock_the_window_is_as_long_as_it_says() {
        let (mut window, now) = window();
        for hour in 1..200 {
            window.advance(START.plus(hour * HOUR), now + hour * HOUR);
            assert_eq!(window.real_length(START.plus(hour * HOUR)), 96 * HOUR);
        }
    }

    #[test]
    fn a_clock_that_jumps_ahead_forgets_nothing_early() {
        let (mut window, now) = window();
        let stamp = window.stamp(None, START);
        let year = 8760 * HOUR;
        for hour in 1..=76 {
            window.advance(START.plus(year + hour * HOUR), now + hour * HOUR);
            assert!(stamp >= window.floor(), "forgotten after {hour} h");
            assert!(!window.is_too_old(START.plus(hour * HOUR)), "an honest event is too old after {hour} h");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing_and_the_next_ids_live_as_long() {
        let (mut window, now) = window();
        let before = window.clone();
        window.advance(UnixNanos(5), now + HOUR);
        assert_eq!(window.horizon, before.horizon);
        assert_eq!(window.stamp(None, UnixNanos(5)), seconds(START));
    }

    #[test]
    fn what_is_not_too_old_is_not_forgotten() {
        let (mut window, now) = window();
        let signed = START.plus(10 * HOUR);
        let stamp = window.stamp(Some(signed), START);
        for hour in 1..300 {
            window.advance(START.plus(hour * HOUR), now + hour * HOUR);
            assert_eq!(stamp < window.floor(), window.is_too_old(signed));
        }
        assert!(window.is_too_old(signed));
    }

    #[test]
    fn a_signed_time_far_ahead_is_kept_for_two_windows_and_no_longer() {
        let (window, _) = window();
        assert_eq!(window.stamp(Some(UnixNanos(u64::MAX)), START), seconds(START.plus(96 * HOUR)));
    }

    #[test]
    fn at_max_bytes_the_window_shortens_even_when_all_ids_came_within_a_minute() {
        let (mut window, mut now) = window();
        window.max_bytes = 1_000_000;
        let mut wall = START;
        for _ in 0..120 {
            (wall, now) = (wall.plus(HOUR / 3600), now + HOUR / 3600);
            window.advance(wall, now);
            for _ in 0..500 {
                window.remember(window.stamp(None, wall));
            }
        }
        window.advance(wall, now);
        let kept: u64 = window.slots[window.below(window.floor())..].iter().map(|slot| slot.rows).sum();
        assert!(kept * ROW_BYTES <= 940_000, "{} bytes kept", kept * ROW_BYTES);
        assert!(kept * ROW_BYTES >= 750_000, "{} bytes kept", kept * ROW_BYTES);
        assert!(window.is_due());
        assert!(window.real_length(wall) < HOUR / 30);
    }

    #[test]
    fn one_event_from_the_future_does_not_keep_the_others_from_being_told_apart() {
        let (mut window, _) = window();
        window.remember(window.stamp(Some(START.plus(90 * HOUR)), START));
        for hour in 0..48 {
            window.remember(window.stamp(None, START.plus(hour * HOUR)));
        }
        assert!(window.slots.len() > 20, "{} slots", window.slots.len());
    }

    #[test]
    fn slots_stay_few() {
        let (mut window, _) = window();
        for second in 0..100_000 {
            window.remember(second * 7919 % 1_000_003);
        }
        assert!(window.slots.len() <= SLOTS_MAX);
        assert_eq!(window.rows(), 100_000);
        window.swept(u64::MAX);
        assert!(window.slots.len() <= 1);
    }

    #[test]
    fn a_window_that_the_operator_shortens_is_short_at_once() {
        let window = Window::restored(96 * HOUR, u64::MAX, 2184 * HOUR, UnixNanos(0), std::iter::empty());
        assert_eq!(window.horizon, UnixNanos(0).plus(2088 * HOUR));
    }
}
