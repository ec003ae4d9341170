//! Black-box tests of the three `/sdapi` servers.

#![expect(clippy::needless_pass_by_value, reason = "a request reads best with its body written in place")]

use std::time::Duration;

use serde_json::json;

use super::*;

fn ask(extra: Value) -> Value {
    let mut body =
        json!({ "prompt": "fox", "width": 512, "height": 384, "steps": 20, "seed": 42, "sampler_name": "Euler" });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn forge_answers_info_in_a_string() {
    let bed = Bed::new().await;
    let body = ask(json!({ "batch_size": 2, "override_settings": { "sd_model_checkpoint": "sd3.5_large" } }));
    let (status, body) = answered(bed.post("/automatic1111/sdapi/v1/txt2img", &body)).await;
    assert_eq!((status, body["images"].as_array().unwrap().len()), (200, 2));
    assert_eq!(size(&decoded(&body["images"][1])), (512, 384));
    let info: Value = serde_json::from_str(body["info"].as_str().unwrap()).unwrap();
    assert_eq!(info["all_seeds"], json!([42, 43]));
    assert_eq!(body["parameters"]["sampler_name"], "Euler");
    assert_eq!(bed.calls().await[0]["model"], "automatic1111/sd3.5-large");
    let (_, drawn) = answered(bed.post("/automatic1111/sdapi/v1/txt2img", &ask(json!({ "seed": -1 })))).await;
    let info: Value = serde_json::from_str(drawn["info"].as_str().unwrap()).unwrap();
    assert!(info["seed"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn the_forks_refuse_in_their_own_ways() {
    let bed = Bed::new().await;
    let post = |prefix: &str, route: &str, body: Value| bed.post(&format!("/{prefix}/sdapi/v1/{route}"), &body);
    let (status, body) = answered(post("automatic1111", "txt2img", ask(json!({ "sampler_name": "Magic" })))).await;
    assert_eq!((status, body), (400, json!({ "detail": "Sampler not found" })));
    let (status, body) = answered(post("automatic1111", "txt2img", ask(json!({ "width": "wide" })))).await;
    assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["body", "width"])));
    let (status, body) = answered(post("automatic1111", "img2img", ask(json!({})))).await;
    assert_eq!((status, body), (404, json!({ "detail": "Init image not found" })));
    let (status, body) = answered(post("automatic1111", "img2img", ask(json!({ "init_images": ["!"] })))).await;
    assert_eq!((status, body), (500, json!({ "detail": "Invalid encoded image" })));
    let (status, body) =
        answered(post("automatic1111-sdnext", "txt2img", ask(json!({ "sampler_name": "Magic" })))).await;
    assert_eq!((status, &body["error"], &body["detail"]), (400, &"HTTPException".into(), &"Sampler not found".into()));
    let (status, body) = answered(post("automatic1111-sdnext", "img2img", ask(json!({})))).await;
    assert_eq!((status, body), (400, json!({ "error": "Init image is none" })));
    assert_eq!(post("automatic1111-sdnext", "interrupt", json!({})).send().await.unwrap().status(), 204);
    for _ in 0..59 {
        post("automatic1111-sdnext", "txt2img", ask(json!({ "sampler_name": "Magic" }))).send().await.unwrap();
    }
    let (status, body) = answered(post("automatic1111-sdnext", "txt2img", ask(json!({})))).await;
    assert_eq!(status, 429);
    assert!(body["detail"].as_str().unwrap().contains("rate limit exceeded"));
}

#[tokio::test]
async fn one_lock_serialises_and_progress_shows_it() {
    let bed = Bed::at_speed(70.0).await;
    let post = || bed.post("/automatic1111/sdapi/v1/txt2img", &ask(json!({}))).send();
    let watch = async {
        loop {
            let (_, body) = answered(bed.get("/automatic1111/sdapi/v1/progress?skip_current_image=true")).await;
            if body["state"]["job_count"] == 1 {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let began = tokio::time::Instant::now();
    let (first, second, third, seen) = tokio::join!(post(), post(), post(), watch);
    assert!([first, second, third].iter().all(|sent| sent.as_ref().unwrap().status() == 200));
    assert_eq!(seen["state"]["sampling_steps"], 20);
    assert!(began.elapsed() > Duration::from_millis(200), "three of about 100 ms in a row: {:?}", began.elapsed());
}

#[tokio::test]
async fn pictures_are_reworked_and_enlarged() {
    let bed = Bed::new().await;
    let image = base64_simd::STANDARD.encode_to_string(super::super::picture::tests_support::plain(128, 64));
    let body = ask(json!({ "init_images": [format!("data:image/png;base64,{image}")], "denoising_strength": 0.3 }));
    let (_, body) = answered(bed.post("/automatic1111/sdapi/v1/img2img", &body)).await;
    assert_eq!(size(&decoded(&body["images"][0])), (512, 384));
    let body = json!({ "image": image, "upscaler_1": "4x-UltraSharp", "upscaling_resize": 4 });
    let (_, body) = answered(bed.post("/automatic1111/sdapi/v1/extra-single-image", &body)).await;
    assert_eq!(size(&decoded(&body["image"])), (512, 256));
    let body = json!({ "image": image, "resize_mode": 1, "upscaling_resize_w": 300, "upscaling_resize_h": 200, "upscaler_1": "Lanczos" });
    let (_, body) = answered(bed.post("/automatic1111/sdapi/v1/extra-single-image", &body)).await;
    assert_eq!(size(&decoded(&body["image"])), (300, 200));
    assert_eq!(bed.calls().await[1]["model"], "automatic1111/4x-ultrasharp");
    let (_, names) = answered(bed.get("/automatic1111/sdapi/v1/upscalers")).await;
    assert!(names.as_array().unwrap().iter().any(|one| one["name"] == "4x-UltraSharp"));
}

#[tokio::test]
async fn sd_server_has_string_errors_and_jobs() {
    let bed = Bed::at_speed(10.0).await;
    let base = "/automatic1111-sdserver";
    let (status, body) = answered(bed.post(&format!("{base}/v1/images/generations"), &json!({ "prompt": "" }))).await;
    assert_eq!((status, body), (400, json!({ "error": "prompt required" })));
    let prompt = "fox <sd_cpp_extra_args>{\"seed\":42}</sd_cpp_extra_args>";
    let openai = json!({ "prompt": prompt, "size": "256x128" });
    let (_, body) = answered(bed.post(&format!("{base}/v1/images/generations"), &openai)).await;
    assert_eq!(size(&decoded(&body["data"][0]["b64_json"])), (256, 128));
    assert!(body.get("usage").is_none());
    let (_, body) = answered(bed.post(&format!("{base}/sdapi/v1/txt2img"), &ask(json!({})))).await;
    assert_eq!(body["info"], "");
    let submit =
        || bed.post(&format!("{base}/sdcpp/v1/img_gen"), &json!({ "prompt": "fox", "width": 128, "height": 128 }));
    let (status, first) = answered(submit()).await;
    let (_, second) = answered(submit()).await;
    assert_eq!((status, &second["status"]), (202, &"queued".into()));
    let cancel =
        |job: &Value| bed.post(&format!("{base}/sdcpp/v1/jobs/{}/cancel", job["id"].as_str().unwrap()), &json!({}));
    assert_eq!(answered(cancel(&first)).await.0, 409);
    assert_eq!(answered(cancel(&second)).await.1["status"], "cancelled");
    let done = loop {
        let (_, job) = answered(bed.get(&format!("{base}{}", first["poll_url"].as_str().unwrap()))).await;
        if job["status"] == "completed" {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(size(&decoded(&done["result"]["images"][0]["b64_json"])), (128, 128));
    assert_eq!(answered(bed.get(&format!("{base}/sdcpp/v1/jobs/job_none"))).await.0, 404);
}
