//! The table of models. One line a model; the six chances are concept, typography, hero, character, mockup, photo.

use super::Act::{Generate, Refine};
use super::Price::{Flat, Free, Tokens};
use super::{Act, Model, Price};

const fn row(id: &'static str, wire: &'static str, price: Price, median_ms: u32, spread: f64, act: Act) -> Model {
    Model { id, wire, act, price, median_ms, spread }
}

const NANO: Price = Tokens { text_in: 1_500_000, text_out: 7_500_000, image_out: 30_000_000 };
const PRO: Price = Tokens { text_in: 2_000_000, text_out: 12_000_000, image_out: 120_000_000 };
const GPT2: Price = Tokens { text_in: 5_000_000, text_out: 0, image_out: 30_000_000 };
const GPT15: Price = Tokens { text_in: 5_000_000, text_out: 0, image_out: 32_000_000 };

/// What the gateway does to a picture itself.
pub(super) const LOCAL: &[(&str, f64)] =
    &[("local/lanczos", 0.85), ("local/upscale", 0.85), ("local/resize", 1.0), ("local/crop", 1.0)];

#[rustfmt::skip]
pub(super) const MODELS: &[Model] = &[
    row("stability/sd3.5-medium", "sd3.5-medium", Flat(35_000), 4_200, 0.25, Generate([0.71, 0.22, 0.22, 0.48, 0.40, 0.58])),
    row("stability/sd3.5-large", "sd3.5-large", Flat(65_000), 6_800, 0.25, Generate([0.78, 0.28, 0.28, 0.57, 0.48, 0.70])),
    row("stability/sd3.5-large-turbo", "sd3.5-large-turbo", Flat(40_000), 2_600, 0.25, Generate([0.70, 0.22, 0.24, 0.50, 0.42, 0.62])),
    row("stability/sd3.5-flash", "sd3.5-flash", Flat(25_000), 1_900, 0.25, Generate([0.60, 0.15, 0.16, 0.38, 0.30, 0.45])),
    row("stability/core", "core", Flat(30_000), 3_600, 0.25, Generate([0.69, 0.25, 0.24, 0.46, 0.38, 0.60])),
    row("stability/ultra", "ultra", Flat(80_000), 9_500, 0.25, Generate([0.82, 0.45, 0.45, 0.66, 0.52, 0.78])),
    row("stability/upscale-fast", "fast", Flat(20_000), 1_100, 0.20, Refine(0.93)),
    row("stability/upscale-conservative", "conservative", Flat(400_000), 5_000, 0.25, Refine(0.97)),
    row("stability/upscale-creative", "creative", Flat(600_000), 45_000, 0.30, Refine(0.96)),

    row("google/gemini-nano-banana-2.1", "gemini-nano-banana-2.1", NANO, 8_500, 0.30, Generate([0.84, 0.74, 0.66, 0.78, 0.70, 0.80])),
    row("google/gemini-nano-banana-2.1-high", "gemini-nano-banana-2.1-high", NANO, 13_100, 0.30, Generate([0.87, 0.80, 0.71, 0.81, 0.76, 0.83])),
    row("google/gemini-3-pro-image", "gemini-3-pro-image", PRO, 19_000, 0.30, Generate([0.90, 0.92, 0.80, 0.86, 0.86, 0.88])),
    row("google/imagen-4.0-generate-001", "imagen-4.0-generate-001", Flat(40_000), 6_000, 0.25, Generate([0.80, 0.62, 0.55, 0.68, 0.55, 0.78])),
    row("google/imagen-4.0-fast-generate-001", "imagen-4.0-fast-generate-001", Flat(20_000), 3_200, 0.25, Generate([0.73, 0.45, 0.40, 0.58, 0.44, 0.68])),
    row("google/imagen-4.0-ultra-generate-001", "imagen-4.0-ultra-generate-001", Flat(60_000), 9_500, 0.25, Generate([0.85, 0.74, 0.66, 0.75, 0.66, 0.84])),

    row("ideogram/v1", "V_1", Flat(60_000), 8_500, 0.30, Generate([0.62, 0.61, 0.40, 0.46, 0.46, 0.48])),
    row("ideogram/v1-turbo", "V_1_TURBO", Flat(20_000), 5_200, 0.30, Generate([0.55, 0.55, 0.33, 0.40, 0.40, 0.42])),
    row("ideogram/v2", "V_2", Flat(80_000), 9_500, 0.30, Generate([0.72, 0.68, 0.52, 0.58, 0.56, 0.62])),
    row("ideogram/v2-turbo", "V_2_TURBO", Flat(50_000), 6_000, 0.30, Generate([0.67, 0.63, 0.46, 0.53, 0.51, 0.56])),
    row("ideogram/v2a", "V_2A", Flat(40_000), 5_500, 0.30, Generate([0.68, 0.62, 0.46, 0.53, 0.52, 0.58])),
    row("ideogram/v2a-turbo", "V_2A_TURBO", Flat(25_000), 3_800, 0.30, Generate([0.62, 0.56, 0.40, 0.47, 0.46, 0.52])),
    row("ideogram/v3-flash", "FLASH", Flat(30_000), 2_000, 0.30, Generate([0.69, 0.68, 0.50, 0.55, 0.56, 0.58])),
    row("ideogram/v3-turbo", "TURBO", Flat(30_000), 5_500, 0.30, Generate([0.74, 0.74, 0.56, 0.62, 0.62, 0.65])),
    row("ideogram/v3", "DEFAULT", Flat(60_000), 9_000, 0.30, Generate([0.79, 0.80, 0.64, 0.68, 0.68, 0.71])),
    row("ideogram/v3-quality", "QUALITY", Flat(90_000), 14_000, 0.30, Generate([0.82, 0.84, 0.69, 0.72, 0.72, 0.75])),
    row("ideogram/v4-turbo", "V4_TURBO", Flat(30_000), 7_000, 0.30, Generate([0.78, 0.80, 0.64, 0.68, 0.68, 0.70])),
    row("ideogram/v4", "V4_DEFAULT", Flat(60_000), 11_000, 0.30, Generate([0.82, 0.86, 0.71, 0.73, 0.74, 0.75])),
    row("ideogram/v4-quality", "V4_QUALITY", Flat(100_000), 17_000, 0.30, Generate([0.85, 0.89, 0.75, 0.76, 0.78, 0.78])),
    row("ideogram/upscale", "upscale", Flat(60_000), 8_000, 0.30, Refine(0.96)),

    row("openai/gpt-image-2-low", "gpt-image-2", GPT2, 9_000, 0.30, Generate([0.74, 0.62, 0.48, 0.62, 0.58, 0.60])),
    row("openai/gpt-image-2-medium", "gpt-image-2", GPT2, 21_000, 0.30, Generate([0.85, 0.82, 0.68, 0.78, 0.78, 0.76])),
    row("openai/gpt-image-2-high", "gpt-image-2", GPT2, 42_000, 0.30, Generate([0.90, 0.90, 0.78, 0.85, 0.86, 0.83])),
    row("openai/gpt-image-2.5-flare-low", "gpt-image-2.5-flare", GPT2, 6_000, 0.30, Generate([0.75, 0.63, 0.49, 0.63, 0.60, 0.62])),
    row("openai/gpt-image-2.5-flare-medium", "gpt-image-2.5-flare", GPT2, 9_000, 0.30, Generate([0.81, 0.74, 0.60, 0.71, 0.70, 0.70])),
    row("openai/gpt-image-2.5-flare-high", "gpt-image-2.5-flare", GPT2, 16_000, 0.30, Generate([0.87, 0.85, 0.72, 0.80, 0.81, 0.79])),
    row("openai/gpt-image-2.6-flare-low", "gpt-image-2.6-flare", GPT2, 5_500, 0.30, Generate([0.80, 0.73, 0.59, 0.70, 0.68, 0.69])),
    row("openai/gpt-image-2.6-flare-medium", "gpt-image-2.6-flare", GPT2, 8_000, 0.30, Generate([0.86, 0.83, 0.70, 0.79, 0.79, 0.77])),
    row("openai/gpt-image-2.6-flare-high", "gpt-image-2.6-flare", GPT2, 10_000, 0.30, Generate([0.88, 0.87, 0.74, 0.82, 0.83, 0.81])),
    row("openai/gpt-image-1.5-low", "gpt-image-1.5", GPT15, 10_000, 0.30, Generate([0.72, 0.58, 0.45, 0.60, 0.55, 0.57])),
    row("openai/gpt-image-1.5-medium", "gpt-image-1.5", GPT15, 19_000, 0.30, Generate([0.82, 0.77, 0.63, 0.74, 0.73, 0.72])),
    row("openai/gpt-image-1.5-high", "gpt-image-1.5", GPT15, 36_000, 0.30, Generate([0.87, 0.85, 0.72, 0.81, 0.81, 0.79])),

    row("comfyui/sd3.5-large", "sd3.5_large.safetensors", Free, 14_000, 0.08, Generate([0.78, 0.28, 0.28, 0.57, 0.48, 0.70])),
    row("comfyui/sd3.5-medium", "sd3.5_medium.safetensors", Free, 6_500, 0.08, Generate([0.71, 0.22, 0.22, 0.48, 0.40, 0.58])),
    row("comfyui/4x-ultrasharp", "4x-UltraSharp.pth", Free, 2_200, 0.08, Refine(0.95)),
    row("comfyui/4x-realesrgan", "RealESRGAN_x4plus.pth", Free, 2_000, 0.08, Refine(0.95)),
    row("comfyui/lanczos", "lanczos", Free, 150, 0.08, Refine(0.85)),

    row("automatic1111/sd3.5-large", "sd3.5_large", Free, 15_000, 0.08, Generate([0.78, 0.28, 0.28, 0.57, 0.48, 0.70])),
    row("automatic1111/sd3.5-medium", "sd3.5_medium", Free, 7_000, 0.08, Generate([0.71, 0.22, 0.22, 0.48, 0.40, 0.58])),
    row("automatic1111/4x-ultrasharp", "4x-UltraSharp", Free, 2_400, 0.08, Refine(0.95)),
    row("automatic1111/r-esrgan-4x", "R-ESRGAN 4x+", Free, 2_200, 0.08, Refine(0.95)),
    row("automatic1111/lanczos", "Lanczos", Free, 200, 0.08, Refine(0.85)),
];
