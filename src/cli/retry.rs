//! `panda retry`: another attempt of a failed deployment.

use clap::Args;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::types::Outcome;
use super::watch::{FollowArgs, Resume, conclude, report, watch};
use super::{clean, table};

/// `panda retry`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda retry dep_k1l2m3n4o5p6q7r8s9t0 --wait

Goes on where the last attempt failed: an image that was pushed is used again, a build begins anew from the branch's newest commit. Without
--wait the command ends when the new attempt is under way. With --wait it ends when the deployment is ready for the switch or completed (0)
or failed again (1).")]
pub struct RetryArgs {
    /// The deployment's id
    id: String,
    /// Follow the new attempt
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks for another attempt.
pub async fn run(args: RetryArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let before: Outcome = api.read(&api.result(&args.id).await?)?;
    let data = api.retry(&args.id).await?;
    if !args.wait {
        let text = if args.server.json { clean::json(&data) } else { table::members(&data, &["deploymentId"]) };
        say(text.trim_end());
        return Ok(());
    }
    let resume = Resume { skip: before.event_count, ..Resume::default() };
    let (outcome, data) = watch(&api, &args.id, &args.follow, args.server.json, resume).await?;
    report(&outcome, &data, args.server.json);
    conclude(&outcome)
}
