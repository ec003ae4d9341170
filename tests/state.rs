//! One suite over every implementation of the state ports.
//!
//! To add an implementation of a port: one line in the table at the foot of its module.
#![allow(
    clippy::cast_possible_truncation,
    clippy::unused_async,
    clippy::float_cmp,
    clippy::duration_suboptimal_units,
    clippy::disallowed_methods,
    clippy::zombie_processes,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the functions that tests are made of are tests too"
)]

/// One module for each implementation of the ledger: every case, and one property over whatever `deeds` may happen.
macro_rules! over_every_ledger {
    (@one $implementation:ident: $place:expr => $property:ident, [$($case:ident)*]) => {
        mod $implementation {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(&$place).await;
                }
            )*

            proptest! {
                #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

                #[test]
                fn $property(deeds in deeds()) {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(super::$property(&$place, deeds));
                }
            }
        }
    };
    ($($implementation:ident: $place:expr;)* => $property:ident, $cases:tt) => {
        $(over_every_ledger!(@one $implementation: $place => $property, $cases);)*
    };
}

#[path = "state/audits.rs"]
mod audits;
#[path = "state/budgets.rs"]
mod budgets;
#[path = "state/crash.rs"]
mod crash;
#[path = "state/images.rs"]
mod images;
#[path = "state/ledger.rs"]
mod ledger;
#[path = "state/limits.rs"]
mod limits;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "state/redis.rs"]
mod redis_connection;
#[path = "state/replicas.rs"]
mod replicas;
#[path = "state/samples.rs"]
mod samples;
#[path = "support/redis.rs"]
mod server;
#[path = "state/studio.rs"]
mod studio;
#[path = "state/verdicts.rs"]
mod verdicts;
