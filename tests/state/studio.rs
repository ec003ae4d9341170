//! What the studio reads: on every ledger.

use tollgate::domain::fault::Billed;
use tollgate::domain::ledger::{Closing, Opening};
use tollgate::domain::money::Money;
use tollgate::state::Ledger;
use tollgate::state::studio::gallery::{Stage, Wanted, window};
use tollgate::state::studio::sums;
use tollgate::state::verdicts::{Verdict, give};

use crate::samples::{at, attempt, closing, ended, opening};

/// Three generations of `design`, of two pictures each, a second apart; one of `other`, of one.
async fn four_generations(ledger: &dyn Ledger) {
    for (id, second, key, images) in
        [("gen_1", 1, "design", 2), ("gen_2", 2, "design", 2), ("gen_3", 3, "other", 1), ("gen_4", 4, "design", 2)]
    {
        let call = attempt(0, "stability/core", 30_000);
        let begun = Opening { created: at(second * 1_000_000), key: key.into(), ..opening(id, vec![call.clone()]) };
        ledger.open(begun).await.unwrap();
        let files = (0..images).map(|image| format!("{:064x}.png", second * 10 + image)).collect();
        let end = closing(id, vec![ended(call, Billed::Yes, 30_000)]);
        ledger.close(Closing { images: files, ..end }).await.unwrap();
    }
}

fn verdict(generation: &str, image: u8, rater: &str, accepted: bool, second: i64) -> Verdict {
    let given = at(second * 1_000_000);
    Verdict { generation: generation.into(), image, rater: rater.into(), accepted, reason: None, given }
}

pub(crate) async fn pictures_are_read_by_place_with_the_newest_verdict(ledger: &dyn Ledger) {
    four_generations(ledger).await;
    for said in [
        verdict("gen_4", 0, "ann", false, 10),
        verdict("gen_4", 0, "bob", true, 11),
        verdict("gen_2", 1, "ann", false, 12),
    ] {
        give(ledger, &said).await.unwrap();
    }
    let shown = async |wanted: Wanted, first, most| {
        let window = window(ledger, &wanted, first, most).await.unwrap();
        let shots: Vec<_> = window.shots.iter().map(|shot| (shot.generation.clone(), shot.image)).collect();
        (window.total, window.first, shots)
    };
    let named = |all: &[(&str, u32)]| all.iter().map(|(id, image)| ((*id).to_owned(), *image)).collect::<Vec<_>>();
    let all = shown(Wanted::default(), 0, 200).await;
    let newest_first =
        [("gen_4", 0), ("gen_4", 1), ("gen_3", 0), ("gen_2", 0), ("gen_2", 1), ("gen_1", 0), ("gen_1", 1)];
    assert_eq!(all, (7, 0, named(&newest_first)));
    let middle = shown(Wanted::default(), 2, 2).await;
    assert_eq!(middle, (7, 2, named(&[("gen_3", 0), ("gen_2", 0), ("gen_2", 1)])), "a generation is not torn apart");
    let of = |stage| Wanted { stage, ..Wanted::default() };
    assert_eq!(shown(of(Stage::Accepted), 0, 9).await, (1, 0, named(&[("gen_4", 0)])), "bob spoke last");
    assert_eq!(shown(of(Stage::Rejected), 0, 9).await, (1, 0, named(&[("gen_2", 1)])));
    assert_eq!(shown(of(Stage::Open), 0, 9).await.0, 5);
    let own = Wanted { owner: Some("other".to_owned()), ..Wanted::default() };
    assert_eq!(shown(own, 0, 9).await, (1, 0, named(&[("gen_3", 0)])));
    let project = |name: &str| Wanted { project: name.to_owned(), ..Wanted::default() };
    assert_eq!(shown(project("a \"quoted\"\nvalue"), 0, 9).await.0, 7);
    assert_eq!(shown(project("quoted"), 0, 9).await, (0, 0, Vec::new()));
}

pub(crate) async fn sums_count_money_pictures_and_verdicts_once(ledger: &dyn Ledger) {
    four_generations(ledger).await;
    give(ledger, &verdict("gen_1", 0, "ann", true, 9)).await.unwrap();
    give(ledger, &verdict("gen_1", 0, "bob", true, 10)).await.unwrap();
    give(ledger, &verdict("gen_1", 1, "bob", false, 11)).await.unwrap();
    let all = sums::since(ledger, &None, at(0), 86_400_000_000).await.unwrap();
    let [sum] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((sum.settled, sum.ambiguous), (Money::from_micros(120_000), Money::ZERO));
    assert_eq!((sum.generations, sum.images, sum.judged, sum.accepted), (4, 7, 2, 1));
    assert!((sum.expected - 7.0 * 0.71).abs() < 1e-9);
    let own = sums::since(ledger, &Some("other".to_owned()), at(0), 1_000_000).await.unwrap();
    assert_eq!(own.iter().map(|sum| sum.settled).sum::<Money>(), Money::from_micros(30_000));
    let asked = sums::asked(ledger, &None, "concept", 3).await.unwrap();
    assert_eq!(asked.iter().map(|asked| asked.images).collect::<Vec<_>>(), [2, 1, 2]);
}
