//! Images that were shown and not yet judged.
//!
//! Why it exists: silence is not a reject, and a wager whose outcome is out need not be made again (routing notes 3.4:
//! without this, slow raters cost an upper-bound rule six points of quality). What it refuses to know: clocks; `now` is
//! an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Category;
use super::arm::cell;

/// The most that are remembered; the oldest are forgotten first.
const MOST: usize = 65_536;

type Wager = (u16, usize);

/// The wagers that are out.
#[derive(Clone, Debug)]
pub struct Pending {
    silence: Duration,
    order: VecDeque<(Timestamp, Arc<str>)>,
    by_id: HashMap<Arc<str>, Wager>,
    counts: HashMap<Wager, u32>,
}

impl Pending {
    /// Remembers each for `silence`.
    pub fn new(silence: Duration) -> Self {
        Self { silence, order: VecDeque::new(), by_id: HashMap::new(), counts: HashMap::new() }
    }

    /// An image of this model was shown.
    pub fn shown(&mut self, id: Arc<str>, arm: u16, task: u16, category: Option<Category>, now: Timestamp) {
        self.forget(now);
        let wager = (arm, cell(task, category));
        if self.by_id.insert(Arc::clone(&id), wager).is_none() {
            *self.counts.entry(wager).or_default() += 1;
            self.order.push_back((now, id));
        }
    }

    /// It was judged.
    pub fn judged(&mut self, id: &str) {
        if let Some(wager) = self.by_id.remove(id)
            && let Some(count) = self.counts.get_mut(&wager)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// How many wait for a verdict.
    pub fn count(&self, arm: u16, task: u16, category: Option<Category>) -> f64 {
        f64::from(self.counts.get(&(arm, cell(task, category))).copied().unwrap_or_default())
    }

    /// Drops what nobody will judge any more.
    pub fn forget(&mut self, now: Timestamp) {
        while self.order.len() >= MOST
            || self.order.front().is_some_and(|(at, _)| now.duration_since(*at).unsigned_abs() >= self.silence)
        {
            let Some((_, id)) = self.order.pop_front() else {
                return;
            };
            self.judged(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_judges_is_forgotten_and_not_taken_for_a_reject() {
        let mut pending = Pending::new(Duration::from_secs(100));
        let at = |second| Timestamp::from_second(second).unwrap();
        for (id, second) in [("a", 0), ("b", 50), ("b", 60), ("c", 70)] {
            pending.shown(id.into(), 3, 0, Some(Category::Scene), at(second));
        }
        assert!((pending.count(3, 0, Some(Category::Scene)) - 3.0).abs() < 1e-9);
        assert!(pending.count(3, 0, None).abs() < 1e-9 && pending.count(2, 0, Some(Category::Scene)).abs() < 1e-9);
        pending.judged("b");
        pending.judged("b");
        assert!((pending.count(3, 0, Some(Category::Scene)) - 2.0).abs() < 1e-9);
        pending.forget(at(100));
        assert!((pending.count(3, 0, Some(Category::Scene)) - 1.0).abs() < 1e-9, "only c is left");
    }
}
