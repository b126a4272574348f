//! A schedule stops, visibly, with the permission of its owner, and resumes when another caller takes it over.

use std::sync::Arc;

use panda::commands::CommandError;
use panda::commands::revocations::error::RevocationError;
use panda::commands::revocations::{restore_subject, revoke_subject};
use panda::commands::schedules::change::{ScheduleEdit, change};
use panda::commands::schedules::stop::stop_without_permission;
use panda::commands::tokens::{TokenRevocation, revoke_token};
use panda::domain::oidc_claims;
use panda::domain::permission_basis::{Basis, Identity};
use pretty_assertions::assert_eq;
use serde_json::json;
use sqlx::Executor;

use super::*;
use crate::http::count;

const ISSUER: &str = "https://issuer.example";

/// Settings with the admin token `admin`, or with tokens of an issuer that gives `role` to subjects of `acme`.
fn required(admin: Option<&str>, role: &str) -> SignIn {
    let rules = json!([{"claims": {"repository_owner": "acme"}, "role": role}]);
    let file = json!([{"issuer": ISSUER, "audiences": ["panda"], "rules": rules}]);
    let issuers = oidc_claims::parse(&file.to_string()).unwrap().into();
    SignIn { required: true, admin: admin.map(|token| SecretHash::of(token).fingerprint()), issuers }
}

fn admin(token: &str) -> Caller {
    let principal = Principal::admin(SecretHash::of(token).fingerprint());
    Caller { principal: Arc::new(principal), ..Caller::local() }
}

/// A caller with a token that expires in an instant.
fn workflow(subject: &str) -> Caller {
    let claims = json!({"aud": "panda", "sub": subject, "repository_owner": "acme", "exp": 1});
    let identity = Identity::new(ISSUER, claims.as_object().unwrap().clone());
    let principal = Principal {
        subject: oidc_claims::subject_of(ISSUER, subject),
        kind: AuthMethod::Oidc,
        role: Role::Deployer,
        scope: Scope::All,
        expires_at: Some(Utc::now()),
        basis: Basis::Oidc(Arc::new(identity)),
    };
    Caller { principal: Arc::new(principal), ..Caller::local() }
}

/// Asserts that it stopped for this reason everywhere; then another caller takes it over.
async fn stopped(test: &TestDb, id: &str, code: &str) {
    let db = &test.db;
    let shown = schedule(db, id).await;
    assert_eq!((shown.stopped_code.as_deref(), shown.next_run_at), (Some(code), None));
    assert!(shown.stopped_at.is_some() && shown.stopped_reason.unwrap().contains("panda schedule adopt"));
    assert_eq!((shown.last_result.as_deref(), shown.last_error_code.as_deref()), (Some("failed"), Some(code)));
    assert_eq!(runs(db, id).await[0].error_code.as_deref(), Some(code));
    let sql = "SELECT count(*) FROM audit WHERE action = 'schedule.stop' AND target = $1 AND details->>'code' = $2";
    let kept: i64 = sqlx::query_scalar(sql).bind(id).bind(code).fetch_one(&mut test.psql().await).await.unwrap();
    assert_eq!(kept, 1);
    assert_eq!(look(db).await, None, "it is no longer due");
}

async fn take_over(db: &Db, id: &str, by: &Caller) {
    let row = schedule(db, id).await;
    let edit = ScheduleEdit { version: row.version, retime: true };
    let wanted = ScheduleSpec {
        github_connection_id: row.github_connection_id,
        aws_connection_id: row.aws_connection_id,
        ..hourly(db).await
    };
    let changed = change(db, id, &wanted, edit, by).await.unwrap();
    assert!(changed.stopped_at.is_none() && changed.stopped_code.is_none() && changed.next_run_at.is_some());
}

#[tokio::test]
async fn schedule_permission__revoked_token_stops_immediately() {
    let test = TestDb::new().await;
    let db = &test.db;
    let by = caller("ci", Role::Deployer, Scope::All);
    let id = made_by(db, &hourly(db).await, &by).await;
    let paused = made_by(db, &ScheduleSpec { paused: true, ..hourly(db).await }, &by).await;
    let others = made_by(db, &hourly(db).await, &caller("other", Role::Deployer, Scope::All)).await;
    due_now(&test, &id).await;
    deployment(look(db).await);
    assert_eq!(revoke_token(db, "tok_ci", &Caller::local()).await.unwrap(), TokenRevocation::Now);
    for id in [&id, &paused] {
        stopped(&test, id, "TOKEN_REVOKED").await;
    }
    assert!(schedule(db, &others).await.stopped_at.is_none());
    end_all(&test).await;
    take_over(db, &id, &caller("other", Role::Deployer, Scope::All)).await;
    due_now(&test, &id).await;
    deployment(look(db).await);
}

#[tokio::test]
async fn schedule_permission__expired_deleted_or_reduced_token_stops() {
    let test = TestDb::new().await;
    let db = &test.db;
    for (change, code) in [
        ("UPDATE api_tokens SET expires_at = now()", "TOKEN_EXPIRED"),
        ("UPDATE api_tokens SET role = 'viewer'", "PERMISSION_REDUCED"),
        ("UPDATE api_tokens SET scope = '{toys/*}'", "PERMISSION_REDUCED"),
        ("UPDATE api_tokens SET revoked_at = now()", "TOKEN_REVOKED"),
        ("DELETE FROM api_tokens", "TOKEN_REMOVED"),
    ] {
        test.psql().await.execute("DELETE FROM api_tokens").await.unwrap();
        let by = caller("ci", Role::Deployer, Scope::All);
        let (early, late) = (made_by(db, &hourly(db).await, &by).await, made_by(db, &hourly(db).await, &by).await);
        assert_eq!(stop_without_permission(db, &SignIn::default()).await.unwrap(), []);
        test.psql().await.execute(change).await.unwrap();
        due_now(&test, &late).await;
        let ran = look(db).await.unwrap();
        assert_eq!((ran.schedule.as_str(), ran.stopped.unwrap().code()), (late.as_str(), code));
        let swept = stop_without_permission(db, &SignIn::default()).await.unwrap();
        assert_eq!(swept.iter().map(|stopped| stopped.schedule.as_str()).collect::<Vec<_>>(), [early.as_str()]);
        for id in [&early, &late] {
            stopped(&test, id, code).await;
        }
    }
    assert_eq!(count(&test, "deployments").await, 0);
}

#[tokio::test]
async fn schedule_permission__replaced_admin_token_stops() {
    let test = TestDb::new().await;
    let db = &test.db;
    let (one, two) = (required(Some("one"), "deployer"), required(Some("two"), "deployer"));
    let id = made_by(db, &hourly(db).await, &admin("one")).await;
    due_now(&test, &id).await;
    deployment(run_due_with(db, &one).await);
    end_all(&test).await;
    assert_eq!(stop_without_permission(db, &one).await.unwrap(), []);
    due_now(&test, &id).await;
    assert_eq!(run_due_with(db, &two).await.unwrap().stopped.unwrap().code(), "ADMIN_TOKEN_REPLACED");
    stopped(&test, &id, "ADMIN_TOKEN_REPLACED").await;
    take_over(db, &id, &admin("two")).await;
    due_now(&test, &id).await;
    deployment(run_due_with(db, &two).await);
    let without = required(None, "deployer");
    assert_eq!(stop_without_permission(db, &without).await.unwrap().len(), 1);
    let dump: String = sqlx::query_scalar("SELECT string_agg(s::text, '') FROM schedules s")
        .fetch_one(&mut test.psql().await)
        .await
        .unwrap();
    assert!(!dump.contains(&hex::encode(SecretHash::of("two").bytes())), "no hash that signs a session in");
}

#[tokio::test]
async fn schedule_permission__workflow_outlives_token_not_subject_issuer_or_rule() {
    let test = TestDb::new().await;
    let db = &test.db;
    let now = required(None, "deployer");
    let id = made_by(db, &hourly(db).await, &workflow("repo:acme/shop")).await;
    let other = made_by(db, &hourly(db).await, &workflow("repo:acme/toys")).await;
    due_now(&test, &id).await;
    deployment(run_due_with(db, &now).await);
    end_all(&test).await;
    assert_eq!(stop_without_permission(db, &now).await.unwrap(), [], "whatever the end of its token");

    let by = Caller::operator("root@host".to_owned());
    let revoked = revoke_subject(db, (ISSUER, "repo:acme/shop"), Some("stolen"), &by).await.unwrap();
    assert_eq!((revoked.schedules, revoked.deployments.len()), (vec![id.clone()], 0));
    stopped(&test, &id, "SUBJECT_REVOKED").await;
    assert!(schedule(db, &other).await.stopped_at.is_none(), "another subject");
    let again = revoke_subject(db, (ISSUER, "repo:acme/shop"), None, &by).await.unwrap();
    assert_eq!((again.schedules.len(), again.revocation.reason.as_deref()), (0, Some("stolen")));
    // Created after the check, with a right that was checked just before.
    let late = made_by(db, &hourly(db).await, &workflow("repo:acme/shop")).await;
    due_now(&test, &late).await;
    assert_eq!(run_due_with(db, &now).await.unwrap().stopped.unwrap().code(), "SUBJECT_REVOKED");
    let lifted = restore_subject(db, &revoked.revocation.id, &by).await.unwrap();
    assert_eq!(lifted.subject, "repo:acme/shop");
    let again = restore_subject(db, &revoked.revocation.id, &by).await.unwrap_err();
    assert!(matches!(again, CommandError::Revocation(RevocationError::NotFound(_))), "{again:?}");
    assert_eq!(run_due_with(db, &now).await, None, "stopped schedules stay stopped");

    let less = stop_without_permission(db, &required(None, "viewer")).await.unwrap();
    assert_eq!(less[0].ended.code(), "PERMISSION_REDUCED");
    stopped(&test, &other, "PERMISSION_REDUCED").await;
    take_over(db, &other, &workflow("repo:acme/toys")).await;
    let none = SignIn { required: true, ..SignIn::default() };
    assert_eq!(stop_without_permission(db, &none).await.unwrap()[0].ended.code(), "ISSUER_REMOVED");
}

#[tokio::test]
async fn schedule_permission__always_stored_and_ends_when_sign_in_begins() {
    let test = TestDb::new().await;
    let db = &test.db;
    made_by(db, &hourly(db).await, &admin("one")).await;
    made_by(db, &hourly(db).await, &workflow("repo:acme/shop")).await;
    let of_nobody = made(db, &hourly(db).await).await;
    for column in ["made_by_admin", "made_by_issuer", "made_by_claims"] {
        let sql = format!("UPDATE schedules SET {column} = NULL WHERE {column} IS NOT NULL");
        let refused = test.psql().await.execute(sqlx::AssertSqlSafe(sql)).await.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some("schedules_owner"), "{column}");
    }
    let swept = stop_without_permission(db, &required(Some("one"), "deployer")).await.unwrap();
    assert_eq!(swept.len(), 1, "{swept:?}");
    stopped(&test, &of_nobody, "SIGN_IN_REQUIRED").await;
}

#[tokio::test]
async fn schedule_permission__ends_queued_but_not_running_deployments() {
    let test = TestDb::new().await;
    let db = &test.db;
    let queue = ScheduleSpec { concurrency: Concurrency::Queue, ..hourly(db).await };
    let by = caller("ci", Role::Deployer, Scope::All);
    let other = caller("ci2", Role::Deployer, Scope::All);
    let mut started = Vec::new();
    for by in [&by, &other, &by] {
        let id = made_by(db, &queue, by).await;
        due_now(&test, &id).await;
        started.push(deployment(look(db).await));
    }
    revoke_token(db, "tok_ci", &Caller::local()).await.unwrap();
    let mut cancelled = Vec::new();
    for id in &started {
        let sql = "SELECT cancel_requested_at IS NOT NULL FROM deployments WHERE id = $1";
        let one: bool = sqlx::query_scalar(sql).bind(id).fetch_one(&mut test.psql().await).await.unwrap();
        cancelled.push(one);
    }
    assert_eq!(cancelled, [false, false, true]);
    let sql = "SELECT details->'deployments' FROM audit WHERE action = 'token.revoke'";
    let kept: Value = sqlx::query_scalar(sql).fetch_one(&mut test.psql().await).await.unwrap();
    assert_eq!(kept, json!([started[2]]));
}

#[tokio::test]
async fn schedule_permission__newest_settings_win_during_rolling_update() {
    let test = TestDb::new().await;
    let db = &test.db;
    let (old, new) = (required(Some("one"), "deployer").fingerprint(), required(Some("two"), "deployer").fingerprint());
    let newest = async |settings| db.has_newest_sign_in(settings).await.unwrap();
    assert!(newest(&old).await && newest(&new).await);
    assert!(
        !newest(&old).await && newest(&new).await,
        "an old replica would stop schedules that it does not recognise"
    );
    let ends = "UPDATE sign_in_settings SET seen_at = now() - interval '31 s' WHERE fingerprint = $1";
    sqlx::query(ends).bind(new.bytes()).execute(&mut test.psql().await).await.unwrap();
    assert!(newest(&old).await, "the update was rolled back");
    assert!(newest(&new).await && !newest(&old).await, "and begins again");
}
