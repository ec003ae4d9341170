//! What a valid graph makes: follows an output node's links down to the sampler or the upload that feeds it.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::super::picture::{Format, Order, dimensions};
use super::super::super::truth::{Model, on_the_wire};

/// The pictures of one output node.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) origin: Origin,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) batch: u32,
    /// The models that work on it, in order; each takes its time.
    pub(super) models: Vec<&'static Model>,
}

/// Where pixels come from.
#[derive(Clone)]
pub(super) enum Origin {
    Painted {
        model: &'static Model,
        prompt: String,
        seed: u64,
    },
    Posted(Bytes),
    /// A latent that no sampler has touched.
    Empty,
}

/// A finished picture: how to make it when it is fetched.
#[derive(Clone)]
pub(super) enum Made {
    Painted(Order),
    Resized(Bytes, u32, u32),
}

impl Frame {
    /// The picture `nth` of the batch.
    pub(super) fn made(&self, nth: u32) -> Option<Made> {
        match &self.origin {
            Origin::Painted { model, prompt, seed } => Some(Made::Painted(Order {
                model,
                prompt: prompt.clone(),
                seed: seed.wrapping_add(u64::from(nth)),
                width: self.width,
                height: self.height,
                format: Format::Png,
                blurred: false,
            })),
            Origin::Posted(image) => Some(Made::Resized(image.clone(), self.width, self.height)),
            Origin::Empty => None,
        }
    }
}

/// Reads `graph`, in which uploads are found by name through `upload`.
pub(super) struct Reader<'a> {
    pub(super) graph: &'a Map<String, Value>,
    pub(super) upload: &'a dyn Fn(&str) -> Option<Bytes>,
}

impl Reader<'_> {
    /// What output node `id` saves.
    pub(super) fn output(&self, id: &str) -> Option<Frame> {
        self.frame(&self.below(id, "images")?)
    }

    /// A node's literal.
    pub(super) fn literal(&self, id: &str, name: &str) -> Option<&Value> {
        self.graph.get(id)?.get("inputs")?.get(name)
    }

    fn class(&self, id: &str) -> Option<&str> {
        self.graph.get(id)?.get("class_type")?.as_str()
    }

    /// The node that an input is linked to.
    fn below(&self, id: &str, name: &str) -> Option<String> {
        self.literal(id, name)?.get(0)?.as_str().map(str::to_owned)
    }

    fn text(&self, id: &str, name: &str) -> Option<&str> {
        self.literal(id, name)?.as_str()
    }

    fn number(&self, id: &str, name: &str) -> Option<f64> {
        self.literal(id, name)?.as_f64()
    }

    /// The image or latent that node `id` gives.
    fn frame(&self, id: &str) -> Option<Frame> {
        match self.class(id)? {
            "VAEDecode" => self.frame(&self.below(id, "samples")?),
            "VAEEncode" => self.frame(&self.below(id, "pixels")?),
            "EmptySD3LatentImage" | "EmptyLatentImage" => {
                let side = |name| self.number(id, name).map(pixels);
                let (width, height, batch) = (side("width")?, side("height")?, side("batch_size")?);
                Some(Frame { origin: Origin::Empty, width, height, batch, models: Vec::new() })
            }
            "KSampler" => self.sampled(id),
            "LoadImage" => {
                let image = (self.upload)(self.text(id, "image")?)?;
                let (width, height) = dimensions(&image)?;
                Some(Frame { origin: Origin::Posted(image), width, height, batch: 1, models: Vec::new() })
            }
            "ImageUpscaleWithModel" => {
                let mut frame = self.frame(&self.below(id, "image")?)?;
                let loader = self.below(id, "upscale_model")?;
                frame.models.push(on_the_wire("comfyui", self.text(&loader, "model_name")?)?);
                scaled(frame, 4.0)
            }
            "ImageScaleBy" => {
                scaled(self.frame(&self.below(id, "image")?)?, self.number(id, "scale_by")?).map(resampled)
            }
            "LatentUpscaleBy" => scaled(self.frame(&self.below(id, "samples")?)?, self.number(id, "scale_by")?),
            "ImageScale" => {
                let mut frame = self.frame(&self.below(id, "image")?)?;
                let side = |name| self.number(id, name).map(pixels);
                (frame.width, frame.height) = match (side("width")?, side("height")?) {
                    (0, 0) => (frame.width, frame.height),
                    (0, height) => (frame.width * height / frame.height.max(1), height),
                    (width, 0) => (width, frame.height * width / frame.width.max(1)),
                    sides => sides,
                };
                Some(resampled(frame))
            }
            _ => None,
        }
    }

    /// A sampler paints anew from noise, and only polishes what came from another sampler or an upload.
    fn sampled(&self, id: &str) -> Option<Frame> {
        let mut frame = self.frame(&self.below(id, "latent_image")?)?;
        let model = self.checkpoint(&self.below(id, "model")?)?;
        frame.models.push(model);
        let denoise = self.number(id, "denoise").unwrap_or(1.0);
        if matches!(frame.origin, Origin::Empty) || denoise >= 0.8 {
            let prompt = self.prompt(&self.below(id, "positive")?)?;
            frame.origin = Origin::Painted { model, prompt, seed: self.literal(id, "seed")?.as_u64()? };
        }
        Some(frame)
    }

    fn checkpoint(&self, id: &str) -> Option<&'static Model> {
        match self.class(id)? {
            "CheckpointLoaderSimple" => on_the_wire("comfyui", self.text(id, "ckpt_name")?),
            "ModelSamplingSD3" => self.checkpoint(&self.below(id, "model")?),
            _ => None,
        }
    }

    fn prompt(&self, id: &str) -> Option<String> {
        match self.class(id)? {
            "CLIPTextEncode" => self.text(id, "text").map(str::to_owned),
            "CLIPTextEncodeSD3" => {
                let text = self.text(id, "t5xxl").filter(|text| !text.is_empty());
                text.or_else(|| self.text(id, "clip_l")).map(str::to_owned)
            }
            "ConditioningZeroOut" => Some(String::new()),
            _ => None,
        }
    }
}

/// A plain resize takes its moment only when no model has worked on the picture.
fn resampled(mut frame: Frame) -> Frame {
    if frame.models.is_empty() {
        frame.models.extend(on_the_wire("comfyui", "lanczos"));
    }
    frame
}

/// A frame `by` times as large; `None` when that is more than a machine holds.
fn scaled(mut frame: Frame, by: f64) -> Option<Frame> {
    frame.width = pixels((f64::from(frame.width) * by).round()).max(1);
    frame.height = pixels((f64::from(frame.height) * by).round()).max(1);
    (u64::from(frame.width) * u64::from(frame.height) <= 1 << 27).then_some(frame)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float cast saturates")]
fn pixels(value: f64) -> u32 {
    value as u32
}
