//! `panda report`: runs report queries, and prints them as tables with bars, CSV or JSON.

mod korean;
mod relative_time;
mod table;

use std::io::IsTerminal as _;

use chrono::DateTime;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::api::ServerArgs;
use super::error::CliError;
use super::progress::{print, print_unsanitized};
use super::sanitize;
use super::table::rows;
use crate::cli::lang::text;
use crate::cli::request_args::label;
use crate::domain::csv;
use crate::domain::message::message;
use relative_time::PointInTime;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda report                                     list the reports
  panda report dora --since 365d
  panda report dora --group-by label:team --label environment=production
  panda report lead-time --repo acme/shop --branch main
  panda report failures --since 2026-01-01 --until 2026-02-01 --format csv > failures.csv

docs/reporting.md explains the figures, and has the SQL of each report.")]
pub struct ReportArgs {
    /// Name of the report, such as dora, lead-time, slowest-stages, failures; lists all reports when absent
    name: Option<String>,
    /// Start: a date, a time, or a time before now, such as 12h, 30d, 8w [default: 30d before --until]
    #[arg(long, value_name = "WHEN")]
    since: Option<PointInTime>,
    /// End (exclusive), in the same forms [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<PointInTime>,
    /// Time zone (IANA) of dates, days and weeks, such as Asia/Seoul [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Only deployments of this account or organisation
    #[arg(long, conflicts_with = "repo")]
    owner: Option<String>,
    /// Only deployments of this repository
    #[arg(long, value_name = "OWNER/REPO", value_parser = repository)]
    repo: Option<(String, String)>,
    /// Only deployments of this branch
    #[arg(long)]
    branch: Option<String>,
    /// Only deployments with this label, such as team=payments
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Rows of dora and frequency: owner, repository, branch, account, region, or the name of a label such as label:team
    #[arg(long, value_name = "GROUP")]
    group_by: Option<String>,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = Format::Table, conflicts_with = "json")]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Table; in a terminal with bars
    Table,
    /// Comma-separated values; texts that a spreadsheet would read as a formula get a leading '
    Csv,
    /// Response of the API
    Json,
}

/// Lists the reports, or runs one.
pub async fn run(args: ReportArgs) -> Result<(), CliError> {
    let api = args.server.api()?;
    let format = if args.server.json { Format::Json } else { args.format };
    let Some(name) = args.name else {
        let list = api.reports().await?;
        if format == Format::Json {
            print(&sanitize::json(&list));
        } else {
            let mut reports = list.get("reports").and_then(Value::as_array).cloned().unwrap_or_default();
            for report in &mut reports {
                let of = |member: &str| report.get(member).and_then(Value::as_str).unwrap_or_default();
                let title = korean::texts(of("name"), (of("title"), "")).0.to_owned();
                report["title"] = Value::String(title);
            }
            print(rows(&reports, &["name", "title"], &text(&message!("cli.no_reports"))).trim_end());
        }
        return Ok(());
    };
    let now = chrono::Utc::now();
    let (owner, repo) = args.repo.map_or((args.owner, None), |(owner, repo)| (Some(owner), Some(repo)));
    let filters = [
        ("since", args.since.map(|time| time.at(now))),
        ("until", args.until.map(|time| time.at(now))),
        ("timeZone", args.time_zone),
        ("owner", owner),
        ("repo", repo),
        ("branch", args.branch),
        ("label", args.label.map(|(name, value)| format!("{name}:{value}"))),
        ("groupBy", args.group_by),
    ];
    let query: Vec<(&str, String)> = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let (report, data) = api.report(&name, &query).await?;
    match format {
        Format::Json => print(&sanitize::json(&data)),
        Format::Csv => {
            print(csv::text(report.columns.iter().map(|column| column.name.as_str()), &report.rows).trim_end());
        }
        Format::Table => {
            let terminal = std::io::stdout().is_terminal().then(|| table::Terminal {
                width: terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)),
                colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
            });
            let (since, until) = (minute(&report.since), minute(&report.until));
            let (title, about) = korean::texts(&name, (&report.title, &report.about));
            print(&sanitize::line(&text(&message!("cli.period", title, since, until))));
            print(&sanitize::line(about));
            print_unsanitized(&format!(
                "\n{}",
                table::text(&report, terminal, &text(&message!("cli.nothing"))).trim_end()
            ));
            if report.truncated {
                print(&format!("\n{}", text(&message!("cli.truncated"))));
            }
        }
    }
    Ok(())
}

/// Formats an RFC 3339 time to the minute. Returns other texts unchanged.
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
    fn formats_times_to_the_minute() {
        assert_eq!(minute("2026-10-25T04:54:30.944127236Z"), "2026-10-25 04:54 UTC");
        assert_eq!(minute("soon"), "soon");
    }

    #[test]
    fn requires_owner_and_repository() {
        assert_eq!(repository("acme/shop").unwrap(), ("acme".to_owned(), "shop".to_owned()));
        for wrong in ["shop", "acme/", "/shop", "a/b/c", ""] {
            assert!(repository(wrong).unwrap_err().contains("acme/shop"), "{wrong}");
        }
    }
}
