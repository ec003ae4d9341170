//! One call of the script: its items on the wire, and its answer.
//!
//! Why it exists: the layout that `draw.lua` describes is written and read here alone. What it refuses to know: when to
//! ask.

use std::sync::LazyLock;
use std::time::Duration;

use super::super::local::{Heard, Outage};
use super::super::{Draw, whole};
use crate::domain::quota::{Cost, Limit, LimitUnit, Mode};
use crate::state::redis::{Away, Redis, Script, Trouble};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("draw.lua")));

/// How long a place in flight is kept for a replica that is not heard of.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// The patience of a call that only looks.
const LOOK: i64 = -1;

/// A call in the making.
#[derive(Debug, Default)]
pub(super) struct Call {
    keys: Vec<String>,
    items: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
}

/// What an answer's state means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Flight,
    Owner,
    Window,
}

/// What the script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    /// The time of the decision, microseconds since 1970.
    pub(super) now: u64,
    /// For each owner of the call until when it is shut, and the states of its limits.
    pub(super) owners: Vec<(u64, Vec<Heard>)>,
    /// For each limit of the call, in order: whether it had no room.
    pub(super) over: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be sent in so many microseconds.
    Drawn(u64),
    Full,
    Never,
    Wait(u64),
}

/// The key of an owner's buckets. Everything of a provider is in one slot of a cluster.
pub(super) fn hash_key(owner: &str) -> String {
    let tag = owner.split('/').next().unwrap_or(owner);
    format!("tollgate:limits:{{{tag}}}:{owner}")
}

/// The key of an owner's calls in flight.
pub(super) fn flight_key(owner: &str, limit: &Limit) -> String {
    format!("{}:{}", hash_key(owner), limit.name)
}

impl Call {
    /// A call in flight has ended.
    pub(super) fn ended(&mut self, key: &str, id: &str) {
        self.item(b'r', key, id, 0, 0, "", false);
    }

    /// A call in flight goes on.
    pub(super) fn goes_on(&mut self, key: &str, id: &str) {
        self.item(b'e', key, id, 0, 0, "", false);
    }

    /// The owner is to be left alone.
    pub(super) fn shut(&mut self, owner: &str, wait: Duration) {
        self.item(b'p', &hash_key(owner), "", whole(wait), 0, "", false);
    }

    /// A bucket holds less than was counted: TAT is at least `ahead` from now.
    pub(super) fn at_least(&mut self, owner: &str, limit: &Limit, ahead: u64) {
        let pace = limit.pace().per_grain().to_string();
        self.item(b'm', &hash_key(owner), &limit.name, ahead, 0, &pace, false);
    }

    /// What was drawn apart; `offset` is how far the server's clock is ahead.
    pub(super) fn debt(&mut self, owner: &str, limit: &Limit, debt: Outage, offset: i64) {
        let pace = limit.pace().per_grain().to_string();
        let seed = debt.seed.saturating_add_signed(offset);
        self.item(b'd', &hash_key(owner), &limit.name, seed, debt.drawn, &pace, false);
    }

    /// The owners and limits of a draw.
    pub(super) fn draws(&mut self, draws: &[Draw<'_>], cost: Cost) {
        for draw in draws {
            let hash = hash_key(draw.owner);
            self.item(b'o', &hash, "", 0, 0, "", true);
            self.kinds.push(Kind::Owner);
            for limit in draw.limits {
                let enforced = limit.mode == Mode::Enforce;
                if limit.unit == LimitUnit::InFlight {
                    self.item(b'f', &flight_key(draw.owner, limit), "", limit.units, 0, "", enforced);
                    self.kinds.push(Kind::Flight);
                } else {
                    let pace = limit.pace();
                    let (time, tolerance) = (pace.time_of(limit.cost(cost)), pace.tolerance());
                    let grain = pace.per_grain().to_string();
                    self.item(b'w', &hash, &limit.name, time, tolerance, &grain, enforced);
                    self.kinds.push(Kind::Window);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[expect(clippy::too_many_arguments, reason = "the seven words of an item, in the script's order")]
    fn item(&mut self, kind: u8, key: &str, name: &str, x: u64, y: u64, pace: &str, enforced: bool) {
        let at = self.keys.iter().position(|held| held == key).unwrap_or_else(|| {
            self.keys.push(key.to_owned());
            self.keys.len() - 1
        });
        let words = [(at + 1).to_string(), name.to_owned(), x.to_string(), y.to_string(), pace.to_owned()];
        self.items.push(vec![kind]);
        self.items.extend(words.map(String::into_bytes));
        self.items.push(vec![b'0' + u8::from(enforced)]);
    }

    /// Runs it. `now` is the caller's time, or `None` for the server's; `patience` is `None` to only look.
    pub(super) async fn run(
        self,
        redis: &Redis,
        now: Option<u64>,
        patience: Option<u64>,
        id: &str,
    ) -> Result<Answer, Away> {
        let patience = patience.map_or(LOOK, |patience| i64::try_from(patience).unwrap_or(i64::MAX));
        let now = now.map(|now| now.to_string()).unwrap_or_default();
        let head = [now, patience.to_string(), whole(LEASE).to_string(), id.to_owned()];
        let args: Vec<Vec<u8>> = head.into_iter().map(String::into_bytes).chain(self.items).collect();
        let answer: Vec<i64> = redis.run(&SCRIPT, &self.keys, &args).await?;
        read(&self.kinds, &answer)
            .ok_or_else(|| Away { trouble: Trouble::Refused, detail: "the script answered something else".to_owned() })
    }
}

fn read(kinds: &[Kind], answer: &[i64]) -> Option<Answer> {
    let ([drawn, wait, now], states) = answer.split_first_chunk()?;
    let verdict = match (drawn, wait) {
        (_, -1) => Verdict::Never,
        (_, -2) => Verdict::Full,
        (1, wait) => Verdict::Drawn(u64::try_from(*wait).ok()?),
        (_, wait) => Verdict::Wait(u64::try_from(*wait).ok()?),
    };
    let mut told = Answer { verdict, now: u64::try_from(*now).ok()?, owners: Vec::new(), over: Vec::new() };
    let (states, rest) = states.as_chunks::<2>();
    if states.len() != kinds.len() || !rest.is_empty() {
        return None;
    }
    for (kind, [state, over]) in kinds.iter().zip(states) {
        let state = u64::try_from(*state).ok()?;
        let heard = match kind {
            Kind::Owner => {
                told.owners.push((state, Vec::new()));
                continue;
            }
            Kind::Flight => Heard::Flying(u32::try_from(state).ok()?),
            Kind::Window => Heard::Tat(state),
        };
        told.owners.last_mut()?.1.push(heard);
        told.over.push(*over == 1);
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_provider_is_in_one_slot() {
        assert_eq!(hash_key("stability/ultra"), "tollgate:limits:{stability}:stability/ultra");
        assert_eq!(hash_key("key:ada"), "tollgate:limits:{key:ada}:key:ada");
    }

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let kinds = [Kind::Owner, Kind::Window, Kind::Flight];
        let told = read(&kinds, &[1, 250, 1_000, 0, 0, 1_500, 0, 3, 1]).unwrap();
        assert_eq!(told.verdict, Verdict::Drawn(250));
        assert_eq!(told.owners, [(0, vec![Heard::Tat(1_500), Heard::Flying(3)])]);
        assert_eq!(told.over, [false, true]);
        assert_eq!(read(&kinds, &[1, 0, 1_000, 0, 0, 1_500, 0]), None);
        assert_eq!(read(&[], &[0, -1, 1]).unwrap().verdict, Verdict::Never);
    }
}
