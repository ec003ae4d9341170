//! `tollgate serve`: the gateway.
//!
//! Why it exists: it turns settings into a running house, and signals into its end. What it refuses to know: what
//! happens inside the house.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::ServeArgs;
use super::console::Console;
use super::exit::{Exit, Failure};
use super::handover::{Offer, Successor};
use super::house::House;
use super::settings::{Log, Settings};
use crate::policy::ReloadReport;
use crate::telemetry::log;

pub(crate) async fn run(args: ServeArgs, console: Console) -> Result<Exit, Failure> {
    let mut signals = Signals::listen()?;
    let mut settings = Settings::of_process(&args.planes)?;
    settings.server.take_over = args.take_over;
    begin_log(settings.log);
    let house = House::open(settings).await?;
    for line in house.notes() {
        console.say(line);
    }
    let offer = Offer::in_folder(house.data()).inspect_err(|why| {
        console.warn(format_args!("no other gateway will be able to take over from this one: {why}"));
    });
    announce(&house, console)?;
    attend(house, offer.ok(), &mut signals, console).await;
    Ok(Exit::Ok)
}

/// Sets the process's log; a second call changes nothing.
pub(crate) fn begin_log(settings: Log) {
    log::init(settings.format, settings.level);
}

/// One line for each listener: whoever started the process learns from them that it is ready, and where.
pub(crate) fn announce(house: &House, console: Console) -> Result<(), Failure> {
    house
        .planes()
        .into_iter()
        .try_for_each(|(plane, address)| console.data(format_args!("listening {plane} http://{address}")))
}

/// Serves until a signal to stop, or until a successor asks; a signal then does not wait for requests under way.
pub(crate) async fn attend(house: House, mut offer: Option<Offer>, signals: &mut Signals, console: Console) {
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Stop => break console.say("finishing the requests under way; a second signal stops at once"),
                Asked::Reload => told(house.reload().await.as_ref(), console),
            },
            successor = taken_over(offer.as_mut()) => match house.hand_over(&successor) {
                Ok(()) => {
                    console.say("another gateway takes over; finishing the requests under way");
                    // It waits for the end of this process: by then the books are closed.
                    std::mem::forget(successor);
                    break;
                }
                Err(why) => console.warn(format_args!("another gateway could not take over: {why}")),
            },
        }
    }
    tokio::select! {
        () = house.shutdown() => {}
        () = signals.stop() => {}
    }
}

/// The next gateway that wants to take over.
async fn taken_over(offer: Option<&mut Offer>) -> Successor {
    if let Some(offer) = offer
        && let Ok(successor) = offer.asked().await
    {
        return successor;
    }
    std::future::pending().await
}

fn told(report: &ReloadReport, console: Console) {
    if report.ok {
        console.say(format_args!("policy {} is in force", report.digest));
    } else {
        console
            .warn(format_args!("the policy was not applied, {} stays in force\n{}", report.digest, report.diagnostics));
    }
}

/// The signals of a process that serves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Finish what is under way, and stop.
    Stop,
    /// Read the policy again.
    Reload,
}

impl Signals {
    /// Listens from here on: a signal that comes during the start is not lost.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = || -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hangup: signal(SignalKind::hangup())?,
            })
        };
        listen().map_err(|why| Failure::usage(format!("the system gives no signals: {why}")))
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Waits for the signal to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}
