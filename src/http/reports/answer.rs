//! `GET /api/v1/reports/{name}`: the answer to a question about the history.

use axum::extract::{Path, State};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::{IntoParams, ToSchema};

use crate::db::Class;
use crate::db::reports::{Question, ReportColumn, ReportFilter};
use crate::domain::{text, validate};
use crate::http::ApiState;
use crate::http::auth::{Allowed, Viewer};
use crate::http::deploy::list::named;
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::problem::Problem;

/// How far back a question looks when nothing else is asked for.
const DEFAULT_DAYS: Days = Days::new(30);

/// Most characters of a name that a client made up and that we repeat.
const MAX_NAME: usize = 64;

// ---- What it takes

/// About what. All filters must hold.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// From this time (RFC 3339) or date (its beginning in UTC) on; 30 days before `until` when absent.
    #[param(example = "2026-01-01")]
    pub since: Option<String>,
    /// Before this time (RFC 3339) or date (its beginning in UTC); now when absent.
    #[param(example = "2027-01-01T00:00:00Z")]
    pub until: Option<String>,
    /// Only this account or organisation.
    #[param(example = "acme")]
    pub owner: Option<String>,
    /// Only this repository.
    #[param(example = "shop")]
    pub repo: Option<String>,
    /// Only this branch.
    #[param(example = "main")]
    pub branch: Option<String>,
}

impl ReportQuery {
    fn filter(self, now: DateTime<Utc>) -> Result<ReportFilter, ApiError> {
        let until = moment("until", self.until.as_deref())?.unwrap_or(now);
        let since = match moment("since", self.since.as_deref())? {
            Some(since) => since,
            None => until.checked_sub_days(DEFAULT_DAYS).unwrap_or(until),
        };
        if since >= until {
            let (since, until) = (since.to_rfc3339(), until.to_rfc3339());
            return Err(ApiError::field("since", format!("must be before until: {since} is not before {until}")));
        }
        Ok(ReportFilter {
            since,
            until,
            owner: named("owner", self.owner, validate::owner)?,
            repo: named("repo", self.repo, validate::repo)?,
            branch: named("branch", self.branch, validate::branch)?,
        })
    }
}

/// A time, or the beginning of a day; none when it was not given.
fn moment(field: &str, text: Option<&str>) -> Result<Option<DateTime<Utc>>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let date = || text.parse::<NaiveDate>().map(|date| date.and_time(NaiveTime::MIN).and_utc()).ok();
    let time = || DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).ok();
    // Postgres has no room for all years that can be written.
    let possible = |time: &DateTime<Utc>| (1970..3000).contains(&chrono::Datelike::year(time));
    date().or_else(time).filter(possible).map(Some).ok_or_else(|| {
        let rule = "must be a date such as 2026-01-31, or a time such as 2026-01-31T09:30:00Z (RFC 3339; write + as %2B), from 1970 on";
        ApiError::field(field, rule)
    })
}

// ---- What it answers

/// The answer to a question.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswer {
    /// The question's name.
    #[schema(example = "lead-time")]
    pub name: &'static str,
    /// What it answers, in a few words.
    #[schema(example = "Lead time by week")]
    pub title: &'static str,
    /// What has to be known to read the answer.
    pub about: &'static str,
    /// From this time on (UTC).
    pub since: DateTime<Utc>,
    /// Before this time (UTC).
    pub until: DateTime<Utc>,
    /// The column that is worth a chart; null when none is.
    #[schema(example = "median_hours")]
    pub chart: Option<&'static str>,
    /// The columns, in order.
    pub columns: Vec<ReportAnswerColumn>,
    /// The rows: each a list of values, one for each column; null where there is nothing to say.
    #[schema(schema_with = rows)]
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than the 10,000 that are answered: ask about less.
    pub truncated: bool,
}

/// A column of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportAnswerColumn {
    /// Its name, with the unit.
    #[schema(example = "median_hours")]
    pub name: String,
    /// What it holds: `text`, `number`, `time` (RFC 3339, UTC) or `date`.
    #[serde(rename = "type")]
    #[schema(example = "number")]
    pub kind: &'static str,
}

impl From<ReportColumn> for ReportAnswerColumn {
    fn from(column: ReportColumn) -> Self {
        Self { name: column.name, kind: column.kind.as_str() }
    }
}

/// Texts, numbers and nulls.
fn rows() -> Array {
    let types = SchemaType::from_iter([Type::String, Type::Number, Type::Null]);
    let cell = ObjectBuilder::new().schema_type(types);
    ArrayBuilder::new()
        .items(ArrayBuilder::new().items(cell))
        .description(Some("The rows: each a list of values, one for each column; null where there is nothing to say."))
        .build()
}

// ---- The handler

/// Answer a question about the history
///
/// Of repositories that the caller may see. docs/reporting.md has the SQL of each and what the figures mean.
#[utoipa::path(
    get, path = "/api/v1/reports/{name}", tag = "reports", operation_id = "report",
    params(("name" = String, Path, description = "The question.", example = "lead-time"), ReportQuery),
    responses(
        (status = 200, description = "The answer.", body = Envelope<ReportAnswer>),
        (status = 400, description = "A parameter is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such question.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Viewer>,
    Path(name): Path<String>,
    QueryParams(query): QueryParams<ReportQuery>,
) -> Result<Envelope<ReportAnswer>, ApiError> {
    let question = Question::named(&name).ok_or_else(|| ApiError::ReportNotFound(text::cut(&name, MAX_NAME)))?;
    let filter = query.filter(Utc::now())?;
    let _permit = state.reports.acquire(&caller).await?;
    let report = state.db.of(Class::Reports).report(question, caller.scope(), &filter).await?;
    let answer = ReportAnswer {
        name: question.name,
        title: question.title(),
        about: question.about(),
        chart: question.chart(),
        since: filter.since,
        until: filter.until,
        columns: report.columns.into_iter().map(ReportAnswerColumn::from).collect(),
        rows: report.rows,
        truncated: report.truncated,
    };
    Ok(Envelope::new("보고서 조회 성공", answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-03-31T12:00:00Z".parse().unwrap()
    }

    fn asked(since: Option<&str>, until: Option<&str>) -> Result<(String, String), String> {
        let query =
            ReportQuery { since: since.map(str::to_owned), until: until.map(str::to_owned), ..ReportQuery::default() };
        let filter = query.filter(now()).map_err(|error| error.problem().field.unwrap())?;
        Ok((filter.since.to_rfc3339(), filter.until.to_rfc3339()))
    }

    #[test]
    fn without_times_it_is_the_last_thirty_days() {
        assert_eq!(
            asked(None, None).unwrap(),
            ("2026-03-01T12:00:00+00:00".into(), "2026-03-31T12:00:00+00:00".into())
        );
        assert_eq!(asked(None, Some("2026-01-31")).unwrap().0, "2026-01-01T00:00:00+00:00");
    }

    #[test]
    fn a_date_is_its_beginning_in_utc_and_a_time_may_have_any_offset() {
        let (since, until) = asked(Some("2026-01-01"), Some("2026-02-01T00:00:00+09:00")).unwrap();
        assert_eq!((since.as_str(), until.as_str()), ("2026-01-01T00:00:00+00:00", "2026-01-31T15:00:00+00:00"));
    }

    #[test]
    fn what_is_no_time_or_not_before_the_other_is_named() {
        for wrong in ["yesterday", "2026-13-01", "2026-02-30", "30d", "", "99999-01-01T00:00:00Z", "0001-01-01"] {
            assert_eq!(asked(Some(wrong), None).unwrap_err(), "since", "{wrong}");
            assert_eq!(asked(None, Some(wrong)).unwrap_err(), "until", "{wrong}");
        }
        assert_eq!(asked(Some("2026-02-01"), Some("2026-01-01")).unwrap_err(), "since");
        assert_eq!(asked(Some("2026-01-01"), Some("2026-01-01")).unwrap_err(), "since");
        assert_eq!(asked(Some("2026-04-01"), None).unwrap_err(), "since", "the future has no history");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (field, query) in [
            ("owner", ReportQuery { owner: Some("a/b".into()), ..ReportQuery::default() }),
            ("repo", ReportQuery { repo: Some("a/b".into()), ..ReportQuery::default() }),
            ("branch", ReportQuery { branch: Some("\0".into()), ..ReportQuery::default() }),
        ] {
            assert_eq!(query.filter(now()).unwrap_err().problem().field.unwrap(), field);
        }
    }
}
