//! Period, time zone and repository of the view, as its address has them, and addresses with the same ones.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde::Deserialize;
use url::form_urlencoded;

use crate::db::reports::ReportFilter;
use crate::domain::calendar::day_start;
use crate::domain::message::message;
use crate::domain::{cron, validate};
use crate::http::error::ApiError;
use crate::http::pagination::name_filter;

/// Periods that the view links to, in days.
pub const PERIODS: [u64; 3] = [7, 30, 90];

const DEFAULT_DAYS: u64 = 30;

/// Longest period, in days: its months still fit into a chart.
const MAX_DAYS: u64 = 3_660;

/// Parameters of the address. An empty one, as forms send it, is absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Query {
    days: String,
    from: String,
    to: String,
    tz: String,
    owner: String,
    repo: String,
    branch: String,
}

/// What the view covers.
#[derive(Clone, Debug)]
pub struct HistoryFilter {
    /// Length of a period that ends now; none for chosen dates.
    pub days: Option<u64>,
    /// First day, in the zone.
    pub from: NaiveDate,
    /// Last day, inclusive, in the zone.
    pub to: NaiveDate,
    /// The same as times, and the repository.
    pub report: ReportFilter,
}

impl HistoryFilter {
    /// Reads the parameters. `browser` is the time zone of the browser, where it is known.
    pub fn read(query: &Query, browser: Option<Tz>, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let zone = match some(&query.tz) {
            Some(name) => cron::zone(&name).map_err(|error| ApiError::field("tz", error.message()))?,
            None => browser.unwrap_or(Tz::UTC),
        };
        let today = now.with_timezone(&zone).date_naive();
        let chosen = (date("from", &query.from)?, date("to", &query.to)?);
        let days = match (chosen, some(&query.days)) {
            ((None, None), None) => Some(DEFAULT_DAYS),
            ((None, None), Some(text)) => Some(length(&text)?),
            _ => None,
        };
        let to = chosen.1.map_or(today, |to| to.min(today));
        let length = days.unwrap_or(DEFAULT_DAYS);
        let from = chosen.0.unwrap_or_else(|| to - Days::new(length - 1));
        let span = (to - from).num_days();
        if !(0..i64::try_from(MAX_DAYS).unwrap_or(i64::MAX)).contains(&span) {
            return Err(ApiError::field("from", message!("rule.period", to = to.to_string(), max = MAX_DAYS)));
        }
        let start = |date: NaiveDate| day_start(date, zone).unwrap_or(now);
        let until = if to >= today { now } else { start(to + Days::new(1)) };
        let report = ReportFilter {
            since: start(from),
            until,
            zone,
            owner: name_filter("owner", some(&query.owner), validate::owner)?,
            repo: name_filter("repo", some(&query.repo), validate::repo)?,
            branch: name_filter("branch", some(&query.branch), validate::branch)?,
            label: None,
            group: None,
            time_limit: None,
        };
        Ok(Self { days, from, to, report })
    }

    /// The same for a statement with this time limit.
    pub fn within(&self, limit: Duration) -> ReportFilter {
        ReportFilter { time_limit: Some(limit), ..self.report.clone() }
    }

    /// Value of a field of the form.
    pub fn owner(&self) -> &str {
        self.report.owner.as_deref().unwrap_or_default()
    }

    /// Value of a field of the form.
    pub fn repo(&self) -> &str {
        self.report.repo.as_deref().unwrap_or_default()
    }

    /// Value of a field of the form.
    pub fn branch(&self) -> &str {
        self.report.branch.as_deref().unwrap_or_default()
    }

    /// Name of the time zone.
    pub fn zone(&self) -> &'static str {
        self.report.zone.name()
    }

    /// True when the view shows a part of the installation only.
    pub fn is_narrow(&self) -> bool {
        [self.owner(), self.repo(), self.branch()].iter().any(|name| !name.is_empty())
    }

    /// Number of days, the last one included.
    pub fn length(&self) -> i64 {
        (self.to - self.from).num_days() + 1
    }

    /// Path of this view.
    pub fn path(&self) -> String {
        match self.days {
            Some(days) => self.path_of(days),
            None => self.view(&[("from", self.from.to_string()), ("to", self.to.to_string())]),
        }
    }

    /// Path of the view for a period that ends now.
    pub fn path_of(&self, days: u64) -> String {
        self.view(&[("days", days.to_string())])
    }

    /// Path of the view for all repositories.
    pub fn wide_path(&self) -> String {
        let (owner, repo, branch) = (None, None, None);
        Self { report: ReportFilter { owner, repo, branch, ..self.report.clone() }, ..self.clone() }.path()
    }

    /// Path of a report's rows as a file.
    pub fn csv_path(&self, name: &str) -> String {
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let period =
            [("format", "csv".to_owned()), ("since", time(self.report.since)), ("until", time(self.report.until))];
        format!("/api/v1/reports/{name}?{}", self.query(&period, "timeZone"))
    }

    fn view(&self, period: &[(&str, String)]) -> String {
        format!("/history?{}", self.query(period, "tz"))
    }

    fn query(&self, period: &[(&str, String)], zone: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(period).append_pair(zone, self.zone());
        for (name, value) in [("owner", self.owner()), ("repo", self.repo()), ("branch", self.branch())] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn date(field: &str, text: &str) -> Result<Option<NaiveDate>, ApiError> {
    let Some(text) = some(text) else { return Ok(None) };
    let known = |date: &NaiveDate| (1970..3000).contains(&chrono::Datelike::year(date));
    text.parse().ok().filter(known).map(Some).ok_or_else(|| ApiError::field(field, message!("rule.date")))
}

fn length(text: &str) -> Result<u64, ApiError> {
    let days = text.parse().ok().filter(|days| (1..=MAX_DAYS).contains(days));
    days.ok_or_else(|| ApiError::field("days", message!("rule.limit", max = MAX_DAYS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(days: &str, from: &str, to: &str, tz: &str) -> Result<HistoryFilter, String> {
        let (days, from, to, tz) = (days.to_owned(), from.to_owned(), to.to_owned(), tz.to_owned());
        let query = Query { days, from, to, tz, repo: "shop".to_owned(), ..Query::default() };
        HistoryFilter::read(&query, None, "2026-03-31T20:00:00Z".parse().unwrap())
            .map_err(|e| e.problem().field.unwrap())
    }

    fn times(filter: &HistoryFilter) -> (String, String) {
        (filter.report.since.to_rfc3339(), filter.report.until.to_rfc3339())
    }

    #[test]
    fn periods_are_whole_days_of_the_zone() {
        let seoul = read("7", "", "", "Asia/Seoul").unwrap();
        assert_eq!((seoul.from.to_string(), seoul.to.to_string()), ("2026-03-26".into(), "2026-04-01".into()));
        assert_eq!(times(&seoul), ("2026-03-25T15:00:00+00:00".into(), "2026-03-31T20:00:00+00:00".into()));
        assert_eq!(read("", "", "", "").unwrap().length(), 30);
        let own = read("7", "2026-02-01", "2026-02-28", "").unwrap();
        assert_eq!((own.days, own.length()), (None, 28));
        assert_eq!(times(&own).1, "2026-03-01T00:00:00+00:00");
        assert_eq!(read("", "2026-03-30", "2027-01-01", "").unwrap().length(), 2, "the future has no history");
    }

    #[test]
    fn names_invalid_parameter() {
        for (parameters, field) in [
            (["0", "", "", ""], "days"),
            (["99999", "", "", ""], "days"),
            (["", "yesterday", "", ""], "from"),
            (["", "", "2026-02-30", ""], "to"),
            (["", "2026-02-02", "2026-02-01", ""], "from"),
            (["", "2027-01-01", "", ""], "from"),
            (["", "1990-01-01", "", ""], "from"),
            (["", "", "", "Seoul"], "tz"),
        ] {
            let [days, from, to, tz] = parameters;
            assert_eq!(read(days, from, to, tz).unwrap_err(), field, "{parameters:?}");
        }
    }

    #[test]
    fn addresses_keep_all_filters() {
        let filter = read("7", "", "", "Asia/Seoul").unwrap();
        assert_eq!(filter.path(), "/history?days=7&tz=Asia%2FSeoul&repo=shop");
        assert_eq!(filter.path_of(90), "/history?days=90&tz=Asia%2FSeoul&repo=shop");
        assert_eq!(filter.wide_path(), "/history?days=7&tz=Asia%2FSeoul");
        let csv = filter.csv_path("failures");
        assert!(csv.starts_with("/api/v1/reports/failures?format=csv&since=2026-03-25T15%3A00%3A00.000Z&"), "{csv}");
        assert!(csv.ends_with("&timeZone=Asia%2FSeoul&repo=shop"), "{csv}");
        assert_eq!(
            read("", "2026-02-01", "2026-02-02", "").unwrap().path(),
            "/history?from=2026-02-01&to=2026-02-02&tz=UTC&repo=shop"
        );
    }
}
