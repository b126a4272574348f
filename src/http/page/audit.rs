//! `GET /audit`: changes and refusals, newest first, for admins.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde::Deserialize;
use strum::VariantArray as _;

use super::context::{Page, Visitor, render};
use super::format::{beginning_of_query, pretty_json};
use crate::commands::access::require_role;
use crate::db::audit::{AuditFilter, AuditView};
use crate::domain::audit::Action;
use crate::domain::lang::Lang;
use crate::domain::message::{error_title, message};
use crate::domain::principal::Role;
use crate::domain::refusals::EVERYONE_ELSE;
use crate::domain::text::visible;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::pagination::split_page;
use crate::http::routes::audit::AuditQuery;

/// Entries shown at a time.
const PAGE_ROWS: i64 = 50;

/// Filters in the address. An empty one, as forms send it, is none. Days are those of UTC.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuditDisplay {
    subject: String,
    action: String,
    target: String,
    since: String,
    /// Last day that is shown.
    until: String,
    cursor: String,
}

impl AuditDisplay {
    fn audit(&self) -> Result<AuditFilter, ApiError> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let query = AuditQuery {
            subject: some(&self.subject),
            action: some(&self.action),
            target: some(&self.target),
            cursor: some(&self.cursor),
            ..AuditQuery::default()
        };
        let after = |day: NaiveDate| day.checked_add_days(Days::new(1));
        Ok(AuditFilter {
            since: day("since", &self.since)?.map(begin),
            until: day("until", &self.until)?.and_then(after).map(begin),
            limit: PAGE_ROWS + 1,
            ..query.filter()?
        })
    }

    fn narrows(&self) -> bool {
        [&self.subject, &self.action, &self.target, &self.since, &self.until].iter().any(|text| !text.is_empty())
    }

    /// The filters without the cursor, as the beginning of a query.
    fn query(&self) -> String {
        let pairs = [
            ("subject", &self.subject),
            ("action", &self.action),
            ("target", &self.target),
            ("since", &self.since),
            ("until", &self.until),
        ];
        beginning_of_query(&pairs)
    }
}

fn day(field: &'static str, text: &str) -> Result<Option<NaiveDate>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| ApiError::field(field, message!("rule.time_or_date")))
}

fn begin(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

/// An entry of the list. Texts of callers are shown with misleading characters visible.
struct Row {
    entry: AuditView,
    /// Subject of the caller; none for the callers that share an entry.
    subject: Option<String>,
    repository: Option<String>,
    /// Message of a refusal, which is stored in English; in another language, the title of its code.
    message: Option<String>,
    details: String,
}

impl Row {
    fn new(entry: AuditView, lang: Lang) -> Self {
        let subject = (entry.subject != EVERYONE_ELSE).then(|| visible(&entry.subject));
        let repository = entry.owner.as_ref().zip(entry.repo.as_ref()).map(|(owner, repo)| format!("{owner}/{repo}"));
        let title = entry.error_code.as_deref().filter(|_| lang != Lang::En).and_then(|code| error_title(code, lang));
        let message = title.or_else(|| entry.details.get("message").and_then(|text| text.as_str()).map(visible));
        let details = pretty_json(&entry.details);
        Self { entry, subject, repository, message, details }
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditListView<'a> {
    page: &'a Page,
    filter: &'a AuditDisplay,
    actions: &'static [Action],
    rows: Vec<Row>,
    next_cursor: Option<String>,
}

/// Shows a page of the audit.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(filter): QueryParams<AuditDisplay>,
) -> Result<Response, ApiError> {
    require_role(&caller, Role::Admin)?;
    let rows = state.db.audit(caller.scope(), &filter.audit()?).await?;
    let (rows, next_cursor) = split_page(rows, PAGE_ROWS, |row| row.id.to_string());
    let (filter, actions, rows) =
        (&filter, Action::VARIANTS, rows.into_iter().map(|row| Row::new(row, page.lang)).collect());
    render(&page, &AuditListView { page: &page, filter, actions, rows, next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_whole_days() {
        let filter =
            AuditDisplay { since: "2026-01-30".to_owned(), until: "2026-01-31".to_owned(), ..AuditDisplay::default() };
        let audit = filter.audit().unwrap();
        assert_eq!(audit.since.unwrap().to_rfc3339(), "2026-01-30T00:00:00+00:00");
        assert_eq!(audit.until.unwrap().to_rfc3339(), "2026-02-01T00:00:00+00:00");
        assert_eq!(filter.query(), "since=2026-01-30&until=2026-01-31&");
        for wrong in ["x", "2026-13-01", "2026-01-31T00:00:00Z"] {
            let filter = AuditDisplay { since: wrong.to_owned(), ..AuditDisplay::default() };
            assert_eq!(filter.audit().unwrap_err().problem().field.as_deref(), Some("since"), "{wrong}");
        }
    }
}
