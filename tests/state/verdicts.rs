//! Verdicts and stopped trials beside the money: on every ledger.

use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::{Closing, Opening};
use tollgate::state::Ledger;
use tollgate::state::trials::{self, Stopped};
use tollgate::state::verdicts::{Verdict, give, since};

use crate::samples::{at, attempt, closing, ended, opening};

fn verdict(generation: &str, rater: &str, accepted: bool, second: i64) -> Verdict {
    Verdict {
        generation: generation.into(),
        image: 0,
        rater: rater.into(),
        accepted,
        reason: (!accepted).then(|| "it's; DROP TABLE verdict; --".to_owned()),
        given: at(second * 1_000_000),
    }
}

pub(crate) async fn a_later_verdict_of_a_rater_replaces_the_earlier(ledger: &dyn Ledger) {
    for id in ["gen_1", "gen_2"] {
        ledger.open(opening(id, vec![attempt(0, "stability/core", 30_000)])).await.unwrap();
    }
    let bought = ended(attempt(0, "stability/core", 30_000), Billed::Yes, 30_000);
    ledger.close(closing("gen_1", vec![bought])).await.unwrap();

    assert_eq!(give(ledger, &verdict("gen_1", "ann", false, 10)).await, Ok(false));
    assert_eq!(give(ledger, &verdict("gen_1", "bob", true, 20)).await, Ok(false));
    assert_eq!(give(ledger, &verdict("gen_1", "ann", true, 30)).await, Ok(true));
    assert_eq!(give(ledger, &verdict("gen_2", "ann", true, 40)).await, Ok(false), "whose generation still runs");

    let read = since(ledger, at(0)).await.unwrap();
    let said: Vec<_> = read.iter().map(|one| (&*one.rater, one.accepted, one.given)).collect();
    assert_eq!(said, [("bob", true, at(20_000_000)), ("ann", true, at(30_000_000))], "by time, each rater's last");
    let first = &read[0];
    assert_eq!((&*first.generation, &*first.model, &*first.task), ("gen_1", "stability/core", "concept"));
    assert_eq!(first.decision, opening("gen_1", Vec::new()).decision);
    assert_eq!(since(ledger, at(25_000_000)).await.unwrap().len(), 1);
}

pub(crate) async fn a_decision_comes_with_the_opening_or_the_end(ledger: &dyn Ledger) {
    let told = |by: &str| Some(format!("{{\"by\":\"{by}\"}}"));
    for (id, first, last, kept) in [
        ("gen_1", told("opening"), None, told("opening")),
        ("gen_2", None, told("end"), told("end")),
        ("gen_3", None, None, None),
    ] {
        ledger.open(Opening { decision: first, ..opening(id, vec![attempt(0, "p/m", 1_000)]) }).await.unwrap();
        let paid = ended(attempt(0, "p/m", 1_000), Billed::Yes, 1_000);
        ledger.close(Closing { decision: last, ..closing(id, vec![paid]) }).await.unwrap();
        assert_eq!(ledger.show(id).await.unwrap().unwrap().opening.decision, kept, "{id}");
    }
}

pub(crate) async fn the_first_stop_of_a_policy_stands(ledger: &dyn Ledger) {
    let stop = |policy: &str, why: &str, second| Stopped { policy: policy.into(), why: why.into(), at: at(second) };
    assert_eq!(trials::stopped(ledger, "3f9c0a17be42").await, Ok(None));
    let first = stop("3f9c0a17be42", "errors", 10_000_000);
    trials::stop(ledger, &first).await.unwrap();
    trials::stop(ledger, &stop("3f9c0a17be42", "cost", 20_000_000)).await.unwrap();
    assert_eq!(trials::stopped(ledger, "3f9c0a17be42").await, Ok(Some(first)));
    assert_eq!(trials::stopped(ledger, "another").await, Ok(None));
}
