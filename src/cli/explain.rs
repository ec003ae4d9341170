//! `tollgate explain`: what a request would buy, and why.
//!
//! Why it exists: nobody should have to spend money to learn what the planner thinks. What it refuses to know: how a
//! plan is made; it asks the gateway, or the planner itself with what the policy says of a world not yet measured.

mod offline;
mod shown;
mod view;

use serde_json::Value;

use super::args::{ExplainArgs, GatewayArgs};
use super::ask::{self, Body};
use super::client::{Gateway, Trouble};
use super::console::Console;
use super::exit::{Exit, Failure};
use shown::Shown;

/// Where a gateway is looked for when none is named.
const NEAR: &str = "http://127.0.0.1:8080";

pub(crate) async fn run(args: ExplainArgs, console: Console) -> Result<Exit, Failure> {
    let body = body(&args)?;
    let plan = if args.policy.is_some() {
        offline::plan(&body, args.policy.as_deref())?
    } else {
        asked(&args, &body, console).await?
    };
    let candidates = plan.get("candidates").and_then(Value::as_array);
    let fits = candidates.into_iter().flatten().any(|one| one.get("chosen").and_then(Value::as_bool) == Some(true));
    if console.json {
        console.value(&plan)?;
    } else {
        let shown = shown(&plan)?;
        shown.warnings.iter().for_each(|warning| console.warn(warning));
        console.data(view::render(&shown, args.all, console.styles_data()))?;
    }
    Ok(if fits { Exit::Ok } else { Exit::Usage })
}

fn body(args: &ExplainArgs) -> Result<Body, Failure> {
    match (&args.request, &args.prompt) {
        (Some(path), _) => ask::merged(&ask::read(path)?, &args.ask)
            .map_err(|why| Failure::usage(format!("{}: {why}", path.display()))),
        (None, prompt) => Ok(ask::body(prompt.as_deref().unwrap_or_default(), &args.ask)),
    }
}

/// The gateway's plan; without an address, and with nobody at the usual one, the policy's.
async fn asked(args: &ExplainArgs, body: &Body, console: Console) -> Result<Value, Failure> {
    let url = args.url.clone().unwrap_or_else(|| NEAR.to_owned());
    let gateway = Gateway::new(&GatewayArgs { url, key: args.key.clone() })?;
    match gateway.plan(body).await {
        Ok(plan) => Ok(plan),
        Err(Trouble::Unreachable(_)) if args.url.is_none() => {
            console.say(format_args!("no gateway at {NEAR}: planned from the policy alone"));
            offline::plan(body, None)
        }
        Err(trouble) => Err(trouble.into_failure(gateway.url())),
    }
}

fn shown(plan: &Value) -> Result<Shown, Failure> {
    serde_json::from_value(plan.clone()).map_err(|why| {
        Failure::usage(format!("the gateway's plan cannot be read: {why}"))
            .help("is the gateway newer than this command? --json prints the plan as it came")
    })
}

/// The candidates of a refusal, as a table; `None` when it lists none.
pub(crate) fn candidates(problem: &Value, styled: bool) -> Option<String> {
    let shown: Shown = serde_json::from_value(problem.clone()).ok()?;
    Some(view::render(&shown, false, styled))
}
