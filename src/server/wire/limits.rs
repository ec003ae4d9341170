//! What is left of a caller's limits, as headers.
//!
//! Why it exists: `RateLimit` and `RateLimit-Policy` (IETF draft ratelimit-headers, September 2025) let a client slow down
//! before it is refused. What it refuses to know: whose limits they are.

use std::fmt::Write as _;

use http::header::{HeaderName, HeaderValue};

use crate::domain::quota::{LimitUnit, Mode};
use crate::state::limits::Left;

/// Both headers, of the limits that deny; none when there is none.
pub(in crate::server) fn headers(limits: &[Left]) -> Vec<(HeaderName, HeaderValue)> {
    let (mut policy, mut state) = (String::new(), String::new());
    for limit in limits.iter().filter(|limit| limit.mode == Mode::Enforce) {
        for list in [&mut policy, &mut state] {
            if !list.is_empty() {
                list.push_str(", ");
            }
        }
        // Names are letters, digits, `_`, `-` and `.`: they need no escape. Writing to a string does not fail.
        let _ = write!(policy, "\"{}\";q={}", limit.name, limit.units.floor());
        if limit.unit != LimitUnit::Requests {
            let unit = if limit.unit == LimitUnit::InFlight { "concurrent-requests" } else { limit.unit.name() };
            let _ = write!(policy, ";qu=\"{unit}\"");
        }
        let _ = write!(state, "\"{}\";r={}", limit.name, limit.left.floor());
        if limit.unit != LimitUnit::InFlight {
            let _ = write!(policy, ";w={}", limit.per.as_secs().max(1));
            let _ = write!(state, ";t={}", limit.reset.as_secs() + u64::from(limit.reset.subsec_nanos() > 0));
        }
    }
    let both = [("ratelimit-policy", policy), ("ratelimit", state)];
    let told = both.into_iter().filter(|(_, list)| !list.is_empty());
    told.filter_map(|(name, list)| Some((HeaderName::from_static(name), list.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_are_two_lists() {
        let limit = |name: &str, unit, units, left, mode| Left {
            name: name.into(),
            unit,
            left,
            units,
            capacity: units,
            per: Duration::from_mins(1),
            reset: Duration::from_millis(1_200),
            mode,
        };
        let limits = [
            limit("rate", LimitUnit::Requests, 100.0, 50.0, Mode::Enforce),
            limit("money", LimitUnit::Usd, 2.5, 0.9, Mode::Enforce),
            limit("slots", LimitUnit::InFlight, 4.0, 3.0, Mode::Enforce),
            limit("trial", LimitUnit::Images, 1.0, 0.0, Mode::Shadow),
        ];
        let told: Vec<_> = headers(&limits).into_iter().map(|(_, value)| value.to_str().unwrap().to_owned()).collect();
        assert_eq!(
            told,
            [
                "\"rate\";q=100;w=60, \"money\";q=2;qu=\"usd\";w=60, \"slots\";q=4;qu=\"concurrent-requests\"",
                "\"rate\";r=50;t=2, \"money\";r=0;t=2, \"slots\";r=3"
            ]
        );
        assert!(headers(&[]).is_empty());
    }
}
