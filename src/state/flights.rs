//! Flights: at most one purchase of a fingerprint is under way at a time.
//!
//! Why it exists: a second caller with the same ask waits for the first one's answer instead of paying. A flight
//! belongs to this registry and not to a caller, so a caller that leaves strands nobody. What it refuses to know: what
//! is flown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::fingerprint::Fingerprint;

/// The flights of this process, each landing with a `T`.
#[derive(Debug)]
pub struct Flights<T> {
    aloft: Aloft<T>,
}

type Aloft<T> = Arc<Mutex<HashMap<Fingerprint, watch::Receiver<Option<T>>>>>;

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { aloft: Arc::default() }
    }
}

/// A caller's part in a flight.
#[derive(Debug)]
pub enum Joined<T> {
    /// The first: it must fly.
    Lead(Lead<T>),
    /// Another flies; wait for its landing.
    Follow(Landing<T>),
}

impl<T: Clone> Flights<T> {
    /// Joins the flight of `print`, or begins it.
    pub fn join(&self, print: Fingerprint) -> Joined<T> {
        let mut aloft = self.aloft.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = aloft.get(&print) {
            return Joined::Follow(Landing(landing.clone()));
        }
        let (sender, receiver) = watch::channel(None);
        aloft.insert(print, receiver);
        Joined::Lead(Lead { sender, listed: Some((print, Arc::clone(&self.aloft))) })
    }

    /// Flights under way.
    pub fn aloft(&self) -> usize {
        self.aloft.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The duty to fly: landed with a value, or crashed when dropped.
#[derive(Debug)]
pub struct Lead<T> {
    sender: watch::Sender<Option<T>>,
    listed: Option<(Fingerprint, Aloft<T>)>,
}

impl<T> Lead<T> {
    /// A flight that nobody may join.
    pub fn alone() -> Self {
        Self { sender: watch::Sender::new(None), listed: None }
    }

    /// Ends the flight: every follower gets `value`; the next ask of the fingerprint flies anew.
    pub fn land(self, value: T) {
        // Out of the registry first, so that nobody joins a flight that has landed.
        self.leave();
        self.sender.send_replace(Some(value));
    }

    fn leave(&self) {
        if let Some((print, aloft)) = &self.listed {
            aloft.lock().unwrap_or_else(PoisonError::into_inner).remove(print);
        }
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            self.leave();
        }
    }
}

/// A flight's end, awaited.
#[derive(Debug)]
pub struct Landing<T>(watch::Receiver<Option<T>>);

impl<T: Clone> Landing<T> {
    /// The flight's value; `None` when it crashed.
    pub async fn landed(mut self) -> Option<T> {
        let value = self.0.wait_for(Option::is_some).await.ok()?;
        value.clone()
    }
}
