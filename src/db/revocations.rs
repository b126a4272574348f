//! Revoked subjects of OpenID Connect issuers, refused under any token; and the sign-in settings of the replicas.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Db, DbError};
use crate::domain::ids;
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

impl Db {
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
}

/// Inserts a revocation; false when the principal was revoked before.
pub async fn insert(
    connection: &mut PgConnection,
    principal: &str,
    (issuer, subject): (&str, &str),
    reason: Option<&str>,
    revoked_by: &str,
) -> Result<bool, DbError> {
    let added = sqlx::query!(
        "INSERT INTO revoked_subjects (id, principal, issuer, subject, reason, revoked_by) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (principal) DO NOTHING",
        ids::revocation_id(),
        principal,
        issuer,
        subject,
        reason,
        revoked_by
    )
    .execute(connection)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// Reads the revocation of a principal, which must exist.
pub async fn of_principal(connection: &mut PgConnection, principal: &str) -> Result<Revocation, DbError> {
    Ok(sqlx::query_as!(
        Revocation,
        "SELECT id, issuer, subject, reason, revoked_by, revoked_at FROM revoked_subjects WHERE principal = $1",
        principal
    )
    .fetch_one(connection)
    .await?)
}

/// Deletes a revocation and returns it; none when there is no such revocation.
pub async fn delete(connection: &mut PgConnection, id: &str) -> Result<Option<Revocation>, DbError> {
    let gone = sqlx::query_as!(
        Revocation,
        "DELETE FROM revoked_subjects WHERE id = $1 RETURNING id, issuer, subject, reason, revoked_by, revoked_at",
        id
    );
    Ok(gone.fetch_optional(connection).await?)
}
