//! `POST /api/v1/revocations`: refuse a subject, and end what acts in its name.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{RevokedSubject, for_all};
use crate::domain::claims::{is_issuer, is_subject, subject_of};
use crate::http::ApiState;
use crate::http::auth::{Admin, Allowed};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::extract::JsonBody;
use crate::http::problem::Problem;

/// Longest reason, in characters.
const MAX_REASON: usize = 500;

// ---- What it takes

/// Who is refused from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewRevocation {
    /// The issuer, exactly as its tokens name it in `iss`.
    #[schema(example = "https://token.actions.githubusercontent.com", min_length = 1)]
    pub issuer: String,
    /// The subject, exactly as its tokens name it in `sub`.
    #[schema(example = "repo:acme/shop:ref:refs/heads/main", min_length = 1, max_length = 255)]
    pub subject: String,
    /// Why, for those who look at it later: up to 500 characters.
    #[schema(example = "The runner was compromised", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

impl NewRevocation {
    fn check(&self, state: &ApiState) -> Result<(), ApiError> {
        if !is_issuer(&self.issuer) {
            return Err(ApiError::field("issuer", "must be an https address, as tokens have it in iss"));
        }
        // One that is written otherwise would be revoked without any effect.
        let issuers = state.auth.issuers();
        if !issuers.is_empty() && !issuers.contains(&self.issuer.as_str()) {
            let rule = format!("must be one of those that are trusted here: {}", issuers.join(", "));
            return Err(ApiError::field("issuer", rule));
        }
        if !is_subject(&self.subject) {
            return Err(ApiError::field("subject", "must be 1 to 255 characters without control characters"));
        }
        let fits = |reason: &String| {
            (1..=MAX_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control)
        };
        if self.reason.as_ref().is_some_and(|reason| !fits(reason)) {
            let rule = format!("must be 1 to {MAX_REASON} characters, none of them a control character");
            return Err(ApiError::field("reason", rule));
        }
        Ok(())
    }
}

// ---- What it answers

/// What ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Revoked {
    /// Who is refused.
    pub revocation: RevokedSubject,
    /// Schedules that stopped.
    #[schema(example = json!(["sch_4k1zq0v7w3m9x2c8b5n6"]))]
    pub schedules: Vec<String>,
    /// Deployments that waited for their turn, and are cancelled.
    #[schema(example = json!(["dep_4k1zq0v7w3m9x2c8b5n6"]))]
    pub deployments: Vec<String>,
}

// ---- The handler

/// Revoke a subject
///
/// Tokens of this subject of this issuer are refused within five seconds on all replicas, and so are its sessions, tickets and event streams. Its
/// schedules stop, and its deployments that wait for their turn are cancelled; those that have begun continue. Repeated, it ends what there is since.
/// For admins who see all repositories.
#[utoipa::path(
    post, path = "/api/v1/revocations", tag = "revocations", operation_id = "revokeSubject",
    request_body = NewRevocation,
    responses(
        (status = 200, description = "Revoked, now or before.", body = Envelope<Revoked>),
        (status = 400, description = "Malformed JSON, or a field is not valid: `field` names it.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin, or not for all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    Allowed { caller, .. }: Allowed<Admin>,
    JsonBody(body): JsonBody<NewRevocation>,
) -> Result<Envelope<Revoked>, ApiError> {
    body.check(&state)?;
    for_all(&caller)?;
    let who = (body.issuer.as_str(), body.subject.as_str());
    let revoked = state.db.revoke_subject(who, body.reason.as_deref(), &caller).await?;
    state.auth.end_subject(&subject_of(&body.issuer, &body.subject));
    let (schedules, deployments) = (revoked.schedules, revoked.deployments);
    let (issuer, subject) = who;
    tracing::info!(issuer, subject, ?schedules, ?deployments, "subject revoked");
    let revocation = RevokedSubject::from(revoked.revocation);
    Ok(Envelope::new("권한이 취소되었습니다.", Revoked { revocation, schedules, deployments }))
}
