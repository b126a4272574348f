//! `GET /history`: the DORA figures with their trend, deployments, lead time, failures, stages and the queue of a period, each with its table.
//!
//! The figures are those of the API's reports, read with the caller's scope, connections and share. A view runs one report after the other, each with a
//! time limit, so that it costs no more than a slow report; one that exceeds the limit does not hide the others.

mod bars;
mod chart;
mod figures;
mod filter;
mod numbers;
mod panel;
mod rows;
mod slots;
mod ticks;
mod timelines;

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use chrono::Utc;
use tokio::time::Instant;

use self::figures::Figure;
use self::filter::{HistoryFilter, Query};
use self::panel::{Panel, PanelContent};
use super::context::{Page, Visitor, cookie, render};
use crate::db::reports::{ReportDefinition, ReportTable};
use crate::db::{Class, DbError};
use crate::domain::cron;
use crate::domain::principal::Caller;
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::error::server::ServerError;
use crate::http::extract::QueryParams;
use crate::http::middleware::error::AdmissionError;

/// Cookie with the browser's time zone. Set by the page's script.
const ZONE_COOKIE: &str = "panda_zone";

/// Time limit of one report.
const REPORT_LIMIT: Duration = Duration::from_secs(8);

/// Time after which no other report begins.
const VIEW_LIMIT: Duration = Duration::from_secs(16);

/// Reports of the view, in the order in which they run.
const REPORTS: [&str; 7] =
    ["dora-trend", "results-by-day", "lead-time", "lead-time-phases", "failures", "queue", "slowest-stages"];

struct History {
    /// None when the report exceeded its time limit.
    figures: Option<Vec<Figure>>,
    panels: Vec<Panel>,
}

#[derive(Template)]
#[template(path = "history.html")]
struct HistoryView {
    page: Page,
    filter: HistoryFilter,
    /// The figures, or the reason why the server has no capacity for them now.
    history: Result<History, Box<Problem>>,
}

pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    headers: HeaderMap,
    QueryParams(query): QueryParams<Query>,
) -> Result<Response, ApiError> {
    let browser = cookie(&headers, ZONE_COOKIE).and_then(|name| cron::zone(name).ok());
    let filter = HistoryFilter::read(&query, browser, Utc::now())?;
    let history = match history(&state, &caller, &page, &filter).await {
        Err(error) if is_busy(&error) => Err(Box::new(error.problem().in_language(page.lang))),
        other => Ok(other?),
    };
    let wait = history.as_ref().err().and_then(|problem| problem.wait_seconds());
    let mut response = render(&page.clone(), &HistoryView { page, filter, history })?;
    if let Some(seconds) = wait {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(response)
}

fn is_busy(error: &ApiError) -> bool {
    matches!(error, ApiError::Admission(AdmissionError::TooManyOfCaller { .. }) | ApiError::Database(DbError::Busy(_)))
}

async fn history(state: &ApiState, caller: &Caller, page: &Page, filter: &HistoryFilter) -> Result<History, ApiError> {
    let tables = tables(state, caller, filter).await?;
    let [trend, results, lead_time, phases, failures, queue, stages] = tables.each_ref().map(Option::as_ref);
    let panels = vec![
        timelines::results(page, filter, results),
        timelines::lead_time(page, filter, lead_time),
        bars::phases(page, phases),
        bars::failures(page, filter, failures),
        bars::stages(page, stages),
        bars::queue(page, queue),
    ];
    Ok(History { figures: trend.map(|table| figures::figures(page, table)), panels })
}

/// The answers of [`REPORTS`]; none for one that exceeded its time limit.
async fn tables(
    state: &ApiState,
    caller: &Caller,
    filter: &HistoryFilter,
) -> Result<[Option<ReportTable>; REPORTS.len()], ApiError> {
    let _permit = state.reports.acquire(caller).await?;
    let db = state.db.of(Class::Reports);
    let end = Instant::now() + VIEW_LIMIT;
    let mut tables = [const { None }; REPORTS.len()];
    for (table, name) in tables.iter_mut().zip(REPORTS) {
        let definition = ReportDefinition::named(name).ok_or(ServerError::Internal)?;
        let limit = end.saturating_duration_since(Instant::now()).min(REPORT_LIMIT);
        if limit.is_zero() {
            break;
        }
        *table = match db.report(definition, caller.scope(), &filter.within(limit)).await {
            Err(error) if error.is_time_limit() => None,
            other => Some(other?),
        };
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_exists() {
        assert!(REPORTS.iter().all(|name| ReportDefinition::named(name).is_some()));
    }
}
