//! `panda deploy`: starts a deployment.

use clap::Args;
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::clean;
use super::error::CliError;
use super::progress::say;
use super::source::{Wanted, choose};
use super::switch::switch_and_watch;
use super::watch::{FollowArgs, Resume, conclude, report, watch};
use super::what::WhatArgs;
use crate::domain::deployment::{Concurrency, Status};

/// `panda deploy`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda deploy --wait                               the only repository and account that are connected
  panda deploy --owner acme --repo shop --wait      one of several
  panda deploy --github gh_… --aws aws_… --json     by the connections' ids
  panda deploy --tag v1.2.0 --wait                  a tag; --commit SHA for a commit
  panda deploy --image sha256:…                     an image that is in ECR already
  panda deploy --context services/api --build-arg VERSION=1.2.0 --secret npm_token
  panda deploy --kind hotfix --reason 'Prices were wrong'
  panda deploy --concurrency queue --wait           after the one that is not finished yet
  panda deploy --switch                             and straight on to green when it is healthy

Without --wait the command ends once the deployment is started (exit code 0) and prints its id. With --wait it ends when the deployment is
ready for the switch or completed (0) or failed (1). With --switch it ends when the deployment is completed (0) or failed (1).")]
pub struct DeployArgs {
    /// Account or organisation; may be left out when one repository is connected
    #[arg(long)]
    owner: Option<String>,
    /// Repository
    #[arg(long)]
    repo: Option<String>,
    #[command(flatten)]
    what: WhatArgs,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// What to do when another deployment of the same target is not finished: reject, queue or supersede
    #[arg(long, value_name = "POLICY", default_value = "reject")]
    concurrency: Concurrency,
    /// Follow the deployment until it is ready for the switch
    #[arg(long)]
    wait: bool,
    /// Follow it, and switch the traffic as soon as it is ready
    #[arg(long)]
    switch: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Starts it, and follows it where that is wanted.
pub async fn run(args: DeployArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let wanted = Wanted {
        owner: args.owner,
        repo: args.repo,
        branch: args.what.branch.clone(),
        github: args.github,
        aws: args.aws,
    };
    let (github, aws) = choose(&wanted, &connections)?;
    let mut body = args.what.fields(&github.branch);
    body.extend([
        ("githubConnectionId".to_owned(), json!(github.connection_id)),
        ("awsConnectionId".to_owned(), json!(aws.connection_id)),
        ("owner".to_owned(), json!(github.owner)),
        ("repo".to_owned(), json!(github.repo)),
        ("concurrency".to_owned(), json!(args.concurrency)),
    ]);
    let body = Value::Object(body);
    let (started, data) = api.deploy(&body).await?;
    let id = started.deployment_id;
    if !args.wait && !args.switch {
        say(&if args.server.json { clean::json(&data) } else { clean::line(&id) });
        return Ok(());
    }
    if !args.server.json {
        say(&format!("{} (Ctrl-C stops watching, not the deployment; panda watch goes on)", clean::line(&id)));
    }
    let (mut outcome, mut data) = watch(&api, &id, &args.follow, args.server.json, Resume::default()).await?;
    if args.switch && outcome.status == Status::DeploymentReady {
        (outcome, data) = switch_and_watch(&api, &id, &args.follow, args.server.json).await?;
    }
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}
