//! Which batches are told: the Collector's sampling, by the second.

/// The first `initial` of each second, then every `thereafter`-th.
#[derive(Debug)]
pub(super) struct Sampler {
    initial: u64,
    thereafter: u64,
    second: u64,
    seen: u64,
}

impl Sampler {
    pub(super) fn new(initial: u32, thereafter: u32) -> Self {
        Self { initial: initial.into(), thereafter: thereafter.into(), second: 0, seen: 0 }
    }

    /// Whether the next batch, which came in this second, is told.
    pub(super) fn takes(&mut self, second: u64) -> bool {
        if self.second != second {
            (self.second, self.seen) = (second, 0);
        }
        self.seen += 1;
        match self.seen.checked_sub(self.initial) {
            None | Some(0) => true,
            Some(after) => self.thereafter > 0 && after.is_multiple_of(self.thereafter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_second_begins_anew() {
        let mut sampler = Sampler::new(2, 3);
        let told: Vec<bool> = (0..8).map(|_| sampler.takes(1)).collect();
        assert_eq!(told, [true, true, false, false, true, false, false, true]);
        assert!(sampler.takes(2));
    }

    #[test]
    fn zero_tells_none_after_the_first() {
        let mut sampler = Sampler::new(1, 0);
        assert_eq!([sampler.takes(1), sampler.takes(1)], [true, false]);
    }
}
