//! A request for pictures with its defaults filled in, and what the answer repeats of it.

use serde_json::{Value, json};

use super::super::super::picture::{Format, Order};
use super::super::super::truth::{Model, on_the_wire};
use super::super::super::wire::set;

/// A valid request for pictures.
pub(super) struct Ask {
    pub(super) model: &'static Model,
    pub(super) prompt: String,
    pub(super) seed: u64,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) images: u32,
    pub(super) steps: u64,
}

impl Ask {
    pub(super) fn order(&self, nth: u32) -> Order {
        Order {
            model: self.model,
            prompt: self.prompt.clone(),
            seed: self.seed + u64::from(nth),
            width: self.width,
            height: self.height,
            format: Format::Png,
            blurred: false,
        }
    }

    pub(super) fn info(&self) -> Value {
        let seeds: Vec<u64> = (0..self.images).map(|nth| self.seed + u64::from(nth)).collect();
        let text = |seed: &u64| {
            format!("{}\nSteps: {}, Seed: {seed}, Size: {}x{}", self.prompt, self.steps, self.width, self.height)
        };
        json!({
            "prompt": self.prompt, "all_prompts": vec![&self.prompt; seeds.len()], "seed": self.seed,
            "infotexts": seeds.iter().map(text).collect::<Vec<_>>(), "all_seeds": seeds, "width": self.width,
            "height": self.height, "steps": self.steps, "sd_model_name": self.model.wire, "batch_size": 1,
            "index_of_first_image": 0,
        })
    }
}

/// The seed of a request; -1 and none leave it open.
pub(in crate::sandbox::providers) fn seed(body: &Value) -> Option<u64> {
    body.get("seed").and_then(Value::as_u64).map(|seed| seed % (1 << 32))
}

/// The checkpoint of a name, which may carry its extension and its short hash.
pub(super) fn checkpoint(name: &str) -> Option<&'static Model> {
    let name = name.split(" [").next().unwrap_or(name);
    let name = name.strip_suffix(".safetensors").unwrap_or(name);
    on_the_wire("automatic1111", name).filter(|model| model.wire.starts_with("sd3.5"))
}

/// The request with its defaults, as the answer repeats it.
pub(super) fn echoed(body: &Value, ask: &Ask) -> Value {
    let mut echo = json!({
        "prompt": ask.prompt, "negative_prompt": "", "steps": ask.steps, "cfg_scale": 7.0, "width": ask.width,
        "height": ask.height, "seed": -1, "batch_size": 1, "n_iter": 1, "sampler_index": "Euler",
    });
    for (name, value) in body.as_object().into_iter().flatten() {
        if name != "init_images" && name != "mask" {
            set(&mut echo, name, value.clone());
        }
    }
    echo
}
