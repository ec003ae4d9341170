//! A model that changes behind its name is seen.

use crate::harness::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_draws_otherwise_is_told_from_those_that_do_not() {
    let house = House::open().await;
    // The simulators of one provider stand for all: their workflows and limits are not what is tried here.
    let stability = |audited: Vec<tollgate::engine::Audited>| -> Vec<_> {
        audited.into_iter().filter(|audited| audited.model.starts_with("stability/")).collect()
    };
    let first = stability(house.engine.audit().await.unwrap());
    let turbo = "stability/sd3.5-large-turbo";
    assert!(first.iter().any(|audited| &*audited.model == turbo), "{first:?}");
    assert!(
        first.iter().all(|audited| audited.dissimilarity == Some(0.0)),
        "a first picture is the baseline: {first:?}"
    );
    let again = stability(house.engine.audit().await.unwrap());
    assert_eq!(again, first, "the same model draws the same");
    assert!(house.metric("tollgate_drift_checks_total{result=\"same\"}").await > Some(0.0));

    // The provider puts another model behind the name.
    let policy = std::fs::read_to_string(&house.policy).unwrap();
    let section = format!("[model.\"{turbo}\"]\n");
    assert!(policy.contains(&section));
    std::fs::write(&house.policy, policy.replace(&section, &format!("{section}remote = \"sd3.5-flash\"\n"))).unwrap();
    let report = house.engine.snapshots().reload(tollgate::policy::watch::Cause::Asked).await;
    assert!(report.ok, "{}", report.diagnostics);
    let changed = stability(house.engine.audit().await.unwrap());
    for audited in &changed {
        let found = audited.dissimilarity.unwrap();
        assert_eq!(&*audited.model == turbo, found > 0.2, "{audited:?}");
    }
    let series = format!("tollgate_drift_dissimilarity_ratio{{model=\"{turbo}\"}}");
    assert!(house.metric(&series).await > Some(0.2), "the alert's own number");
    assert!(house.metric("tollgate_drift_checks_total{result=\"changed\"}").await > Some(0.0));
}
