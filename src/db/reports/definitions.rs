//! Report queries, each a file: title, description, chart column, and SQL on the views. docs/reporting.md has the same SQL with literals.

use super::ReportFilter;

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

/// Grouping of the DORA figures: rows for branches, repositories, owners, or one for all.
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
}

impl Level {
    /// Selects the widest level that the filter allows. A caller limited to some repositories gets rows by repository: wider rows would include the
    /// figures of others.
    pub fn of(filter: &ReportFilter, limited: bool) -> Self {
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
            Self::All => "'all'",
            Self::Owner => "'owner'",
            Self::Repository => "'repository'",
            Self::Branch => "'branch'",
        }
    }
}

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

    /// Returns the SQL as documented: for everything, in the last 30 days, in UTC.
    pub fn documented(&self) -> String {
        self.sql("(now() - interval '30 days')", "now()", "'UTC'", Level::All, "")
    }

    pub(super) fn parameterised(&self, level: Level) -> String {
        self.sql("$1::timestamptz", "$2::timestamptz", "$7::text", level, FILTER_CONDITIONS)
            .trim_end_matches(';')
            .to_owned()
    }

    fn sql(&self, since: &str, until: &str, zone: &str, level: Level, filters: &str) -> String {
        let sql: Vec<&str> = self.text.lines().skip(3).collect();
        sql.join("\n")
            .replace("{since}", since)
            .replace("{until}", until)
            .replace("{zone}", zone)
            .replace("{level}", level.sql())
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
    fn limited_callers_get_rows_by_repository() {
        let (now, x) = (chrono::Utc::now(), Some("x".to_owned()));
        let (zone, time_limit) = (chrono_tz::UTC, None);
        let all = ReportFilter { since: now, until: now, zone, owner: None, repo: None, branch: None, time_limit };
        assert_eq!((Level::of(&all, false), Level::of(&all, true)), (Level::All, Level::Repository));
        let owner = ReportFilter { owner: x.clone(), ..all.clone() };
        assert_eq!((Level::of(&owner, false), Level::of(&owner, true)), (Level::Owner, Level::Repository));
        let repo = ReportFilter { repo: x.clone(), ..owner };
        assert_eq!((Level::of(&repo, false), Level::of(&repo, true)), (Level::Repository, Level::Repository));
        let branch = ReportFilter { branch: x, ..all };
        assert_eq!((Level::of(&branch, false), Level::of(&branch, true)), (Level::Branch, Level::Branch));
    }
}
