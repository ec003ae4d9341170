//! The planner by example: each filter with its reason, ranking, sizes, and what more budget does.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "counts of a plan's stages are small")]
#![cfg(test)]

use std::time::Duration;

use proptest::prelude::*;
use tollgate::domain::catalog::{Catalog, Model, ModelIx};
use tollgate::domain::image::Size;
use tollgate::domain::money::Money;
use tollgate::domain::plan::explain::explain;
use tollgate::domain::plan::{Candidate, Gate, Planned, Reason, VerifierView, View, plan};
use tollgate::domain::request::{DataPolicy, Fit, GenerationRequest};
use tollgate::domain::rule::{Source, Term};

#[path = "support/market.rs"]
mod market;

use market::{TODAY, catalog, checked, generator, many, request, upscaler, view};

fn planned(catalog: &Catalog, request: &GenerationRequest) -> Planned {
    plan(request, catalog, &view(catalog), TODAY)
}

fn best<'a>(catalog: &'a Catalog, planned: &Planned) -> Option<&'a str> {
    Some(&*catalog.model(planned.best()?.model)?.id)
}

fn two() -> Catalog {
    catalog(vec![generator("acme/cheap", 10_000, 0.6), generator("acme/dear", 60_000, 0.9)])
}

#[test]
fn the_cheapest_per_accepted_image_wins() {
    let market = two();
    assert_eq!(best(&market, &planned(&market, &request(1024, 0.3))), Some("acme/cheap"));
    assert_eq!(
        best(&market, &planned(&market, &request(1024, 0.7))),
        Some("acme/dear"),
        "the floor drops the cheap one"
    );
    // A specialist at 2.17 times the price wins exactly while its acceptance is more than 2.17 times as high.
    for (price, winner) in [(21_700, "acme/special"), (21_900, "acme/general")] {
        let market = catalog(vec![generator("acme/general", 10_000, 0.28), generator("acme/special", price, 0.61)]);
        assert_eq!(best(&market, &planned(&market, &request(1024, 0.1))), Some(winner));
    }
}

#[test]
fn what_a_look_costs_moves_the_choice() {
    let market = catalog(vec![generator("acme/general", 10_000, 0.28), generator("acme/special", 50_000, 0.61)]);
    let mut request = request(1024, 0.1);
    assert_eq!(best(&market, &planned(&market, &request)), Some("acme/general"));
    request.terms.review_cost = Money::from_micros(500_000);
    assert_eq!(best(&market, &planned(&market, &request)), Some("acme/special"));
}

/// One change to a lone model or to the request, and the reason that must follow.
#[test]
fn every_filter_names_its_reason() {
    type Change = (fn(&mut Model), fn(&mut GenerationRequest), Reason);
    let changes: Vec<Change> = vec![
        (|_| {}, |r| r.terms.floor.value = 0.99, Reason::Floor),
        (|_| {}, |r| r.terms.deadline.value = Duration::from_secs(1), Reason::Deadline),
        (|_| {}, |r| r.terms.max_cost = Some(cap(59_999)), Reason::MaxCost),
        (|_| {}, |r| r.ask.data_policy = DataPolicy::OnPrem, Reason::DataPolicy),
        (|_| {}, |r| r.pinned = Some(ModelIx(7)), Reason::NotPinned),
        (
            |_| {},
            |r| r.terms.never = Some(Term { value: vec![ModelIx(0)], source: Source::Request }),
            Reason::NotAllowed,
        ),
        (|_| {}, |r| r.terms.only = Some(Term { value: vec![], source: Source::Request }), Reason::NotAllowed),
        (|_| {}, |r| r.ask.size = Size::new(4096, 128), Reason::Size),
        (|_| {}, |r| (r.ask.strict, r.ask.size) = (true, Size::new(512, 512)), Reason::Strict),
        (|m| m.retired = Some(TODAY), |_| {}, Reason::Retired(TODAY)),
        (|m| m.off = Some("switched off".into()), |_| {}, Reason::ModelOff),
        (|m| m.prices.clear(), |_| {}, Reason::UnknownPrice),
        (|m| m.seed = false, |r| r.ask.seed = Some(0), Reason::Seed),
        (|m| m.negative_prompt = false, |r| r.ask.negative_prompt = Some("blur".into()), Reason::NegativePrompt),
        (|m| m.formats.clear(), |_| {}, Reason::Format),
        (|m| m.max_prompt_chars = Some(5), |_| {}, Reason::PromptTooLong),
    ];
    for (change_model, change_request, reason) in changes {
        let mut model = generator("acme/only", 60_000, 0.9);
        let mut request = request(1024, 0.5);
        change_model(&mut model);
        change_request(&mut request);
        let market = catalog(vec![model]);
        let planned = planned(&market, &request);
        assert_eq!(planned.candidates.len(), 1);
        assert_eq!(planned.candidates[0].reason, Some(reason));
        let explained = explain(&planned, &request, &market, &view(&market));
        let why = explained.lines[0].reason.as_ref().expect("a reason in words");
        assert!(!why.text.is_empty() && !explained.lines[0].chosen, "{reason:?}");
    }
}

fn cap(micros: i64) -> Term<Money> {
    Term { value: Money::from_micros(micros), source: Source::Policy(market::place(8)) }
}

#[test]
fn a_provider_kept_for_the_premises_serves_them_and_those_who_pin_it() {
    let mut market = two();
    market.providers[0].only_on_prem = true;
    market.providers[0].local = true;
    let mut ask = request(1024, 0.3);
    assert_eq!(planned(&market, &ask).candidates[0].reason, Some(Reason::KeptOnPrem));
    ask.ask.data_policy = DataPolicy::OnPrem;
    assert_eq!(best(&market, &planned(&market, &ask)), Some("acme/cheap"));
    let mut pinned = request(1024, 0.3);
    pinned.pinned = Some(ModelIx(1));
    assert_eq!(best(&market, &planned(&market, &pinned)), Some("acme/dear"));
}

#[test]
fn gates_close_with_their_waits() {
    let market = two();
    let request = request(1024, 0.3);
    let mut view = view(&market);
    view.models[0].gate = Gate::Spent(Duration::from_secs(3));
    view.models[1].gate = Gate::Broken(Duration::from_secs(9));
    let planned = plan(&request, &market, &view, TODAY);
    assert_eq!(planned.best().map(|best| best.wait), Some(Duration::from_secs(3)), "it waits: nothing else fits");
    assert_eq!(planned.candidates[1].reason, Some(Reason::BreakerOpen(Duration::from_secs(9))));
    // The deadline is a minute, and nineteen of twenty calls take nine seconds.
    view.models[0].gate = Gate::Spent(Duration::from_secs(52));
    let planned = plan(&request, &market, &view, TODAY);
    assert_eq!(planned.candidates[0].reason, Some(Reason::QuotaSpent(Duration::from_secs(52))));
    assert_eq!(planned.shortest_quota_wait(), Some(Duration::from_secs(52)));
    assert!(planned.best().is_none());
}

#[test]
fn a_wait_is_bought_as_long_as_it_is_cheaper() {
    let market = catalog(vec![generator("acme/cheap", 10_000, 0.8), generator("acme/dear", 50_000, 0.8)]);
    let mut request = request(1024, 0.3);
    let mut view = view(&market);
    let chosen = |request: &GenerationRequest, view: &View| {
        let planned = plan(request, &market, view, TODAY);
        let explained = explain(&planned, request, &market, view);
        let reason = explained.lines.iter().find_map(|line| line.reason.clone()).expect("a reason against the other");
        (explained.lines[0].model.to_string(), explained.lines[0].wait, reason.code, reason.text)
    };
    let spent = |view: &mut View, seconds| view.models[0].gate = Gate::Spent(Duration::from_secs(seconds));
    // Four cents are saved; a second costs one.
    request.terms.wait_value = Some(Money::from_micros(10_000));
    spent(&mut view, 3);
    let (model, wait, ..) = chosen(&request, &view);
    assert_eq!((model.as_str(), wait), ("acme/cheap", Duration::from_secs(3)));
    let planned = plan(&request, &market, &view, TODAY);
    let worth = planned.worth_waiting(0, request.terms.wait_value, 1).expect("a next plan").as_secs_f64();
    assert!((worth - 4.0).abs() < 1e-6, "{worth}");
    spent(&mut view, 5);
    let (model, wait, code, text) = chosen(&request, &view);
    assert_eq!((model.as_str(), wait, code), ("acme/dear", Duration::ZERO, "quota_spent"));
    assert_eq!(text, "its limit has room in 5.0 s, and waiting would cost $0.05, more than it saves");
    // Without a price, the shortest wait is too long while anything else fits.
    request.terms.wait_value = None;
    spent(&mut view, 1);
    let (model, _, code, text) = chosen(&request, &view);
    assert_eq!((model.as_str(), code), ("acme/dear", "quota_spent"));
    assert!(text.contains("wait_value_usd_per_s"), "{text}");
    assert_eq!(plan(&request, &market, &view, TODAY).worth_waiting(0, None, 1), None);
}

#[test]
fn a_size_beyond_native_is_drafted_and_upscaled() {
    let market = catalog(vec![generator("acme/draft", 35_000, 0.8), upscaler("acme/up", 20_000)]);
    let planned = planned(&market, &request(2048, 0.3));
    let chosen = planned.best().expect("a plan");
    assert_eq!(chosen.native.size, Size::new(1024, 1024));
    assert_eq!(chosen.upscale, Some((ModelIx(1), Size::new(4096, 4096))));
    assert_eq!(chosen.resize, Some(Size::new(2048, 2048)));
    assert_eq!(chosen.quote.expected, Money::from_micros(55_000));
    assert!((chosen.accept.mean() - 0.8 * 0.95).abs() < 1e-9, "twice the side keeps 0.95");
    assert_eq!(chosen.latency.p50, Duration::from_millis(10_040));
}

#[test]
fn nearest_takes_the_image_as_it_comes() {
    let market = two();
    let mut request = request(512, 0.3);
    assert_eq!(planned(&market, &request).best().and_then(|c| c.resize), Some(Size::new(512, 512)));
    request.ask.fit = Fit::Nearest;
    assert_eq!(planned(&market, &request).best().map(|c| c.resize), Some(None));
}

#[test]
fn n_images_are_as_many_calls_as_the_model_needs() {
    let mut batch = generator("acme/batch", 10_000, 0.8);
    batch.max_images = 4;
    let market = catalog(vec![batch]);
    let mut request = request(1024, 0.3);
    request.ask.n = 6;
    let of =
        |request: &GenerationRequest| planned(&market, request).best().map(|c| (c.calls, c.quote.expected.micros()));
    assert_eq!(of(&request), Some((2, 60_000)));
    request.ask.seed = Some(7);
    assert_eq!(of(&request), Some((6, 60_000)), "a seed names one image");
}

#[test]
fn ties_go_to_the_faster_and_then_to_the_name() {
    let mut slow = generator("acme/a-slow", 10_000, 0.8);
    slow.latency.p50 = Duration::from_secs(6);
    let market = catalog(vec![slow, generator("acme/c", 10_000, 0.8), generator("acme/b", 10_000, 0.8)]);
    let planned = planned(&market, &request(1024, 0.3));
    let order: Vec<_> = planned.feasible().map(|c| &*market.model(c.model).unwrap().id).collect();
    assert_eq!(order, ["acme/b", "acme/c", "acme/a-slow"]);
}

#[test]
fn explain_says_what_plan_decided() {
    let market = checked(many(24, 2), 0.9, 0.2);
    let request = request(2048, 0.4);
    let planned = planned(&market, &request);
    let explained = explain(&planned, &request, &market, &view(&market));
    assert_eq!(explained.lines.len(), planned.candidates.len());
    assert_eq!(explained.lines.iter().filter(|line| line.chosen).count(), 1);
    let chosen = &explained.lines[0];
    assert_eq!(Some(&*chosen.model), best(&market, &planned));
    for line in &explained.lines[1..] {
        let why = line.reason.as_ref().expect("everything not chosen says why");
        assert_eq!(why.code == "floor", why.place.as_ref().is_some_and(|place| place.line == 5));
    }
}

/// A look costs ten cents: a cheap model that is checked, with a dear one behind it, beats both alone.
fn dear_looks() -> (Catalog, GenerationRequest) {
    let market = catalog(vec![generator("acme/cheap", 5_000, 0.55), generator("acme/dear", 60_000, 0.9)]);
    let mut request = request(1024, 0.3);
    request.terms.review_cost = Money::from_micros(100_000);
    (checked(market, 0.95, 0.05), request)
}

fn stages(candidate: &Candidate) -> Vec<ModelIx> {
    let behind = candidate.check.iter().flat_map(tollgate::domain::plan::Check::stages).map(|stage| stage.model);
    std::iter::once(candidate.model).chain(behind).collect()
}

#[test]
fn a_check_with_a_dear_model_behind_it_wins_where_looks_are_dear() {
    let (market, mut request) = dear_looks();
    let chosen = *planned(&market, &request).best().expect("a plan");
    assert_eq!(chosen.model, ModelIx(0));
    assert!(chosen.check.is_some(), "{chosen:?}");
    assert!(chosen.accept.mean() > 0.8, "{chosen:?}");
    let worst: i64 = 1_000 * (stages(&chosen).len() as i64 - 1)
        + stages(&chosen).iter().map(|ix| [5_000, 60_000][usize::from(ix.0)]).sum::<i64>();
    assert_eq!(chosen.quote.worst.micros(), worst, "every branch is reserved");
    assert!(chosen.quote.expected < chosen.quote.worst);
    let p95 = chosen.latency.p95;
    assert_eq!(
        p95,
        Duration::from_secs(9) * stages(&chosen).len() as u32
            + Duration::from_millis(60) * (stages(&chosen).len() as u32 - 1)
    );
    request.terms.review_cost = Money::ZERO;
    let without = *planned(&market, &request).best().expect("a plan");
    assert_eq!(stages(&without), [ModelIx(0)], "a cheap model alone wins where looks are free");
}

#[test]
fn a_verifier_that_is_not_there_takes_its_plans_along() {
    let (market, request) = dear_looks();
    let mut view = view(&market);
    let latency = market.verifiers[0].latency;
    view.verifiers = vec![VerifierView { absent: Some("the program is not installed"), latency }];
    let planned = plan(&request, &market, &view, TODAY);
    assert!(planned.best().is_some_and(|best| best.check.is_none()));
    let explained = explain(&planned, &request, &market, &view);
    let gone: Vec<_> = explained.lines.iter().filter_map(|line| line.reason.as_ref()).collect();
    let gone: Vec<_> = gone.into_iter().filter(|why| why.code == "verifier_absent").collect();
    assert!(!gone.is_empty());
    assert_eq!(gone[0].text, "its verifier `shape` is not there: the program is not installed");
    assert_eq!(gone[0].place.as_ref().map(|place| place.line), Some(11));
}

#[test]
fn explain_tells_the_branches() {
    let (market, request) = dear_looks();
    let planned = planned(&market, &request);
    let explained = explain(&planned, &request, &market, &view(&market));
    let steps = &explained.lines[0].steps;
    assert_eq!(steps.iter().map(|step| step.op).collect::<Vec<_>>(), ["generate", "verify"]);
    assert_eq!(steps[1].verifier.as_deref(), Some("shape"));
    assert_eq!(steps[1].otherwise[0].op, "generate");
    let words = tollgate::domain::plan::explain::words(steps);
    assert!(words.starts_with("acme/cheap → verify shape, else acme/"), "{words}");
}

#[test]
fn pins_seeds_and_the_premises_are_kept_by_checked_plans() {
    let (mut market, mut request) = dear_looks();
    request.ask.seed = Some(7);
    let same_twice =
        |planned: &Planned| planned.candidates.iter().any(|one| stages(one).windows(2).any(|pair| pair[0] == pair[1]));
    assert!(!same_twice(&planned(&market, &request)), "a seed gives a model one picture");
    request.ask.seed = None;
    assert!(same_twice(&planned(&market, &request)));
    request.pinned = Some(ModelIx(0));
    assert!(planned(&market, &request).candidates.iter().all(|one| one.check.is_none()));
    request.pinned = None;
    market.providers[0].local = true;
    market.verifiers[0].local = false;
    request.ask.data_policy = DataPolicy::OnPrem;
    assert!(planned(&market, &request).candidates.iter().all(|one| one.check.is_none()));
}

#[test]
fn drafts_at_once_are_checked_and_one_is_enlarged() {
    let market = catalog(vec![generator("acme/draft", 5_000, 0.4), upscaler("acme/up", 20_000)]);
    let market = checked(market, 0.95, 0.05);
    let mut request = request(2048, 0.1);
    request.terms.review_cost = Money::from_micros(200_000);
    let planned = planned(&market, &request);
    let chosen = planned.best().expect("a plan");
    assert_eq!((chosen.drafts, chosen.calls), (4, 4));
    assert_eq!(chosen.quote.expected, Money::from_micros(4 * 5_000 + 4 * 1_000 + 20_000));
    let one = planned.feasible().find(|one| one.check.is_none()).expect("the plain plan");
    assert!(chosen.accept.mean() > one.accept.mean() * 1.3);
    assert_eq!(chosen.latency.p95, one.latency.p95 + Duration::from_millis(60), "drafts are made at once");
}

proptest! {
    /// More money, more time or a lower floor never takes a plan away nor makes the best one dearer per accepted image.
    #[test]
    fn more_budget_never_gives_a_worse_plan(side in 64u32..4096, floor in 0.0..0.95f64, cap_micros in 1_000i64..400_000, more in 0i64..400_000) {
        let market = checked(many(12, 4), 0.9, 0.2);
        let mut tight = request(side, floor);
        tight.terms.max_cost = Some(cap(cap_micros));
        let mut loose = tight.clone();
        loose.terms.max_cost = Some(cap(cap_micros + more));
        loose.terms.floor.value = floor * 0.9;
        let (tight, loose) = (planned(&market, &tight), planned(&market, &loose));
        prop_assert!(loose.ranked.len() >= tight.ranked.len());
        if let (Some(tight), Some(loose)) = (tight.best(), loose.best()) {
            prop_assert!(loose.score <= tight.score);
        }
    }

    /// Whatever is chosen keeps to every term, and its last step gives the asked pixels.
    #[test]
    fn the_chosen_plan_keeps_to_the_terms(width in 64u32..4096, height in 64u32..4096, floor in 0.0..0.95f64) {
        let market = checked(many(12, 4), 0.9, 0.2);
        let mut request = request(1024, floor);
        request.ask.size = Size::new(width, height);
        let planned = planned(&market, &request);
        if let Some(chosen) = planned.best() {
            prop_assert!(chosen.accept.lower() >= floor);
            prop_assert!(chosen.quote.expected <= chosen.quote.worst);
            let last = chosen.resize.or(chosen.upscale.map(|(_, size)| size)).unwrap_or(chosen.native.size);
            prop_assert_eq!(last, request.ask.size);
        }
        prop_assert_eq!(plan(&request, &market, &view(&market), TODAY).ranked, planned.ranked);
    }
}
