//! `panda deploy`: starts a deployment.

use clap::Args;
use serde_json::{Value, json};

use super::api::{ServerArgs, SwitchOptions};
use super::checkout::{self, Checkout};
use super::connection_choice::{ConnectionFilter, choose};
use super::error::CliError;
use super::lang::text;
use super::next_command::next_command;
use super::progress::{print, warn};
use super::request_args::RequestArgs;
use super::sanitize;
use super::switch::{finish_switched, switch_and_watch};
use super::watch::{FollowArgs, WatchStart, finish, watch};
use crate::domain::deployment::{Concurrency, Status};
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda deploy --wait                               in a checkout: its repository and branch; elsewhere the only connected repository
  panda deploy --owner acme --repo shop --wait      one of several
  panda deploy --github gh_… --aws aws_… --json     by the connections' ids
  panda deploy --tag v1.2.0 --wait                  a tag; --commit SHA for a commit
  panda deploy --image sha256:…                     an image that already exists in ECR
  panda deploy --context services/api --build-arg VERSION=1.2.0 --secret npm_token
  panda deploy --kind hotfix --reason 'Prices were wrong'
  panda deploy --label team=payments                a label, by which reports group
  panda deploy --concurrency queue --wait           after the target's unfinished deployment
  panda deploy --switch                             switch the traffic as soon as green is healthy

Without --wait the command starts the deployment, prints its id and ends (exit code 0). With --wait it ends when the deployment is
ready for the switch or completed (0) or failed (1). With --switch it ends when the deployment is completed (0) or failed (1).")]
pub struct DeployArgs {
    /// Account or organisation; default: that of the checkout, or of the only connected repository
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
    /// Policy when another deployment of the same target is unfinished: reject, queue or supersede; by default the server's setting
    #[arg(long, value_name = "POLICY")]
    concurrency: Option<Concurrency>,
    /// Override the freezes that hold the start, and with --switch the switch, for this reason
    #[arg(long, value_name = "REASON")]
    override_freeze: Option<String>,
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

impl DeployArgs {
    /// The options that deploy a branch by the connections' ids, and follow the deployment.
    pub fn of_connections(github: String, aws: String, branch: String, follow: FollowArgs, server: ServerArgs) -> Self {
        Self {
            owner: None,
            repo: None,
            request: RequestArgs { branch: Some(branch), ..RequestArgs::default() },
            github: Some(github),
            aws: Some(aws),
            concurrency: None,
            override_freeze: None,
            wait: true,
            switch: false,
            follow,
            server,
        }
    }
}

/// Starts the deployment, and follows it with `--wait` or `--switch`.
pub async fn run(args: DeployArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let mut filter =
        ConnectionFilter { owner: args.owner, repo: args.repo, branch: None, github: args.github, aws: args.aws };
    let mut request = args.request;
    if let Some(checkout) = filter.complete(checkout::here(), &connections)? {
        request.default_source(checkout.branch.as_deref(), checkout.commit.as_deref());
        announce(&checkout, &request);
    }
    filter.branch.clone_from(&request.branch);
    let (github, aws) = choose(&filter, &connections)?;
    let mut body = request.fields(&github.branch);
    body.extend([
        ("githubConnectionId".to_owned(), json!(github.connection_id)),
        ("awsConnectionId".to_owned(), json!(aws.connection_id)),
        ("owner".to_owned(), json!(github.owner)),
        ("repo".to_owned(), json!(github.repo)),
    ]);
    body.extend(args.concurrency.map(|policy| ("concurrency".to_owned(), json!(policy))));
    let freeze_override = args.override_freeze;
    body.extend(freeze_override.as_ref().map(|reason| ("override".to_owned(), json!({"reason": reason}))));
    let body = Value::Object(body);
    let (started, data) = api.deploy(&body).await?;
    let id = started.deployment_id;
    if let Some(held) = started.held_by {
        let until = sanitize::line(held.until.as_deref().unwrap_or("-"));
        warn(&text(&match held.reason {
            Some(reason) => message!("cli.held", until, reason = sanitize::line(&reason)),
            None => message!("cli.awaits_window", until),
        }));
    }
    if !args.wait && !args.switch {
        print(&if args.server.json { sanitize::json(&data) } else { sanitize::line(&id) });
        return Ok(());
    }
    if !args.server.json {
        let id = sanitize::line(&id);
        let command = next_command(&format!("watch {id}"), &args.server);
        print(&text(&message!("cli.watching", id, command)));
    }
    let (outcome, data) = watch(&api, &id, &args.follow, args.server.json, WatchStart::default()).await?;
    if args.switch && outcome.status == Status::DeploymentReady {
        let terms = SwitchOptions { freeze_override: freeze_override.as_deref(), ..SwitchOptions::default() };
        let terms = (id.as_str(), terms);
        let (outcome, data) = switch_and_watch(&api, terms, &args.follow, args.server.json).await?;
        return finish_switched(&outcome, &data, &args.server);
    }
    finish(&outcome, &data, &args.server)
}

/// Says what is deployed, on standard error: scripts read only the id from standard output.
fn announce(checkout: &Checkout, request: &RequestArgs) {
    let repository = sanitize::line(&format!("{}/{}", checkout.owner, checkout.repo));
    let source = request.source().map(|source| sanitize::line(source)).unwrap_or_default();
    warn(&text(&message!("cli.from_checkout", repository, source)));
    if checkout.is_ahead && request.branch == checkout.branch {
        warn(&text(&message!(
            "cli.not_pushed",
            branch = sanitize::line(request.branch.as_deref().unwrap_or_default())
        )));
    }
}
