//! A model that changes behind its name is seen.

use std::sync::Arc;

use serde_json::{Value, json};
use tollgate::telemetry::Telemetry;

use crate::harness::{House, bounds, stability_alone};

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_draws_otherwise_is_told_from_those_that_do_not() {
    let house = House::with(bounds(), stability_alone).await;
    let first = house.engine.audit().await.unwrap();
    let turbo = "stability/sd3.5-large-turbo";
    assert!(first.iter().any(|audited| &*audited.model == turbo), "{first:?}");
    assert!(
        first.iter().all(|audited| audited.dissimilarity == Some(0.0)),
        "a first picture is the baseline: {first:?}"
    );
    let again = house.engine.audit().await.unwrap();
    assert_eq!(again, first, "the same model draws the same");
    assert!(house.metric("tollgate_drift_checks_total{result=\"same\"}").await > Some(0.0));

    // The provider puts another model behind the name.
    let policy = std::fs::read_to_string(&house.policy).unwrap();
    let section = format!("[model.\"{turbo}\"]\n");
    assert!(policy.contains(&section));
    std::fs::write(&house.policy, policy.replace(&section, &format!("{section}remote = \"sd3.5-flash\"\n"))).unwrap();
    let report = house.engine.snapshots().reload(tollgate::policy::watch::Cause::Asked).await;
    assert!(report.ok, "{}", report.diagnostics);
    let changed = house.engine.audit().await.unwrap();
    for audited in &changed {
        let found = audited.dissimilarity.unwrap();
        assert_eq!(&*audited.model == turbo, found > 0.2, "{audited:?}");
    }
    let series = format!("tollgate_drift_dissimilarity_ratio{{model=\"{turbo}\"}}");
    assert!(house.metric(&series).await > Some(0.2), "the alert's own number");
    assert!(house.metric("tollgate_drift_checks_total{result=\"changed\"}").await > Some(0.0));
    let bits = format!("tollgate_drift_hash_bits{{model=\"{turbo}\"}}");
    assert!(house.metric(&bits).await > Some(4.0));

    // The studio shows it first, with the three pictures of each prompt.
    let told = house.get("/studio/api/drift").await.json();
    let first = &told["models"][0];
    assert_eq!((&first["model"], &first["changed"]), (&json!(turbo), &json!(true)), "{told}");
    let pictures = first["pictures"].as_array().unwrap();
    assert_eq!((pictures.len(), told["subjects"].as_array().unwrap().len()), (3, 3));
    for picture in pictures {
        assert!(picture["hash_bits"].as_u64() > Some(0) && picture["since"].as_i64() <= picture["seen"].as_i64());
        for name in ["baseline", "latest", "heat"] {
            let answer = house.get(&format!("/images/{}", picture[name].as_str().unwrap())).await;
            assert_eq!(answer.status, 200, "{name}");
            let media = if name == "heat" { "image/webp" } else { "image/png" };
            assert_eq!(answer.header("content-type"), Some(media));
        }
    }
    let others: Vec<&Value> = told["models"].as_array().unwrap().iter().skip(1).collect();
    assert!(others.len() == changed.len() - 1 && others.iter().all(|model| model["changed"] == json!(false)));
    let picture = &others[0]["pictures"][0];
    assert_eq!((&picture["dissimilarity"], &picture["hash_bits"]), (&json!(0), &json!(0)));
    assert!(picture["heat"].is_string(), "the same picture has a heat map too, without heat");

    another_gateway_alerts_as_well(&house, &series).await;
}

/// One that was started again, too: it reads what was found, and tells its metrics.
async fn another_gateway_alerts_as_well(house: &House, series: &str) {
    let telemetry = Telemetry::new(false).unwrap();
    let engine = house.another(Arc::clone(&telemetry));
    assert!(!telemetry.render().contains(series));
    assert!(engine.last_audit().await.unwrap().is_some());
    let told = telemetry.render();
    let line = told.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!(line.trim().parse::<f64>().unwrap() > 0.2, "{line}");
}
