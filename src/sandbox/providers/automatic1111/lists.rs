//! What is installed, as the `/sdapi` servers list it.

use serde_json::{Value, json};

pub(in crate::sandbox::providers) const SAMPLERS: [&str; 14] = [
    "Euler",
    "Euler a",
    "Heun",
    "DPM2",
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 3M SDE",
    "LMS",
    "DDIM",
    "UniPC",
    "LCM",
    "euler",
    "euler_a",
];

/// `samplers`.
pub(in crate::sandbox::providers) fn samplers() -> Value {
    let sampler =
        |name: &&str| json!({ "name": name, "aliases": [name.to_lowercase().replace(' ', "_")], "options": {} });
    SAMPLERS.iter().map(sampler).collect()
}

/// `schedulers`.
pub(in crate::sandbox::providers) fn schedulers() -> Value {
    let scheduler = |name: &&str| json!({ "name": name.to_lowercase(), "label": name, "aliases": null });
    ["Automatic", "Karras", "Exponential", "Simple", "Beta"].iter().map(scheduler).collect()
}

/// `upscalers`.
pub(in crate::sandbox::providers) fn upscalers() -> Value {
    let upscaler = |(name, path): &(&str, Value)| json!({ "name": name, "model_name": null, "model_path": path, "model_url": null, "scale": 4 });
    let installed = [
        ("None", Value::Null),
        ("Lanczos", Value::Null),
        ("Nearest", Value::Null),
        ("4x-UltraSharp", json!("models/ESRGAN/4x-UltraSharp.pth")),
        ("R-ESRGAN 4x+", json!("models/RealESRGAN/RealESRGAN_x4plus.pth")),
    ];
    installed.iter().map(upscaler).collect()
}

/// `sd-models`.
pub(in crate::sandbox::providers) fn sd_models() -> Value {
    let model = |name: &&str| {
        json!({
            "title": format!("{name}.safetensors"), "model_name": name, "hash": null, "sha256": null,
            "filename": format!("models/Stable-diffusion/{name}.safetensors"), "config": null,
        })
    };
    ["sd3.5_large", "sd3.5_medium"].iter().map(model).collect()
}

/// `memory`.
pub(super) fn memory() -> Value {
    json!({
        "ram": { "free": 98_213_486_592_u64, "used": 36_751_962_112_u64, "total": 134_965_448_704_u64 },
        "cuda": { "system": { "free": 31_523_340_288_u64, "used": 19_491_323_904_u64, "total": 51_014_664_192_u64 } },
    })
}

/// The 500 of a machine that is full.
pub(super) fn out_of_memory() -> Value {
    json!({
        "error": "OutOfMemoryError", "detail": "", "body": "",
        "errors": "CUDA out of memory. Tried to allocate 16.00 GiB. GPU 0 has a total capacity of 47.51 GiB.",
    })
}
