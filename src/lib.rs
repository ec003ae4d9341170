//! Tollgate, a query planner for images.
//!
//! A request says what is wanted and how good it must be; the planner lists every way to make it over the models in a
//! policy, drops those that miss the quality floor, the deadline, the price cap or a limit, and buys the cheapest of the
//! rest. Money is reserved before a call leaves, settled when it is known, and visible as ambiguous when it is not. This
//! page is the tour of the house.
//!
//! # The rooms
//!
//! Nothing imports to its right; `tests/architecture.rs` holds the house to it.
//!
//! ```text
//! domain ← telemetry ← provider ← transport ← state ← policy ← engine ← server ← cli ← main      sandbox stands apart
//! ```
//!
//! | room | what it is for | begin at |
//! |---|---|---|
//! | [`domain`] | meaning: pure functions over money, plans, limits and faults | [`domain::plan`] |
//! | [`telemetry`] | what happened, told once: metrics, log lines, receipts | [`telemetry::Telemetry`] |
//! | [`provider`] | dialects: one file a provider, two pure functions | [`provider::Adapter`] |
//! | [`transport`] | the only way out: sockets, TLS, credentials, the address guard | [`transport::Transport`] |
//! | [`state`] | what outlives a request: ledger, limits, flights, pictures | [`state::Ledger`] |
//! | [`policy`] | TOML into one immutable snapshot, or diagnostics with places | [`policy::Snapshot`] |
//! | [`engine`] | the rooms of a request, the whole path on one page | [`engine::Engine::serve`] |
//! | [`server`] | the doors: routes, wire shapes, problem bodies; `passthrough` is vendors' own APIs | [`server::Server`] |
//! | [`cli`] | one file a command, and the wiring of the house | [`cli::house`] |
//! | [`sandbox`] | simulators of the providers, with a bill of their own | [`sandbox::Sandbox`] |
//!
//! # The way of a request
//!
//! 1. `server` reads a head and a body, and makes them an [`engine::Inbound`]; what is wrong with them ends here.
//! 2. [`engine::Engine::serve`] takes one snapshot (for a few callers that of a policy on trial, [`engine::trial`]), asks
//!    who calls, and normalises: task, rule and terms are settled.
//! 3. Join: an idempotency key that was answered is replayed, an identical request in flight is followed. Both are free.
//! 4. [`domain::plan::plan`] ranks every candidate: a pure function, whose output EXPLAIN prints.
//! 5. Admit and execute: for each step the money is held durably, a limit is drawn on, `provider` encodes, `transport`
//!    sends, `provider` decodes; a fault goes to [`domain::retry::decide`]: again, the next plan, or stop.
//! 6. Pictures are checked, resized if need be, and stored; the reservation is closed; one [`telemetry::Receipt`]
//!    becomes metrics, log line and ledger row.
//! 7. `server` writes the answer, or turns a [`domain::refusal::Refusal`] into a status and a body in `problem.rs`.
//!
//! A call of a vendor's own API takes the short way: `server/passthrough` finds its price by [`domain::native`], asks
//! [`engine::transit`] for leave and money, and lets Pingora carry the bytes.
//!
//! # Where to add
//!
//! - **A provider**: a file in `provider/` with its [`provider::Adapter`], its line in [`provider::adapter`], a variant
//!   of [`domain::catalog::Dialect`], golden files in `tests/golden/`; its models and prices are policy. Its simulator:
//!   see [`sandbox`].
//! - **A rule, or any key of the policy**: see [`policy`]; a rule of your own is a row in the policy and no code.
//! - **A metric**: a variant and its row in `telemetry/metrics.rs`, a typed method of [`telemetry::Telemetry`].
//! - **An error**: a variant of [`domain::refusal::Refusal`]; the compiler then asks `server/problem.rs` for its face.
//!   What a provider did wrong is a [`domain::fault::Fault`], and what follows from it stands in [`domain::retry`].
//! - **A kind of plan**: a branch in `domain/plan/enumerate.rs`, how it runs in `engine/execute.rs`; a reason against
//!   plans is a [`domain::plan::Reason`] and its test in `domain/plan/filter.rs`.
//! - **A vendor's own call**: a `[[provider.NAME.route]]` of the policy, and no code.
//! - **A route**: `server/routes.rs`. **A command**: `cli/args.rs`.

pub mod cli;
pub mod domain;
pub mod engine;
pub mod policy;
pub mod provider;
pub mod sandbox;
pub mod server;
pub mod state;
pub mod telemetry;
pub mod transport;
