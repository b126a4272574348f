//! `panda demo`: one whole deployment, seen from outside, through nothing but the API.

use std::time::{Duration, Instant};

use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::api::Api;
use super::error::CliError;
use super::progress::say;
use super::stack::{Addresses, Stack, StackOptions};
use super::switch::switch_and_watch;
use super::types::Outcome;
use super::watch::{FollowArgs, Resume, conclude, report, watch};
use super::{clean, example, setup, shutdown};
use crate::bounded;
use crate::domain::catalogue::Lang;
use crate::domain::deployment::Status;
use crate::sandbox::parts::temporary_folder;

/// Far more than a deployment of the example takes.
const LIMIT: Duration = Duration::from_mins(5);

/// `panda demo`.
#[derive(Args, Debug)]
#[command(after_help = "\
Starts Postgres, a Docker engine when none is running, an image registry, a sandbox that stands for AWS and GitHub, and Panda, all in a
temporary folder. Then it deploys a small service from a git repository, switches the traffic, and removes everything again.

Nothing is pretended but AWS and GitHub: the image is built, pushed and run, and the traffic moves from one container to another.")]
pub struct DemoArgs {
    /// Language of the events: ko or en; by default that of the locale (LC_ALL, LC_MESSAGES, LANG)
    #[arg(long)]
    lang: Option<Lang>,
}

/// Runs it, and removes everything however it ends.
pub async fn run(args: DemoArgs) -> Result<(), CliError> {
    let cancel = shutdown::token()?;
    let began = Instant::now();
    let folder = temporary_folder()?;
    let options = StackOptions {
        dir: folder.path().to_path_buf(),
        listen: ([127, 0, 0, 1], 0).into(),
        keep: false,
        token: setup::random_token(),
    };
    let tell = |line: &str| say(&format!("… {line}"));
    let stack = tokio::select! {
        started = Stack::start(&options, &tell) => started?,
        () = cancel.cancelled() => return Err(CliError::Interrupted),
    };
    let story = tokio::select! {
        story = tokio::time::timeout(LIMIT, tell_story(&stack.addresses, &options.token, args.lang)) => story
            .unwrap_or_else(|_| Err(CliError::Demo(format!("the demo was not finished within {} s", LIMIT.as_secs())))),
        () = cancel.cancelled() => Err(CliError::Interrupted),
    };
    say("\n… Stopping everything");
    let stopped = Box::pin(stack.stop()).await;
    story?;
    stopped?;
    say(&format!(
        "Done in {:.0} s. Nothing is left running. To keep the parts and try more: panda up",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn tell_story(at: &Addresses, token: &SecretString, lang: Option<Lang>) -> Result<(), CliError> {
    let api = Api::new(&at.panda, Some(&at.api_token))?;
    let follow = FollowArgs { lang, give_up_after: 30 };
    say(&format!("… Connecting {}/{} and the AWS account through {}", example::OWNER, example::REPO, api.server()));
    let (github, aws) = setup::connect(&api, at, token).await?;
    let body = json!({
        "githubConnectionId": github, "awsConnectionId": aws,
        "owner": example::OWNER, "repo": example::REPO, "branch": example::BRANCH,
    });
    let (started, _) = api.deploy(&body).await?;
    let id = started.deployment_id;
    say(&format!("… Deploying version 2 as {}\n", clean::line(&id)));
    let (ready, _) = watch(&api, &id, &follow, false, Resume::default()).await?;
    conclude(&ready)?;
    let url = expect_ready(&ready)?;
    let before = ask(&url).await?;
    say(&format!("\n… Before the switch, {url} says: {before}\n… Switching the traffic\n"));
    let (completed, data) = switch_and_watch(&api, &id, &follow, false).await?;
    conclude(&completed)?;
    report(&completed, &data, false);
    let after = ask(&url).await?;
    say(&format!("\n… Before the switch, {url} said: {before}\n… After the switch, it says: {after}"));
    expect_switched(&completed, &before, &after)
}

fn expect_ready(outcome: &Outcome) -> Result<String, CliError> {
    match (&outcome.status, &outcome.blue_url) {
        (Status::DeploymentReady, Some(url)) => Ok(clean::line(url)),
        (Status::DeploymentReady, None) => {
            Err(CliError::Demo("the deployment is ready but names no address of blue".to_owned()))
        }
        (other, _) => Err(CliError::Demo(format!("the deployment should be DEPLOYMENT_READY, but it is {other}"))),
    }
}

/// The demo is also a test: it must not say "done" when the traffic did not move.
fn expect_switched(outcome: &Outcome, before: &str, after: &str) -> Result<(), CliError> {
    if outcome.status != Status::Completed {
        return Err(CliError::Demo(format!("the deployment should be COMPLETED, but it is {}", outcome.status)));
    }
    if !before.contains("version 1") || !after.contains("version 2") {
        return Err(CliError::Demo(
            "the answers should be version 1 before the switch and version 2 after it".to_owned(),
        ));
    }
    Ok(())
}

/// Most bytes of such an answer: a line.
const MOST_OF_A_PAGE: usize = 64 << 10;

/// What the load balancer's address answers.
async fn ask(url: &str) -> Result<String, CliError> {
    let failed = |error: reqwest::Error| CliError::Demo(format!("the load balancer at {url} does not answer: {error}"));
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(failed)?;
    let answer = client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
    let text = bounded::body(answer, MOST_OF_A_PAGE)
        .await
        .map_err(|error| CliError::Demo(format!("the load balancer at {url} does not answer: {error}")))?;
    Ok(clean::line(&String::from_utf8_lossy(&text)))
}
