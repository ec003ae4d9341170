//! Black-box tests of the `stability` routes.

use std::time::Duration;

use super::*;

const SD3: &str = "/stability/v2beta/stable-image/generate/sd3";
const KEY: &str = "sk-sandbox-stability";

fn sd3(bed: &Bed, fields: &[(&str, &str)]) -> RequestBuilder {
    bed.request(Method::POST, SD3).bearer_auth(KEY).multipart(form(fields))
}

#[tokio::test]
async fn bytes_with_headers_and_json_with_fields() {
    let bed = Bed::new().await;
    let fields = [("prompt", "a red bicycle"), ("aspect_ratio", "16:9"), ("seed", "42"), ("model", "sd3.5-medium")];
    let raw = sd3(&bed, &fields).header("accept", "image/*").send().await.unwrap();
    assert_eq!(raw.status(), 200);
    assert_eq!(raw.headers()["content-type"], "image/png");
    assert_eq!(raw.headers()["finish-reason"], "SUCCESS");
    assert_eq!(raw.headers()["seed"], "42");
    assert!(raw.headers().contains_key("x-request-id"));
    let bytes = raw.bytes().await.unwrap();
    assert_eq!(size(&bytes), (1344, 768));
    let response = sd3(&bed, &fields).header("accept", "application/json").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json; type=image/png");
    assert!(!response.headers().contains_key("seed"));
    let body = json(response).await;
    assert_eq!((&body["finish_reason"], &body["seed"]), (&"SUCCESS".into(), &42.into()));
    assert_eq!(decoded(&body["image"]), bytes, "the same order is the same picture");
    assert_eq!(bed.billed().await, 70_000);
    assert_eq!(bed.calls().await[0]["model"], "stability/sd3.5-medium");
}

#[tokio::test]
async fn core_is_larger_and_old_names_are_rerouted() {
    let bed = Bed::new().await;
    let core = bed.request(Method::POST, "/stability/v2beta/stable-image/generate/core").bearer_auth(KEY);
    let core = core.multipart(form(&[("prompt", "a fox")])).send().await.unwrap();
    let drawn: u64 = core.headers()["seed"].to_str().unwrap().parse().unwrap();
    assert!(drawn > 0);
    assert_eq!(size(&core.bytes().await.unwrap()), (1536, 1536));
    assert_eq!(sd3(&bed, &[("prompt", "x"), ("model", "sd3-large-turbo")]).send().await.unwrap().status(), 200);
    assert_eq!(bed.calls().await[1]["model"], "stability/sd3.5-large-turbo");
}

#[tokio::test]
async fn every_refusal_has_its_words_and_no_price() {
    let bed = Bed::new().await;
    let broke = bed.request(Method::POST, SD3).bearer_auth("sk-broke").multipart(form(&[("prompt", "x")]));
    let large = form(&[("prompt", "x")]).part("image", png(vec![0; 11 * 1024 * 1024]));
    for (request, status, name, words) in [
        (bed.request(Method::POST, SD3).multipart(form(&[("prompt", "x")])), 401, "unauthorized", "authorization"),
        (bed.request(Method::POST, SD3).bearer_auth("sk-wrong").multipart(form(&[])), 401, "unauthorized", "header"),
        (bed.request(Method::POST, SD3).bearer_auth(KEY), 400, "bad_request", "content-type: required"),
        (sd3(&bed, &[("none", "")]), 400, "bad_request", "prompt: is required"),
        (sd3(&bed, &[("prompt", "x"), ("aspect_ratio", "7:3")]), 400, "bad_request", "aspect_ratio"),
        (sd3(&bed, &[("prompt", "x"), ("model", "sd9")]), 400, "bad_request", "model"),
        (sd3(&bed, &[("prompt", "x"), ("seed", "4294967295")]), 400, "bad_request", "seed"),
        (sd3(&bed, &[("prompt", "x"), ("cfg_scale", "99")]), 400, "bad_request", "cfg_scale"),
        (sd3(&bed, &[("prompt", "x"), ("style_preset", "baroque")]), 400, "bad_request", "style_preset"),
        (sd3(&bed, &[("prompt", "x")]).header("accept", "text/html"), 400, "bad_request", "accept"),
        (sd3(&bed, &[("prompt", "x"), ("mode", "image-to-image")]), 400, "bad_request", "image: is required"),
        (broke, 402, "payment_required", "credits"),
        (sd3(&bed, &[("prompt", "some nsfw thing")]), 403, "content_moderation", "you were not charged"),
        (bed.request(Method::POST, SD3).bearer_auth(KEY).multipart(large), 413, "payload_too_large", "10MiB"),
        (sd3(&bed, &[("prompt", "красный велосипед")]), 422, "invalid_language", "English"),
        (bed.get("/stability/v2beta/nowhere").bearer_auth(KEY), 404, "not_found", "no such route"),
    ] {
        let (got, body) = answered(request).await;
        assert_eq!((got, body["name"].as_str().unwrap()), (status, name));
        assert!(body["errors"][0].as_str().unwrap().contains(words), "{body}");
        assert!(body["id"].is_string());
    }
    assert_eq!(bed.billed().await, 0);
}

#[tokio::test]
async fn a_filtered_picture_is_blurred_sent_and_charged() {
    let bed = Bed::new().await;
    let sent = sd3(&bed, &[("prompt", "nsfw-output"), ("seed", "1")]).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), &sent.headers()["finish-reason"]), (200, &"CONTENT_FILTERED".parse().unwrap()));
    let bytes = sent.bytes().await.unwrap();
    assert_eq!(size(&bytes), (1024, 1024));
    assert!(bytes.len() < 500_000, "a blur has no grain: {} bytes", bytes.len());
    assert_eq!(bed.billed().await, 65_000);
}

#[tokio::test]
async fn the_lock_falls_at_the_151st_call() {
    let bed = Bed::new().await;
    for _ in 0..150 {
        assert_eq!(bed.get("/stability/v1/user/balance").bearer_auth(KEY).send().await.unwrap().status(), 200);
    }
    let (status, body) = answered(sd3(&bed, &[("prompt", "x")])).await;
    assert_eq!(
        (status, &body["id"], &body["name"]),
        (429, &"rate_limit_exceeded".into(), &"rate_limit_exceeded".into())
    );
    assert!(body["errors"][0].as_str().unwrap().contains("timed out for 60 seconds"));
    let other = bed.get("/stability/v1/user/balance").bearer_auth("sk-another").send().await.unwrap();
    assert_eq!(other.status(), 200);
    assert_eq!(bed.billed().await, 0);
    bed.request(Method::DELETE, "/_sandbox").send().await.unwrap();
    assert_eq!(sd3(&bed, &[("prompt", "x")]).send().await.unwrap().status(), 200);
}

async fn draft(bed: &Bed) -> Vec<u8> {
    let sent = sd3(bed, &[("prompt", "a fox"), ("seed", "5")]).send().await.unwrap();
    sent.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn upscalers_enlarge_what_is_posted() {
    let bed = Bed::new().await;
    let small = super::super::picture::tests_support::plain(256, 192);
    let post = |kind: &str, fields: &[(&str, &str)], image: Vec<u8>| {
        let path = format!("/stability/v2beta/stable-image/upscale/{kind}");
        bed.request(Method::POST, &path).bearer_auth(KEY).multipart(form(fields).part("image", png(image)))
    };
    let fast = post("fast", &[], small.clone()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(size(&fast), (1024, 768));
    let fields = [("prompt", "a fox"), ("creativity", "0.3")];
    let careful = post("conservative", &fields, small.clone()).send().await.unwrap().bytes().await.unwrap();
    let (width, height) = size(&careful);
    assert!((3_900_000..=4_194_304).contains(&(width * height)), "{width}x{height}");
    assert_eq!(answered(post("conservative", &[], small.clone())).await.0, 400);
    assert_eq!(answered(post("conservative", &[("prompt", "x"), ("creativity", "0.9")], small)).await.0, 400);
    assert_eq!(answered(post("fast", &[], b"no picture".to_vec())).await.0, 400);
    assert_eq!(bed.billed().await, 420_000);
}

#[tokio::test]
async fn creative_is_polled_and_hidden_from_other_keys() {
    let bed = Bed::at_speed(40.0).await;
    let small = super::super::picture::tests_support::plain(128, 128);
    let path = "/stability/v2beta/stable-image/upscale/creative";
    let submit = bed.request(Method::POST, path).bearer_auth(KEY);
    let (status, body) = answered(submit.multipart(form(&[("prompt", "a fox")]).part("image", png(small)))).await;
    let id = body["id"].as_str().unwrap();
    assert_eq!((status, id.len()), (200, 64));
    let poll = || bed.get(&format!("/stability/v2beta/results/{id}")).bearer_auth(KEY).header("accept", "image/*");
    let (status, body) = answered(poll()).await;
    assert_eq!((status, &body["status"]), (202, &"in-progress".into()));
    let foreign = bed.get(&format!("/stability/v2beta/results/{id}")).bearer_auth("sk-another");
    assert_eq!(answered(foreign).await.1["name"], "generation_not_found");
    let done = loop {
        let sent = poll().send().await.unwrap();
        if sent.status() == 200 {
            break sent;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(done.headers()["finish-reason"], "SUCCESS");
    assert_eq!(size(&done.bytes().await.unwrap()), (2880, 2880));
    assert_eq!(bed.billed().await, 600_000);
    assert!(
        bed.calls()
            .await
            .iter()
            .filter(|call| call["model"].is_string())
            .all(|call| call["model"] == "stability/upscale-creative")
    );
}

#[tokio::test]
async fn image_to_image_keeps_the_ratio() {
    let bed = Bed::new().await;
    let posted = draft(&bed).await;
    let fields = [("prompt", "a fox"), ("mode", "image-to-image"), ("strength", "0.5")];
    let request = bed.request(Method::POST, SD3).bearer_auth(KEY);
    let sent = request.multipart(form(&fields).part("image", png(posted))).send().await.unwrap();
    assert_eq!(size(&sent.bytes().await.unwrap()), (1024, 1024));
}
