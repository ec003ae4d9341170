//! Planned faults: what goes wrong, for whom, how often and at which moment of a call.
//!
//! It refuses to know how a provider words an error; a fault with a status borrows the provider's own body for it.
//! To add a kind of fault: a field here, its meaning in `visit.rs` (before the work) or [`Fault::spoil`] (after it).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde::Deserialize;

use super::dice::dice;
use super::wire::{Answer, Delivery};

/// One planned fault, as the control route spells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// The path prefix, such as `stability`.
    pub(super) provider: String,
    /// Strikes only calls about this model (`stability/core`).
    pub(super) model: Option<String>,
    /// Strikes only calls whose path contains this.
    pub(super) path: Option<String>,
    /// Answer with the provider's own error body for this status.
    pub(super) status: Option<u16>,
    /// Milliseconds of silence, in real time at any speed.
    pub(super) stall_ms: Option<u64>,
    /// The moment; `headers` unless the fault is `truncate` or `garbage`, which need the work done.
    pub(super) at: Option<Moment>,
    /// Reset the TCP connection.
    #[serde(default)]
    pub(super) reset: bool,
    /// Send half of the body under the full content-length.
    #[serde(default)]
    pub(super) truncate: bool,
    /// Answer 200 with something that is not an answer.
    #[serde(default)]
    pub(super) garbage: bool,
    /// Strikes this often, then never again.
    pub(super) times: Option<u64>,
    /// Strikes this share of the calls.
    pub(super) ratio: Option<f64>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moment {
    /// Before the work: nothing is billed.
    Headers,
    /// With the work done and billed, in the middle of the body.
    Body,
    /// With the work done and billed, before the headers.
    AfterBill,
}

impl Fault {
    pub(super) fn moment(&self) -> Moment {
        let default = if self.truncate || self.garbage { Moment::Body } else { Moment::Headers };
        match self.at.unwrap_or(default) {
            // An error status or garbage replaces the answer, and so cannot come in the middle of it.
            Moment::Body if self.status.is_some() => Moment::AfterBill,
            moment => moment,
        }
    }

    pub(super) fn stall(&self) -> Option<Duration> {
        self.stall_ms.map(Duration::from_millis)
    }

    /// What is left of `answer`, once the work is done, when this fault strikes at the body or after the bill.
    pub(super) fn spoil(&self, answer: Answer) -> Answer {
        let mut spoilt = if self.garbage { garbage(&answer) } else { answer };
        let in_body = self.moment() == Moment::Body;
        spoilt.delivery = match (self.reset, self.truncate, self.stall()) {
            (true, _, _) if in_body => Delivery::ResetInBody,
            (true, _, _) => Delivery::Reset,
            (_, true, _) => Delivery::Truncated,
            (_, _, Some(pause)) if in_body => Delivery::Stalled(pause),
            _ => Delivery::Whole,
        };
        spoilt
    }

    /// What is wrong with it, for whoever wrote it.
    pub(super) fn problem(&self, providers: &[&str]) -> Option<String> {
        if !providers.contains(&self.provider.as_str()) {
            return Some(format!("unknown provider {:?}; known are {}", self.provider, providers.join(", ")));
        }
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Some("status must be an error status, 400 to 599".to_owned());
        }
        if self.ratio.is_some_and(|ratio| !(0.0..=1.0).contains(&ratio)) {
            return Some("ratio must be between 0 and 1".to_owned());
        }
        let harmless =
            self.status.is_none() && self.stall_ms.is_none() && !self.reset && !self.truncate && !self.garbage;
        harmless.then(|| "a fault needs one of status, stall_ms, reset, truncate or garbage".to_owned())
    }

    fn concerns(&self, provider: &str, model: Option<&str>, path: &str) -> bool {
        self.provider == provider
            && self.times != Some(0)
            && self.model.as_deref().is_none_or(|wanted| Some(wanted) == model)
            && self.path.as_deref().is_none_or(|wanted| path.contains(wanted))
    }
}

/// 200 with something that is not an answer: bytes of no image where an image was due, else a proxy's page.
pub(super) fn garbage(answer: &Answer) -> Answer {
    let image = answer.headers.iter().find(|(name, value)| *name == "content-type" && value.starts_with("image/"));
    match image {
        Some((_, media_type)) => Answer::new(200, media_type, &b"\x00\xff\x13\x37 these bytes are no image"[..]),
        None => Answer::new(
            200,
            "text/html; charset=utf-8",
            "<html>\r\n<head><title>Service temporarily unavailable</title></head>\r\n<body>\r\n\
             <center><h1>Please try again in a moment</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
        ),
    }
}

/// The faults that are planned now.
#[derive(Debug)]
pub(super) struct Faults {
    seed: u64,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    faults: Vec<Fault>,
    dice: StdRng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, plan: Mutex::new(Plan { faults: Vec::new(), dice: Self::dice(seed) }) }
    }

    /// Replaces the plan; ratios are drawn from the start of the seed again.
    pub(super) fn replace(&self, faults: Vec<Fault>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Plan { faults, dice: Self::dice(self.seed) };
    }

    /// The first fault that strikes this call, counted down.
    pub(super) fn strike(&self, provider: &str, model: Option<&str>, path: &str) -> Option<Fault> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let Plan { faults, dice } = &mut *plan;
        let fault = faults.iter_mut().find(|fault| {
            fault.concerns(provider, model, path) && fault.ratio.is_none_or(|ratio| dice.random_bool(ratio))
        })?;
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.clone())
    }

    fn dice(seed: u64) -> StdRng {
        dice(&[b"faults", &seed.to_le_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(times: Option<u64>, ratio: Option<f64>) -> Fault {
        Fault { provider: "openai".into(), status: Some(500), times, ratio, ..Fault::default() }
    }

    #[test]
    fn times_count_down_and_the_next_fault_takes_over() {
        let faults = Faults::new(1);
        faults.replace(vec![status(Some(2), None), Fault { status: Some(503), ..status(None, None) }]);
        let struck: Vec<_> =
            (0..4).map(|_| faults.strike("openai", None, "/").and_then(|fault| fault.status).unwrap()).collect();
        assert_eq!(struck, [500, 500, 503, 503]);
        assert_eq!(faults.strike("google", None, "/"), None);
    }

    #[test]
    fn a_ratio_is_drawn_the_same_way_again() {
        let draw = || {
            let faults = Faults::new(5);
            faults.replace(vec![status(None, Some(0.3))]);
            (0..1_000).map(|_| faults.strike("openai", None, "/").is_some()).collect::<Vec<_>>()
        };
        let struck = draw().into_iter().filter(|struck| *struck).count();
        assert_eq!(draw(), draw());
        assert!((250..350).contains(&struck), "{struck} of 1000");
    }

    #[test]
    fn a_model_and_a_path_narrow_it() {
        let faults = Faults::new(1);
        let narrow = Fault { model: Some("openai/a".into()), path: Some("/images".into()), ..status(None, None) };
        faults.replace(vec![narrow]);
        assert!(faults.strike("openai", Some("openai/b"), "/v1/images").is_none());
        assert!(faults.strike("openai", Some("openai/a"), "/v1/models").is_none());
        assert!(faults.strike("openai", Some("openai/a"), "/v1/images").is_some());
    }
}
