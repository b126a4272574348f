//! Revoked subjects of OpenID Connect issuers, refused under any token; and the sign-in settings of the replicas.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::audit::{self, AuditRecord};
use super::schedules::permission::{ScheduleSelector, cancel_queued, stop};
use super::{Db, DbError};
use crate::domain::audit::Action;
use crate::domain::ids;
use crate::domain::oidc_claims::subject_of;
use crate::domain::permission::PermissionEnd;
use crate::domain::principal::{AuthMethod, Caller};
use crate::domain::token::SecretHash;

/// Time after its last check during which a replica's settings count as in use, in seconds.
const SETTINGS_TTL_SECONDS: f64 = 30.0;

/// A revocation as it may be shown.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the column of the same name, defined by its comment in the migrations")]
pub struct Revocation {
    pub id: String,
    pub issuer: String,
    pub subject: String,
    pub reason: Option<String>,
    pub revoked_by: String,
    pub revoked_at: DateTime<Utc>,
}

/// A revocation, and what ended with it.
#[derive(Clone, Debug)]
pub struct RevocationEffects {
    /// The revocation, possibly from an earlier call.
    pub revocation: Revocation,
    /// Schedules stopped by this call.
    pub schedules: Vec<String>,
    /// Queued deployments whose cancellation this call requested.
    pub deployments: Vec<String>,
}

impl Db {
    /// Revokes a subject of an issuer and ends what acts in its name: its schedules, and its queued deployments. Repeated, it ends those created
    /// since.
    pub async fn revoke_subject(
        &self,
        (issuer, subject): (&str, &str),
        reason: Option<&str>,
        by: &Caller,
    ) -> Result<RevocationEffects, DbError> {
        let principal = subject_of(issuer, subject);
        let mut tx = self.pool.begin().await?;
        let added = sqlx::query!(
            "INSERT INTO revoked_subjects (id, principal, issuer, subject, reason, revoked_by) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (principal) DO NOTHING",
            ids::revocation_id(),
            principal,
            issuer,
            subject,
            reason,
            by.principal.subject
        )
        .execute(&mut *tx)
        .await?;
        let revocation = sqlx::query_as!(
            Revocation,
            "SELECT id, issuer, subject, reason, revoked_by, revoked_at FROM revoked_subjects WHERE principal = $1",
            principal
        )
        .fetch_one(&mut *tx)
        .await?;
        let schedules =
            stop(&mut tx, ScheduleSelector::Subject(&principal), &PermissionEnd::SubjectRevoked(principal.clone()), by)
                .await?;
        let deployments = cancel_queued(&mut tx, AuthMethod::Oidc.as_str(), &principal, None, &schedules).await?;
        if added.rows_affected() == 1 || !schedules.is_empty() || !deployments.is_empty() {
            let details = json!({"issuer": issuer, "subject": subject, "reason": reason, "schedules": schedules, "deployments": deployments});
            let (action, target) = (Action::RevokeSubject, Some(revocation.id.as_str()));
            audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details })
                .await?;
        }
        tx.commit().await?;
        self.notify_cancelled(&deployments).await;
        Ok(RevocationEffects { revocation, schedules, deployments })
    }

    /// Accepts the subject of a revocation again; none when there is no such revocation. Stopped schedules stay stopped.
    pub async fn restore_subject(&self, id: &str, by: &Caller) -> Result<Option<Revocation>, DbError> {
        let mut tx = self.pool.begin().await?;
        let gone = sqlx::query_as!(
            Revocation,
            "DELETE FROM revoked_subjects WHERE id = $1 RETURNING id, issuer, subject, reason, revoked_by, revoked_at",
            id
        );
        let Some(gone) = gone.fetch_optional(&mut *tx).await? else { return Ok(None) };
        let details = json!({"issuer": gone.issuer, "subject": gone.subject});
        let (action, target) = (Action::RestoreSubject, Some(id));
        audit::record(&mut tx, &AuditRecord { by, action, target, repository: None, refused: None, details }).await?;
        tx.commit().await?;
        Ok(Some(gone))
    }

    /// Lists revocations, newest first, optionally only those before a given one.
    pub async fn revocations(
        &self,
        before: Option<(DateTime<Utc>, String)>,
        limit: i64,
    ) -> Result<Vec<Revocation>, DbError> {
        let (before_at, before_id) = before.unzip();
        Ok(sqlx::query_as!(
            Revocation,
            "SELECT id, issuer, subject, reason, revoked_by, revoked_at FROM revoked_subjects
             WHERE $1::timestamptz IS NULL OR (revoked_at, id) < ($1, $2)
             ORDER BY revoked_at DESC, id DESC LIMIT $3",
            before_at,
            before_id,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns those principals that are revoked.
    pub async fn revoked_among(&self, names: &[String]) -> Result<Vec<String>, DbError> {
        Ok(sqlx::query_scalar!("SELECT principal FROM revoked_subjects WHERE principal = ANY ($1)", names)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Records that a replica with these sign-in settings is alive. Returns whether no replica has newer ones.
    pub async fn has_newest_sign_in(&self, fingerprint: &SecretHash) -> Result<bool, DbError> {
        Ok(sqlx::query_scalar!(
            "WITH own AS (
                 INSERT INTO sign_in_settings AS s (fingerprint) VALUES ($1)
                 ON CONFLICT (fingerprint) DO UPDATE SET seen_at = clock_timestamp(),
                     first_seen_at = CASE WHEN s.seen_at < clock_timestamp() - make_interval(secs => $2)
                                          THEN clock_timestamp() ELSE s.first_seen_at END
                 RETURNING first_seen_at
             ), gone AS (
                 DELETE FROM sign_in_settings WHERE seen_at < clock_timestamp() - interval '1 day' AND fingerprint <> $1
             )
             SELECT NOT EXISTS (
                 SELECT FROM sign_in_settings s, own
                 WHERE s.fingerprint <> $1 AND s.seen_at > clock_timestamp() - make_interval(secs => $2)
                   AND s.first_seen_at > own.first_seen_at) AS \"newest!\"",
            fingerprint.bytes(),
            SETTINGS_TTL_SECONDS
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// Notifies reconcilers of deployments to cancel. A lost notification costs the interval of a sweep.
    pub(super) async fn notify_cancelled(&self, deployments: &[String]) {
        for id in deployments {
            if let Err(error) = self.notify_work(id).await {
                tracing::debug!(%error, "notification lost, the sweep will find the deployment");
            }
        }
    }
}
