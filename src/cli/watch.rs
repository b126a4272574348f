//! `panda watch`: a deployment's events as they happen.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::error::CliError;
use super::progress::{say, viewer};
use super::stream::{Follow, follow};
use super::types::Outcome;
use super::{clean, result};
use crate::domain::catalogue::Lang;
use crate::domain::deployment::Status;

/// How events are followed.
#[derive(Args, Clone, Debug)]
pub struct FollowArgs {
    /// Language of the events: ko or en; by default that of the locale (LC_ALL, LC_MESSAGES, LANG)
    #[arg(long)]
    pub lang: Option<Lang>,
    /// Seconds to try again when the server is away in the middle
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub give_up_after: u64,
}

/// `panda watch`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda watch dep_k1l2m3n4o5p6q7r8s9t0
  panda watch dep_k1l2m3n4o5p6q7r8s9t0 --json | jq -r .data.message

Shows all events from the first on and ends when the deployment is ready for the switch, completed (exit code 0) or failed (1). A
restart of the server in the middle is bridged. With --json each line is {\"id\", \"event\", \"data\"}; the last one is the result,
its event being \"result\".")]
pub struct WatchArgs {
    /// The deployment's id
    id: String,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Follows it to the end.
pub async fn run(args: WatchArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (outcome, data) = watch(&api, &args.id, &args.follow, args.server.json, Resume::default()).await?;
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}

/// Where watching goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resume {
    /// Events that are not shown again.
    pub skip: u64,
    /// Whether a switch was asked for.
    pub through_switch: bool,
}

/// Shows the events; the result is for the caller to [`report`].
pub async fn watch(
    api: &Api,
    id: &str,
    args: &FollowArgs,
    json: bool,
    resume: Resume,
) -> Result<(Outcome, Value), CliError> {
    let lang = args.lang.unwrap_or_else(locale);
    let what = Follow {
        id,
        lang: &lang.to_string(),
        through_switch: resume.through_switch,
        skip: resume.skip,
        give_up_after: Duration::from_secs(args.give_up_after),
    };
    let mut viewer = viewer(json, lang);
    // The live display goes with the viewer, before anything else is printed.
    follow(api, &what, viewer.as_mut()).await
}

/// Shows the result, and what can be done now.
pub fn report(outcome: &Outcome, data: &Value, json: bool) {
    if json {
        say(&clean::json(&json!({"id": null, "event": "result", "data": data})));
        return;
    }
    say(&format!("\n{}", result::shown(data, false).trim_end()));
    if outcome.status == Status::DeploymentReady {
        let id = clean::line(&outcome.deployment_id);
        say(&format!("\nReady. Move the traffic with: panda switch {id} --wait"));
    }
}

/// A failed deployment is an error of the command.
pub fn conclude(outcome: &Outcome) -> Result<(), CliError> {
    if outcome.status != Status::Failed {
        return Ok(());
    }
    let message = outcome.error_message.as_deref().unwrap_or("the server gave no reason");
    Err(CliError::DeploymentFailed { id: clean::line(&outcome.deployment_id), message: clean::text(message) })
}

/// Korean for a Korean locale, English for any other.
fn locale() -> Lang {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().filter_map(|name| std::env::var(name).ok());
    language_of(set.into_iter().find(|value| !value.is_empty()).as_deref())
}

fn language_of(locale: Option<&str>) -> Lang {
    if locale.is_some_and(|locale| locale == "ko" || locale.starts_with("ko_")) { Lang::Ko } else { Lang::En }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_korean_locale_gets_korean_and_any_other_english() {
        assert_eq!(language_of(Some("ko_KR.UTF-8")), Lang::Ko);
        assert_eq!(language_of(Some("kok_IN")), Lang::En);
        assert_eq!(language_of(Some("C.UTF-8")), Lang::En);
        assert_eq!(language_of(None), Lang::En);
    }
}
