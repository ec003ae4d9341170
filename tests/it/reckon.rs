//! The books held against the counters.

use serde_json::json;
use tollgate::domain::money::Money;
use tollgate::state::Ledger as _;
use tollgate::state::sql::Statement;
use tollgate::telemetry::clock;

use crate::harness::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_that_only_the_ledger_knows_is_drift() {
    let opened = clock::now();
    let house = House::open().await;
    for number in 0..3 {
        let made = house.post("/generate", &json!({"prompt": format!("a kettle, study {number}")})).await;
        assert_eq!(made.status, 200, "{}", made.text());
    }
    assert_eq!(house.engine.reckon(opened).await, Ok(Money::ZERO));
    assert!(house.engine.telemetry().booked() > Money::ZERO);
    let charge = "UPDATE attempt SET charged = charged + 20000 WHERE seq = 0 AND state = 'settled' \
                  AND generation = (SELECT MIN(id) FROM generation)";
    house.ledger.write(vec![Statement::new(charge, Vec::new())]).await.unwrap();
    assert_eq!(house.engine.reckon(opened).await, Ok(Money::from_micros(20_000)));
    assert_eq!(house.metric("tollgate_ledger_drift_usd").await, Some(0.02));
}
