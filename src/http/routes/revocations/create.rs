//! `POST /api/v1/revocations`: revokes a subject, and ends its sessions, streams, schedules and queued deployments.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::SubjectRevocation;
use crate::commands::revocations::revoke_subject;
use crate::domain::message::message;
use crate::domain::oidc_claims::{is_issuer, is_subject, subject_of};
use crate::http::ApiState;
use crate::http::auth::{Admin, RequireRole};
use crate::http::envelope::Envelope;
use crate::http::error::ApiError;
use crate::http::error::problem::Problem;
use crate::http::extract::JsonBody;

/// Longest reason, in characters.
const MAX_REASON: usize = 500;

// ---- Request

/// Issuer and subject to revoke.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewRevocation {
    /// Issuer, exactly as in the claim `iss` of its tokens.
    #[schema(example = "https://token.actions.githubusercontent.com", min_length = 1)]
    pub issuer: String,
    /// Subject, exactly as in the claim `sub` of its tokens.
    #[schema(example = "repo:acme/shop:ref:refs/heads/main", min_length = 1, max_length = 255)]
    pub subject: String,
    /// Reason for the revocation, up to 500 characters.
    #[schema(example = "The runner was compromised", min_length = 1, max_length = 500)]
    pub reason: Option<String>,
}

impl NewRevocation {
    fn check(&self, state: &ApiState) -> Result<(), ApiError> {
        if !is_issuer(&self.issuer) {
            return Err(ApiError::field("issuer", message!("rule.issuer")));
        }
        // Revoking an unknown or misspelt issuer would have no effect.
        let issuers = state.auth.issuers();
        if !issuers.is_empty() && !issuers.contains(&self.issuer.as_str()) {
            let rule = message!("rule.issuer_untrusted", known = issuers.join(", "));
            return Err(ApiError::field("issuer", rule));
        }
        if !is_subject(&self.subject) {
            return Err(ApiError::field("subject", message!("rule.subject")));
        }
        let is_valid = |reason: &String| {
            (1..=MAX_REASON).contains(&reason.chars().count()) && !reason.chars().any(char::is_control)
        };
        if self.reason.as_ref().is_some_and(|reason| !is_valid(reason)) {
            return Err(ApiError::field("reason", message!("rule.plain_reason", max = MAX_REASON)));
        }
        Ok(())
    }
}

// ---- Response

/// Everything that the revocation ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationResult {
    /// Revocation as it is stored.
    pub revocation: SubjectRevocation,
    /// Ids of the stopped schedules.
    #[schema(example = json!(["sch_4k1zq0v7w3m9x2c8b5n6"]))]
    pub schedules: Vec<String>,
    /// Ids of the queued deployments that were cancelled.
    #[schema(example = json!(["dep_4k1zq0v7w3m9x2c8b5n6"]))]
    pub deployments: Vec<String>,
}

// ---- Handler

/// Revoke a subject
///
/// Rejects the subject's tokens, sessions and tickets and ends its event streams within five seconds on all replicas. Stops its
/// schedules and cancels its queued deployments; running deployments continue. Repeating the request ends what started since.
/// Requires the role admin and all repositories.
#[utoipa::path(
    post, path = "/api/v1/revocations", tag = "revocations", operation_id = "revokeSubject",
    request_body = NewRevocation,
    responses(
        (status = 200, description = "The subject is revoked, now or before.", body = Envelope<RevocationResult>),
        (status = 400, description = "Malformed JSON, or an invalid field, named by `field`.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is not an admin of all repositories.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn handle(
    State(state): State<ApiState>,
    RequireRole { caller, .. }: RequireRole<Admin>,
    JsonBody(body): JsonBody<NewRevocation>,
) -> Result<Envelope<RevocationResult>, ApiError> {
    body.check(&state)?;
    let who = (body.issuer.as_str(), body.subject.as_str());
    let revoked = revoke_subject(&state.db, who, body.reason.as_deref(), &caller).await?;
    state.auth.end_subject(&subject_of(&body.issuer, &body.subject));
    let (schedules, deployments) = (revoked.schedules, revoked.deployments);
    let (issuer, subject) = who;
    tracing::info!(issuer, subject, ?schedules, ?deployments, "subject revoked");
    let revocation = SubjectRevocation::from(revoked.revocation);
    Ok(Envelope::new("권한이 취소되었습니다.", RevocationResult { revocation, schedules, deployments }))
}
