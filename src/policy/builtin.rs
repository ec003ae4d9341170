//! The policy that the binary carries, and its workflows.
//!
//! Why it exists: `tollgate serve` and `tollgate demo` run with no file beside them. What it refuses to know: anything
//! that is not in `policies/`.

/// The name under which diagnostics and EXPLAIN show the built-in policy.
pub(super) const NAME: &str = "built-in/default.toml";

/// The shipped policy.
pub(super) const POLICY: &str = include_str!("../../policies/default.toml");

/// A shipped `ComfyUI` workflow.
pub(super) fn workflow(name: &str) -> Option<&'static str> {
    match name {
        "sd35-large" => Some(include_str!("../../policies/workflows/sd35-large.json")),
        "sd35-medium" => Some(include_str!("../../policies/workflows/sd35-medium.json")),
        "upscale-4x-ultrasharp" => Some(include_str!("../../policies/workflows/upscale-4x-ultrasharp.json")),
        _ => None,
    }
}
