//! What models drew of the fixed prompts: on every ledger.

use tollgate::state::Ledger;
use tollgate::state::audits::{Audit, all, keep};

use crate::samples::at;

pub(crate) async fn a_baseline_stays_while_the_latest_changes(ledger: &dyn Ledger) {
    let first = Audit {
        model: "p/m".into(),
        subject: 1,
        baseline: "aa".to_owned(),
        latest: "aa".to_owned(),
        dissimilarity: 0.0,
        hash_bits: 0,
        heat: None,
        since: Some(at(1_000_000)),
        seen: at(1_000_000),
    };
    keep(ledger, &first).await.unwrap();
    let other = Audit { model: "p/a".into(), subject: 0, ..first.clone() };
    keep(ledger, &other).await.unwrap();
    let second = Audit {
        latest: "bb".to_owned(),
        dissimilarity: 0.25,
        hash_bits: 17,
        heat: Some("cc".to_owned()),
        seen: at(9_000_000),
        ..first.clone()
    };
    keep(ledger, &second).await.unwrap();
    assert_eq!(all(ledger).await.unwrap(), [other, second], "by model, the baseline and its day as they were");
}
