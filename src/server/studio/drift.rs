//! What the audit and the sampling found, as JSON.
//!
//! Why it exists: the page shows pictures side by side with two numbers, and distances with what they are worth. What it
//! refuses to know: how they are found, and how they look.

use std::sync::Arc;

use super::super::problem::Problem;
use super::super::wire::json::Json;
use crate::domain::frechet::FEWEST;
use crate::domain::verify::likeness::{CHANGED, OTHER_SHAPE};
use crate::engine::studio::Watched;
use crate::engine::{Engine, Found, SUBJECTS, Sample};
use crate::state::audits::Audit;

/// Models held against their baselines, and windows of pictures against each other.
pub(super) async fn drift(engine: &Arc<Engine>) -> Result<String, Problem> {
    let watched = engine.watched().await?;
    let mut json = Json::default();
    json.object(|json| {
        json.key("bound").number(CHANGED);
        json.key("bits_bound").raw(OTHER_SHAPE);
        json.key("subjects").array(SUBJECTS, |json, subject| {
            json.object(|json| {
                json.key("number").raw(subject.number);
                json.key("prompt").text(subject.prompt);
                json.key("seed").raw(subject.seed);
            });
        });
        json.key("models").array(&watched, |json, watched| {
            json.object(|json| model(json, watched));
        });
        json.key("encoder");
        match engine.encoding() {
            None => {
                json.raw("null");
            }
            Some((encoding, window)) => {
                json.object(|json| {
                    json.key("name").text(&encoding.name);
                    json.key("width").raw(encoding.size.width);
                    json.key("height").raw(encoding.size.height);
                    json.key("pixels").text(encoding.pixels.name());
                    json.key("features").raw(encoding.features);
                    json.key("window").raw(window);
                    json.key("fewest").raw(FEWEST);
                });
            }
        }
        json.key("samples").array(&*engine.samples(), |json, taken| {
            json.object(|json| sample(json, taken));
        });
    });
    Ok(json.finish())
}

fn model(json: &mut Json, watched: &Watched) {
    json.key("model").text(&watched.model);
    json.key("known").raw(watched.known);
    json.key("changed").raw(watched.changed);
    json.key("dissimilarity").number(watched.dissimilarity);
    json.key("hash_bits").raw(watched.hash_bits);
    json.key("pictures").array(&watched.pictures, |json, audit| {
        json.object(|json| picture(json, audit));
    });
}

fn picture(json: &mut Json, audit: &Audit) {
    let millis = |at: jiff::Timestamp| at.as_millisecond().to_string();
    json.key("subject").raw(audit.subject);
    json.key("baseline").text(&format!("{}.png", audit.baseline));
    json.key("latest").text(&format!("{}.png", audit.latest));
    json.key("heat").text_or_null(audit.heat.as_ref().map(|sha256| format!("{sha256}.webp")).as_deref());
    json.key("dissimilarity").number(audit.dissimilarity);
    json.key("hash_bits").raw(audit.hash_bits);
    json.key("changed").raw(audit.is_another());
    json.key("since").raw(audit.since.map_or_else(|| "null".to_owned(), millis));
    json.key("seen").raw(millis(audit.seen));
}

fn sample(json: &mut Json, sample: &Sample) {
    json.key("model").text_or_null(sample.model.as_deref());
    json.key("accepted").raw(sample.accepted);
    json.key("new").raw(sample.new);
    json.key("at").raw(sample.at.as_millisecond());
    json.key("found");
    match &sample.found {
        None => json.raw("null"),
        Some(found) => json.object(|json| distances(json, found)),
    };
}

fn distances(json: &mut Json, found: &Found) {
    json.key("distance").number(found.distance);
    json.key("extrapolated").number(found.extrapolated);
    json.key("low").number(found.interval.0);
    json.key("high").number(found.interval.1);
    json.key("small").raw(found.small);
    json.key("curve").array(&found.curve, |json, point| {
        json.object(|json| {
            json.key("pictures").raw(point.pictures);
            json.key("distance").number(point.distance);
        });
    });
}
