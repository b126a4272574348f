//! `panda demo`: runs one complete deployment, using only the API.

use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use serde_json::json;

use super::addresses::Addresses;
use super::stack::{DevStack, DevStackOptions};
use super::{example, setup};
use crate::bounded;
use crate::cli::api::{Api, SwitchOptions};
use crate::cli::error::CliError;
use crate::cli::lang::{self, text};
use crate::cli::progress::print;
use crate::cli::switch::switch_and_watch;
use crate::cli::types::ResultSummary;
use crate::cli::watch::{FollowArgs, WatchStart, conclude, watch};
use crate::cli::{result, sanitize, shutdown};
use crate::domain::deployment::Status;
use crate::domain::failure::ErrorCode;
use crate::domain::message::{Message, message};
use panda_dev_services::temporary_folder;
use panda_sandbox::{RolloutStyle, Scenario};

/// Time limit of the deployment: far more than the example needs.
const LIMIT: Duration = Duration::from_mins(5);

#[derive(Args, Debug)]
#[command(after_help = "\
Starts Postgres, a Docker engine when none is running, an image registry, a sandbox that stands for AWS and GitHub, and Panda, all in a
temporary folder. Then it deploys a small service from a git repository, switches the traffic, and removes everything again. With --rollback
it takes the traffic back before that, while the version before still runs.

Only AWS and GitHub are simulated: the image is really built, pushed and run, and the traffic moves from one container to another.")]
pub struct DemoArgs {
    /// Roll back after the switch, while the version before still runs
    #[arg(long)]
    rollback: bool,
    /// What shifts the traffic, and how: CodeDeploy in one step, or ECS itself in one step, in halves, or a tenth first
    #[arg(long, value_enum, value_name = "STYLE", default_value_t = Rollout::CodeDeploy)]
    rollout: Rollout,
}

/// How the traffic is shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rollout {
    #[value(name = "codedeploy")]
    CodeDeploy,
    BlueGreen,
    Linear,
    Canary,
}

impl From<Rollout> for RolloutStyle {
    fn from(rollout: Rollout) -> Self {
        match rollout {
            Rollout::CodeDeploy => Self::CodeDeploy,
            Rollout::BlueGreen => Self::BlueGreen,
            Rollout::Linear => Self::Linear { step_percent: 50 },
            Rollout::Canary => Self::Canary { percent: 10 },
        }
    }
}

/// Time for which blue lives with `--rollback`, in milliseconds: until the traffic has returned to it.
const BLUE_LIVES_MS: u64 = 120_000;

/// Runs the demo, and removes everything on success, failure or interruption.
pub async fn run(args: DemoArgs) -> Result<(), CliError> {
    let cancel = shutdown::token()?;
    let began = Instant::now();
    let folder = temporary_folder()?;
    let mut scenario = Scenario::default();
    scenario.timing.termination_wait_ms = args.rollback.then_some(BLUE_LIVES_MS);
    scenario.faults.rollouts.insert("*".to_owned(), args.rollout.into());
    let options = DevStackOptions {
        dir: folder.path().to_path_buf(),
        listen: ([127, 0, 0, 1], 0).into(),
        keep: false,
        token: setup::random_token(),
        scenario,
    };
    let progress = |step: Message| print(&format!("… {}", text(&step)));
    let stack = tokio::select! {
        started = DevStack::start(&options, &progress) => started?,
        () = cancel.cancelled() => return Err(CliError::Interrupted),
    };
    let result = tokio::select! {
        result = tokio::time::timeout(LIMIT, deploy_example(&stack.addresses, &options.token, args.rollback)) => result
            .unwrap_or_else(|_| Err(CliError::Demo(message!("dev.demo_too_long", seconds = LIMIT.as_secs())))),
        () = cancel.cancelled() => Err(CliError::Interrupted),
    };
    print(&format!("\n… {}", text(&message!("dev.stopping"))));
    let stopped = Box::pin(stack.stop()).await;
    result?;
    stopped?;
    let seconds = format!("{:.0}", began.elapsed().as_secs_f64());
    print(&text(&message!("dev.demo_done", seconds)));
    Ok(())
}

async fn deploy_example(at: &Addresses, token: &SecretString, rolls_back: bool) -> Result<(), CliError> {
    let api = Api::new(&at.panda, Some(&at.api_token), Some(lang::lang()))?;
    let follow = FollowArgs { give_up_after: 30 };
    let repository = format!("{}/{}", example::OWNER, example::REPO);
    print(&format!("… {}", text(&message!("dev.connecting", repository, server = api.server()))));
    let (github, aws) = setup::connect(&api, at, token).await?;
    let body = json!({
        "githubConnectionId": github, "awsConnectionId": aws,
        "owner": example::OWNER, "repo": example::REPO, "branch": example::BRANCH,
    });
    let (started, _) = api.deploy(&body).await?;
    let id = started.deployment_id;
    print(&format!("… {}", text(&message!("dev.deploying", id = sanitize::line(&id)))));
    let (page, token) =
        (format!("{}deployments/{}", at.panda, sanitize::line(&id)), at.token_file.display().to_string());
    print(&format!("… {}\n", text(&message!("dev.page", page, token))));
    let (ready, _) = watch(&api, &id, &follow, false, WatchStart::default()).await?;
    conclude(&ready)?;
    let url = expect_ready(&ready)?;
    let before = get(&url).await?;
    let says = text(&message!("dev.says_before", url = &url, answer = &before));
    print(&format!("\n… {says}\n… {}\n", text(&message!("dev.switching"))));
    let (mut completed, mut data) = switch_and_watch(&api, (&id, SwitchOptions::default()), &follow, false).await?;
    // Each pause of a rollout of ECS needs its own approval.
    while let (Status::DeploymentReady, Some(percent)) = (completed.status, completed.green_weight) {
        print(&format!("\n… {}\n", text(&message!("dev.part_switched", percent = percent.to_string()))));
        (completed, data) = switch_and_watch(&api, (&id, SwitchOptions::default()), &follow, false).await?;
    }
    conclude(&completed)?;
    print(&format!("\n{}", result::shown(&data, false).trim_end()));
    let after = get(&url).await?;
    let said = text(&message!("dev.said_before", url = &url, answer = &before));
    print(&format!("\n… {said}\n… {}", text(&message!("dev.says_after", answer = &after))));
    expect_switched(&completed, &before, &after)?;
    if rolls_back { roll_back(&api, &completed, &url).await } else { Ok(()) }
}

/// Takes the traffic back, and shows the version that answers then.
async fn roll_back(api: &Api, completed: &ResultSummary, url: &str) -> Result<(), CliError> {
    let id = &completed.deployment_id;
    print(&format!("\n… {}\n", text(&message!("dev.rolling_back"))));
    let reason = text(&message!("dev.rollback_reason"));
    let begun = Instant::now();
    let (started, _) = api.rollback(id, &json!({"reason": reason})).await?;
    if started.how != "at_aws" {
        return Err(CliError::Demo(message!("dev.blue_gone")));
    }
    let start = WatchStart { skip: completed.event_count, through_switch: true };
    let (ended, data) = watch(api, id, &FollowArgs { give_up_after: 30 }, false, start).await?;
    print(&format!("\n{}", result::shown(&data, false).trim_end()));
    let answer = get(url).await?;
    let seconds = format!("{:.1}", begun.elapsed().as_secs_f64());
    print(&format!("\n… {}", text(&message!("dev.says_again", url, answer = &answer, seconds))));
    if ended.error_code.as_deref() != Some(ErrorCode::RolledBackAfterSwitch.as_str()) {
        return Err(unexpected(Status::Failed, ended.status));
    }
    if answer.contains("version 1") { Ok(()) } else { Err(CliError::Demo(message!("dev.not_back", answer))) }
}

fn expect_ready(outcome: &ResultSummary) -> Result<String, CliError> {
    match (&outcome.status, &outcome.blue_url) {
        (Status::DeploymentReady, Some(url)) => Ok(sanitize::line(url)),
        (Status::DeploymentReady, None) => Err(CliError::Demo(message!("dev.no_blue_url"))),
        (other, _) => Err(unexpected(Status::DeploymentReady, *other)),
    }
}

fn unexpected(wanted: Status, status: Status) -> CliError {
    CliError::Demo(message!("dev.unexpected_status", wanted = wanted.as_str(), status = status.as_str()))
}

/// Verifies that the traffic moved: the demo is also a test.
fn expect_switched(outcome: &ResultSummary, before: &str, after: &str) -> Result<(), CliError> {
    if outcome.status != Status::Completed {
        return Err(unexpected(Status::Completed, outcome.status));
    }
    if !before.contains("version 1") || !after.contains("version 2") {
        return Err(CliError::Demo(message!("dev.unexpected_versions")));
    }
    Ok(())
}

/// Most bytes of a response of the example: it is one line.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Reads the response of the load balancer at `url`, as one line.
async fn get(url: &str) -> Result<String, CliError> {
    let silent = |error: String| CliError::Demo(message!("dev.balancer_silent", url, error));
    let failed = |error: reqwest::Error| silent(error.to_string());
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(failed)?;
    let answer = client.get(url).send().await.map_err(failed)?.error_for_status().map_err(failed)?;
    let text = bounded::body(answer, MAX_RESPONSE_BYTES).await.map_err(|error| silent(error.to_string()))?;
    Ok(sanitize::line(&String::from_utf8_lossy(&text)))
}
