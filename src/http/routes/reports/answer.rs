//! `GET /api/v1/reports/{name}`: runs a report query.

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Days, NaiveDate, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};

use crate::db::Class;
use crate::db::reports::{MAX_ROWS, ReportDefinition, ReportFilter, TableColumn};
use crate::domain::calendar::day_start;
use crate::domain::message::{Message, message};
use crate::domain::{cron, csv, labels, text, validate};
use crate::http::ApiState;
use crate::http::auth::{RequireRole, Viewer};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::QueryParams;
use crate::http::pagination::name_filter;
use crate::http::routes::reports::error::ReportError;
use crate::http::time;

/// Default length of a report's period.
const DEFAULT_DAYS: Days = Days::new(30);

/// Maximum number of characters of an unknown name that the error repeats.
const MAX_NAME: usize = 64;

// ---- Request

/// Period and filters of a report; a deployment must match all of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// Start of the period, inclusive: a time (RFC 3339) or a date (its midnight in `timeZone`); 30 days before `until` when absent.
    #[param(example = "2026-01-01")]
    pub since: Option<String>,
    /// End of the period, exclusive: a time (RFC 3339) or a date (its midnight in `timeZone`); now when absent.
    #[param(example = "2027-01-01T00:00:00Z")]
    pub until: Option<String>,
    /// Time zone of the IANA database, UTC when absent: for dates in `since` and `until`, and for hours, days, weeks and months in the answer.
    #[serde(rename = "timeZone")]
    #[param(example = "Asia/Seoul")]
    pub time_zone: Option<String>,
    /// Format of the answer: `json`, the default, or `csv` (RFC 4180), which has the rows only, and must not be longer than 10,000 rows. Texts that a spreadsheet would read as a formula get a
    /// leading `'`.
    #[param(example = "csv")]
    pub format: Option<String>,
    /// Only deployments of this account or organisation.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only deployments of this repository.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Only deployments of this branch.
    #[param(example = "main")]
    pub branch: Option<String>,
    /// Only deployments with this label: name and value. Not for the report `approvals`.
    #[param(example = "team:payments")]
    pub label: Option<String>,
    /// Groups of the reports `dora` and `frequency`: `owner`, `repository`, `branch`, `account`, `region`, or the name of a label such as `label:team`.
    /// When absent, as the filters and the caller's scope suggest.
    #[serde(rename = "groupBy")]
    #[param(example = "label:team")]
    pub group_by: Option<String>,
}

impl ReportQuery {
    fn is_csv(&self) -> Result<bool, ApiError> {
        match self.format.as_deref() {
            None | Some("json") => Ok(false),
            Some("csv") => Ok(true),
            Some(_) => Err(ApiError::field("format", message!("rule.report_format"))),
        }
    }

    /// Checks that the report has what the parameters are about.
    fn fits(&self, report: &ReportDefinition) -> Result<(), ApiError> {
        if self.label.is_some() && !report.has_labels() {
            return Err(ApiError::field("label", message!("rule.report_without_labels")));
        }
        if self.group_by.is_some() && !report.has_groups() {
            return Err(ApiError::field("groupBy", message!("rule.report_without_groups")));
        }
        Ok(())
    }

    fn filter(self, now: DateTime<Utc>) -> Result<ReportFilter, ApiError> {
        let zone = cron::zone(self.time_zone.as_deref().unwrap_or("UTC"));
        let zone = zone.map_err(|error| ApiError::field("timeZone", error.message()))?;
        let until = time_or_date("until", self.until.as_deref(), zone)?.unwrap_or(now);
        let since = match time_or_date("since", self.since.as_deref(), zone)? {
            Some(since) => since,
            None => until.checked_sub_days(DEFAULT_DAYS).unwrap_or(until),
        };
        if since >= until {
            let (since, until) = (since.to_rfc3339(), until.to_rfc3339());
            return Err(ApiError::field("since", message!("rule.before_until", since, until)));
        }
        Ok(ReportFilter {
            since,
            until,
            zone,
            time_limit: None,
            owner: name_filter("owner", self.owner, validate::owner)?,
            repo: name_filter("repo", self.repo, validate::repo)?,
            branch: name_filter("branch", self.branch, validate::branch)?,
            label: parsed("label", self.label.as_deref(), labels::parse_label)?,
            group: parsed("groupBy", self.group_by.as_deref(), str::parse)?,
        })
    }
}

fn parsed<T>(
    field: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, Message>,
) -> Result<Option<T>, ApiError> {
    text.map(parse).transpose().map_err(|rule| ApiError::field(field, rule))
}

/// Parses a time, or a date as its midnight in the zone; none when the parameter is absent.
fn time_or_date(field: &str, text: Option<&str>, zone: Tz) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let date = || text.parse::<NaiveDate>().ok().and_then(|date| day_start(date, zone));
    let time = || DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
    // Postgres cannot represent every year that RFC 3339 can.
    let possible = |time: &DateTime<Utc>| (1970..3000).contains(&chrono::Datelike::year(time));
    date().or_else(time).filter(possible).map(Some).ok_or_else(|| ApiError::field(field, message!("rule.time_or_date")))
}

// ---- Response

/// Result of a report query.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswer {
    /// Name of the report.
    #[schema(example = "lead-time")]
    pub name: &'static str,
    /// Short title of the report.
    #[schema(example = "Lead time by week")]
    pub title: &'static str,
    /// Explanation of the figures.
    pub about: &'static str,
    /// Start of the period, inclusive (UTC).
    #[serde(serialize_with = "time::millis")]
    pub since: DateTime<Utc>,
    /// End of the period, exclusive (UTC).
    #[serde(serialize_with = "time::millis")]
    pub until: DateTime<Utc>,
    /// Time zone of the hours, days, weeks and months in the rows.
    #[schema(example = "UTC")]
    pub time_zone: &'static str,
    /// Name of the column to draw as a chart; null when none is suitable.
    #[schema(example = "median_hours")]
    pub chart: Option<&'static str>,
    /// Columns of the rows, in order.
    pub columns: Vec<ReportAnswerColumn>,
    /// Rows, each a list with one value per column; null where there is no value.
    #[schema(schema_with = rows)]
    pub rows: Vec<Vec<Value>>,
    /// True when the report has more than the returned 10,000 rows: narrow the period or filters.
    pub truncated: bool,
}

/// Name and type of the values at this position of each row.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswerColumn {
    /// Name of the column, with the unit.
    #[schema(example = "median_hours")]
    pub name: String,
    /// Type of its values: `text`, `number`, `time` (RFC 3339, UTC) or `date`.
    #[serde(rename = "type")]
    #[schema(example = "number")]
    pub kind: &'static str,
}

impl From<TableColumn> for ReportAnswerColumn {
    fn from(column: TableColumn) -> Self {
        Self { name: column.name, kind: column.kind.as_str() }
    }
}

/// OpenAPI schema of the rows, whose values are texts, numbers and nulls.
fn rows() -> Array {
    let types = SchemaType::from_iter([Type::String, Type::Number, Type::Null]);
    let cell = ObjectBuilder::new().schema_type(types);
    ArrayBuilder::new()
        .items(ArrayBuilder::new().items(cell))
        .description(Some("Rows, each a list with one value per column; null where there is no value."))
        .build()
}

/// Rows of a report in the requested format.
#[derive(Debug)]
pub enum ReportResponse {
    /// Rows and columns in the envelope of every response.
    Json(Envelope<ReportAnswer>),
    /// For spreadsheets, as a file.
    Csv {
        /// Name of the report.
        name: &'static str,
        /// Rows below a heading with the names of the columns.
        text: String,
    },
}

impl IntoResponse for ReportResponse {
    fn into_response(self) -> Response {
        match self {
            Self::Json(answer) => answer.into_response(),
            Self::Csv { name, text } => {
                let file = format!("attachment; filename=\"panda-{name}.csv\"");
                let kind = "text/csv; charset=utf-8; header=present".to_owned();
                ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, file)], text).into_response()
            }
        }
    }
}

// ---- Handler

/// Run a report
///
/// Covers the repositories in the caller's scope. docs/reporting.md has the SQL of each report and explains its figures.
#[utoipa::path(
    get, path = "/api/v1/reports/{name}", tag = "reports", operation_id = "report",
    params(("name" = String, Path, description = "Name of the report.", example = "lead-time"), ReportQuery),
    responses(
        (status = 200, description = "Rows and columns of the report.",
         content((Envelope<ReportAnswer> = "application/json"), (String = "text/csv"))),
        (status = 400, description = "Invalid parameter, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such report.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Viewer>,
    Path(name): Path<String>,
    QueryParams(query): QueryParams<ReportQuery>,
) -> Result<ReportResponse, ApiError> {
    let question = ReportDefinition::named(&name).ok_or_else(|| ReportError::NotFound(text::cut(&name, MAX_NAME)))?;
    let is_csv = query.is_csv()?;
    query.fits(question)?;
    let filter = query.filter(Utc::now())?;
    let _permit = state.reports.acquire(&caller).await?;
    let report = state.db.of(Class::Reports).report(question, caller.scope(), &filter).await?;
    if is_csv {
        // A file has no place to say that it is incomplete.
        if report.truncated {
            return Err(ApiError::field("since", message!("rule.csv_too_long", max = MAX_ROWS)));
        }
        let columns = report.columns.iter().map(|column| column.name.as_str());
        return Ok(ReportResponse::Csv { name: question.name, text: csv::text(columns, &report.rows) });
    }
    let answer = ReportAnswer {
        name: question.name,
        title: question.title(),
        about: question.about(),
        chart: question.chart(),
        since: filter.since,
        until: filter.until,
        time_zone: filter.zone.name(),
        columns: report.columns.into_iter().map(ReportAnswerColumn::from).collect(),
        rows: report.rows,
        truncated: report.truncated,
    };
    Ok(ReportResponse::Json(Envelope::new("보고서 조회 성공", answer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-31T12:00:00Z".parse().unwrap()
    }

    fn period(since: Option<&str>, until: Option<&str>) -> Result<(String, String), String> {
        let query =
            ReportQuery { since: since.map(str::to_owned), until: until.map(str::to_owned), ..ReportQuery::default() };
        let filter = query.filter(now()).map_err(|error| error.problem().field.unwrap())?;
        Ok((filter.since.to_rfc3339(), filter.until.to_rfc3339()))
    }

    #[test]
    fn defaults_to_last_thirty_days() {
        assert_eq!(
            period(None, None).unwrap(),
            ("2026-03-01T12:00:00+00:00".into(), "2026-03-31T12:00:00+00:00".into())
        );
        assert_eq!(period(None, Some("2026-01-31")).unwrap().0, "2026-01-01T00:00:00+00:00");
    }

    #[test]
    fn accepts_dates_and_times_with_offsets() {
        let (since, until) = period(Some("2026-01-01"), Some("2026-02-01T00:00:00+09:00")).unwrap();
        assert_eq!((since.as_str(), until.as_str()), ("2026-01-01T00:00:00+00:00", "2026-01-31T15:00:00+00:00"));
    }

    #[test]
    fn dates_begin_at_midnight_of_the_time_zone() {
        let of = |zone: &str| {
            let (since, time_zone) = (Some("2026-01-01".to_owned()), Some(zone.to_owned()));
            let query = ReportQuery { since, time_zone, ..ReportQuery::default() };
            query.filter(now()).map(|filter| filter.since.to_rfc3339()).map_err(|error| error.problem().field.unwrap())
        };
        assert_eq!(of("Asia/Seoul").unwrap(), "2025-12-31T15:00:00+00:00");
        assert_eq!(of("asia/seoul").unwrap_err(), "timeZone");
    }

    #[test]
    fn names_invalid_or_reversed_times() {
        for wrong in ["yesterday", "2026-13-01", "2026-02-30", "30d", "", "99999-01-01T00:00:00Z", "0001-01-01"] {
            assert_eq!(period(Some(wrong), None).unwrap_err(), "since", "{wrong}");
            assert_eq!(period(None, Some(wrong)).unwrap_err(), "until", "{wrong}");
        }
        assert_eq!(period(Some("2026-02-01"), Some("2026-01-01")).unwrap_err(), "since");
        assert_eq!(period(Some("2026-01-01"), Some("2026-01-01")).unwrap_err(), "since");
        assert_eq!(period(Some("2026-04-01"), None).unwrap_err(), "since", "the future has no history");
    }

    #[test]
    fn names_invalid_filter() {
        for (field, query) in [
            ("owner", ReportQuery { owner: Some("a/b".into()), ..ReportQuery::default() }),
            ("repo", ReportQuery { repo: Some("a/b".into()), ..ReportQuery::default() }),
            ("branch", ReportQuery { branch: Some("\0".into()), ..ReportQuery::default() }),
            ("label", ReportQuery { label: Some("team".into()), ..ReportQuery::default() }),
            ("groupBy", ReportQuery { group_by: Some("team".into()), ..ReportQuery::default() }),
        ] {
            assert_eq!(query.filter(now()).unwrap_err().problem().field.unwrap(), field);
        }
    }
}
