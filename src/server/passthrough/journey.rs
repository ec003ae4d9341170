//! What is known of one call on its way, and its account at the end.
//!
//! Why it exists: Pingora calls phase after phase; what one learns the next needs, and every call must end in one metric
//! and one receipt, whichever phase it ends in. What it refuses to know: how bytes move.

use std::sync::Arc;

use http::header;
use jiff::Timestamp;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::answer::Answer;
use super::rest::Watch;
use crate::domain::catalog::ProviderIx;
use crate::domain::fault::{Billed, Blame, Class, Fault};
use crate::engine::Engine;
use crate::engine::transit::{Ended, Transit};
use crate::policy::Snapshot;
use crate::provider::Auth;
use crate::telemetry::{Exchange, InFlight, clock};
use crate::transport::Endpoint;

/// The name of this door in metrics.
const ROUTE: &str = "proxy";

/// One call.
pub(super) struct Journey {
    pub(super) request_id: Arc<str>,
    pub(super) arrived: Instant,
    pub(super) received: Timestamp,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) way: Option<Way>,
    pub(super) transit: Option<Transit>,
    pub(super) answer: Answer,
    /// Its body, when all of it was read.
    pub(super) in_hand: Option<Vec<u8>>,
    /// What the rest of its body may not take back.
    pub(super) watch: Option<Watch>,
    /// Whether its body contradicted itself.
    pub(super) contradicts: bool,
    /// Whether any byte of it may have left.
    pub(super) sent: bool,
    /// Whether all of it came.
    pub(super) complete: bool,
    /// The code and status with which it was refused here.
    pub(super) refused: Option<(&'static str, u16)>,
    pub(super) under_way: Option<(InFlight, OwnedSemaphorePermit)>,
}

/// Where it goes.
pub(super) struct Way {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) provider: ProviderIx,
    /// Its path and query there.
    pub(super) target: String,
    pub(super) auth: Auth,
    /// Whether its answer may tell what it cost.
    pub(super) metered: bool,
    /// What the books call it.
    pub(super) name: Arc<str>,
}

impl Way {
    pub(super) fn endpoint(&self) -> Option<&Endpoint> {
        self.snapshot.endpoint(self.provider)
    }
}

impl Journey {
    pub(super) fn new() -> Self {
        Self {
            request_id: Arc::default(),
            arrived: Instant::now(),
            received: clock::now(),
            tenant: None,
            way: None,
            transit: None,
            answer: Answer::default(),
            in_hand: None,
            watch: None,
            contradicts: false,
            sent: false,
            complete: false,
            refused: None,
            under_way: None,
        }
    }

    /// Where it goes, once it is let by.
    pub(super) fn way(&self) -> Result<(&Way, &Endpoint)> {
        let way = self.way.as_ref().ok_or_else(|| internal("no way"))?;
        Ok((way, way.endpoint().ok_or_else(|| internal("no endpoint"))?))
    }

    /// Its answer begins: what is kept of it, and what the caller is told beside it.
    pub(super) fn answered(&mut self, head: &mut ResponseHeader) -> Result<()> {
        let Some(way) = &self.way else { return Ok(()) };
        self.answer.begin(head, way.metered);
        // A cookie of the provider's would be one caller's, and is the gateway's.
        head.remove_header(&header::SET_COOKIE);
        head.insert_header("tollgate-request-id", &*self.request_id)?;
        head.insert_header("tollgate-model", &*way.name)?;
        head.insert_header("tollgate-policy", &*way.snapshot.digest)
    }

    /// What an error means for the money: nothing left, nothing whole left, or who knows.
    pub(super) fn fault(&self, error: &Error) -> Fault {
        let downstream = *error.esource() == ErrorSource::Downstream;
        let billed = match (self.sent, self.complete, downstream) {
            // A provider does not begin what it has not wholly heard: the length that was announced did not come.
            (false, ..) | (true, false, true) => Billed::No,
            (true, ..) => Billed::Unknown,
        };
        let (blame, detail) = match (downstream, self.sent, error.etype()) {
            (true, ..) => (Blame::Caller, "The caller went away.".to_owned()),
            (false, false, ErrorType::TLSHandshakeFailure) => (Blame::Provider, untrusted(error)),
            (false, false, _) => (Blame::Provider, "The provider cannot be reached.".to_owned()),
            (false, true, _) => (Blame::Provider, "The provider gave no whole answer.".to_owned()),
        };
        let late = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        let class = match (downstream, late) {
            (true, _) => Class::Reject,
            (false, true) => Class::TimeOut,
            (false, false) => Class::Unavailable,
        };
        Fault::new(class, blame, billed, detail)
    }

    /// The end of its account.
    pub(super) async fn end(&mut self, engine: &Arc<Engine>, method: &'static str, error: Option<&Error>) {
        let fault = error.map(|error| self.fault(error));
        let status = self.refused.map(|(_, status)| status).or_else(|| self.answer.status()).unwrap_or(499);
        let outcome = match (self.refused, &fault) {
            (Some((code, _)), _) => code,
            (None, Some(fault)) => fault.class.name(),
            (None, None) => "ok",
        };
        engine.telemetry().http(&Exchange { route: ROUTE, method, status, outcome, duration: self.arrived.elapsed() });
        self.under_way = None;
        let answer = std::mem::take(&mut self.answer);
        match (self.transit.take(), self.refused) {
            (Some(transit), _) => transit.end(ended(answer, fault)).await,
            (None, Some((code, _))) => {
                engine.turned_away(&self.request_id, self.tenant.take(), code, self.arrived);
            }
            (None, None) => {}
        }
    }

    /// Counts it as under way.
    pub(super) fn count(&mut self, engine: &Arc<Engine>, slot: OwnedSemaphorePermit) {
        self.under_way = Some((engine.telemetry().in_flight(ROUTE), slot));
    }
}

/// A mistake of ours.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub(super) fn internal(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, why)
}

/// Why there is no TLS with a provider, such as a certificate that nobody vouches for: the innermost cause.
fn untrusted(error: &Error) -> String {
    let told = error.context.as_ref().map_or("no reason was given", |context| context.as_str());
    let told = told.rsplit_once(", SNI: ").map_or(told, |(told, _)| told);
    let cause = told.rsplit_once("cause: ").map_or(told, |(_, cause)| cause);
    format!("The provider cannot be reached over TLS: {}.", cause.chars().take(200).collect::<String>())
}

/// An answer that began and broke off at its provider may have been charged; one whose caller left was answered.
fn ended(answer: Answer, fault: Option<Fault>) -> Ended {
    match (answer.end(), fault) {
        (Some(reply), None) => Ended::Answered(reply),
        (Some(reply), Some(fault)) if fault.blame == Blame::Caller => Ended::Answered(reply),
        (_, Some(fault)) => Ended::Broken(fault),
        (None, None) => {
            Ended::Broken(Fault::new(Class::Unavailable, Blame::Provider, Billed::Unknown, "No answer was seen."))
        }
    }
}
