//! `panda log`: what the replicas log.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::say;
use super::{clean, table};
use crate::domain::log_filter::LogFilter;

/// `panda log`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda log                                              what is logged, until when, and who set it
  panda log set info,panda::reconcile=debug --for 30m    more of the reconciler, on all replicas
  panda log set 'info,[deployment{deployment=dep_4k1zq0v7w3m9x2c8b5n6}]=debug'
                                                         more of one deployment, from its next attempt or replica
  panda log reset                                        the usual again

Needs the role admin. docs/operations.md says what the levels are for.")]
pub struct LogArgs {
    #[command(subcommand)]
    command: Option<LogCommand>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Log something else for a while, on all replicas
    Set(SetArgs),
    /// Log the usual again
    Reset(ResetArgs),
}

#[derive(Args, Debug)]
struct SetArgs {
    /// As in RUST_LOG: a level for all, then target=level for some, with commas between
    filter: LogFilter,
    /// For how long: seconds, minutes or hours, such as 90s, 15m or 2h; at most 24h
    #[arg(long = "for", value_name = "TIME", default_value = "15m", value_parser = seconds)]
    time: u64,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Args, Debug)]
struct ResetArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: LogArgs) -> Result<(), CliError> {
    let (server, data) = match args.command {
        None => (&args.server, args.server.api()?.log().await?),
        Some(LogCommand::Set(SetArgs { filter, time, server })) => {
            let body = json!({"filter": filter.as_str(), "forSeconds": time});
            let data = server.api()?.set_log(&body).await?;
            (&server.clone(), data)
        }
        Some(LogCommand::Reset(ResetArgs { server })) => {
            let data = server.api()?.reset_log().await?;
            (&server.clone(), data)
        }
    };
    show(server, data);
    Ok(())
}

fn show(server: &ServerArgs, data: Value) {
    if server.json {
        say(&clean::json(&data));
    } else {
        say(table::rows(&[data], &["filter", "default", "until", "setBy", "setAt"], "nothing").trim_end());
    }
}

/// How many seconds `text` is.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "give seconds, minutes or hours from 1s to 24h, such as 90s, 15m or 2h".to_owned();
    let (number, unit) = [("s", 1), ("m", 60), ("h", 3_600)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    // Digits alone: `parse` takes a sign as well.
    let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).filter(|seconds| (1..=86_400).contains(seconds)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_a_day_at_most() {
        for (text, expected) in [("1s", 1), ("90s", 90), ("15m", 900), ("2h", 7_200), ("24h", 86_400)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "15", "m", "-1m", "+1m", "0s", "25h", "1.5h", "1d", "99999999999999999999s", "1 m"] {
            assert!(seconds(bad).unwrap_err().contains("such as 90s, 15m or 2h"), "{bad}");
        }
    }
}
