//! Notices that a model is no longer what it was.
//!
//! Why it exists: a provider may change a model behind its name; forgetting by half-life alone would buy hundreds of bad
//! pictures first. A cumulative sum of log likelihood ratios, "as believed" against "half as often accepted", rises only
//! while rejects pile up (Page's test for Bernoulli trials). What it refuses to know: what is done about it.

/// The sum at which it is believed. Under no change it is reached about once in `e^6`, four hundred, verdicts at the
/// earliest, and then costs old counts only; a model that falls from .8 to .2 reaches it in some eight verdicts.
const ALARM: f64 = 6.0;
/// The other hypothesis: this share of the believed acceptance.
const WORSE: f64 = 0.5;

/// The running test of one model.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drift {
    sum: f64,
}

impl Drift {
    /// Hears a verdict of which acceptance was expected with `p`; true when the model has changed, and begins anew.
    pub(super) fn hear(&mut self, p: f64, accepted: bool, weight: f64) -> bool {
        let p = p.clamp(0.02, 0.98);
        let ratio = if accepted { WORSE.ln() } else { ((1.0 - WORSE * p) / (1.0 - p)).ln() };
        self.sum = (self.sum + weight * ratio).max(0.0);
        let changed = self.sum > ALARM;
        if changed {
            self.sum = 0.0;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    fn alarms(believed: f64, truth: f64, verdicts: u32) -> u32 {
        let mut dice = StdRng::seed_from_u64(11);
        let mut drift = Drift::default();
        (0..verdicts).map(|_| u32::from(drift.hear(believed, dice.random::<f64>() < truth, 1.0))).sum()
    }

    #[test]
    fn a_steady_model_rarely_alarms_and_a_worse_one_soon() {
        for p in [0.3, 0.6, 0.9] {
            assert!(alarms(p, p, 10_000) <= 12, "{p}: {}", alarms(p, p, 10_000));
        }
        assert!(alarms(0.8, 0.2, 30) >= 1);
        assert!(alarms(0.6, 0.2, 100) >= 1);
    }
}
