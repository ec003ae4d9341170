//! The content network: signed links that really stop working, and the pictures behind them.
//!
//! It refuses to paint before somebody fetches: a link keeps the order, not the pixels.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::super::super::dice::{digest, hex};
use super::super::super::picture::Order;
use super::super::super::visit::Visit;
use super::super::super::wire::Answer;

/// Below this path the links live.
pub(super) const FOLDER: &str = "/api/images/ephemeral/";
/// Seconds for which a link works.
const LIFETIME: u64 = 3_600;
/// Pictures kept; the oldest link breaks first.
const MOST: usize = 20_000;

/// What a link leads to.
#[derive(Clone)]
pub(super) enum Stored {
    Painted(Order),
    /// A posted picture, the size that it gets, and the model's id.
    Enlarged(Bytes, u32, u32, &'static str),
}

#[derive(Default)]
pub(super) struct Links {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    by_name: HashMap<String, Stored>,
    order: VecDeque<String>,
}

impl Links {
    /// A link to `stored`, absolute on the host that the caller called.
    pub(super) fn keep(&self, visit: &Visit<'_>, stored: Stored) -> String {
        let id = visit.world.draw_id();
        let name = format!("{}.png", id.get(..22).unwrap_or(&id));
        let expires = visit.world.clock.unix() + LIFETIME;
        let signature = signature(visit.world.options.seed, &name, expires);
        let host = visit.call.header("host").unwrap_or("127.0.0.1");
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.by_name.insert(name.clone(), stored);
        shelf.order.push_back(name.clone());
        if shelf.order.len() > MOST
            && let Some(oldest) = shelf.order.pop_front()
        {
            shelf.by_name.remove(&oldest);
        }
        format!("http://{host}/ideogram{FOLDER}{name}?exp={expires}&sig={signature}")
    }

    /// What a link leads to, when its signature holds and its time has not passed.
    pub(super) fn open(&self, visit: &Visit<'_>) -> Result<Stored, Answer> {
        let name = visit.call.path.strip_prefix(FOLDER).unwrap_or_default();
        let expires = visit.call.query("exp").and_then(|expires| expires.parse().ok()).unwrap_or(0);
        let signed = visit.call.query("sig") == Some(signature(visit.world.options.seed, name, expires));
        if !signed || expires <= visit.world.clock.unix() {
            return Err(Answer::text(403, "URL signature expired or invalid"));
        }
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.by_name.get(name).cloned().ok_or_else(missing)
    }
}

/// The answer for a picture that is not there.
pub(super) fn missing() -> Answer {
    Answer::text(404, "Not Found")
}

/// Signs a name and its expiry.
pub(in crate::sandbox) fn signature(seed: u64, name: &str, expires: u64) -> String {
    hex(&digest(&[b"link", &seed.to_le_bytes(), name.as_bytes(), &expires.to_le_bytes()]))
}
