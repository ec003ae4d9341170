//! Black-box tests of the `ideogram` routes.

#![expect(clippy::needless_pass_by_value, reason = "a request reads best with its body written in place")]

use serde_json::json;

use super::*;

const KEY: &str = "ideogram-sandbox-key";

fn legacy(bed: &Bed, request: Value) -> RequestBuilder {
    bed.post("/ideogram/generate", &json!({ "image_request": request })).header("api-key", KEY)
}

fn v3(bed: &Bed, fields: &[(&str, &str)]) -> RequestBuilder {
    let request = bed.request(Method::POST, "/ideogram/v1/ideogram-v3/generate").header("api-key", KEY);
    request.multipart(form(fields))
}

fn v4(bed: &Bed, fields: &[(&str, &str)]) -> RequestBuilder {
    let request = bed.request(Method::POST, "/ideogram/v1/ideogram-v4/generate").header("api-key", KEY);
    request.multipart(form(fields))
}

async fn fetched(bed: &Bed, item: &Value) -> Vec<u8> {
    let sent = bed.http.get(item["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), &sent.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
    sent.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn legacy_answers_links_and_bills_by_the_picture() {
    let bed = Bed::new().await;
    let ask = json!({ "prompt": "a poster that says \"HELLO\"", "model": "V_2A_TURBO", "aspect_ratio": "ASPECT_16_9",
                      "num_images": 2, "seed": 9, "negative_prompt": "ignored here", "magic_prompt_option": "ON" });
    let (status, body) = answered(legacy(&bed, ask)).await;
    assert_eq!(status, 200);
    let (first, second) = (&body["data"][0], &body["data"][1]);
    assert_eq!((&first["resolution"], &first["seed"]), (&"1312x736".into(), &9.into()));
    assert_eq!(first["is_image_safe"], true);
    assert!(first["prompt"].as_str().unwrap().len() > 26, "the magic prompt rewrote it");
    let bytes = fetched(&bed, first).await;
    assert_eq!(size(&bytes), (1312, 736));
    assert_eq!(bytes, fetched(&bed, second).await, "the same seed is the same picture");
    let calls = bed.calls().await;
    assert_eq!(bed.billed().await, 50_000);
    assert_eq!(calls[1]["billed_micro_usd"], 0);
    assert!(calls.iter().all(|call| call["model"] == "ideogram/v2a-turbo"));
}

#[tokio::test]
async fn the_three_versions_have_their_own_models() {
    let bed = Bed::new().await;
    let (_, body) = answered(v3(
        &bed,
        &[("prompt", "fox"), ("rendering_speed", "QUALITY"), ("aspect_ratio", "2x3"), ("num_images", "2")],
    ))
    .await;
    assert_eq!(body["data"][0]["style_type"], "GENERAL");
    assert_ne!(body["data"][0]["seed"], body["data"][1]["seed"]);
    assert_eq!(size(&fetched(&bed, &body["data"][0]).await), (832, 1248));
    assert_eq!(
        answered(v3(&bed, &[("prompt", "fox"), ("resolution", "1408x576")])).await.1["data"][0]["resolution"],
        "1408x576"
    );
    let (_, body) = answered(v4(&bed, &[("text_prompt", "fox"), ("rendering_speed", "TURBO")])).await;
    assert_eq!(size(&fetched(&bed, &body["data"][0]).await), (2048, 2048));
    let models: Vec<_> = bed
        .calls()
        .await
        .iter()
        .filter(|call| call["billed_micro_usd"] != 0)
        .map(|call| call["model"].clone())
        .collect();
    assert_eq!(models, ["ideogram/v3-quality", "ideogram/v3", "ideogram/v4-turbo"]);
    assert_eq!(bed.billed().await, 180_000 + 60_000 + 30_000);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_no_price() {
    let bed = Bed::new().await;
    let nobody = |path: &str| bed.post(path, &json!({ "image_request": { "prompt": "x" } }));
    let broke =
        bed.post("/ideogram/generate", &json!({ "image_request": { "prompt": "x" } })).header("api-key", "sk-broke");
    for (request, status) in [
        (nobody("/ideogram/generate"), 401),
        (nobody("/ideogram/v1/ideogram-v4/generate"), 401),
        (nobody("/ideogram/upscale"), 403),
        (broke, 402),
        (legacy(&bed, json!({})), 400),
        (legacy(&bed, json!({ "prompt": "x", "model": "V_9" })), 400),
        (legacy(&bed, json!({ "prompt": "x", "aspect_ratio": "16x9" })), 400),
        (legacy(&bed, json!({ "prompt": "x", "seed": 2_147_483_648_u64 })), 400),
        (legacy(&bed, json!({ "prompt": "x", "num_images": 9 })), 400),
        (legacy(&bed, json!({ "prompt": "x", "model": "V_1", "resolution": "RESOLUTION_1024_1024" })), 400),
        (legacy(&bed, json!({ "prompt": "nsfw" })), 422),
        (v3(&bed, &[("prompt", "x"), ("aspect_ratio", "16:9")]), 400),
        (v3(&bed, &[("prompt", "x"), ("style_preset", "BAROQUE")]), 400),
        (v4(&bed, &[("text_prompt", "x"), ("seed", "4")]), 400),
        (v4(&bed, &[("text_prompt", "x"), ("negative_prompt", "y")]), 400),
        (v4(&bed, &[("text_prompt", "x"), ("rendering_speed", "FLASH")]), 400),
        (v4(&bed, &[("text_prompt", "x"), ("json_prompt", "{}")]), 400),
        (v4(&bed, &[("text_prompt", "x"), ("resolution", "1024x1024")]), 400),
        (bed.get("/ideogram/nowhere"), 404),
    ] {
        let (got, body) = answered(request).await;
        assert_eq!(got, status, "{body}");
        assert!(body["error"].is_string());
    }
    assert_eq!(bed.billed().await, 0);
}

#[tokio::test]
async fn an_unsafe_picture_has_no_link_and_a_price() {
    let bed = Bed::new().await;
    let (status, body) = answered(legacy(&bed, json!({ "prompt": "nsfw-output", "model": "V_2" }))).await;
    assert_eq!(
        (status, &body["data"][0]["is_image_safe"], &body["data"][0]["url"]),
        (200, &false.into(), &Value::Null)
    );
    assert_eq!(bed.billed().await, 80_000);
}

#[tokio::test]
async fn a_link_is_bound_to_its_signature_and_time() {
    let bed = Bed::new().await;
    let (_, body) = answered(legacy(&bed, json!({ "prompt": "fox" }))).await;
    let url = body["data"][0]["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("http://{}/ideogram/api/images/ephemeral/", bed.sandbox.addr())));
    let status = async |url: &str| bed.http.get(url).send().await.unwrap().status().as_u16();
    assert_eq!(status(url).await, 200);
    let (plain, query) = url.split_once('?').unwrap();
    let expires: u64 = query.strip_prefix("exp=").unwrap().split('&').next().unwrap().parse().unwrap();
    assert_eq!(status(plain).await, 403);
    assert_eq!(status(&url.replace(&expires.to_string(), &(expires + 1).to_string())).await, 403, "the time is signed");
    let name = plain.rsplit('/').next().unwrap();
    let past = expires - 3_601;
    let signature = super::super::providers::tests_support::signature(7, name, past);
    assert_eq!(status(&format!("{plain}?exp={past}&sig={signature}")).await, 403, "well signed, and its time is over");
}

#[tokio::test]
async fn the_eleventh_call_in_flight_is_refused() {
    let bed = Bed::at_speed(6.0).await;
    let ask = || legacy(&bed, json!({ "prompt": "fox", "model": "V_2" })).send();
    let statuses = futures_util::future::join_all((0..14).map(|_| ask())).await;
    let refused = statuses.iter().filter(|sent| sent.as_ref().unwrap().status() == 429).count();
    assert_eq!(refused, 4);
    assert_eq!(bed.billed().await, 800_000);
    assert_eq!(ask().await.unwrap().status(), 200, "the places are free again");
}

#[tokio::test]
async fn the_upscaler_doubles() {
    let bed = Bed::new().await;
    let image = super::super::picture::tests_support::plain(200, 100);
    let fields = [("image_request", r#"{"prompt":"fox","resemblance":60}"#)];
    let request = bed.request(Method::POST, "/ideogram/upscale").header("api-key", KEY);
    let (_, body) = answered(request.multipart(form(&fields).part("image_file", png(image)))).await;
    assert_eq!(body["data"][0]["upscaled_resolution"], "400x200");
    assert_eq!(size(&fetched(&bed, &body["data"][0]).await), (400, 200));
    assert_eq!(bed.billed().await, 60_000);
}
