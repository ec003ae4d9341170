//! Black-box tests of the `comfyui` routes.

use std::time::Duration;

use serde_json::json;

use super::*;

fn graph(prompt: &str) -> Value {
    json!({
        "4": { "class_type": "CheckpointLoaderSimple", "inputs": { "ckpt_name": "sd3.5_large.safetensors" } },
        "5": { "class_type": "EmptySD3LatentImage", "inputs": { "width": 512, "height": 768, "batch_size": 1 } },
        "6": { "class_type": "CLIPTextEncode", "inputs": { "text": prompt, "clip": ["4", 1] } },
        "7": { "class_type": "CLIPTextEncode", "inputs": { "text": "blurry", "clip": ["4", 1] } },
        "13": { "class_type": "ModelSamplingSD3", "inputs": { "model": ["4", 0], "shift": 3.0 } },
        "3": { "class_type": "KSampler", "inputs": { "model": ["13", 0], "positive": ["6", 0], "negative": ["7", 0],
               "latent_image": ["5", 0], "seed": 42, "steps": 28, "cfg": 4.5, "sampler_name": "euler",
               "scheduler": "sgm_uniform", "denoise": 1.0 } },
        "8": { "class_type": "VAEDecode", "inputs": { "samples": ["3", 0], "vae": ["4", 2] } },
        "9": { "class_type": "SaveImage", "inputs": { "filename_prefix": "gw", "images": ["8", 0] } },
    })
}

async fn submit(bed: &Bed, graph: &Value) -> (u16, Value) {
    answered(bed.post("/comfyui/prompt", &json!({ "prompt": graph, "client_id": "c" }))).await
}

async fn finished(bed: &Bed, id: &str) -> Value {
    loop {
        let (_, body) = answered(bed.get(&format!("/comfyui/history/{id}"))).await;
        if let Some(entry) = body.get(id) {
            return entry.clone();
        }
        assert_eq!(body, json!({}));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn view(bed: &Bed, image: &Value) -> Vec<u8> {
    let text = |name: &str| image[name].as_str().unwrap().to_owned();
    let path = format!(
        "/comfyui/api/view?filename={}&subfolder={}&type={}",
        text("filename"),
        text("subfolder"),
        text("type")
    );
    let sent = bed.get(&path).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    sent.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn a_graph_is_queued_run_and_seen() {
    let bed = Bed::new().await;
    let (status, body) = submit(&bed, &graph("a red bicycle")).await;
    assert_eq!((status, &body["node_errors"], &body["number"]), (200, &json!({}), &1.0.into()));
    let entry = finished(&bed, body["prompt_id"].as_str().unwrap()).await;
    assert_eq!(entry["status"]["status_str"], "success");
    let image = &entry["outputs"]["9"]["images"][0];
    assert_eq!(image["filename"], "gw_00001_.png");
    assert_eq!(size(&view(&bed, image).await), (512, 768));
    let calls = bed.calls().await;
    assert!(calls.iter().all(|call| call["billed_micro_usd"] == 0 && call["provider"] == "comfyui"));
    assert_eq!(calls[0]["model"], "comfyui/sd3.5-large");
}

#[tokio::test]
async fn the_queue_is_worked_off_one_at_a_time() {
    let bed = Bed::at_speed(6.0).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(submit(&bed, &graph(&format!("fox {n}"))).await.1["prompt_id"].as_str().unwrap().to_owned());
    }
    let pending = loop {
        let (_, queue) = answered(bed.get("/comfyui/queue")).await;
        if queue["queue_running"].as_array().unwrap().len() == 1 {
            break queue["queue_pending"].as_array().unwrap().len();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(pending, 2, "one runs, the others wait");
    bed.post("/comfyui/queue", &json!({ "delete": [ids[2]] })).send().await.unwrap();
    bed.post("/comfyui/interrupt", &json!({ "prompt_id": ids[0] })).send().await.unwrap();
    let first = finished(&bed, &ids[0]).await;
    let second = finished(&bed, &ids[1]).await;
    assert_eq!(second["status"]["status_str"], "success");
    assert!(matches!(first["status"]["status_str"].as_str(), Some("error")), "{first}");
    assert_eq!(answered(bed.get(&format!("/comfyui/history/{}", ids[2]))).await.1, json!({}));
}

#[tokio::test]
async fn a_bad_graph_says_what_is_wrong_where() {
    let bed = Bed::new().await;
    let mut wrong = graph("fox");
    wrong["4"]["inputs"]["ckpt_name"] = json!("nope.safetensors");
    wrong["5"]["inputs"]["width"] = json!(1);
    wrong["8"]["inputs"]["vae"] = json!(["5", 0]);
    wrong["3"]["inputs"].as_object_mut().unwrap().remove("seed");
    let (status, body) = submit(&bed, &wrong).await;
    assert_eq!((status, &body["error"]["type"]), (400, &"prompt_outputs_failed_validation".into()));
    let kind = |node: &str| body["node_errors"][node]["errors"][0]["type"].clone();
    assert_eq!(kind("4"), "value_not_in_list");
    assert_eq!(kind("5"), "value_smaller_than_min");
    assert_eq!(kind("8"), "return_type_mismatch");
    assert_eq!(kind("3"), "required_input_missing");
    assert_eq!(body["node_errors"]["4"]["dependent_outputs"], json!(["9"]));
    let mut unknown = graph("fox");
    unknown["13"]["class_type"] = json!("FancyNode");
    assert_eq!(submit(&bed, &unknown).await.1["error"]["type"], "missing_node_type");
    let mut endless = graph("fox");
    endless["3"]["inputs"]["latent_image"] = json!(["3", 0]);
    assert_eq!(submit(&bed, &endless).await.1["node_errors"]["3"]["errors"][0]["type"], "dependency_cycle");
    let mut nothing = graph("fox");
    nothing.as_object_mut().unwrap().remove("9");
    assert_eq!(submit(&bed, &nothing).await.1["error"]["type"], "prompt_no_outputs");
    assert_eq!(answered(bed.post("/comfyui/prompt", &json!({}))).await.1["error"]["type"], "no_prompt");
    let named = json!({ "prompt": graph("fox"), "prompt_id": "not a uuid" });
    assert_eq!(answered(bed.post("/comfyui/prompt", &named)).await.1["error"]["type"], "invalid_prompt_id");
}

#[tokio::test]
async fn one_good_output_is_a_200_with_errors() {
    let bed = Bed::new().await;
    let mut half = graph("fox");
    half["20"] = json!({ "class_type": "SaveImage", "inputs": { "filename_prefix": "bad", "images": ["21", 0] } });
    half["21"] = json!({ "class_type": "LoadImage", "inputs": { "image": "nowhere.png" } });
    let (status, body) = submit(&bed, &half).await;
    assert_eq!((status, &body["node_errors"]["21"]["errors"][0]["type"]), (200, &"custom_validation_failed".into()));
    let entry = finished(&bed, body["prompt_id"].as_str().unwrap()).await;
    assert!(entry["outputs"].get("9").is_some() && entry["outputs"].get("20").is_none());
}

#[tokio::test]
async fn an_upload_is_renamed_and_enlarged() {
    let bed = Bed::new().await;
    let upload = async |side: u32| {
        let part = png(super::super::picture::tests_support::plain(side, side));
        answered(
            bed.request(Method::POST, "/comfyui/upload/image")
                .multipart(reqwest::multipart::Form::new().part("image", part)),
        )
        .await
        .1
    };
    assert_eq!(upload(64).await["name"], "picture.png");
    assert_eq!(upload(64).await["name"], "picture.png", "the same bytes keep the name");
    let renamed = upload(96).await;
    assert_eq!(renamed["name"], "picture (1).png");
    let up = json!({
        "1": { "class_type": "LoadImage", "inputs": { "image": renamed["name"] } },
        "2": { "class_type": "UpscaleModelLoader", "inputs": { "model_name": "4x-UltraSharp.pth" } },
        "3": { "class_type": "ImageUpscaleWithModel", "inputs": { "upscale_model": ["2", 0], "image": ["1", 0] } },
        "4": { "class_type": "ImageScaleBy", "inputs": { "image": ["3", 0], "upscale_method": "lanczos", "scale_by": 0.5 } },
        "9": { "class_type": "SaveImage", "inputs": { "filename_prefix": "up", "images": ["4", 0] } },
    });
    let (_, body) = submit(&bed, &up).await;
    let entry = finished(&bed, body["prompt_id"].as_str().unwrap()).await;
    assert_eq!(size(&view(&bed, &entry["outputs"]["9"]["images"][0]).await), (192, 192));
    assert!(bed.calls().await.iter().any(|call| call["model"] == "comfyui/4x-ultrasharp"));
}

#[tokio::test]
async fn the_other_routes() {
    let bed = Bed::new().await;
    assert!(answered(bed.get("/comfyui/system_stats")).await.1["devices"][0]["vram_total"].is_u64());
    let (_, info) = answered(bed.get("/comfyui/api/object_info/CheckpointLoaderSimple")).await;
    let names = &info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0];
    assert!(names.as_array().unwrap().contains(&json!("sd3.5_large.safetensors")));
    assert_eq!(answered(bed.get("/comfyui/prompt")).await.1["exec_info"]["queue_remaining"], 0);
    for (query, status) in
        [("filename=", 400), ("filename=../x.png", 400), ("filename=x.png&subfolder=..", 403), ("filename=x.png", 404)]
    {
        assert_eq!(bed.get(&format!("/comfyui/view?{query}")).send().await.unwrap().status(), status, "{query}");
    }
}
