//! The node classes that are installed here, with their inputs, as `/object_info` lists them and validation reads them.
//!
//! To add a node: one [`Node`] here, and its meaning in `graph.rs`.

use serde_json::{Map, Value, json};

/// A node class.
pub(super) struct Node {
    pub(super) class: &'static str,
    pub(super) inputs: &'static [(&'static str, Input)],
    pub(super) outputs: &'static [&'static str],
    /// Whether running it is the point of a graph.
    pub(super) is_output: bool,
}

/// What an input takes.
#[derive(Clone, Copy)]
pub(super) enum Input {
    /// A link to an output of this type.
    Link(&'static str),
    Text,
    Whole(u64, u64),
    Real(f64, f64),
    OneOf(&'static [&'static str]),
    /// The name of an uploaded picture.
    Upload,
}

use Input::{Link, OneOf, Real, Text, Upload, Whole};

const CHECKPOINTS: &[&str] = &["sd3.5_large.safetensors", "sd3.5_medium.safetensors"];
const ENCODERS: &[&str] =
    &["clip_g.safetensors", "clip_l.safetensors", "t5xxl_fp16.safetensors", "t5xxl_fp8_e4m3fn.safetensors"];
const UPSCALERS: &[&str] = &["4x-UltraSharp.pth", "RealESRGAN_x4plus.pth"];
const SAMPLERS: &[&str] = &[
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "lms",
    "dpmpp_2s_ancestral",
    "dpmpp_sde",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "ddim",
    "uni_pc",
    "res_multistep",
];
const SCHEDULERS: &[&str] = &[
    "normal",
    "karras",
    "exponential",
    "sgm_uniform",
    "simple",
    "ddim_uniform",
    "beta",
    "linear_quadratic",
    "kl_optimal",
];
const RESIZERS: &[&str] = &["nearest-exact", "bilinear", "area", "bicubic", "lanczos"];
const LATENT_RESIZERS: &[&str] = &["nearest-exact", "bilinear", "area", "bicubic", "bislerp"];

const fn node(class: &'static str, inputs: &'static [(&'static str, Input)], outputs: &'static [&'static str]) -> Node {
    Node { class, inputs, outputs, is_output: false }
}

const fn output(class: &'static str, inputs: &'static [(&'static str, Input)]) -> Node {
    Node { class, inputs, outputs: &[], is_output: true }
}

#[rustfmt::skip]
const NODES: &[Node] = &[
    node("CheckpointLoaderSimple", &[("ckpt_name", OneOf(CHECKPOINTS))], &["MODEL", "CLIP", "VAE"]),
    node("TripleCLIPLoader", &[("clip_name1", OneOf(ENCODERS)), ("clip_name2", OneOf(ENCODERS)), ("clip_name3", OneOf(ENCODERS))], &["CLIP"]),
    node("CLIPTextEncode", &[("text", Text), ("clip", Link("CLIP"))], &["CONDITIONING"]),
    node("CLIPTextEncodeSD3", &[("clip", Link("CLIP")), ("clip_l", Text), ("clip_g", Text), ("t5xxl", Text), ("empty_padding", OneOf(&["none", "empty_prompt"]))], &["CONDITIONING"]),
    node("ConditioningZeroOut", &[("conditioning", Link("CONDITIONING"))], &["CONDITIONING"]),
    node("ModelSamplingSD3", &[("model", Link("MODEL")), ("shift", Real(0.0, 100.0))], &["MODEL"]),
    node("EmptySD3LatentImage", &[("width", Whole(16, 16_384)), ("height", Whole(16, 16_384)), ("batch_size", Whole(1, 4_096))], &["LATENT"]),
    node("EmptyLatentImage", &[("width", Whole(16, 16_384)), ("height", Whole(16, 16_384)), ("batch_size", Whole(1, 4_096))], &["LATENT"]),
    node("KSampler", &[("model", Link("MODEL")), ("seed", Whole(0, u64::MAX)), ("steps", Whole(1, 10_000)), ("cfg", Real(0.0, 100.0)), ("sampler_name", OneOf(SAMPLERS)), ("scheduler", OneOf(SCHEDULERS)), ("positive", Link("CONDITIONING")), ("negative", Link("CONDITIONING")), ("latent_image", Link("LATENT")), ("denoise", Real(0.0, 1.0))], &["LATENT"]),
    node("LatentUpscaleBy", &[("samples", Link("LATENT")), ("upscale_method", OneOf(LATENT_RESIZERS)), ("scale_by", Real(0.01, 8.0))], &["LATENT"]),
    node("VAEDecode", &[("samples", Link("LATENT")), ("vae", Link("VAE"))], &["IMAGE"]),
    node("VAEEncode", &[("pixels", Link("IMAGE")), ("vae", Link("VAE"))], &["LATENT"]),
    node("LoadImage", &[("image", Upload)], &["IMAGE", "MASK"]),
    node("UpscaleModelLoader", &[("model_name", OneOf(UPSCALERS))], &["UPSCALE_MODEL"]),
    node("ImageUpscaleWithModel", &[("upscale_model", Link("UPSCALE_MODEL")), ("image", Link("IMAGE"))], &["IMAGE"]),
    node("ImageScaleBy", &[("image", Link("IMAGE")), ("upscale_method", OneOf(RESIZERS)), ("scale_by", Real(0.01, 8.0))], &["IMAGE"]),
    node("ImageScale", &[("image", Link("IMAGE")), ("upscale_method", OneOf(RESIZERS)), ("width", Whole(0, 16_384)), ("height", Whole(0, 16_384)), ("crop", OneOf(&["disabled", "center"]))], &["IMAGE"]),
    output("SaveImage", &[("images", Link("IMAGE")), ("filename_prefix", Text)]),
    output("PreviewImage", &[("images", Link("IMAGE"))]),
];

/// The class of this name.
pub(super) fn class(name: &str) -> Option<&'static Node> {
    NODES.iter().find(|node| node.class == name)
}

/// `/object_info`, of one class or of all; an unknown class is left out, as in the real answer.
pub(super) fn object_info(class: Option<&str>, uploads: &[String]) -> Value {
    let wanted = NODES.iter().filter(|node| class.is_none_or(|class| node.class == class));
    Value::Object(wanted.map(|node| (node.class.to_owned(), described(node, uploads))).collect())
}

fn described(node: &Node, uploads: &[String]) -> Value {
    let required: Map<String, Value> =
        node.inputs.iter().map(|(name, input)| ((*name).to_owned(), input.config(uploads))).collect();
    let order: Vec<&str> = node.inputs.iter().map(|(name, _)| *name).collect();
    json!({
        "input": { "required": required }, "input_order": { "required": order }, "output": node.outputs,
        "output_is_list": vec![false; node.outputs.len()], "output_name": node.outputs, "name": node.class,
        "display_name": node.class, "description": "", "python_module": "nodes", "category": "sd3",
        "output_node": node.is_output,
    })
}

impl Input {
    /// The input as `/object_info` and error bodies spell it.
    pub(super) fn config(self, uploads: &[String]) -> Value {
        match self {
            Link(kind) => json!([kind]),
            Text => json!(["STRING", { "multiline": true }]),
            Whole(least, most) => json!(["INT", { "default": least, "min": least, "max": most }]),
            Real(least, most) => json!(["FLOAT", { "default": 1.0, "min": least, "max": most }]),
            OneOf(values) => json!([values, {}]),
            Upload => json!([uploads, { "image_upload": true }]),
        }
    }
}
