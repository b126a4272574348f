//! `panda deploy`: starts a deployment.

use clap::Args;
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::connection_choice::{ConnectionFilter, choose};
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::request_args::RequestArgs;
use super::sanitize;
use super::switch::switch_and_watch;
use super::watch::{FollowArgs, WatchStart, conclude, report, watch};
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda deploy --wait                               deploy the only connected repository to the only connected account
  panda deploy --owner acme --repo shop --wait      one of several
  panda deploy --github gh_… --aws aws_… --json     by the connections' ids
  panda deploy --tag v1.2.0 --wait                  a tag; --commit SHA for a commit
  panda deploy --image sha256:…                     an image that already exists in ECR
  panda deploy --context services/api --build-arg VERSION=1.2.0 --secret npm_token
  panda deploy --kind hotfix --reason 'Prices were wrong'
  panda deploy --concurrency queue --wait           after the target's unfinished deployment
  panda deploy --switch                             switch the traffic as soon as green is healthy

Without --wait the command starts the deployment, prints its id and ends (exit code 0). With --wait it ends when the deployment is
ready for the switch or completed (0) or failed (1). With --switch it ends when the deployment is completed (0) or failed (1).")]
pub struct DeployArgs {
    /// Account or organisation; optional when only one repository is connected
    #[arg(long)]
    owner: Option<String>,
    /// Name of the repository
    #[arg(long)]
    repo: Option<String>,
    #[command(flatten)]
    request: RequestArgs,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// Policy when another deployment of the same target is unfinished: reject, queue or supersede
    #[arg(long, value_name = "POLICY", default_value = "reject")]
    concurrency: Concurrency,
    /// Follow the deployment until it is ready for the switch
    #[arg(long)]
    wait: bool,
    /// Follow the deployment, and switch the traffic as soon as it is ready
    #[arg(long)]
    switch: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Starts the deployment, and follows it with `--wait` or `--switch`.
pub async fn run(args: DeployArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let filter = ConnectionFilter {
        owner: args.owner,
        repo: args.repo,
        branch: args.request.branch.clone(),
        github: args.github,
        aws: args.aws,
    };
    let (github, aws) = choose(&filter, &connections)?;
    let mut body = args.request.fields(&github.branch);
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
        print(&if args.server.json { sanitize::json(&data) } else { sanitize::line(&id) });
        return Ok(());
    }
    if !args.server.json {
        print(&text(&message!("cli.watching", id = sanitize::line(&id))));
    }
    let (mut outcome, mut data) = watch(&api, &id, &args.follow, args.server.json, WatchStart::default()).await?;
    if args.switch && outcome.status == Status::DeploymentReady {
        (outcome, data) = switch_and_watch(&api, &id, &args.follow, args.server.json).await?;
    }
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}
