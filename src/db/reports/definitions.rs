//! Report queries, each a file: title, description, chart column, and SQL on the views. docs/reporting.md has the same SQL with literals.

use std::str::FromStr;

use super::ReportFilter;
use crate::domain::labels;
use crate::domain::message::{Message, message};

/// A report: its name and its SQL file.
#[derive(Clone, Copy, Debug)]
pub struct ReportDefinition {
    /// Name in the API and on the command line.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! reports {
    ($($name:literal),+ $(,)?) => {
        /// All report queries, in the order in which they are shown.
        pub const REPORTS: &[ReportDefinition] =
            &[$(ReportDefinition { name: $name, text: include_str!(concat!("queries/", $name, ".sql")) }),+];
    };
}

reports![
    "dora",
    "dora-trend",
    "frequency",
    "results-by-day",
    "lead-time",
    "lead-time-phases",
    "throughput",
    "busiest-hours",
    "repositories",
    "slowest-stages",
    "waiting-for-people",
    "queue",
    "failures",
    "build-failures",
    "retries",
    "slower-green",
    "approvals",
    "starters",
];

/// Requested grouping of the DORA figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Rows by account or organisation of the source.
    Owner,
    /// Rows by repository of the source.
    Repository,
    /// Rows by branch of each repository.
    Branch,
    /// Rows by AWS account of the target.
    Account,
    /// Rows by AWS account and region.
    Region,
    /// Rows by the value of the label with this name.
    Label(String),
}

impl FromStr for Grouping {
    type Err = Message;

    fn from_str(text: &str) -> Result<Self, Message> {
        Ok(match text {
            "owner" => Self::Owner,
            "repository" => Self::Repository,
            "branch" => Self::Branch,
            "account" => Self::Account,
            "region" => Self::Region,
            _ => {
                let key = text.strip_prefix("label:").ok_or_else(|| message!("rule.report_group"))?;
                labels::check_key(key)?;
                Self::Label(key.to_owned())
            }
        })
    }
}

/// Grouping of the DORA figures: rows for branches, repositories, owners, places, values of a label, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One row for everything.
    All,
    /// One row for each owner.
    Owner,
    /// One row for each repository.
    Repository,
    /// One row for each branch.
    Branch,
    /// One row for each AWS account.
    Account,
    /// One row for each AWS account and region.
    Region,
    /// One row for each value of a label, and one for deployments without it.
    Label,
}

impl Level {
    /// Selects the requested level, or else the widest one that the filter allows: for a caller limited to some repositories, rows by repository.
    pub fn of(filter: &ReportFilter, limited: bool) -> Self {
        if let Some(group) = &filter.group {
            return match group {
                Grouping::Owner => Self::Owner,
                Grouping::Repository => Self::Repository,
                Grouping::Branch => Self::Branch,
                Grouping::Account => Self::Account,
                Grouping::Region => Self::Region,
                Grouping::Label(_) => Self::Label,
            };
        }
        match (&filter.owner, &filter.repo, &filter.branch) {
            (_, _, Some(_)) => Self::Branch,
            (_, Some(_), _) => Self::Repository,
            _ if limited => Self::Repository,
            (Some(_), ..) => Self::Owner,
            _ => Self::All,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::All | Self::Account | Self::Region | Self::Label => "'all'",
            Self::Owner => "'owner'",
            Self::Repository => "'repository'",
            Self::Branch => "'branch'",
        }
    }

    /// Further columns of the rows, and the same in GROUP BY. `key` is the parameter with the name of the label.
    fn columns(self, key: &str) -> (String, &'static str) {
        match self {
            Self::All | Self::Owner | Self::Repository | Self::Branch => (String::new(), ""),
            Self::Account => (", account_id".to_owned(), ", account_id"),
            Self::Region => (", account_id, region".to_owned(), ", account_id, region"),
            Self::Label => (format!(", labels ->> {key} AS label"), ", label"),
        }
    }
}

/// Condition on a label, only where a filter names one: reports without it do not read the labels.
const LABEL_CONDITION: &str = " AND labels @> jsonb_build_object($8::text, $9::text)";

/// Conditions on each row in addition to the query's own. $1 and $2 are the times, $7 is the time zone. Its condition is always true: Postgres refuses
/// a value for a parameter that the text does not name.
const FILTER_CONDITIONS: &str =
    " AND $7::text IS NOT NULL AND ($3::text IS NULL OR owner = $3) AND ($4::text IS NULL OR repo = $4) AND ($5::text IS NULL OR branch = $5)
      AND in_scope(owner, repo, $6::text[])";

impl ReportDefinition {
    /// Finds the query called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        REPORTS.iter().find(|report| report.name == name)
    }

    /// Returns the title, a few words long.
    pub fn title(&self) -> &'static str {
        self.comment(0)
    }

    /// Returns the description: the knowledge needed to read the answer.
    pub fn about(&self) -> &'static str {
        self.comment(1)
    }

    /// Returns the column to show as a chart, if any.
    pub fn chart(&self) -> Option<&'static str> {
        self.comment(2).strip_prefix("chart: ").filter(|column| *column != "none")
    }

    /// Reports that its rows are of deployments, and can be filtered by their labels.
    pub fn has_labels(&self) -> bool {
        !self.text.contains("panda_report.approvals_v2")
    }

    /// Reports that its rows can be grouped.
    pub fn has_groups(&self) -> bool {
        self.text.contains("{groups}")
    }

    /// Returns the SQL as documented: for everything, in the last 30 days, in UTC.
    pub fn documented(&self) -> String {
        self.sql("(now() - interval '30 days')", "now()", "'UTC'", (Level::All, ""), "")
    }

    /// With a label, $8 and $9 are its name and value. The name of the label to group by is the next parameter.
    pub(super) fn parameterised(&self, level: Level, has_label: bool) -> String {
        let (key, label) = if has_label { ("$10::text", LABEL_CONDITION) } else { ("$8::text", "") };
        let filters = format!("{FILTER_CONDITIONS}{label}");
        self.sql("$1::timestamptz", "$2::timestamptz", "$7::text", (level, key), &filters)
            .trim_end_matches(';')
            .to_owned()
    }

    fn sql(&self, since: &str, until: &str, zone: &str, (level, key): (Level, &str), filters: &str) -> String {
        let sql: Vec<&str> = self.text.lines().skip(3).collect();
        let (columns, by) = level.columns(key);
        sql.join("\n")
            .replace("{since}", since)
            .replace("{until}", until)
            .replace("{zone}", zone)
            .replace("{level}", level.sql())
            .replace("{groups}", &columns)
            .replace("{by}", by)
            .replace("{filters}", filters)
    }

    fn comment(&self, line: usize) -> &'static str {
        self.text.lines().nth(line).and_then(|line| line.strip_prefix("-- ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_has_title_description_and_parameters() {
        for report in REPORTS {
            assert!(report.title().len() > 5 && report.about().ends_with(['.', '?']), "{}", report.name);
            for parameter in ["{since}", "{until}", "{filters}"] {
                assert!(report.text.contains(parameter), "{} lacks {parameter}", report.name);
            }
            let documented = report.documented();
            assert!(report.chart().is_none_or(|column| documented.contains(column)), "{}", report.name);
            assert_eq!(report.chart().is_none(), report.name == "approvals");
            assert!(documented.starts_with("SELECT ") && documented.ends_with(';'), "{documented}");
            assert!(!documented.contains(['{', '$']), "{documented}");
        }
    }

    #[test]
    fn groups_by_known_words_and_labels() {
        assert_eq!("region".parse::<Grouping>().unwrap(), Grouping::Region);
        assert_eq!("label:team".parse::<Grouping>().unwrap(), Grouping::Label("team".to_owned()));
        for wrong in ["", "team", "label:", "label:Team", "label:a' OR true"] {
            assert!(wrong.parse::<Grouping>().is_err(), "{wrong}");
        }
        let with: Vec<&str> = REPORTS.iter().filter(|report| report.has_groups()).map(|report| report.name).collect();
        assert_eq!(with, ["dora", "frequency"]);
        assert!(REPORTS.iter().all(|report| report.has_labels() != (report.name == "approvals")));
    }

    #[test]
    fn limited_callers_get_rows_by_repository() {
        let (now, x) = (chrono::Utc::now(), Some("x".to_owned()));
        let (zone, time_limit) = (chrono_tz::UTC, None);
        let (owner, repo, branch, label, group) = (None, None, None, None, None);
        let all = ReportFilter { since: now, until: now, zone, owner, repo, branch, label, group, time_limit };
        assert_eq!((Level::of(&all, false), Level::of(&all, true)), (Level::All, Level::Repository));
        let owner = ReportFilter { owner: x.clone(), ..all.clone() };
        assert_eq!((Level::of(&owner, false), Level::of(&owner, true)), (Level::Owner, Level::Repository));
        let repo = ReportFilter { repo: x.clone(), ..owner };
        assert_eq!((Level::of(&repo, false), Level::of(&repo, true)), (Level::Repository, Level::Repository));
        let grouped = ReportFilter { group: Some(Grouping::Label("team".to_owned())), ..repo };
        assert_eq!((Level::of(&grouped, false), Level::of(&grouped, true)), (Level::Label, Level::Label));
        let branch = ReportFilter { branch: x, ..all };
        assert_eq!((Level::of(&branch, false), Level::of(&branch, true)), (Level::Branch, Level::Branch));
    }
}
