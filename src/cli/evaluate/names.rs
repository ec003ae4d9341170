//! One model under several names: benchmarks spell as they like.
//!
//! Why it exists: what another benchmark found can only help when its models are recognised. What it refuses to know:
//! scores. To add a model: a line of its spellings, in lower case, letters and digits only.

/// Spellings of one model, a line each.
const SAME: [&[&str]; 8] = [
    &["sd35large", "sd35l", "sd35", "stablediffusion35large", "sd35sizenotstatedintherepository"],
    &["sd35medium", "sd35m", "stablediffusion35medium"],
    &["sdxl", "sdxlbase", "sdxlbase1", "sdxlbase10", "sdxl10", "stablediffusionxl"],
    &["sd21", "sdv21", "stablediffusion21"],
    &["sd15", "sdv15", "stablediffusion15"],
    &["dalle3", "dalle3hd"],
    &["playground", "playgroundv25", "playground25", "playergroundv25"],
    &["fluxschnell", "flux1schnell", "alifluxschnell"],
];

/// Whether two names mean one model.
pub(super) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (plain(a), plain(b));
    a == b || SAME.iter().any(|names| names.contains(&a.as_str()) && names.contains(&b.as_str()))
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_meet_and_models_do_not() {
        assert!(same("sd3_5_large", "SD3.5-Large") && same("sd_v2-1", "sd2_1") && same("DALLE3", "dall-e-3"));
        assert!(same("playground", "Playergroundv2.5"));
        assert!(!same("sd3.5-medium", "sd3.5-large") && !same("Janus", "Janus-Pro"));
    }
}
