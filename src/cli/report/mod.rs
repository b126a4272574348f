//! `panda report`: questions about the history, as tables with small charts, CSV or JSON.

mod csv;
mod moment;
mod table;

use std::io::IsTerminal as _;

use chrono::DateTime;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::ServerArgs;
use super::clean;
use super::error::CliError;
use super::progress::{say, say_as_it_is};
use super::table::rows;
use moment::Moment;

/// `panda report`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda report                                     which questions there are
  panda report dora --since 365d
  panda report lead-time --repo acme/shop --branch main
  panda report failures --since 2026-01-01 --until 2026-02-01 --format csv > failures.csv

docs/reporting.md says what the figures mean, and has the SQL of each.")]
pub struct ReportArgs {
    /// The question, such as dora, lead-time, slowest-stages, failures; without it, all are listed
    name: Option<String>,
    /// From this time on: a date, a time, or how long ago, such as 12h, 30d, 8w [default: 30d before --until]
    #[arg(long, value_name = "WHEN")]
    since: Option<Moment>,
    /// Before this time [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<Moment>,
    /// Only this account or organisation
    #[arg(long, conflicts_with = "repo")]
    owner: Option<String>,
    /// Only this repository
    #[arg(long, value_name = "OWNER/REPO", value_parser = repository)]
    repo: Option<(String, String)>,
    /// Only this branch
    #[arg(long)]
    branch: Option<String>,
    /// How the answer looks
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people; in a terminal with bars
    Table,
    /// Comma-separated values. Texts that a spreadsheet would take for a formula begin with '
    Csv,
    /// For machines: the answer of the API
    Json,
}

/// Asks, and shows the answer.
pub async fn run(args: ReportArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let format = if args.server.json { Format::Json } else { args.format };
    let Some(name) = args.name else {
        let list = api.reports().await?;
        if format == Format::Json {
            say(&clean::json(&list));
        } else {
            let reports = list.get("reports").and_then(Value::as_array).cloned().unwrap_or_default();
            say(rows(&reports, &["name", "title"], "no reports").trim_end());
        }
        return Ok(());
    };
    let now = chrono::Utc::now();
    let (owner, repo) = args.repo.map_or((args.owner, None), |(owner, repo)| (Some(owner), Some(repo)));
    let filters = [
        ("since", args.since.map(|moment| moment.at(now))),
        ("until", args.until.map(|moment| moment.at(now))),
        ("owner", owner),
        ("repo", repo),
        ("branch", args.branch),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let (report, data) = api.report(&name, &query).await?;
    match format {
        Format::Json => say(&clean::json(&data)),
        Format::Csv => say(csv::text(&report).trim_end()),
        Format::Table => {
            let terminal = std::io::stdout().is_terminal().then(|| table::Terminal {
                width: terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)),
                colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
            });
            let (since, until) = (minute(&report.since), minute(&report.until));
            say(&clean::line(&format!("{}, {since} to {until}", report.title)));
            say(&clean::line(&report.about));
            say_as_it_is(&format!("\n{}", table::text(&report, terminal).trim_end()));
            if report.truncated {
                say("\nThere is more: ask about a shorter time, or one repository.");
            }
        }
    }
    Ok(())
}

/// A time as people read it; what is none stays as it is.
fn minute(time: &str) -> String {
    let read = DateTime::parse_from_rfc3339(time);
    read.map_or_else(|_| time.to_owned(), |time| time.to_utc().format("%Y-%m-%d %H:%M UTC").to_string())
}

fn repository(text: &str) -> Result<(String, String), String> {
    let parts =
        text.split_once('/').filter(|(owner, repo)| !owner.is_empty() && !repo.is_empty() && !repo.contains('/'));
    parts
        .map(|(owner, repo)| (owner.to_owned(), repo.to_owned()))
        .ok_or_else(|| "give owner and repository, such as acme/shop; --owner takes an owner alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_has_times_to_the_minute() {
        assert_eq!(minute("2026-10-25T04:54:30.944127236Z"), "2026-10-25 04:54 UTC");
        assert_eq!(minute("soon"), "soon");
    }

    #[test]
    fn a_repository_is_named_with_its_owner() {
        assert_eq!(repository("acme/shop").unwrap(), ("acme".to_owned(), "shop".to_owned()));
        for wrong in ["shop", "acme/", "/shop", "a/b/c", ""] {
            assert!(repository(wrong).unwrap_err().contains("acme/shop"), "{wrong}");
        }
    }
}
