//! Looks at bought pictures with a verifier of the policy.
//!
//! Why it exists: a verifier may be arithmetic, a child process or a paid call; a plan sees only pictures that passed
//! and pictures that did not. None is trusted: one that cannot judge has not passed the picture, the answer says so, and
//! its plans are gone until it is well again. What it refuses to know: what follows from a verdict (`branch.rs`).

use futures_util::future::join_all;
use tokio::time::Instant;

use super::draft::Draft;
use super::execute::{Ended, Run};
use super::finish;
use super::hold::{Bill, Intent};
use crate::domain::fault::{Billed, Fault};
use crate::domain::ledger::Basis;
use crate::domain::money::Money;
use crate::domain::quoted;
use crate::domain::refusal::Refusal;
use crate::domain::verify::structure::{self, Grey, Hash};
use crate::domain::verify::{Judgement, Kind, PAYEE, Verifier, VerifierIx, patience, text};
use crate::provider::scorer;

impl Run<'_> {
    /// The verdict on each draft, in their order. Paid looks are held before they are made.
    pub(super) async fn judge(&mut self, ix: VerifierIx, drafts: &[Draft]) -> Result<Vec<Judgement>, Ended> {
        let Some(verifier) = self.snapshot.catalog.verifier(ix) else { return Err(Ended::NextPlan) };
        let deadline = self.deadline.min(Instant::now() + patience(self.bound.verifier_latency(ix)));
        let judgements = match verifier.kind {
            Kind::Structure => self.structure(drafts).await,
            Kind::Text { most_wrong } => {
                let looks = drafts.iter().map(|draft| self.read(ix, draft, most_wrong, deadline));
                join_all(looks).await
            }
            Kind::Http { least_score } => self.scored(ix, verifier, drafts, least_score, deadline).await?,
        };
        for judgement in &judgements {
            self.tell(verifier, judgement);
        }
        Ok(judgements)
    }

    /// One after the other, since a picture is also held against those before it.
    async fn structure(&self, drafts: &[Draft]) -> Vec<Judgement> {
        let greys = join_all(drafts.iter().map(|draft| finish::grey(draft.artifact.bytes.clone()))).await;
        let mut others: Vec<Hash> = Vec::new();
        let mut judgements = Vec::with_capacity(greys.len());
        for grey in greys {
            judgements.push(match grey {
                Err(seen) => Judgement { passed: false, seen },
                Ok(grey) => {
                    let grey = Grey(grey);
                    let judgement = structure::judge(&grey, &others);
                    others.extend(judgement.passed.then(|| structure::hash(&grey)));
                    judgement
                }
            });
        }
        judgements
    }

    async fn read(&self, ix: VerifierIx, draft: &Draft, most_wrong: f64, deadline: Instant) -> Judgement {
        let begun = Instant::now();
        let read = self.engine.reader.read(draft.artifact.bytes.clone(), deadline).await;
        self.bound.hear_verifier(ix, read.is_ok().then(|| begun.elapsed()), Self::now());
        match read {
            Ok(read) => text::judge(&quoted::spans(self.request.ask.prompt.as_str()), &read, most_wrong),
            Err(fault) => unable(&fault.0),
        }
    }

    async fn scored(
        &mut self,
        ix: VerifierIx,
        verifier: &Verifier,
        drafts: &[Draft],
        least_score: f64,
        deadline: Instant,
    ) -> Result<Vec<Judgement>, Ended> {
        let paid = verifier.price > Money::ZERO;
        let intent = Intent {
            provider: PAYEE.into(),
            model: format!("{PAYEE}/{}", verifier.name).into(),
            worst: verifier.price,
        };
        let tickets =
            if paid { self.hold.dispatch(&vec![intent; drafts.len()]).await.map_err(unheld)? } else { Vec::new() };
        let asked = Instant::now();
        let scores = join_all(drafts.iter().map(|draft| self.score(ix, draft, paid, deadline))).await;
        let latency = asked.elapsed();
        for (ticket, score) in tickets.iter().zip(&scores) {
            let (billed, outcome, detail) = match score {
                Ok(_) => (Billed::Yes, "ok", String::new()),
                Err(fault) => (fault.billed, fault.class.name(), fault.detail.clone()),
            };
            self.hold.bill(
                ticket,
                Bill { billed, cost: verifier.price, basis: Basis::PriceTable, outcome, detail, latency },
            );
        }
        let judgement = |score: Result<f64, Fault>| match score {
            Ok(score) => Judgement {
                passed: score >= least_score,
                seen: format!("scored {score:.2}, and {least_score:.2} passes"),
            },
            Err(fault) => unable(&fault.detail),
        };
        Ok(scores.into_iter().map(judgement).collect())
    }

    async fn score(&self, ix: VerifierIx, draft: &Draft, paid: bool, deadline: Instant) -> Result<f64, Fault> {
        let place = self.snapshot.scorers.get(usize::from(ix.0)).and_then(Option::as_ref);
        let place = place.ok_or_else(|| super::execute::ours("the verifier has no address"))?;
        let task = self.snapshot.catalog.task(self.request.task).map_or("", |task| &task.name);
        let (prompt, artifact) = (self.request.ask.prompt.as_str(), &draft.artifact);
        let call = scorer::encode(&place.path, prompt, task, (&artifact.bytes, artifact.format), paid);
        let begun = Instant::now();
        let reply = self.engine.transport.send(&place.endpoint, &call, deadline).await;
        let score = reply.and_then(|reply| scorer::decode(&call, &reply));
        self.bound.hear_verifier(ix, score.is_ok().then(|| begun.elapsed()), Self::now());
        if let (Ok(score), Some(model)) = (&score, self.snapshot.catalog.model(draft.model)) {
            let provider = model.id.split_once('/').map_or("", |(provider, _)| provider);
            self.engine.telemetry.quality_score(provider, &model.id, "verifier", *score);
        }
        score
    }

    /// For whoever measures the verifier's rates against people's verdicts.
    fn tell(&self, verifier: &Verifier, judgement: &Judgement) {
        let generation = self.hold.id();
        let (passed, seen) = (judgement.passed, judgement.seen.as_str());
        tracing::info!(%generation, verifier = &*verifier.name, passed, seen, "a picture was checked");
    }
}

/// A budget that has no room for a look may have it for a plan without one.
fn unheld(refusal: Refusal) -> Ended {
    if matches!(refusal, Refusal::BudgetExhausted(_)) { Ended::NextPlan } else { Ended::Refused(refusal) }
}

/// A verifier that failed has passed nothing.
fn unable(why: &str) -> Judgement {
    Judgement { passed: false, seen: format!("could not be judged: {why}") }
}
