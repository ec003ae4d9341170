//! What a folder's batch came to.
//!
//! Why it exists: the last line of the command, from the manifest alone, so that it is the same after one run or
//! several. A purchase that served several lines, or one line twice, is counted once; `saved` is what the other
//! answers of it would have cost. What it refuses to know: this run.

use std::collections::HashMap;

use serde::Serialize;

use super::super::wire::Usd;
use super::manifest::{Manifest, Record, Status};
use crate::domain::money::Money;

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Images in the folder.
    pub(super) images: usize,
    /// Paid.
    #[serde(rename = "cost_usd")]
    pub(super) cost: Usd,
    /// What shared and repeated answers would have cost.
    #[serde(rename = "saved_usd")]
    pub(super) saved: Usd,
    /// May have been paid for nothing.
    #[serde(rename = "ambiguous_usd")]
    pub(super) ambiguous: Usd,
    /// Purchases of which it is not known whether they were charged.
    pub(super) doubtful: usize,
    /// Lines that ended without an image.
    pub(super) failed: usize,
    /// Lines without an end.
    pub(super) left: usize,
}

impl Totals {
    /// Of a manifest; `keys` are the lines of the file.
    pub(super) fn of<'a>(manifest: &Manifest, keys: impl Iterator<Item = &'a str>) -> Self {
        let mut totals = Self::default();
        let mut purchases: HashMap<&str, (Money, Money)> = HashMap::new();
        let ends = manifest.history().iter().filter(|record| record.status != Status::Sent);
        // A line that is asked for again under the same key tells of the same purchase again.
        let ends: HashMap<_, _> = ends.map(|record| ((&record.key, record.rebuy), record)).collect();
        for record in ends.into_values() {
            let usd = |amount: Option<Usd>| amount.unwrap_or_default().0;
            let (cost, saved) = (usd(record.end.cost_usd), usd(record.end.saved_usd));
            totals.ambiguous.0 += usd(record.end.ambiguous_usd);
            totals.doubtful += usize::from(record.end.ambiguous_usd.is_some() || record.status == Status::Ambiguous);
            match &record.end.id {
                None => totals.cost.0 += cost,
                Some(id) => {
                    let (paid, worth) = purchases.entry(id).or_default();
                    *paid = cost.max(*paid);
                    *worth += cost + saved;
                }
            }
        }
        for (paid, worth) in purchases.into_values() {
            totals.cost.0 += paid;
            totals.saved.0 += worth - paid;
        }
        totals.images = manifest.standing().map(images).sum();
        for key in keys {
            match manifest.latest(key).map(|record| record.status) {
                Some(Status::Succeeded) => {}
                Some(Status::Failed | Status::Ambiguous) => totals.failed += 1,
                Some(Status::Sent) | None => totals.left += 1,
            }
        }
        totals
    }

    /// `12 images, cost $0.42, saved $0.07, ambiguous $0.00`.
    pub(super) fn line(&self) -> String {
        let images = if self.images == 1 { "1 image".to_owned() } else { format!("{} images", self.images) };
        format!("{images}, cost ${}, saved ${}, ambiguous ${}", self.cost.0, self.saved.0, self.ambiguous.0)
    }
}

fn images(record: &Record) -> usize {
    if record.status == Status::Succeeded { 1 + record.end.more.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::manifest::End;
    use super::*;

    fn usd(cents: i64) -> Usd {
        Usd(Money::from_micros(cents * 10_000))
    }

    fn record(key: &str, status: Status, end: End) -> Record {
        let at = Timestamp::UNIX_EPOCH;
        Record { line: 1, key: key.to_owned(), prompt_sha256: String::new(), status, at, rebuy: 0, end }
    }

    #[test]
    fn a_purchase_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(folder.path()).unwrap();
        let served = |id: &str, cost, saved| End {
            id: Some(id.to_owned()),
            file: Some("a.png".to_owned()),
            cost_usd: Some(usd(cost)),
            saved_usd: Some(usd(saved)),
            ..End::default()
        };
        // One bought, one that shared it, one that a later run got again as its own, one from before this folder.
        manifest.append(record("a", Status::Succeeded, served("gen_1", 4, 0))).unwrap();
        manifest.append(record("b", Status::Succeeded, served("gen_1", 0, 4))).unwrap();
        manifest.append(record("a", Status::Succeeded, served("gen_1", 4, 0))).unwrap();
        manifest.append(record("c", Status::Succeeded, served("gen_2", 0, 5))).unwrap();
        let failed = End { cost_usd: Some(usd(1)), ambiguous_usd: Some(usd(3)), ..End::default() };
        manifest.append(record("d", Status::Ambiguous, failed.clone())).unwrap();
        manifest.append(record("d", Status::Sent, End::default())).unwrap();
        manifest.append(record("d", Status::Ambiguous, failed)).unwrap();
        manifest.append(record("e", Status::Sent, End::default())).unwrap();

        let totals = Totals::of(&manifest, ["a", "b", "c", "d", "e", "f"].into_iter());
        let expected = "3 images, cost $0.05, saved $0.09, ambiguous $0.03";
        assert_eq!((totals.line().as_str(), totals.failed, totals.left), (expected, 1, 2));
    }
}
