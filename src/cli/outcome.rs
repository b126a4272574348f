//! `panda outcome`: marks how a deployment did in production.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::api::ServerArgs;
use super::error::CliError;
use super::id_prefix;
use super::lang::text;
use super::progress::print;
use super::sanitize;
use crate::domain::message::message;
use crate::domain::production_outcome::ProductionOutcome;

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda outcome dep_k1l2m3n4o5p6q7r8s9t0 failed --reason 'checkout answered 500'

Decides how the DORA figures (panda report dora) count the deployment. Without a mark, a rollback or a hotfix that follows makes it a failed one.")]
pub struct OutcomeArgs {
    /// Id of the deployment, or its beginning
    id: String,
    /// How it did in production
    #[arg(value_enum)]
    outcome: Outcome,
    /// Reason, kept in the audit log
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// No immediate intervention was needed
    Ok,
    /// It needed immediate intervention
    Failed,
    /// It was unplanned, because of an incident
    Rework,
}

impl From<Outcome> for ProductionOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Failed => Self::Failed,
            Outcome::Rework => Self::Rework,
        }
    }
}

/// Marks the outcome, and confirms it.
pub async fn run(args: OutcomeArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let id = id_prefix::deployment(&api, &args.id).await?;
    let outcome = ProductionOutcome::from(args.outcome).as_str();
    let mut body = json!({"outcome": outcome});
    if let Some(reason) = args.reason {
        body["reason"] = json!(reason);
    }
    let data = api.mark_outcome(&id, &body).await?;
    if args.server.json {
        print(&sanitize::json(&data));
    } else {
        print(&text(&message!("cli.outcome_marked", id = sanitize::line(&id), outcome)));
    }
    Ok(())
}
