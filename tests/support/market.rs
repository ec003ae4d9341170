//! A made-up market of any size, for planner tests and benches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, date};
use tollgate::domain::catalog::{
    Catalog, Claims, Dialect, Enlarge, Latency, Model, Native, Place, Price, Provider, ProviderIx, Reach, Role, Sizes,
    Task, TaskIx, Unit,
};
use tollgate::domain::image::{Format, Size};
use tollgate::domain::money::Money;
use tollgate::domain::plan::cost::{Rates, Retries};
use tollgate::domain::plan::{Gate, ModelView, View};
use tollgate::domain::quality::{Posterior, Prior};
use tollgate::domain::request::{Ask, GenerationRequest, Prompt};
use tollgate::domain::rule::{Explore, Share, Source, Term, Terms};
use tollgate::domain::verify::{Kind, Verifier};

/// The day of every test.
pub(crate) const TODAY: Date = date(2026, 11, 22);

/// A place in a made-up policy.
pub(crate) fn place(line: u32) -> Place {
    Place { file: Arc::from("market.toml"), line, column: 1 }
}

/// Listed sizes around a million pixels.
pub(crate) fn ratios() -> Sizes {
    let sizes = [
        (1024, 1024),
        (1344, 768),
        (768, 1344),
        (1216, 832),
        (832, 1216),
        (1536, 640),
        (640, 1536),
        (1088, 896),
        (896, 1088),
    ];
    let native = |(width, height)| {
        let size = Size::new(width, height);
        Native {
            size,
            label: Arc::from(format!("{width}:{height}")),
            log_ratio: size.log_ratio(),
            scale: Arc::from(""),
        }
    };
    Sizes::Listed(sizes.map(native).to_vec())
}

/// A price for an image.
pub(crate) fn price(micros: i64) -> Price {
    Price {
        from: date(2025, 1, 1),
        size: None,
        max_pixels: None,
        unit: Unit::Image,
        usd: Money::from_micros(micros),
        place: place(9),
    }
}

/// A generator with nothing special.
pub(crate) fn generator(id: &str, micros: i64, accept: f64) -> Model {
    Model {
        id: Arc::from(id),
        provider: ProviderIx(0),
        remote: Arc::from(id),
        role: Role::Generate(ratios()),
        prices: vec![price(micros)],
        tokens: None,
        retired: None,
        off: None,
        seed: true,
        max_seed: 4_294_967_294,
        negative_prompt: true,
        max_images: 1,
        max_prompt_chars: None,
        formats: vec![Format::Png],
        latency: Latency { p50: Duration::from_secs(5), p95: Duration::from_secs(9) },
        priors: vec![Prior { mean: accept, weight: 20.0 }],
        limits: Vec::new(),
        options: BTreeMap::new(),
        place: place(20),
    }
}

/// An upscaler by four.
pub(crate) fn upscaler(id: &str, micros: i64) -> Model {
    let reach = Reach {
        output: Enlarge::Factor(4.0),
        min_input_pixels: 1_024,
        max_input_pixels: 1_048_576,
        max_input_side: 1_536,
        max_output_pixels: 16_777_216,
        needs_prompt: false,
        keeps: 0.95,
    };
    Model { role: Role::Upscale(reach), priors: Vec::new(), ..generator(id, micros, 0.5) }
}

/// A catalog of one provider and one task.
pub(crate) fn catalog(models: Vec<Model>) -> Catalog {
    let provider = Provider {
        name: Arc::from("acme"),
        dialect: Dialect::Stability,
        base_url: Arc::from("http://127.0.0.1:1"),
        off: None,
        local: false,
        only_on_prem: false,
        limits: Vec::new(),
        options: BTreeMap::new(),
        place: place(3),
    };
    let task = Task { name: Arc::from("concept"), about: Arc::from(""), claims: Claims::default(), place: place(1) };
    Catalog { providers: vec![provider], models, tasks: vec![task], default_task: TaskIx(0), verifiers: Vec::new() }
}

/// A catalog of `generators` and `upscalers`, each with its own price and acceptance.
pub(crate) fn many(generators: u16, upscalers: u16) -> Catalog {
    let generators = (0..generators).map(|i| {
        let accept = 0.25 + 0.7 * f64::from(i % 40) / 40.0;
        generator(&format!("acme/model-{i:02}"), 3_000 + 2_500 * i64::from(i), accept)
    });
    let upscalers = (0..upscalers).map(|i| upscaler(&format!("acme/upscale-{i}"), 10_000 + 40_000 * i64::from(i)));
    catalog(generators.chain(upscalers).collect())
}

/// The view of a quiet moment: priors only, every gate open.
pub(crate) fn view(catalog: &Catalog) -> View {
    let models = catalog.models.iter().map(|model| ModelView {
        gate: Gate::Open,
        latency: model.latency,
        accept: Posterior::new(model.priors.first().copied().unwrap_or(Prior { mean: 0.5, weight: 2.0 }), 0.0, 0.0),
    });
    View { models: models.collect(), ..View::default() }
}

/// A request for a square of `side` with this floor.
pub(crate) fn request(side: u32, floor: f64) -> GenerationRequest {
    let mut ask = Ask::of(Prompt::new("studio photo of sword on table, cinematic lighting").expect("a prompt"));
    ask.size = Size::new(side, side);
    let terms = Terms {
        floor: Term { value: floor, source: Source::Policy(place(5)) },
        tier: None,
        max_cost: None,
        deadline: Term { value: Duration::from_mins(1), source: Source::Policy(place(6)) },
        only: None,
        never: None,
        drop_negative_prompt: false,
        moderated_next: false,
        review_cost: Money::ZERO,
        wait_value: None,
        retries: Retries::default(),
        share: Share::Identical,
        explore: Explore::Off,
        rule: None,
    };
    GenerationRequest { ask, task: TaskIx(0), pinned: None, terms, approved: None }
}

/// The same market with one verifier of these rates.
#[allow(dead_code, reason = "each test binary uses its own part of the market")]
pub(crate) fn checked(mut catalog: Catalog, good_pass: f64, bad_pass: f64) -> Catalog {
    catalog.verifiers.push(Verifier {
        name: Arc::from("shape"),
        kind: Kind::Structure,
        price: Money::from_micros(1_000),
        latency: Latency { p50: Duration::from_millis(20), p95: Duration::from_millis(60) },
        rates: vec![Some(Rates { good_pass, bad_pass })],
        local: true,
        place: place(11),
    });
    catalog
}
