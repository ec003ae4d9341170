//! What an answer to a caller's own call means for the books.
//!
//! Why it exists: a call that is passed on was not encoded here, and its answer is read by the same dialect all the same:
//! the refusals that hide in a 200, the usage, whether an error was charged. Pictures may be left out of the reply. What it
//! refuses to know: what was asked for.

use super::common::Failure;
use super::{Auth, Body, Call, Method, Op, Progress, Reply, Stage, Step, Target, Usage, adapter};
use crate::domain::catalog::{Dialect, Model};
use crate::domain::fault::{Class, Fault};
use crate::domain::image::{Format, Size};

/// What was used, or what went wrong. Without a dialect and a model of ours, only the status speaks.
pub fn verdict(of: Option<(Dialect, &Model)>, images: u8, reply: &Reply) -> Result<Usage, Fault> {
    let call = asked();
    let fine = matches!(reply.status, 200..300);
    let known = of.and_then(|(dialect, model)| Some((adapter(dialect)?, model)));
    let Some((dialect, model)) = known else {
        return if fine { Ok(Usage::AsQuoted) } else { Err(Failure::of(&call, reply).by_status()) };
    };
    match dialect.decode(&step(images), model, &call, reply) {
        Ok(Progress::Done(_, usage) | Progress::Fetch(_, usage)) => Ok(usage),
        Ok(Progress::Poll { .. }) => Ok(Usage::AsQuoted),
        // A picture that was left out of the look at the answer is no picture to the dialect; the caller has it.
        Err(fault) if fault.class == Class::Garbled && fine => Ok(Usage::AsQuoted),
        Err(fault) => Err(fault),
    }
}

/// The call as a dialect's own would be: it buys.
fn asked() -> Call {
    let target = Target::Path(String::new());
    Call {
        stage: Stage::Submit,
        method: Method::Post,
        target,
        headers: Vec::new(),
        auth: Auth::None,
        body: Body::Empty,
    }
}

/// The step as far as reading needs it: as many pictures as there are.
fn step(images: u8) -> Step<'static> {
    Step {
        op: Op::Generate,
        prompt: "",
        negative_prompt: None,
        size: Size::new(1024, 1024),
        label: "",
        scale: "",
        images,
        seed: None,
        format: Format::Png,
    }
}
