//! Where a house's listeners come from: the gateway that is taken over, or the system.
//!
//! Why it exists: a door opens alike whichever it is, and a copy of every listener is kept for the gateway that comes
//! next. What it refuses to know: what is behind the doors, and how listeners travel (`handover.rs`).

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::exit::Failure;
use super::handover::{Listeners, Predecessor};
use super::settings::Settings;

/// Where listeners come from: the gateway that was taken over, or the system. A copy of each is kept for a successor.
pub(super) struct Doorway {
    inherited: Listeners,
    kept: Listeners,
}

impl Doorway {
    /// With the listeners of the gateway that runs on this data folder, when it is to be taken over and there is one.
    pub(super) fn open(settings: &Settings) -> Result<(Option<Predecessor>, Self), Failure> {
        let fresh = Self { inherited: Listeners::default(), kept: Listeners::default() };
        if !settings.server.take_over {
            return Ok((None, fresh));
        }
        let found = Predecessor::of_folder(settings.data())
            .map_err(|why| Failure::usage(format!("the gateway that runs did not hand over: {why}")))?;
        Ok(match found {
            Some((predecessor, inherited)) => (Some(predecessor), Self { inherited, ..fresh }),
            None => (None, fresh),
        })
    }

    /// The copies, for a successor.
    pub(super) fn into_kept(self) -> Listeners {
        self.kept
    }

    /// The listener of a plane.
    pub(super) async fn bind(
        &mut self,
        plane: &str,
        address: SocketAddr,
        what: &str,
        flag: &str,
    ) -> Result<TcpListener, Failure> {
        let bound = match self.inherited.take(plane, address) {
            Some(listener) => listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)),
            None => TcpListener::bind(address).await,
        };
        let kept = bound.and_then(|listener| self.kept.keep(plane, &listener).map(|()| listener));
        kept.map_err(|why| {
            Failure::usage(format!("the {what} cannot listen on {address}: {why}"))
                .help(format!("choose another address with {flag}; port 0 takes a free one"))
        })
    }
}

/// Books in a file have one writer at a time: callers wait in the listeners' queues until the old gateway has closed them.
pub(super) async fn await_books(predecessor: Predecessor, settings: &Settings) -> Result<(), Failure> {
    if settings.ledger.url.is_some() {
        return Ok(());
    }
    let gone = tokio::task::spawn_blocking(move || predecessor.gone()).await;
    match gone {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(Failure::usage(format!("the gateway that runs did not end: {why}"))),
        Err(why) => Err(Failure::usage(format!("the wait for the gateway that runs broke off: {why}"))),
    }
}
