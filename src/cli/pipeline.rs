//! `panda pipeline check`: checks an execution of the pipeline against its contract.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::ServerArgs;
use super::error::{CliError, exit};
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::domain::message::message;

/// Columns of the table.
const COLUMNS: [&str; 3] = ["clause", "state", "reason"];

#[derive(Args, Debug)]
pub struct PipelineArgs {
    #[command(subcommand)]
    command: PipelineCommand,
}

#[derive(Debug, Subcommand)]
enum PipelineCommand {
    /// Report which clauses of the contract an execution keeps
    Check(CheckArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  panda pipeline check arn:aws:states:ap-northeast-2:123456789012:execution:panda:1a2b3c4d

Reads the execution, its history and the secret of its repository; changes nothing. docs/pipeline-contract.md has the contract. Exits with code 1 when a
clause is broken. Needs the role admin.")]
struct CheckArgs {
    /// ARN of the execution, in the controller's account and region
    execution_arn: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Shows the clauses; returns the exit code.
pub async fn run(args: PipelineArgs) -> Result<u8, CliError> {
    let PipelineCommand::Check(CheckArgs { execution_arn, server }) = args.command;
    let data = server.api()?.check_pipeline(&execution_arn).await?;
    let broken = data.get("broken").and_then(Value::as_u64).unwrap_or_default();
    if server.json {
        print(&sanitize::json(&data));
    } else {
        let clauses = data.get("clauses").and_then(Value::as_array).cloned().unwrap_or_default();
        let total = clauses.len();
        print(table::rows(&clauses, &COLUMNS, &text(&message!("cli.nothing"))).trim_end());
        print(&format!("\n{}", text(&message!("cli.pipeline_checked", total, broken))));
    }
    Ok(if broken > 0 { exit::FAILED } else { 0 })
}
