//! `GET /tokens`: API tokens, newest first, for admins of all repositories.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::context::{Page, Visitor, render};
use crate::commands::access::{require_all_repositories, require_role};
use crate::db::tokens::TokenView;
use crate::domain::principal::{Role, Scope};
use crate::http::ApiState;
use crate::http::error::ApiError;
use crate::http::extract::QueryParams;
use crate::http::pagination::{decode_cursor, encode_cursor, split_page};

/// Tokens shown at a time.
const PAGE_ROWS: i64 = 50;

/// Roles in the order of their permissions, lowest first.
const ROLES: [Role; 4] = [Role::Viewer, Role::Deployer, Role::Approver, Role::Admin];

/// Offered times until a token expires, in days.
const DAYS: [u16; 4] = [30, 90, 180, 365];

/// The page in the address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Position {
    cursor: String,
}

/// A token of the list.
struct Row {
    token: TokenView,
    /// Repositories as one text; none for all.
    scope: Option<String>,
    /// `valid`, `expired` or `revoked`.
    state: &'static str,
}

impl Row {
    fn of(token: TokenView, now: DateTime<Utc>) -> Self {
        let state = match (token.revoked_at, token.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at <= now => "expired",
            _ => "valid",
        };
        let scope = token.scope.clone().map(|names| Scope::Repositories(names).to_string());
        Self { token, scope, state }
    }
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct TokensView<'a> {
    page: &'a Page,
    rows: Vec<Row>,
    next_cursor: Option<String>,
}

/// Shows a page of tokens, and the form for a new one.
pub async fn handle(
    State(state): State<ApiState>,
    Visitor { page, caller }: Visitor,
    QueryParams(position): QueryParams<Position>,
) -> Result<Response, ApiError> {
    require_role(&caller, Role::Admin)?;
    require_all_repositories(&caller)?;
    let before = Some(&position.cursor).filter(|cursor| !cursor.is_empty()).map(|cursor| decode_cursor(cursor));
    let rows = state.db.token_page(before.transpose()?, PAGE_ROWS + 1).await?;
    let (rows, next_cursor) = split_page(rows, PAGE_ROWS, |row| encode_cursor(row.created_at, &row.id));
    let now = Utc::now();
    let rows = rows.into_iter().map(|row| Row::of(row, now)).collect();
    render(&page, &TokensView { page: &page, rows, next_cursor })
}
