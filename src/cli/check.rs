//! `panda check`: what a deployment needs, and what is there. Changes nothing.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::api::{Api, ServerArgs};
use super::connection_choice::{ConnectionFilter, choose};
use super::error::{CliError, exit};
use super::lang::{lang, text};
use super::progress::print;
use super::{checkout, sanitize, table};
use crate::domain::lang::Lang;
use crate::domain::message::{Message, message};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  panda check                                  the only connections, or those of the checkout in the present folder
  panda check --github gh_4k1z --aws aws_7m3x
  panda check --json | jq '.items[] | select(.state != \"present\")'

Lists each permission and resource that a deployment needs: present, would be created, missing, or unknown. Changes nothing, and ends within five
seconds. Exits with code 6 when something required is missing, and with 7 when nothing is known to be missing but something required is unknown:
panda iam-policy controller --preflight and panda iam-policy user --preflight print the permissions with which everything is known.")]
pub struct CheckArgs {
    /// Account or organisation of the repository
    #[arg(long)]
    owner: Option<String>,
    /// Name of the repository
    #[arg(long)]
    repo: Option<String>,
    /// Id of the connection to the repository
    #[arg(long, value_name = "GH_ID")]
    github: Option<String>,
    /// Id of the connection to the AWS account
    #[arg(long, value_name = "AWS_ID")]
    aws: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// The members of the response that the command acts on.
#[derive(Debug, Deserialize)]
pub struct CheckResult {
    /// `ready`, `missing` or `unknown`.
    pub state: String,
    counts: ItemCounts,
    items: Vec<CheckedItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemCounts {
    present: u64,
    would_be_created: u64,
    missing: u64,
    unknown: u64,
}

#[derive(Debug, Deserialize)]
struct CheckedItem {
    id: String,
    name: String,
    state: String,
    required: bool,
    text: Translations,
    reason: Option<Translations>,
    remedy: Option<Translations>,
}

#[derive(Debug, Deserialize)]
struct Translations {
    ko: String,
    en: String,
}

impl Translations {
    fn shown(&self) -> String {
        sanitize::line(match lang() {
            Lang::Ko => &self.ko,
            Lang::En => &self.en,
        })
    }
}

/// Shows all items; returns the exit code.
pub async fn run(args: CheckArgs) -> Result<u8, CliError> {
    let api = args.server.api()?;
    let (connections, _) = api.connections().await?;
    let mut filter =
        ConnectionFilter { owner: args.owner, repo: args.repo, branch: None, github: args.github, aws: args.aws };
    if let Some(checkout) = filter.complete(checkout::here(), &connections)? {
        filter.branch = checkout.branch;
    }
    let (github, aws) = choose(&filter, &connections)?;
    let (found, data) = of(&api, &aws.connection_id, &github.connection_id).await?;
    if args.server.json {
        print(&sanitize::json(&data));
    } else {
        print(&found.listed(|_| true));
        print(&format!("\n{}", found.summary()));
    }
    Ok(match found.state.as_str() {
        "ready" => 0,
        "missing" => exit::MISSING,
        _ => exit::UNKNOWN,
    })
}

/// Asks the server to check.
pub async fn of(api: &Api, aws: &str, github: &str) -> Result<(CheckResult, Value), CliError> {
    let data = api.check_connection(aws, github).await?;
    Ok((api.read(&data)?, data))
}

impl CheckResult {
    /// Reports whether the target of the rules needs a role, and neither the connection nor the server names one.
    pub fn has_no_rule_role(&self) -> bool {
        self.items.iter().any(|item| item.id == "ruleRole" && item.state == "missing" && item.name.is_empty())
    }

    /// The required items that are missing or unknown, with reasons and remedies.
    pub fn obstacles(&self) -> String {
        self.listed(|item| item.required && matches!(item.state.as_str(), "missing" | "unknown"))
    }

    /// A line with the counts.
    pub fn summary(&self) -> String {
        let ItemCounts { present, would_be_created: created, missing, unknown } = self.counts;
        text(&message!("cli.check_counts", present, created, missing, unknown))
    }

    fn listed(&self, shown: impl Fn(&CheckedItem) -> bool) -> String {
        let items: Vec<&CheckedItem> = self.items.iter().filter(|item| shown(item)).collect();
        let rows = items.iter().map(|item| vec![state(&item.state), sanitize::line(&item.name), item.purpose()]);
        let mut lines = Vec::new();
        for (item, line) in items.iter().zip(table::align(rows, &[])) {
            lines.push(line.trim_end().to_owned());
            lines.extend(item.reason.iter().chain(&item.remedy).map(|text| format!("    {}", text.shown())));
        }
        lines.join("\n")
    }
}

impl CheckedItem {
    fn purpose(&self) -> String {
        let purpose = self.text.shown();
        if self.required { purpose } else { text(&message!("cli.check_optional", purpose)) }
    }
}

/// The name of a state; an unknown one of a newer server is shown as it is.
fn state(name: &str) -> String {
    let known: Message = match name {
        "present" => message!("cli.check_present"),
        "wouldBeCreated" => message!("cli.check_created"),
        "missing" => message!("cli.check_missing"),
        "unknown" => message!("cli.check_unknown"),
        other => return sanitize::line(other),
    };
    text(&known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_reason_and_remedy_below_the_item() {
        let text = |text: &str| json!({"ko": text, "en": text});
        let item = |id: &str, state: &str, required: bool| {
            json!({"id": id, "name": id, "state": state, "required": required, "text": text("Purpose"),
                   "reason": text("why"), "remedy": text("do this"), "kind": "resource"})
        };
        let data = json!({
            "state": "missing", "counts": {"present": 1, "wouldBeCreated": 0, "missing": 2, "unknown": 0},
            "items": [item("bus", "missing", true), item("tag", "missing", false), item("rule\u{1b}[2J", "later", true)],
        });
        let found: CheckResult = serde_json::from_value(data).unwrap();
        assert_eq!(found.obstacles(), "missing  bus  Purpose\n    why\n    do this");
        let all = found.listed(|_| true);
        assert!(all.contains("tag") && all.contains("(optional)") && all.contains("later") && !all.contains('\u{1b}'));
        assert!(!found.has_no_rule_role());
    }
}
