//! The routes that ask the planner: `/generate`, `/plan` and `OpenAI`'s.
//!
//! Why it exists: who asks is settled before a byte of the body is asked for, then the body becomes an [`Inbound`], then
//! the engine's answer becomes bytes. What it refuses to know: what happens in between.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderValue};

use super::Bounds;
use super::door::{Arrival, Ended};
use super::intake::Intake;
use super::jobs;
use super::late::{self, Late, Shape};
use super::payload::Payload;
use super::problem::Problem;
use super::routes::{self, json};
use super::wire::ask::{self, Parsed};
use super::wire::headers::{self, Accept};
use super::wire::{answer, feedback, openai, plan, upscale};
use crate::domain::refusal::Refusal;
use crate::engine::{Approval, Engine, How, Inbound, Repeat, Served};
use crate::telemetry::clock;

/// One call of these routes.
pub(super) struct Call<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) bounds: &'a Bounds,
    pub(super) arrival: &'a Arrival,
    pub(super) headers: &'a HeaderMap,
}

impl Call<'_> {
    /// `POST /generate`.
    pub(super) async fn native(&self, intake: &mut Intake) -> Result<Response<Payload>, Problem> {
        let (body, label) = self.body(intake).await?;
        let mut parsed = self.told(ask::parse(&body).map_err(Problem::from))?;
        let accept = headers::accept(self.headers);
        self.told(negotiate(&mut parsed, accept).map_err(Problem::from))?;
        let carry = parsed.ask.response_format;
        let webhook = parsed.webhook.take();
        let inbound = self.inbound(parsed, label, "generate")?;
        let served = match (headers::prefer(self.headers), webhook) {
            (Some(wait), webhook) => match self.as_job(&inbound, wait, webhook).await? {
                Ok(served) => served,
                Err(accepted) => return Ok(accepted),
            },
            (None, Some(_)) => return self.told(Err(needs_a_job().into())),
            (None, None) if accept == Accept::Json => {
                match late::serve(self.engine, inbound, self.bounds.quiet_time, Shape::Native(carry)).await {
                    Late::No(landed) => *landed,
                    Late::Yes(answer) => return Ok(answer),
                }?
            }
            (None, None) => self.engine.serve(inbound).await?,
        };
        let answer = match (accept, served.images.as_slice()) {
            (Accept::Raw(_), [image]) => {
                let mut answer = routes::answer(image.format.media_type(), Payload::of(image.bytes.clone()));
                answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                answer
            }
            _ => json(answer::native(&served, carry)),
        };
        Ok(signed(answer, &served))
    }

    /// `POST /v1/images/generations`.
    pub(super) async fn openai(&self, intake: &mut Intake) -> Result<Response<Payload>, Problem> {
        let (body, label) = self.body(intake).await?;
        let parsed = self.told(self.with_market(|market| openai::parse(&body, market)))?;
        let carry = parsed.ask.response_format;
        let base = headers::base_url(self.headers, self.bounds.public_url.as_deref());
        let inbound = self.inbound(parsed, label, "openai_generate")?;
        let shape = Shape::Openai(carry, base.clone());
        let served = match late::serve(self.engine, inbound, self.bounds.quiet_time, shape).await {
            Late::No(landed) => *landed,
            Late::Yes(answer) => return Ok(answer),
        }?;
        Ok(signed(json(openai::answer(&served, carry, &base)), &served))
    }

    /// `POST /generations/{id}/upscale`.
    pub(super) async fn upscale(&self, id: &str, intake: &mut Intake) -> Result<Response<Payload>, Problem> {
        let (body, label) = self.body(intake).await?;
        let wanted = self.told(upscale::parse(&body).map_err(Problem::from))?;
        let (image, names_data_policy) = (wanted.image, wanted.names_data_policy);
        let approval = Approval { generation: id.into(), image, names_data_policy };
        let carry = wanted.parsed.ask.response_format;
        let served = self.engine.second_pass(approval, self.inbound(wanted.parsed, label, "upscale")?).await?;
        Ok(signed(json(answer::native(&served, carry)), &served))
    }

    /// The same as a job: its end, if it comes within `wait`; else the word that it will be done.
    async fn as_job(
        &self,
        inbound: &Inbound,
        wait: Duration,
        webhook: Option<String>,
    ) -> Result<Result<Served, Response<Payload>>, Problem> {
        let job = self.engine.submit(inbound, webhook).await?;
        let wait = wait.min(self.bounds.quiet_time);
        let report = self.engine.job(inbound.key.as_deref(), &job.id, wait).await?;
        if let Some(landed) = report.landed.filter(|_| !wait.is_zero()) {
            return Ok(Ok(landed?));
        }
        let applied = self.headers.get("prefer").cloned();
        Ok(Err(jobs::accepted(&report.job, applied)))
    }

    /// `POST /plan`.
    pub(super) async fn plan(&self, intake: &mut Intake) -> Result<Response<Payload>, Problem> {
        let (body, label) = self.body(intake).await?;
        let inbound = self.inbound(self.told(ask::parse(&body).map_err(Problem::from))?, label, "plan")?;
        let policy = self.engine.snapshot_for(inbound.key.as_deref());
        let explained = self.engine.explain(&inbound).await?;
        Ok(json(plan::plan(&explained, &policy.digest, &inbound.warnings)))
    }

    /// `POST /generations/{id}/feedback`.
    pub(super) async fn feedback(&self, id: &str, intake: &mut Intake) -> Result<Response<Payload>, Problem> {
        let (body, label) = self.body(intake).await?;
        let (said, mut warnings) = self.told(feedback::parse(&body).map_err(Problem::from))?;
        warnings.extend(label);
        let key = headers::bearer(self.headers);
        let taken = self.told(self.engine.feedback(key.as_deref(), id, said.clone()).await.map_err(Problem::from))?;
        Ok(json(feedback::answer(&said, &taken, &warnings)))
    }

    /// `GET /v1/models`.
    pub(super) fn models(&self) -> Result<Response<Payload>, Problem> {
        self.let_in()?;
        Ok(json(self.with_market(openai::models)))
    }

    /// `GET /v1/models/{id}`.
    pub(super) fn model(&self, id: &str) -> Result<Response<Payload>, Problem> {
        self.let_in()?;
        Ok(json(self.with_market(|market| openai::one_model(id, market))?))
    }

    /// The body and what its label is worth saying, once the caller is known and the headers are in order: a client that
    /// waits for `100 Continue` is refused without having sent it.
    async fn body(&self, intake: &mut Intake) -> Result<(Bytes, Option<String>), Problem> {
        self.let_in()?;
        let read = async {
            headers::not_encoded(self.headers)?;
            headers::idempotency_key(self.headers)?;
            headers::share_never(self.headers)?;
            let body = intake.read(self.bounds).await?;
            let label = headers::takes_json(self.headers, &body)?;
            Ok((body, label))
        };
        self.told(read.await.map_err(|refusal: Refusal| Problem::from(refusal)))
    }

    fn let_in(&self) -> Result<(), Problem> {
        let key = headers::bearer(self.headers);
        let known = self.engine.authenticate(key.as_deref()).map_err(Problem::from);
        if let Err(problem) = &known {
            let reason = if key.is_none() { "missing" } else { problem.shut_out() };
            self.engine.telemetry().auth_failure(reason);
        }
        self.told(known).map(drop)
    }

    fn inbound(&self, parsed: Parsed, label: Option<String>, route: &'static str) -> Result<Inbound, Problem> {
        let mut warnings = parsed.warnings;
        warnings.extend(label);
        Ok(Inbound {
            ask: parsed.ask,
            key: headers::bearer(self.headers),
            request_id: Arc::clone(&self.arrival.request_id),
            idempotency_key: headers::idempotency_key(self.headers)?,
            repeat: Repeat { route, count: headers::retry_count(self.headers), durable: false },
            share_never: headers::share_never(self.headers)?,
            warnings,
            arrived: self.arrival.arrived,
            received: self.arrival.received,
        })
    }

    fn with_market<T>(&self, look: impl FnOnce(&openai::Market<'_>) -> T) -> T {
        let snapshot = self.engine.snapshot_for(headers::bearer(self.headers).as_deref());
        look(&openai::Market {
            catalog: &snapshot.catalog,
            tiers: snapshot.tiers.iter().map(|tier| &*tier.name).collect(),
            today: clock::today(),
        })
    }

    /// Logs what is refused at the door; what the engine refuses stands in its receipt.
    fn told<T>(&self, read: Result<T, Problem>) -> Result<T, Problem> {
        read.inspect_err(|problem| {
            let request_id = &*self.arrival.request_id;
            tracing::info!(request_id, code = problem.code(), detail = problem.detail(), "refused at the door");
        })
    }
}

fn needs_a_job() -> Refusal {
    let detail =
        "`webhook` needs asynchronous work, and this request waits for its answer: send `Prefer: respond-async`";
    Refusal::InvalidRequest { pointer: "/webhook".to_owned(), detail: detail.to_owned() }
}

/// `Accept` and the body agree on a format, or one of them decides.
fn negotiate(parsed: &mut Parsed, accept: Accept) -> Result<(), Refusal> {
    let Accept::Raw(wanted) = accept else {
        return Ok(());
    };
    let refuse = |detail: String| Err(Refusal::InvalidRequest { pointer: "header:Accept".to_owned(), detail });
    if parsed.ask.n > 1 {
        return refuse(format!(
            "a picture's bytes answer a request for one image, and `n` is {}; accept application/json",
            parsed.ask.n
        ));
    }
    match wanted {
        Some(wanted) if parsed.names_format && wanted != parsed.ask.output_format => refuse(format!(
            "`Accept` wants {}, but `output_format` is {}; keep one of them",
            wanted.media_type(),
            parsed.ask.output_format.name()
        )),
        Some(wanted) => {
            parsed.ask.output_format = wanted;
            Ok(())
        }
        None => Ok(()),
    }
}

fn signed(mut answer: Response<Payload>, served: &Served) -> Response<Payload> {
    answer.headers_mut().extend(answer::headers(served));
    if served.how == How::Replayed {
        answer.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    answer.extensions_mut().insert(Ended(served.how.name()));
    answer
}
