//! The questions, each a file: its title, a line about it, the column that a chart shows, and SQL on the views. The same text is in docs/reporting.md, with literals.

use super::ReportFilter;

/// A question that can be asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its name in the API and on the command line.
    pub name: &'static str,
    text: &'static str,
}

macro_rules! questions {
    ($($name:literal),+ $(,)?) => {
        /// All questions, in the order in which they are shown.
        pub const QUESTIONS: &[Question] =
            &[$(Question { name: $name, text: include_str!(concat!("questions/", $name, ".sql")) }),+];
    };
}

questions![
    "dora",
    "frequency",
    "lead-time",
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

/// Which rows of the DORA views a question is about: each says its figures for branches, repositories, owners and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Everything in one row.
    All,
    /// A row an owner.
    Owner,
    /// A row a repository.
    Repository,
    /// A row a branch.
    Branch,
}

impl Level {
    /// The widest that is asked for. Who sees some repositories only gets rows of those: wider ones are made of others' too.
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

/// What a question asks of each row, beside its own conditions. $1 and $2 are the times.
const FILTERS: &str =
    " AND ($3::text IS NULL OR owner = $3) AND ($4::text IS NULL OR repo = $4) AND ($5::text IS NULL OR branch = $5)
      AND in_scope(owner, repo, $6::text[])";

impl Question {
    /// The question called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        QUESTIONS.iter().find(|question| question.name == name)
    }

    /// What it answers, in a few words.
    pub fn title(&self) -> &'static str {
        self.comment(0)
    }

    /// What has to be known to read the answer.
    pub fn about(&self) -> &'static str {
        self.comment(1)
    }

    /// The column that is worth a chart, if one is.
    pub fn chart(&self) -> Option<&'static str> {
        self.comment(2).strip_prefix("chart: ").filter(|column| *column != "none")
    }

    /// As it is in the documentation: of everything, in the last 30 days.
    pub fn documented(&self) -> String {
        self.sql("(now() - interval '30 days')", "now()", Level::All, "")
    }

    pub(super) fn asked(&self, level: Level) -> String {
        self.sql("$1::timestamptz", "$2::timestamptz", level, FILTERS).trim_end_matches(';').to_owned()
    }

    fn sql(&self, since: &str, until: &str, level: Level, filters: &str) -> String {
        let sql: Vec<&str> = self.text.lines().skip(3).collect();
        sql.join("\n")
            .replace("{since}", since)
            .replace("{until}", until)
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
    fn every_question_has_a_title_a_line_about_it_and_all_its_parameters() {
        for question in QUESTIONS {
            assert!(question.title().len() > 5 && question.about().ends_with(['.', '?']), "{}", question.name);
            for parameter in ["{since}", "{until}", "{filters}"] {
                assert!(question.text.contains(parameter), "{} lacks {parameter}", question.name);
            }
            let documented = question.documented();
            assert!(question.chart().is_none_or(|column| documented.contains(column)), "{}", question.name);
            assert_eq!(question.chart().is_none(), question.name == "approvals");
            assert!(documented.starts_with("SELECT ") && documented.ends_with(';'), "{documented}");
            assert!(!documented.contains(['{', '$']), "{documented}");
        }
    }

    #[test]
    fn rows_about_more_than_the_caller_sees_are_not_asked_for() {
        let (now, x) = (chrono::Utc::now(), Some("x".to_owned()));
        let all = ReportFilter { since: now, until: now, owner: None, repo: None, branch: None };
        assert_eq!((Level::of(&all, false), Level::of(&all, true)), (Level::All, Level::Repository));
        let owner = ReportFilter { owner: x.clone(), ..all.clone() };
        assert_eq!((Level::of(&owner, false), Level::of(&owner, true)), (Level::Owner, Level::Repository));
        let repo = ReportFilter { repo: x.clone(), ..owner };
        assert_eq!((Level::of(&repo, false), Level::of(&repo, true)), (Level::Repository, Level::Repository));
        let branch = ReportFilter { branch: x, ..all };
        assert_eq!((Level::of(&branch, false), Level::of(&branch, true)), (Level::Branch, Level::Branch));
    }
}
