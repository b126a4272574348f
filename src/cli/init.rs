//! `panda init`: from an empty server to the first deployment: connects a repository and an AWS account, checks the connections, and deploys.

use std::path::PathBuf;

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::api::{Api, ServerArgs};
use super::check::{self, CheckResult};
use super::checkout::{self, Checkout};
use super::connect::member;
use super::deploy::{self, DeployArgs};
use super::error::CliError;
use super::lang::text;
use super::next_command::next_command;
use super::progress::{print, warn};
use super::types::{ConnectedAccount, ConnectedRepository, ListedConnections};
use super::watch::FollowArgs;
use super::{id_prefix, prompt, rule_role, sanitize, secret};
use crate::domain::message::{Message, message};

/// Refusals that a change of the role's trust policy resolves.
const ROLE_REFUSALS: [&str; 2] = ["AWS_ROLE_NOT_TRUSTING", "AWS_ROLE_WITHOUT_EXTERNAL_ID"];

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda init                                        ask for what is missing; in a checkout, repository and branch are known
  panda init --region ap-northeast-2 --role-arn arn:aws:iam::210987654321:role/panda --token-file token.txt --yes
  panda init --no-deploy                            connect only

Uses connections that exist. Without a terminal nothing is asked: a missing value is an error that names its option. Tokens and keys are read from
files, variables (PANDA_GITHUB_TOKEN, AWS_SECRET_ACCESS_KEY) or the terminal, never from the command line.")]
pub struct InitArgs {
    /// Account or organisation of the repository; default: that of the checkout
    #[arg(long)]
    owner: Option<String>,
    /// Name of the repository; default: that of the checkout
    #[arg(long)]
    repo: Option<String>,
    /// Branch to connect and to deploy; default: that of the checkout, or main
    #[arg(long)]
    branch: Option<String>,
    /// File with the access token of the repository, - for standard input; PANDA_GITHUB_TOKEN when absent
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Id of an AWS connection to use
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    /// AWS region
    #[arg(long, env = "AWS_REGION")]
    region: Option<String>,
    /// ARN of a role to assume
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Access key id of a user in the account, instead of a role
    #[arg(long, env = "AWS_ACCESS_KEY_ID", value_name = "ID", conflicts_with = "role_arn")]
    access_key_id: Option<String>,
    /// File with the secret access key, - for standard input; AWS_SECRET_ACCESS_KEY when absent
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// Create the role of the event rules and deploy without asking
    #[arg(long)]
    yes: bool,
    /// Do not deploy
    #[arg(long, conflicts_with = "yes")]
    no_deploy: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub async fn run(args: InitArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let checkout = checkout::here();
    let (github, branch) = repository(&api, &args, &connections, checkout.as_ref()).await?;
    let aws = account(&api, &args, &connections).await?;
    let found = checked(&api, &args, &github, &aws).await?;
    let ids = json!({"githubConnectionId": github, "awsConnectionId": aws});
    if args.server.json {
        print(&sanitize::json(&ids));
    }
    if found.state != "ready" {
        let is_missing = found.state == "missing";
        report(&if is_missing { message!("cli.init_not_ready") } else { message!("cli.init_unknown") });
        warn(&found.obstacles());
        // An unknown item is no reason to refuse: the deployment reports what is missing.
        if is_missing && args.yes {
            return Err(CliError::NotReady);
        }
    }
    let wanted =
        args.yes || (!args.no_deploy && prompt::is_possible() && prompt::confirm(&message!("cli.init_deploy"), true)?);
    if wanted {
        return deploy::run(DeployArgs::of_connections(github, aws, branch, args.follow, args.server)).await;
    }
    if !args.server.json {
        let deploy = format!("deploy --github {} --aws {} --wait", sanitize::line(&github), sanitize::line(&aws));
        print(&text(&message!("cli.init_next", command = next_command(&deploy, &args.server))));
    }
    Ok(())
}

fn report(message: &Message) {
    warn(&text(message));
}

/// The connection of the repository, and the branch to deploy.
async fn repository(
    api: &Api,
    args: &InitArgs,
    connections: &ListedConnections,
    checkout: Option<&Checkout>,
) -> Result<(String, String), CliError> {
    let (owner, repo) = name(args, checkout)?;
    let is_here =
        checkout.filter(|found| found.owner.eq_ignore_ascii_case(&owner) && found.repo.eq_ignore_ascii_case(&repo));
    let default = is_here.and_then(|found| found.branch.as_deref()).unwrap_or("main");
    let branch = match &args.branch {
        Some(branch) => branch.clone(),
        None if prompt::is_possible() && !args.yes => {
            prompt::ask("--branch", &message!("cli.init_branch"), Some(default))?
        }
        None => default.to_owned(),
    };
    let same = |found: &&ConnectedRepository| {
        found.owner.eq_ignore_ascii_case(&owner) && found.repo.eq_ignore_ascii_case(&repo)
    };
    let known = connections.github.iter().filter(same).min_by_key(|found| found.branch != branch);
    let repository = sanitize::line(&format!("{owner}/{repo}"));
    if let Some(known) = known {
        report(&message!("cli.init_known", what = repository, id = sanitize::line(&known.connection_id)));
        return Ok((known.connection_id.clone(), branch));
    }
    let token = match secret::read("--token-file", args.token_file.as_deref(), &["PANDA_GITHUB_TOKEN"])? {
        Some(token) => token,
        None => prompt::ask_secret("--token-file", &message!("cli.init_token", repository = &repository))?,
    };
    let body = json!({"owner": owner, "repo": repo, "branch": branch, "token": token.expose_secret()});
    let id = member(api, &api.connect("github", &body).await?, "githubConnectionId")?;
    report(&message!("cli.init_connected", what = repository, id = sanitize::line(&id)));
    Ok((id, branch))
}

fn name(args: &InitArgs, checkout: Option<&Checkout>) -> Result<(String, String), CliError> {
    let known = match (&args.owner, &args.repo) {
        (Some(owner), Some(repo)) => return Ok((owner.clone(), repo.clone())),
        (None, None) => checkout.map(|found| format!("{}/{}", found.owner, found.repo)),
        _ => None,
    };
    if let (Some(known), false) = (&known, prompt::is_possible() && !args.yes) {
        return split(known).ok_or_else(|| CliError::input("--repo", message!("cli.init_no_repository")));
    }
    let answer = prompt::ask("--owner, --repo", &message!("cli.init_repository"), known.as_deref())?;
    split(&answer).ok_or_else(|| CliError::input("--repo", message!("cli.init_no_repository")))
}

fn split(name: &str) -> Option<(String, String)> {
    let (owner, repo) = name.trim().split_once('/')?;
    (!owner.is_empty() && !repo.is_empty() && !repo.contains('/')).then(|| (owner.to_owned(), repo.to_owned()))
}

/// The connection of the AWS account.
async fn account(api: &Api, args: &InitArgs, connections: &ListedConnections) -> Result<String, CliError> {
    if let Some(given) = &args.aws {
        return id_prefix::connection(api, given).await;
    }
    let wanted = |found: &&ConnectedAccount| args.region.as_ref().is_none_or(|region| *region == found.region);
    let known: Vec<&ConnectedAccount> = connections.aws.iter().filter(wanted).collect();
    if args.role_arn.is_none() && args.access_key_id.is_none() {
        match known.as_slice() {
            [] => {}
            [only] => {
                let (what, id) =
                    (text(&message!("cli.init_account", region = &only.region)), sanitize::line(&only.connection_id));
                report(&message!("cli.init_known", what, id));
                return Ok(only.connection_id.clone());
            }
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|found| sanitize::line(&format!("{} ({})", found.connection_id, found.region)))
                    .collect();
                return Err(CliError::input("--aws", message!("cli.several_match", names = names.join(", "))));
            }
        }
    }
    let body = credentials(args)?;
    let data = loop {
        match api.connect("aws", &body).await {
            Err(CliError::Refused(problem))
                if problem.error_code.as_deref().is_some_and(|code| ROLE_REFUSALS.contains(&code))
                    && prompt::is_possible() =>
            {
                warn(&problem.to_string());
                if !prompt::confirm(&message!("cli.init_again"), true)? {
                    return Err(CliError::Interrupted);
                }
            }
            answer => break answer?,
        }
    };
    let id = member(api, &data, "awsConnectionId")?;
    let what = text(&message!("cli.init_account", region = body["region"].as_str().unwrap_or_default()));
    report(&message!("cli.init_connected", what, id = sanitize::line(&id)));
    Ok(id)
}

fn credentials(args: &InitArgs) -> Result<Value, CliError> {
    let region = match &args.region {
        Some(region) => region.clone(),
        None => prompt::ask("--region", &message!("cli.init_region"), None)?,
    };
    let role = match (&args.role_arn, &args.access_key_id) {
        (Some(role), _) => Some(role.clone()),
        (None, Some(_)) => None,
        (None, None) => {
            Some(prompt::ask("--role-arn", &message!("cli.init_role"), Some("-"))?).filter(|role| role != "-")
        }
    };
    if let Some(role) = role {
        return Ok(json!({"region": region, "roleArn": role}));
    }
    let id = match &args.access_key_id {
        Some(id) => id.clone(),
        None => prompt::ask("--access-key-id", &message!("cli.init_key_id"), None)?,
    };
    let key = match secret::read("--secret-key-file", args.secret_key_file.as_deref(), &["AWS_SECRET_ACCESS_KEY"])? {
        Some(key) => key,
        None => prompt::ask_secret("--secret-key-file", &message!("cli.init_key"))?,
    };
    let mut body = json!({"region": region, "accessKeyId": id, "secretAccessKey": key.expose_secret()});
    if let Some(session) = secret::read("--session-token-file", None, &["AWS_SESSION_TOKEN"])? {
        body["sessionToken"] = session.expose_secret().into();
    }
    Ok(body)
}

/// Checks what a deployment needs. Where pushes need a role to reach the event bus, and neither the connection nor the server has one, it is created
/// first.
async fn checked(api: &Api, args: &InitArgs, github: &str, aws: &str) -> Result<CheckResult, CliError> {
    let (found, _) = check::of(api, aws, github).await?;
    if !found.has_no_rule_role() || !(args.yes || prompt::is_possible()) {
        return Ok(found);
    }
    match rule_role::create(&args.server, aws, args.yes).await {
        Ok(_) => Ok(check::of(api, aws, github).await?.0),
        // The credentials may not create roles, or the user declines: the check has the remedies.
        Err(error @ (CliError::Refused(_) | CliError::Input { .. })) => {
            report(&message!("cli.init_unchecked", reason = error.to_string()));
            Ok(found)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_names_of_repositories() {
        assert_eq!(split(" acme/shop "), Some(("acme".to_owned(), "shop".to_owned())));
        for wrong in ["shop", "acme/", "/shop", "a/b/c", ""] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
