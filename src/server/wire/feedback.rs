//! A verdict's body, and the answer to it.
//!
//! Why it exists: `{"accepted":true}` must be enough to type. What it refuses to know: what a verdict changes.

use super::super::payload::Payload;
use super::fields::{Fields, Surface};
use super::json::Json;
use super::value::bad;
use crate::domain::refusal::Refusal;
use crate::domain::request::MAX_IMAGES;
use crate::engine::{Feedback, Taken};

/// The longest name of a rater, and the longest reason, in characters.
const MAX_RATER: usize = 200;
const MAX_REASON: usize = 2_000;

/// Reads the body, and what of it nobody reads.
pub(in crate::server) fn parse(body: &[u8]) -> Result<(Feedback, Vec<String>), Refusal> {
    let fields = Fields::read(body, Surface::Feedback)?;
    let accepted = fields.value("accepted").ok_or_else(|| {
        bad("/accepted", "`accepted` is missing; say true or false, such as {\"accepted\":true}".to_owned())
    })?;
    let image = match fields.value("image") {
        Some(value) => u8::try_from(value.integer(0..=u64::from(MAX_IMAGES) - 1, 0)?).unwrap_or_default(),
        None => 0,
    };
    let feedback = Feedback {
        accepted: accepted.flag()?,
        rater: text(&fields, "rater", MAX_RATER)?.map(Into::into),
        reason: text(&fields, "reason", MAX_REASON)?,
        image,
    };
    Ok((feedback, fields.warnings()))
}

fn text(fields: &Fields<'_>, name: &'static str, most: usize) -> Result<Option<String>, Refusal> {
    let Some(value) = fields.value(name) else {
        return Ok(None);
    };
    let what = format!("a string of 1 to {most} characters");
    let text = value.text(&what)?;
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(value.wants(&what));
    }
    Ok(Some(text.into_owned()))
}

/// The verdict as it was taken.
pub(in crate::server) fn answer(said: &Feedback, taken: &Taken, warnings: &[String]) -> Payload {
    let mut json = Json::default();
    json.object(|json| {
        json.key("id").text(&taken.generation);
        json.key("image").raw(said.image);
        json.key("accepted").raw(said.accepted);
        json.key("rater").text(&taken.rater);
        json.key("reason").text_or_null(said.reason.as_deref());
        json.key("model").text(&taken.model);
        json.key("task").text(&taken.task);
        json.key("replaced").raw(taken.replaced);
        json.key("warnings").texts(warnings.iter().map(String::as_str));
    });
    Payload::of(json.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_enough_and_each_wrong_one_is_named() {
        let (said, warnings) = parse(b"{\"accepted\":true}").unwrap();
        assert_eq!(said, Feedback { accepted: true, rater: None, reason: None, image: 0 });
        assert!(warnings.is_empty());
        let (said, warnings) =
            parse(br#"{"accepted":false,"rater":"ann","reason":"six fingers","image":3,"mood":1}"#).unwrap();
        assert_eq!((said.accepted, said.rater.as_deref(), said.image), (false, Some("ann"), 3));
        assert_eq!(warnings.len(), 1);
        for (body, at) in [
            ("{}", "/accepted"),
            (r#"{"accepted":1}"#, "/accepted"),
            (r#"{"accepted":true,"rater":""}"#, "/rater"),
            (r#"{"accepted":true,"image":8}"#, "/image"),
            (r#"{"accepted":true,"reason":7}"#, "/reason"),
        ] {
            match parse(body.as_bytes()) {
                Err(Refusal::InvalidRequest { pointer, .. }) => assert_eq!(pointer, at, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
