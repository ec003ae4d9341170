//! `tollgate feedback`: one person's verdict, from the shell.
//!
//! Why it exists: what people accept is what the planner buys by, so saying it must be easy. What it refuses to know:
//! what a verdict changes.

use serde_json::{Value, json};

use super::args::FeedbackArgs;
use super::client::Gateway;
use super::console::Console;
use super::exit::{Exit, Failure};

pub(crate) async fn run(args: FeedbackArgs, console: Console) -> Result<Exit, Failure> {
    let gateway = Gateway::new(&args.gateway)?;
    let mut body = json!({ "accepted": args.accept, "image": args.image });
    let optional = [("rater", args.rater.as_deref()), ("reason", args.reason.as_deref())];
    for (name, value) in optional {
        if let (Some(value), Some(fields)) = (value, body.as_object_mut()) {
            fields.insert(name.to_owned(), value.into());
        }
    }
    let Value::Object(body) = body else {
        return Ok(Exit::Usage);
    };
    let taken = gateway.feedback(&args.id, &body).await.map_err(|trouble| trouble.into_failure(gateway.url()))?;
    if console.json {
        console.value(&taken)?;
    } else {
        let text = |name: &str| taken.get(name).and_then(Value::as_str).unwrap_or("?").to_owned();
        let said = if args.accept { "accepted" } else { "rejected" };
        let again = taken.get("replaced").and_then(Value::as_bool) == Some(true);
        let again = if again { ", in place of an earlier verdict" } else { "" };
        console.data(format_args!("{said}: an image of {} for {}{again}", text("model"), text("task")))?;
    }
    Ok(Exit::Ok)
}
