//! The simulated providers: one file each.
//!
//! A provider turns a [`Call`](super::wire::Call) into that provider's own answer. It refuses to know about faults,
//! connections and the bill's lines: [`Visit`] carries those. The magic words are shared here so that one prompt
//! rehearses the same trouble everywhere.

mod automatic1111;
mod comfyui;
mod google;
mod ideogram;
mod openai;
mod sd_server;
mod stability;

use std::pin::Pin;
use std::sync::Arc;

use super::visit::Visit;
use super::wire::Answer;

/// An answer on its way; `Err` carries a refusal, so that `?` ends a call.
pub(super) type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Answer>> + Send + 'a>>;

/// One simulated host.
pub(super) trait Provider: Send + Sync {
    /// Its path prefix, without slashes.
    fn prefix(&self) -> &'static str;

    /// A key that it accepts; empty when it takes none.
    fn key(&self) -> &'static str;

    /// Answers one call.
    fn answer<'a>(&'a self, visit: &'a mut Visit<'_>) -> Reply<'a>;

    /// Its own error body for a status, for planned faults.
    fn error(&self, status: u16) -> Answer;

    /// Forgets spent limits.
    fn forget(&self);
}

/// Every simulated host. The next one is one line here.
pub(super) fn all() -> Vec<Arc<dyn Provider>> {
    vec![
        Arc::new(stability::Stability::new()),
        Arc::new(google::Google::new()),
        Arc::new(ideogram::Ideogram::new()),
        Arc::new(openai::OpenAi::new()),
        Arc::new(comfyui::ComfyUi::new()),
        Arc::new(automatic1111::Automatic1111::forge()),
        Arc::new(automatic1111::Automatic1111::sd_next()),
        Arc::new(sd_server::SdServer::new()),
    ]
}

/// What a provider's moderation makes of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screening {
    Fine,
    /// The prompt is refused.
    Refused,
    /// The picture is made and then withheld.
    Filtered,
}

fn screen(prompt: &str) -> Screening {
    let lower = prompt.to_lowercase();
    if lower.contains("nsfw-output") {
        Screening::Filtered
    } else if lower.contains("nsfw") {
        Screening::Refused
    } else {
        Screening::Fine
    }
}

/// A key of the right form that nobody has revoked.
fn accepted(key: &str, form: &str) -> bool {
    key.starts_with(form)
        && key.len() > form.len()
        && !["wrong", "invalid", "revoked"].iter().any(|bad| key.contains(bad))
}

/// The entry whose ratio is nearest to `width` by `height` on a log scale, which treats portrait and landscape alike.
fn nearest<T: Copy>(sizes: &[(T, u32, u32)], width: u32, height: u32) -> Option<(T, u32, u32)> {
    let ratio = |width: u32, height: u32| (f64::from(width) / f64::from(height.max(1))).ln();
    let wanted = ratio(width, height);
    let distance = |(_, width, height): &(T, u32, u32)| (ratio(*width, *height) - wanted).abs();
    sizes.iter().min_by(|one, other| distance(one).total_cmp(&distance(other))).copied()
}

/// A string with its first letters and its last four, as hosts print the key that they refuse.
fn masked(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    if letters.len() <= 8 {
        return "*".repeat(letters.len());
    }
    let (head, tail) = (letters.iter().take(5), letters.iter().skip(letters.len() - 4));
    head.copied().chain("********".chars()).chain(tail.copied()).collect()
}

/// What tests need to forge a link of their own.
#[cfg(test)]
pub(super) mod tests_support {
    pub(in crate::sandbox) use super::ideogram::signature;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magic_words_screen_a_prompt() {
        assert_eq!(screen("a fox"), Screening::Fine);
        assert_eq!(screen("an NSFW fox"), Screening::Refused);
        assert_eq!(screen("a fox, nsfw-output"), Screening::Filtered);
    }

    #[test]
    fn the_nearest_ratio_is_symmetric() {
        let sizes = [("wide", 16, 9), ("square", 1, 1), ("tall", 9, 16)];
        assert_eq!(nearest(&sizes, 1_300, 800).unwrap().0, "wide");
        assert_eq!(nearest(&sizes, 800, 1_300).unwrap().0, "tall");
        assert_eq!(nearest(&sizes, 110, 100).unwrap().0, "square");
    }
}
