//! `panda log`: shows and changes the log filter of all replicas.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::api::ServerArgs;
use super::error::CliError;
use super::lang::text;
use super::progress::print;
use super::{sanitize, table};
use crate::domain::log_filter::LogFilter;
use crate::domain::message::message;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda log                                              show the filter, its end, and the caller who set it
  panda log set info,panda::reconcile=debug --for 30m    log more of the reconciler on all replicas
  panda log set 'info,[deployment{deployment=dep_4k1zq0v7w3m9x2c8b5n6}]=debug'
                                                         log more of one deployment, from its next attempt or replica
  panda log reset                                        restore the default

Needs the role admin. docs/operations.md describes the levels.")]
pub struct LogArgs {
    #[command(subcommand)]
    command: Option<LogCommand>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Set the log filter of all replicas for a limited time
    Set(SetArgs),
    /// Restore the default log filter
    Reset(ResetArgs),
}

#[derive(Args, Debug)]
struct SetArgs {
    /// Filter as in RUST_LOG: a level for all targets, then target=level for some, comma-separated
    filter: LogFilter,
    /// Duration in seconds, minutes or hours, such as 90s, 15m or 2h; at most 24h
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
        print(&sanitize::json(&data));
    } else {
        print(
            table::rows(&[data], &["filter", "default", "until", "setBy", "setAt"], &text(&message!("cli.nothing")))
                .trim_end(),
        );
    }
}

/// Parses a duration such as `15m` into seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "give seconds, minutes or hours from 1s to 24h, such as 90s, 15m or 2h".to_owned();
    let (number, unit) = [("s", 1), ("m", 60), ("h", 3_600)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    // Digits only: `parse` would also accept a sign.
    let number = Some(number).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = number.and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).filter(|seconds| (1..=86_400).contains(seconds)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_durations_up_to_a_day() {
        for (text, expected) in [("1s", 1), ("90s", 90), ("15m", 900), ("2h", 7_200), ("24h", 86_400)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in ["", "15", "m", "-1m", "+1m", "0s", "25h", "1.5h", "1d", "99999999999999999999s", "1 m"] {
            assert!(seconds(bad).unwrap_err().contains("such as 90s, 15m or 2h"), "{bad}");
        }
    }
}
